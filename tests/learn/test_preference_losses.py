"""Objectives of preferences: the papers' values, TRL's losses on pairs, pairs as lists of two,
masks, order, numeric gradients.
"""

import itertools
import math
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import OptionError
from policyrank.learn import LOSSES, PREFERENCE_LOSSES, REWARD_LOSSES, preference_loss, segments
from policyrank.learn._options import options_of
from policyrank.learn.losses.preference import (
    best_nll,
    group_clipped,
    label_distribution,
    winrate_labels,
)
from policyrank.learn.rewards import (
    bradley_terry_reward,
    discriminator_oracle,
    plackett_luce_reward,
)

T = lambda *x: torch.tensor(x, dtype=torch.float64)  # noqa: E731


@pytest.mark.parametrize(
    ("name", "first", "second", "options"),
    [
        ("point-mse", 0.57, 11.0, {"scale": 3 / 2}),
        ("point-sigmoid", 2.025722, 4.488777, {"scale": 3 / 2}),
        ("softmax", 1.074027, 1.407606, {}),
        ("slic", 2.4, 2.0, {"pairs": "sum"}),
        ("dpo", 1.899533, 1.626523, {"pairs": "sum"}),
        ("dpo-pl", 1.591795, 3.534534, {"scale": 2}),
        ("lipo-lambda", 0.409196, 0.758426, {"pairs": "sum"}),
    ],
)
def test_lipo_values(name, first, second, options):
    scale = options.pop("scale", 1)  # the paper sums over the list, we take the mean of a pair's
    for scores, labels, value in (
        (T(0.2, 0.7, -0.1), T(0.9, 0.5, 0.1), first),
        (T(2, 1, 3), T(1, 0, 0), second),
    ):
        if name == "dpo-pl" and value == second:
            labels = T(1.0, 0.5, 0.0)  # an order among the ties, as the card's value takes it
        assert scale * float(
            preference_loss(name)(scores, labels, beta=1.0, **options)
        ) == pytest.approx(value, abs=2e-6)


def test_pro_values():
    pro = lambda p, r, **o: float(  # noqa: E731
        PREFERENCE_LOSSES["pro"](p, r, lengths=torch.ones(len(p)), **({"sft_weight": 0} | o))
    )
    # the paper sums over the stages, we take their mean
    assert 2 * pro(T(-1, -1.2, -0.8), T(2, 1, 0)) == pytest.approx(2.464266, abs=1e-6)
    assert pro(T(-1, -1.5), T(1, 0)) == pytest.approx(0.474077, abs=1e-6)
    assert 2 * pro(T(-1, -1, -1), T(2, 1, 0)) == pytest.approx(1.551445 + math.log(2), abs=1e-6)
    assert pro(T(-1, -3), T(1, 1)) == 0  # equal answers are no rivals
    # ties: two good answers, each against the bad one, and two stages of imitation
    p, r = T(-1, -3, -2), T(1, 1, 0)
    stages = [math.log1p(math.exp(-2 - own)) for own in (-1, -3)]
    assert pro(p, r) == pytest.approx(np.mean(stages))
    assert pro(p, r, sft_weight=0.5) == pytest.approx(np.mean(stages) + 0.5 * 2**2 * 2 / 2)
    # gaps of 1: ListMLE; the SFT term: .05 (n - 1)^2 times the best answer's summed NLL
    s, y = torch.randn(2, 5, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64)
    plain = PREFERENCE_LOSSES["pro"](s, y, lengths=torch.ones(2, 5), gaps=False, sft_weight=0)
    assert float(plain) == pytest.approx(float(LOSSES["listmle"](s, y, places="mean")))
    assert 2 * pro(T(-1, -1.2, -0.8), T(2, 1, 0), sft_weight=0.05) == pytest.approx(
        2.464266 + 0.05 * 4 * 1, abs=1e-6
    )
    shifted = [pro(T(-1, -1.2, -0.8) + c, T(2, 1, 0), centre=True) for c in (0, 5)]
    assert shifted[0] == pytest.approx(shifted[1])
    assert abs(2 * pro(T(-1, -1.2, -0.8) + 5, T(2, 1, 0)) - 2.464266) > 0.1


def test_pro_compares_answers_per_token():
    p, y, lengths, one = T(-6, -4, -9), T(3, 2, 1), T(2, 1, 9), T(1, 1, 1)
    per_token = preference_loss("pro")(p / lengths, y, lengths=one, sft_weight=0.0)
    found = preference_loss("pro")(p, y, lengths=lengths, sft_weight=0.0)
    assert float(found) == pytest.approx(float(per_token))


def test_all_that_tie_as_the_best_are_imitated():
    where = torch.tensor([True, True, True, False])
    p, labels = T(-1, -3, -7, torch.nan), T(2, 2, 1, 9)
    assert float(best_nll(p, labels, where)) == 2
    order = [1, 0, 2, 3]
    assert float(best_nll(p[order], labels[order], where)) == 2
    one = T(1, 1, 1, 1)
    ours = preference_loss("rrhf")(p, labels, where=where, lengths=one)
    theirs = preference_loss("rrhf")(p[order], labels[order], where=where, lengths=one)
    assert float(ours) == float(theirs) == 2 / 2  # over two pairs


def trl(loss, chosen, rejected, ref_chosen, ref_rejected, lengths, beta=0.3, smoothing=0.1):
    """TRL's own code of the loss on log-probabilities: its trainer's method, with a model that
    hands them out.
    """

    from trl import DPOTrainer

    width = int(lengths.max())
    flat = torch.cat([chosen, rejected])
    size = torch.cat([lengths[:, 0], lengths[:, 1]])
    mask = (torch.arange(width + 1) <= size[:, None]) & (torch.arange(width + 1) > 0)
    token = (flat / size)[:, None] * mask[:, 1:]
    out = SimpleNamespace(log_probs=token, entropy=token, mean_logits=token, is_top1=token > 0)
    model = lambda **_: out  # noqa: E731
    metric = {"train": defaultdict(list), "eval": defaultdict(list)}
    self = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=SimpleNamespace(
            device="cpu",
            gather_for_metrics=lambda x: x,
            gather=lambda x: x,
            unwrap_model=lambda m: m,
        ),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=smoothing,
        use_weighting=False,
        _metrics=metric,
        _total_train_tokens=0,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
    )
    inputs = {
        "input_ids": torch.ones_like(mask, dtype=torch.long),
        "attention_mask": torch.ones_like(mask, dtype=torch.long),
        "completion_mask": mask.long(),
        "ref_chosen_logps": ref_chosen,
        "ref_rejected_logps": ref_rejected,
    }
    return DPOTrainer._compute_loss(self, model, inputs, return_outputs=False)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("dpo", "sigmoid", {}),
        ("slic", "hinge", {}),
        ("ipo", "ipo", {}),
        ("robust-dpo", "robust", {"smoothing": 0.1}),
        ("sppo", "sppo_hard", {}),
        ("apo-zero", "apo_zero", {}),
    ],
)
def test_pairs_equal_trl(ours, theirs, options):
    pytest.importorskip("trl")
    g = torch.Generator().manual_seed(0)
    policy, reference = (-20 * torch.rand(6, 2, generator=g, dtype=torch.float64) for _ in range(2))
    lengths = torch.randint(2, 9, (6, 2), generator=g)
    found = preference_loss(ours)(
        policy, T(1, 0).expand(6, 2), reference=reference, lengths=lengths, beta=0.3, **options
    )
    expected = trl(theirs, policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], lengths)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("name", ["dpo", "cdpo", "robust-dpo", "slic", "ipo", "simpo", "point-mse"])
def test_a_lists_loss_is_the_mean_of_its_pairs(name):
    g = torch.Generator().manual_seed(3)
    policy, reference = -9 * torch.rand(2, 5, generator=g, dtype=torch.float64)
    labels, lengths = torch.rand(5, generator=g), torch.randint(2, 9, (5,), generator=g)

    def of(which):
        given = {"reference": reference[which], "lengths": lengths[which]}
        return float(preference_loss(name)(policy[which], labels[which], **given))

    pairs = [of(list(pair)) for pair in itertools.combinations(range(5), 2)]
    assert of(list(range(5))) == pytest.approx(np.mean(pairs))


def test_published_sums_over_the_number_of_comparisons():
    """RRHF and LiPO by pairs, PRO by stages, Plackett-Luce by choices, SPPO by answers."""
    s, y = T(-2, -1, -3, -4), T(3, 2, 1, 0)
    lengths = torch.ones(4)
    pairs = sum(max(0.0, float(s[j] - s[i])) for i in range(4) for j in range(i + 1, 4))
    rrhf = float(preference_loss("rrhf")(s, y, lengths=lengths))
    assert rrhf == pytest.approx((pairs + 2) / 6)
    lipo = preference_loss("lipo-lambda")
    assert 6 * float(lipo(s, y)) == pytest.approx(float(lipo(s, y, pairs="sum")))
    choices = [float(torch.logsumexp(s[k:], 0) - s[k]) for k in range(3)]
    for found in (preference_loss("dpo-pl")(s, y, beta=1.0), REWARD_LOSSES["plackett-luce"](s, y)):
        assert float(found) == pytest.approx(np.mean(choices))
    two = float(LOSSES["listmle"](s, y, places="mean", k=2))
    assert two == pytest.approx(np.mean(choices[:2]))
    pro = float(preference_loss("pro")(s, y, lengths=lengths, gaps=False, sft_weight=0.1))
    assert pro == pytest.approx((sum(choices) + 0.1 * 9 * 2) / 3)
    off = [(float(a) - share) ** 2 for a, share in zip(s, (0.5, 1 / 6, -1 / 6, -0.5), strict=True)]
    assert float(preference_loss("sppo")(s, y, beta=1.0)) == pytest.approx(2 * np.mean(off))


def test_cdpo_and_simpo_by_hand():
    s, y = T(-3, -6), T(1, 0)
    log = torch.nn.functional.logsigmoid
    cdpo = preference_loss("cdpo")(s, y, beta=0.5, smoothing=0.2)
    assert float(cdpo) == pytest.approx(float(-0.8 * log(T(1.5)) - 0.2 * log(T(-1.5))))
    plain = preference_loss("cdpo")(s, y, beta=0.5, smoothing=0.0)
    assert float(plain) == pytest.approx(float(-log(T(1.5))))
    simpo = preference_loss("simpo")(s, y, lengths=T(2, 3), beta=2.0, margin=0.5)
    assert float(simpo) == pytest.approx(float(-log(T(2 * (-1.5 + 2) - 0.5))))
    rrhf = preference_loss("rrhf")(T(-6, -3), y, lengths=T(2, 3))
    assert float(rrhf) == pytest.approx((3 - 1) + 6)
    kto = preference_loss("kto")(
        T(2, -4), y, beta=1.0
    )  # desirable is measured against the other's score, at least 0, and the reverse
    assert float(kto) == pytest.approx(float(torch.sigmoid(T(0 - 2)) + torch.sigmoid(T(-4 - 2))))


@pytest.mark.parametrize("name", [*PREFERENCE_LOSSES, *REWARD_LOSSES])
def test_masks_order_and_gradients(name):
    loss = PREFERENCE_LOSSES[name] if name in PREFERENCE_LOSSES else REWARD_LOSSES[name]
    pref = name in PREFERENCE_LOSSES
    g = torch.Generator().manual_seed(1)
    s = torch.randn(3, 5, generator=g, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(3, 5, generator=g, dtype=torch.float64)
    y = torch.rand(3, 5, generator=g, dtype=torch.float64)
    lengths = torch.randint(1, 9, (3, 5), generator=g)
    options = {"reference": reference, "lengths": lengths} if pref else {}
    call = lambda s, y, o, **more: loss(s, y, reduce="none", **o, **more)  # noqa: E731
    whole = call(s, y, options)
    assert (whole != 0).all()
    # shuffled lists
    order = torch.stack([torch.randperm(5, generator=g) for _ in range(3)])
    mixed = {k: v.gather(1, order) for k, v in options.items()}
    assert torch.allclose(call(s.gather(1, order), y.gather(1, order), mixed), whole, atol=1e-10)
    # padding may hold anything, and gets no gradient
    junk = {
        k: torch.cat([v, torch.full((3, 2), 7, dtype=v.dtype)], dim=1) for k, v in options.items()
    }
    wide = (
        torch.cat([s, torch.full((3, 2), torch.nan, dtype=s.dtype)], dim=1)
        .detach()
        .requires_grad_()
    )
    where = torch.arange(7).expand(3, 7) < 5
    padded = call(
        wide, torch.cat([y, torch.full((3, 2), 1e9, dtype=y.dtype)], dim=1), junk, where=where
    )
    assert torch.allclose(padded, whole, atol=1e-10)
    grad = torch.autograd.grad(padded.sum(), wide)[0]
    assert torch.isfinite(grad).all()
    assert (grad[:, 5:] == 0).all()
    free = name in ("lipo-lambda", "kto")  # weights and zero points are constants to the gradient
    if not free:
        assert torch.autograd.gradcheck(lambda s: call(s, y, options), s, atol=1e-4)


def test_list_of_two_is_the_pair():
    s, r = T(-3, -6), T(-4, -4)
    softplus = torch.nn.functional.softplus
    dpo = float(softplus(-0.1 * T(1 + 2)))
    for name in ("dpo", "dpo-pl"):
        assert float(preference_loss(name)(s, T(1, 0), reference=r)) == pytest.approx(dpo)
    lam = float(preference_loss("lipo-lambda")(T(0.3, -0.2), T(1, 0), beta=1.0))
    assert lam == pytest.approx(0.252425, abs=1e-6)
    assert float(
        preference_loss("label-distribution")(T(1, 0), T(1, 0), standardise=False)
    ) == pytest.approx(-(0.731059 * math.log(0.731059) + 0.268941 * math.log(0.268941)), abs=1e-5)


def test_labels():
    d = label_distribution(T(1, 0, -1), standardise=False)
    assert d.tolist() == pytest.approx([0.665241, 0.244728, 0.090031], abs=1e-6)
    assert label_distribution(T(3, 3, 3)).tolist() == pytest.approx([1 / 3] * 3)
    assert label_distribution(T(3, 3.1, 3), least_gap=0.5).tolist() == pytest.approx([1 / 3] * 3)
    masked = label_distribution(T(1, 0, 9), where=torch.tensor([True, True, False]))
    assert masked.tolist() == pytest.approx(
        [math.e / (math.e + 1 / math.e), 1 / (math.e**2 + 1), 0]
    )
    wins = T([0, 1, 1], [0, 0, 1], [0, 0, 0])
    assert winrate_labels(wins).tolist() == pytest.approx([2.5 / 3, 0.5, 0.5 / 3])
    assert winrate_labels(wins, torch.tensor([True, True, False])).tolist() == pytest.approx(
        [0.75, 0.25, 0]
    )


def test_order_consistency_of_the_label_distribution():
    """Scores that are true qualities with noise give label distributions that rise with the
    quality, the more the less noise.
    """
    g = torch.Generator().manual_seed(0)
    q, top = T(0, 0.5, 1, 1.5), []
    for sd in (0.25, 0.5, 1.0, 2.0):
        d = label_distribution(q + sd * torch.randn(20_000, 4, generator=g, dtype=torch.float64))
        assert (d.mean(dim=0).diff() > 0).all()
        top.append(float((d.argmax(dim=-1) == 3).double().mean()))
    assert top == sorted(top, reverse=True)


def test_unknown_names_and_what_is_missing():
    with pytest.raises(ValueError, match="no objective is called 'dpoo'"):
        preference_loss("dpoo")
    with pytest.raises(ValueError, match="give lengths"):
        preference_loss("simpo")(T(1, 0), T(1, 0))
    with pytest.raises(ValueError, match="below 1/2"):
        preference_loss("cdpo")(T(1, 0), T(1, 0), smoothing=0.5)
    with pytest.raises(ValueError, match="imitation needs log_probs"):
        bradley_terry_reward(T(1, 0), T(1, 0), imitation=1.0)


def test_advantages_of_a_group_by_name_or_function():
    log_probs, labels = torch.zeros(3, requires_grad=True), T(3, 1, 2)

    def gradient(advantage):
        loss = group_clipped(log_probs, labels, advantage=advantage)
        return torch.autograd.grad(loss, log_probs)[0].tolist()

    assert gradient("centred") == pytest.approx([-1 / 3, 1 / 3, 0])
    deviation = math.sqrt(2 / 3)
    assert gradient("standardised") == pytest.approx([-1 / 3 / deviation, 1 / 3 / deviation, 0])
    assert gradient(lambda rewards, where: rewards) == pytest.approx([-1, -1 / 3, -2 / 3])
    with pytest.raises(OptionError, match="use one of standardised, centred, of-shares"):
        gradient("odd")


def test_options_of_a_loss():
    def plain(scores, labels, where=None, alpha=1.0): ...

    def any_at_all(scores, labels, **options): ...

    assert options_of(plain) == {"where", "alpha"}
    assert options_of(any_at_all) is options_of(torch.ones_like) is None
    assert {"beta", "smoothing", "robust"} < options_of(PREFERENCE_LOSSES["robust-dpo"])


def test_all_losses_of_rankings_serve_policies():
    for name in LOSSES:
        if name not in ("ordinal",):
            found = preference_loss(name)(
                torch.randn(2, 4), torch.rand(2, 4), reference=torch.randn(2, 4)
            )
            assert torch.isfinite(found)


def test_rewards():
    r, y = T(1, 0), T(1, 0)
    softplus = torch.nn.functional.softplus
    assert float(bradley_terry_reward(r, y)) == pytest.approx(0.313262, abs=1e-6)
    assert float(bradley_terry_reward(r, y, margin_per_label=2.0)) == pytest.approx(
        float(softplus(T(2 - 1)))
    )
    assert float(bradley_terry_reward(T(1, 2), y, centre=0.5)) == pytest.approx(
        float(softplus(T(1.0)) + 0.5 * 9)
    )
    s = T(1, 2, 4)
    by_pairs = ((1 + 2) ** 2 + (1 + 4) ** 2 + (2 + 4) ** 2) / 3
    gap = bradley_terry_reward(s, T(3, 2, 1), centre=1.0) - bradley_terry_reward(s, T(3, 2, 1))
    assert float(gap) == pytest.approx(by_pairs)
    assert float(
        plackett_luce_reward(T(0, 0, 0), T(2, 1, 0), imitation=0.5, log_probs=T(-4, -1, -1))
    ) == pytest.approx(math.log(6) / 2 + 2)
    assert float(bradley_terry_reward(T(1, 2), T(1, 1))) == 0


def test_discriminator_oracle():
    policies = T([0.9, 0.1], [0.2, 0.8])
    logit = float(discriminator_oracle(policies, 0)[0, 1])
    assert logit == pytest.approx(1.392448, abs=1e-6)
    assert float(bradley_terry_reward(T(logit, 0), T(1, 0))) == pytest.approx(0.221916, abs=1e-6)
    # by counting: draw policy A, its two answers, policy B among the rest, its answer
    p = torch.softmax(
        torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1
    )
    odds = lambda a, b: sum(  # noqa: E731
        p[i, 1] * p[i, a] * p[j, b] for i in range(3) for j in range(3) if i != j
    )
    assert float(discriminator_oracle(p, 1)[2, 3]) == pytest.approx(
        float(torch.log(odds(2, 3) / odds(3, 2)))
    )


def test_segments_and_step_weights():
    index = torch.tensor([[0, 1, 1, 2, 0]])
    assert segments.segment_sum(T(9, 1, 3, 5, 7)[None], index, 2).tolist() == [[4, 5]]
    assert segments.segment_mean(T(9, 1, 3, 5, 7)[None], index, 3).tolist() == [[2, 5, 0]]
    wide = segments.segment_mean(
        torch.stack([T(9, 1, 3, 5, 7), T(0, 2, 4, 6, 0)], dim=-1)[None], index, 2
    )
    assert wide.tolist() == [[[2, 3], [5, 6]]]
    cosines = T(1.0, 0.5, 0.0)
    steps = torch.zeros(2, 3, 2, dtype=torch.float64)
    steps[0, :, 0] = 1
    steps[1, :, 0], steps[1, :, 1] = cosines, (1 - cosines**2).sqrt()
    present, best = torch.ones(2, 3, dtype=torch.bool), torch.tensor(0)
    weight = lambda kind: segments.step_weights(steps, present, best, kind)[1].tolist()  # noqa: E731
    assert weight("similar") == pytest.approx([4 / 3, 1, 2 / 3])
    assert weight("different") == pytest.approx([0, 1, 2])
    assert weight("ones") == [1, 1, 1]
    assert sum(
        a * b for a, b in zip((0.3, -0.1, 0.4), weight("similar"), strict=True)
    ) == pytest.approx(0.566667, abs=1e-6)
    # a step that an answer lacks has no weight, and the mean over those it has is 1
    short = segments.step_weights(
        steps, torch.tensor([[True] * 3, [True, True, False]]), best, "similar"
    )[1]
    assert short.tolist() == pytest.approx([2 * 2 / 3.5, 1.5 * 2 / 3.5, 0])
    # a step that the best answer lacks is like none of its: cosine 0, though vectors are alike
    unlike = segments.step_weights(
        steps, torch.tensor([[False, True, True], [True] * 3]), best, "similar"
    )[1]
    assert unlike.tolist() == pytest.approx([3 / 3.5, 1.5 * 3 / 3.5, 3 / 3.5])
    with pytest.raises(ValueError, match="use one of"):
        segments.step_weights(steps, present, best, "odd")


def test_clipping_bounds_what_is_gained_and_not_what_is_lost():
    """Advantages 1, -1: at ratios of 2 the gains are min(2, 1.2) and min(-2, -1.2), at 1/2 .5 and
    -.8."""
    labels, reference = T(1, 0), T(0, 0)
    for ratio, gains in ((2.0, (1.2, -2.0)), (0.5, (0.5, -0.8)), (1.1, (1.1, -1.1))):
        log_probs = T(ratio, ratio).log()
        found = group_clipped(log_probs, labels, reference=reference, reduce="none")
        assert float(found) == pytest.approx(-sum(gains) / 2, abs=1e-6)
        halved = group_clipped(log_probs * 2, labels, reference=reference, lengths=T(2, 2))
        assert float(halved) == pytest.approx(-sum(gains) / 2, abs=1e-6)
