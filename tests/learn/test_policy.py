"""The policy gradient: TRL's own numbers, verl's, card values, and what must not matter."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn.losses import POLICY_OBJECTIVES, PolicyObjective
from policyrank.learn.segments import of_segments, separated_segments, span_segments

BATCH, TOKENS = 4, 7


def tensors(seed=0, dtype=torch.float64):
    """A batch off-policy, with ragged completions and a hole that a tool wrote."""
    rng = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=rng, dtype=dtype)

    log_probs = -drawn(BATCH, TOKENS).abs()
    where = torch.arange(TOKENS) < torch.tensor([7, 5, 2, 6])[:, None]
    where[3, 2] = False
    return SimpleNamespace(
        log_probs=log_probs.requires_grad_(),
        old=log_probs.detach() + 0.3 * drawn(BATCH, TOKENS),
        reference=log_probs.detach() + 0.5 * drawn(BATCH, TOKENS),
        advantages=drawn(BATCH),
        entropy=drawn(BATCH, TOKENS).abs(),
        where=where,
    )


def trl_loss(given, **options):
    """What TRL's trainer says of the same tensors."""
    grpo = pytest.importorskip("trl").GRPOTrainer
    settings = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "delta": None,
        "max_completion_length": TOKENS,
        "entropy_coef": 0.0,
        "use_bias_correction_kl": False,
    } | options
    args = SimpleNamespace(
        delta=settings.pop("delta"),
        use_bias_correction_kl=settings.pop("use_bias_correction_kl"),
        steps_per_generation=1,
    )
    fake = MagicMock(
        args=args,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        current_gradient_accumulation_steps=1,
        use_adaptive_entropy=False,
        _entropy_bonus_enabled=settings["entropy_coef"] != 0,
        **settings,
    )
    fake.accelerator.num_processes = 1
    found = given.log_probs, given.entropy, None
    fake._get_per_token_logps_and_entropies.return_value = found
    fake.accelerator.gather.side_effect = lambda tensor: tensor
    inputs = {
        "prompt_ids": torch.zeros(BATCH, 1, dtype=torch.long),
        "prompt_mask": torch.ones(BATCH, 1, dtype=torch.long),
        "completion_ids": torch.zeros(BATCH, TOKENS, dtype=torch.long),
        "completion_mask": given.where.long(),
        "advantages": given.advantages,
        "old_per_token_logps": given.old,
        "ref_per_token_logps": given.reference,
        "num_items_in_batch": given.where.sum(),
    }
    model = SimpleNamespace(training=True)
    return grpo._compute_loss(fake, model, inputs)


OF_TRL = {
    "grpo": (PolicyObjective(average="sequence"), {}),
    "with KL": (PolicyObjective(average="sequence", beta=0.04), {"beta": 0.04}),
    "with weighted KL": (
        PolicyObjective(average="sequence", beta=0.04, weighted_divergence=True),
        {"beta": 0.04, "use_bias_correction_kl": True},
    ),
    "sequence ratio with weighted KL": (
        PolicyObjective(ratio="sequence", average="sequence", beta=0.04, weighted_divergence=True),
        {
            "beta": 0.04,
            "use_bias_correction_kl": True,
            "importance_sampling_level": "sequence",
        },
    ),
    "bnpo": (PolicyObjective(), {"loss_type": "bnpo"}),
    "dapo": (PolicyObjective(clip=(0.2, 0.28)), {"loss_type": "dapo", "epsilon_high": 0.28}),
    "dr_grpo": (PolicyObjective(average="length", length=TOKENS), {"loss_type": "dr_grpo"}),
    "delta": (PolicyObjective(average="sequence", most=1.1), {"delta": 1.1}),
    "gspo": (
        PolicyObjective(ratio="sequence", average="sequence", clip=(0.05, 0.07)),
        {"importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.07},
    ),
    "cispo": (
        PolicyObjective(surrogate="weighted", clip=(1.0, 0.1)),
        {"loss_type": "cispo", "epsilon_high": 1.1},
    ),
    "entropy": (
        PolicyObjective(average="sequence", entropy_weight=0.1),
        {"entropy_coef": 0.1},
    ),
}


@pytest.mark.parametrize("name", OF_TRL)
def test_value_and_gradient_are_trls(name):
    objective, options = OF_TRL[name]
    for seed in range(3):
        ours, theirs = tensors(seed), tensors(seed)
        ours.entropy = theirs.entropy = ours.entropy + 0.1 * ours.log_probs.detach()
        found = objective(
            ours.log_probs,
            ours.advantages,
            ours.where,
            old=ours.old,
            reference=ours.reference,
            entropy=ours.entropy,
        )
        wanted = trl_loss(theirs, **options)
        assert found.loss.item() == pytest.approx(wanted.item(), abs=1e-9)
        found.loss.backward()
        wanted.backward()
        assert torch.allclose(ours.log_probs.grad, theirs.log_probs.grad, atol=1e-9)


def test_numbers_of_verl():
    """Log-ratios (.2, 0, 0), (-.1, 0, 0), advantages 1 and -1, clip .06 and .08."""
    log_probs = torch.tensor([[0.2, 0, 0], [-0.1, 0, 0]], dtype=torch.float64)
    zero, where = torch.zeros_like(log_probs), torch.ones(2, 3)
    gain = torch.tensor([1.0, -1.0])
    objective = PolicyObjective(clip=(0.06, 0.08), divergence="k1")
    found = objective(log_probs, gain, where, old=zero, reference=zero)
    assert float(found.loss) == pytest.approx(-0.0233333, abs=1e-6)
    assert float(found.clip_share) == pytest.approx(1 / 3)
    assert float(found.divergence) == pytest.approx(0.0166667, abs=1e-6)
    one = torch.ones(1, 1)
    far = PolicyObjective(beta=1.0)(0.5 * one, 0 * one, one, reference=0.1 * one)
    assert float(far.divergence) == pytest.approx(0.07032, abs=1e-5)
    assert (
        float(PolicyObjective(divergence="k2")(one, one, one, reference=0 * one).divergence) == 0.5
    )


def test_averages_of_verl():
    """Losses [[1, 2, 3], [4, -, -]]."""
    losses = torch.tensor([[1.0, 2, 3], [4, 9, 9]])
    where = torch.tensor([[1, 1, 1], [1, 0, 0]])
    index = torch.tensor([[1, 1, 2], [1, 0, 0]])

    def averaged(**options):
        zero = torch.zeros(2, 3)
        return float(PolicyObjective(**options)(zero, -losses, where, segments=index).loss)

    assert averaged() == 2.5
    assert averaged(average="sum") == 5
    assert averaged(average="sequence") == 3
    assert averaged(average="length", length=3) == pytest.approx(5 / 3)
    assert averaged(average="segment") == pytest.approx((2.25 + 4) / 2)
    none = torch.zeros(2, 3)
    assert float(PolicyObjective()(none, -losses, where, total=40).loss) == pytest.approx(0.25)


def test_ratio_of_two_ranks():
    """Rank-GRPO's card: log-ratios (.2, 0) and (-.1), clip .06 and .08, advantages 1 and -1."""
    log_probs = torch.tensor([[0.2, 0.0, -0.1]], dtype=torch.float64)
    gain, zero = torch.tensor([[1.0, 1.0, -1.0]], dtype=torch.float64), torch.zeros(1, 3)
    index, where = torch.tensor([[1, 1, 2]]), torch.ones(1, 3)
    objective = PolicyObjective(ratio="segment", clip=(0.06, 0.08), average="segment")
    found = objective(log_probs, gain, where, old=zero, segments=index)
    assert float(found.loss) == pytest.approx(-(1.08 - 0.94) / 2)
    assert float(found.clip_share) == 1
    free = replace(objective, clip=(1.0, 9.0))(log_probs, gain, where, old=zero, segments=index)
    assert float(free.loss) == pytest.approx(-(1.1052 - 0.9048) / 2, abs=1e-4)


def gradient(objective, given, advantages=None, **more):
    given.log_probs.grad = None
    gain = given.advantages if advantages is None else advantages
    objective(given.log_probs, gain, given.where, **more).loss.backward()
    return given.log_probs.grad


def test_one_segment_is_the_sequence_and_one_token_each_the_token():
    given = tensors()
    more = {"old": given.old}
    whole = given.where.long()
    each = torch.arange(1, TOKENS + 1).expand(BATCH, TOKENS)
    for ratio, index in (("sequence", whole), ("token", each)):
        plain = gradient(PolicyObjective(ratio=ratio), given, **more)
        parted = gradient(PolicyObjective(ratio="segment"), given, segments=index, **more)
        assert torch.allclose(plain, parted, atol=1e-12)


def test_on_policy_a_segments_ratio_has_the_token_ratios_gradient():
    given = tensors()
    index = 1 + torch.arange(TOKENS).expand(BATCH, TOKENS) // 3
    tokens = gradient(PolicyObjective(), given)
    parted = gradient(PolicyObjective(ratio="segment"), given, segments=index)
    assert torch.allclose(tokens, parted, atol=1e-12)


def test_geometric_mean_by_hand():
    """GMPO: (prod of clipped ratios) ^ (1 / tokens) * advantage, the clip one-sided."""
    log_probs = torch.tensor([[0.9, -0.9, 0.1], [0.9, -0.9, 0.1]], dtype=torch.float64)
    gain, zero = torch.tensor([2.0, -1.0], dtype=torch.float64), torch.zeros(2, 3)
    objective = PolicyObjective(surrogate="geometric", clip=(0.4, 0.4), average="sequence")
    found = objective(log_probs, gain, torch.ones(2, 3), old=zero)
    up = 2 * torch.tensor((0.4 - 0.9 + 0.1) / 3).exp()
    down = torch.tensor((0.9 - 0.4 + 0.1) / 3).exp()
    assert float(found.loss) == pytest.approx(float(-(up - down) / 2), abs=1e-6)
    assert float(found.clip_share) == pytest.approx(2 / 6)


def test_dual_clip_bounds_what_is_bad():
    log_probs = torch.tensor([[2.0]])
    for gain, wanted in ((-1.0, 3.0), (1.0, -1.2)):
        objective = PolicyObjective(dual_clip=3.0)
        given = torch.tensor([gain]), torch.ones(1, 1)
        found = objective(log_probs, *given, old=torch.zeros(1, 1))
        assert float(found.loss) == pytest.approx(wanted)


@pytest.mark.parametrize("name", POLICY_OBJECTIVES)
def test_what_says_nothing_moves_nothing(name):
    """Masked tokens may hold anything; NaN advantages and equal rewards give no gradient."""
    objective = replace(POLICY_OBJECTIVES[name], beta=0.0)
    given = tensors()
    index = 1 + torch.arange(TOKENS).expand(BATCH, TOKENS) // 3
    more = {"old": given.old, "segments": index}
    plain = gradient(objective, given, **more).clone()
    assert (plain[~given.where] == 0).all()
    assert plain.abs().sum() > 0
    for hidden in (torch.nan, torch.inf, 1e30):
        old = given.old.masked_fill(~given.where, hidden)
        found = gradient(objective, given, old=old, segments=index)
        assert torch.equal(found, plain)
    assert (gradient(objective, given, torch.zeros(BATCH), **more) == 0).all()
    silent = given.advantages.clone()
    silent[1] = torch.nan
    left = gradient(objective, given, silent, **more).clone()
    assert (left[1] == 0).all()
    given.where[1] = False
    assert torch.allclose(gradient(objective, given, **more), left, atol=1e-12)
    nothing = objective(given.log_probs, torch.full((BATCH,), torch.nan), given.where, **more)
    assert float(nothing.loss) == 0


@pytest.mark.parametrize("name", POLICY_OBJECTIVES)
def test_far_ratios_stay_finite(name):
    given = tensors(dtype=torch.float32)
    index = given.where.long()
    for shift in (-500.0, 500.0):
        old = given.old + shift
        found = POLICY_OBJECTIVES[name](
            given.log_probs, given.advantages, given.where, old=old, segments=index, reference=old
        )
        assert bool(found.loss.isfinite())
        given.log_probs.grad = None
        found.loss.backward()
        assert bool(given.log_probs.grad.isfinite().all())


@pytest.mark.parametrize("name", POLICY_OBJECTIVES)
def test_the_order_of_sequences_does_not_matter(name):
    given = tensors()
    index = 1 + torch.arange(TOKENS).expand(BATCH, TOKENS) // 3
    order = torch.tensor([2, 0, 3, 1])
    options = {"old": given.old, "segments": index, "reference": given.reference}
    one = POLICY_OBJECTIVES[name](given.log_probs, given.advantages, given.where, **options)
    moved = {name: own[order] for name, own in options.items()}
    two = POLICY_OBJECTIVES[name](
        given.log_probs[order], given.advantages[order], given.where[order], **moved
    )
    assert float(one.loss) == pytest.approx(float(two.loss), abs=1e-12)


def test_bad_options_and_shapes():
    given = tensors()
    call = given.log_probs, given.advantages, given.where
    for options in (
        {"ratio": "word"},
        {"average": "no"},
        {"surrogate": "no"},
        {"divergence": "k4"},
    ):
        with pytest.raises(OptionError, match="use one of"):
            PolicyObjective(**options)
    with pytest.raises(OptionError, match="needs the length"):
        PolicyObjective(average="length")
    with pytest.raises(OptionError, match="give the reference"):
        PolicyObjective(beta=0.1)(*call)
    with pytest.raises(OptionError, match="give the entropy"):
        PolicyObjective(entropy_weight=0.1)(*call)
    with pytest.raises(OptionError, match="need segments"):
        PolicyObjective(ratio="segment")(*call)
    with pytest.raises(OptionError, match=r"old .* must have one shape"):
        PolicyObjective()(*call, old=torch.zeros(2, 2))
    with pytest.raises(OptionError, match="batch, tokens"):
        PolicyObjective()(torch.zeros(3), torch.zeros(3), torch.zeros(3))


X, NEWLINE, END, TWO = range(4)


@pytest.mark.parametrize(
    ("tokens", "segments"),
    [
        ([X, NEWLINE, X, END], [1, 1, 2, 2]),
        ([X, NEWLINE, X, NEWLINE, END], [1, 1, 2, 2, 3]),
        ([X, NEWLINE, END], [1, 1, 2]),
        ([X, TWO, X, END], [1, 1, 3, 3]),
        ([X, NEWLINE, X, NEWLINE, X, NEWLINE, X], [1, 1, 2, 2, 3, 3, 3]),
    ],
)
def test_ranks_by_newlines(tokens, segments):
    """Rank-GRPO's card, N = 2: what comes after is one more segment."""
    ids = torch.tensor(tokens)
    held = (ids == NEWLINE).long() + 2 * (ids == TWO).long()
    found = separated_segments(held, torch.ones_like(ids), most=2)
    assert found.tolist() == segments
    padded = torch.cat([held, torch.tensor([5, 5])])
    where = torch.tensor([True] * len(tokens) + [False, False])
    assert separated_segments(padded, where, most=2).tolist() == [*segments, 0, 0]


def test_phases_by_what_a_parser_found():
    text = "a <tool>zz</tool> bc</SLATE> [2] </RANK>"
    words = [(0, "a "), (2, "<tool>"), (8, "zz"), (10, "</tool>"), (17, " bc"), (20, "</SLATE>")]
    words += [(28, " [2"), (31, "] </RANK>")]
    assert "".join(word for _, word in words) == text
    starts = torch.tensor([[start for start, _ in words]])
    end = text.index("</SLATE>") + len("</SLATE>")
    spans = [[(0, 2), (17, end), (end, len(text))]]
    found = span_segments(starts, spans, torch.ones_like(starts))
    assert found.tolist() == [[1, 0, 0, 0, 2, 2, 3, 3]]
    assert of_segments(torch.tensor([[5.0, 5.0, 7.0]]), found).tolist() == [
        [5, 0, 0, 0, 5, 5, 7, 7]
    ]
    assert span_segments(starts, [[]], torch.ones_like(starts)).sum() == 0
    for wrong, says in (([[(3, 1)]], "in order"), ([[(0, 4), (3, 5)]], "overlap"), ([], "rows")):
        with pytest.raises(OptionError, match=says):
            span_segments(starts, wrong, torch.ones_like(starts))


@pytest.mark.parametrize("average", ["token", "sequence", "sum", "segment"])
def test_parts_of_a_batch_add_up_to_the_whole(average):
    """With what the whole one counts, entropy and all; what says nothing does not count."""
    given = tensors(2)
    given.advantages[1] = torch.nan
    segments = 1 + torch.arange(TOKENS).expand(BATCH, -1) // 3
    objective = PolicyObjective(average=average, beta=0.1, entropy_weight=0.3)

    def loss_of(rows, **whole):
        names = ("old", "reference", "entropy")
        own = {name: getattr(given, name)[rows] for name in names}
        logs, where = given.log_probs[rows], given.where[rows]
        found = objective(
            logs, given.advantages[rows], where, segments=segments[rows], **own, **whole
        )
        return found.loss

    counted = objective.counted(given.advantages, given.where, segments)
    tokens = objective.counting(given.advantages, given.where, segments).sum()
    assert counted == (tokens if average == "token" else 3)
    assert tokens == 7 + 2 + 5
    whole = loss_of(slice(None))
    parts = [loss_of(rows, total=counted, tokens=tokens) for rows in (slice(0, 3), slice(3, 4))]
    assert float(sum(parts).detach()) == pytest.approx(float(whole.detach()), abs=1e-12)
