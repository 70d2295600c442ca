"""What every loss promises of its labels, its lists and its mean, held for all names there are.

The tables of losses in docs/howto are read as the promises: domain of the labels, what adding a
constant to them or multiplying them does, the lowest value, and what a list needs to count.
"""

import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings, strategies as st

from policyrank.errors import OptionError
from policyrank.learn import (
    LABEL_DOMAINS,
    LOSSES,
    PREFERENCE_LOSSES,
    REWARD_LOSSES,
    check_labels,
    label_domain,
    largest_label,
    win_shares,
)
from policyrank.learn.label_domains import _unbound

DOCS = Path(__file__).parents[2] / "docs" / "howto"
KINDS = {
    "loss of rankings": LOSSES,
    "objective of preferences": PREFERENCE_LOSSES,
    "loss of reward models": REWARD_LOSSES,
}
MEASURES_BY_SAMPLES = {"pg-rank"}  # its value is a surrogate, its gradient an estimate
ASKS_NO_STRICT_ORDER = {"apo-zero", "kto", "rrhf"}  # sides of the mean; no margin


@dataclass(frozen=True)
class Case:
    """A loss, and what the documentation says of it."""

    kind: str
    name: str
    labels: str
    shift: str
    scale: str
    least: str
    counts_with: str

    @property
    def loss(self):
        return KINDS[self.kind][self.name]

    @property
    def sampled(self):
        return self.name in MEASURES_BY_SAMPLES

    def __str__(self):
        return f"{self.kind.split()[-1]}: {self.name}"

    def __call__(self, s, y, where=None, reduce="none", grades=4, samples=64, **given):
        """The loss, with the options that it cannot do without."""
        if self.name == "ordinal":
            given["cutoffs"] = [k - 0.5 for k in range(1, grades)]
        if self.sampled:
            given |= {"generator": torch.Generator().manual_seed(0), "samples": samples}
        if self.kind == "objective of preferences":
            given.setdefault("lengths", torch.ones_like(s, dtype=torch.long))
        return self.loss(s, y, where=where, reduce=reduce, **given)


def documented():
    for page in ("learn.md", "answers.md"):
        kind = None
        for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
            cells = [cell.strip().strip("`") for cell in line.strip("| ").split("|")]
            if cells[0] in KINDS and cells[1:2] == ["labels"]:
                kind = cells[0]
            elif not line.startswith("|"):
                kind = None
            elif kind is not None and not cells[0].startswith(":"):
                yield Case(kind, *cells)


CASES = list(documented())
of_all = pytest.mark.parametrize("case", CASES, ids=str)
of_order = pytest.mark.parametrize("case", [c for c in CASES if c.labels == "order"], ids=str)
of_bounded = pytest.mark.parametrize("case", [c for c in CASES if c.least != "-"], ids=str)
of_values = pytest.mark.parametrize("case", [c for c in CASES if not c.sampled], ids=str)


def some_scores(case, *shape, seed=0, size=2.0):
    """Scores, or log-probabilities, and what else the loss reads of the items."""
    g = torch.Generator().manual_seed(seed)
    s = size * torch.randn(shape, generator=g, dtype=torch.float64)
    if case.kind != "objective of preferences":
        return s, {}
    reference = -size * torch.rand(shape, generator=g, dtype=torch.float64)
    lengths = torch.randint(1, 5, shape, generator=g)
    return -s.abs(), {"reference": reference, "lengths": lengths}


def some_labels(case, *shape, seed=0):
    """Labels of the loss's domain, with ties; half of it is room to be shifted and multiplied."""
    drawn = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed + 99)).double()
    if case.labels in ("order", "scores"):
        return drawn - 1.5
    if case.labels == "shares":
        return drawn / 8
    return drawn


def ragged(*shape, seed=0):
    where = torch.rand(shape, generator=torch.Generator().manual_seed(seed + 7)) > 0.25
    where[..., :2] = True
    return where


def measured(case, s, y, **given):
    """Loss of each list and gradient; of what is sampled the gradient, from many samples."""
    own = s.clone().requires_grad_()
    if case.sampled:
        given["samples"] = 20_000
    each = case(own, y, **given)
    (gradient,) = torch.autograd.grad(each.sum(), own)
    if case.sampled:
        each = torch.zeros_like(each)
    return each.detach(), gradient


def agree(case, found, expected, same_draws=False):
    near = 0.02 if case.sampled and not same_draws else 1e-8
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=near)


# What is documented ---------------------------------------------------------------------------


def test_all_losses_are_documented():
    for kind, losses in KINDS.items():
        assert [case.name for case in CASES if case.kind == kind] == list(losses)
    assert {case.name for case in CASES} == set(LABEL_DOMAINS)
    told = {case.counts_with for case in CASES}
    assert told <= {"two labels", "a positive label", "two items", "an item"}


@of_all
def test_domain_by_name_by_function_and_in_its_docstring(case):
    assert LABEL_DOMAINS[case.name] == label_domain(case.name) == case.labels
    assert label_domain(case.loss) == label_domain(partial(case.loss, reduce="sum")) == case.labels
    function, _ = _unbound(case.loss)
    assert re.search(r"[Ll]abels(:| as)", function.__doc__), function


# Permutations, masks --------------------------------------------------------------------------


@of_all
def test_the_order_of_items_changes_nothing(case):
    s, more = some_scores(case, 4, 6)
    y, where = some_labels(case, 4, 6), ragged(4, 6)
    y[0], y[1] = y[0, 0], torch.where(torch.arange(6) < 3, y.max(), y.min())
    values, gradient = measured(case, s, y, where=where, **more)
    for seed in range(3):
        order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
        mixed = {name: given[:, order] for name, given in more.items()}
        found = measured(case, s[:, order], y[:, order], where=where[:, order], **mixed)
        agree(case, found, (values, gradient[:, order]))


@of_all
def test_masked_items_hold_anything(case):
    s, more = some_scores(case, 4, 6)
    y, where = some_labels(case, 4, 6), ragged(4, 6)
    expected = measured(
        case, s.masked_fill(~where, 0), y.masked_fill(~where, 0), where=where, **more
    )
    for junk in (torch.nan, 1e9, -torch.inf):
        dirty = {name: torch.where(where, given, 7) for name, given in more.items()}
        if "reference" in dirty:
            dirty["reference"] = dirty["reference"].masked_fill(~where, junk)
        found = measured(
            case, s.masked_fill(~where, junk), y.masked_fill(~where, junk), where=where, **dirty
        )
        agree(case, found, expected)
        assert (found[1][~where] == 0).all()
    wide = torch.nn.functional.pad
    padded = {name: wide(given, (0, 3), value=1) for name, given in more.items()}
    found = measured(case, wide(s, (0, 3)), wide(y, (0, 3)), where=wide(where, (0, 3)), **padded)
    agree(case, (found[0], found[1][:, :6]), expected)


# Maps of the labels ---------------------------------------------------------------------------


@of_all
@pytest.mark.parametrize("size", [0.5, 2.0])
def test_shift_and_scale_do_what_is_documented(case, size):
    s, more = some_scores(case, 5, 6)
    y, where = some_labels(case, 5, 6), ragged(5, 6)
    if case.labels == "grades":
        size = 2.0
    values, gradient = measured(case, s, y, where=where, **more)
    constant = 0.25 if case.labels == "shares" else 1.0
    for promise, labels in ((case.shift, y + constant), (case.scale, y * size)):
        found = measured(case, s, labels, where=where, **more)
        factor = {"changes": 1, "same": 1, "c times": size}[promise]
        same = partial(agree, case, found, (values * factor, gradient * factor), same_draws=True)
        if promise == "changes":
            with pytest.raises(AssertionError):
                same()
        else:
            same()


@of_order
def test_only_the_order_counts(case):
    s, more = some_scores(case, 5, 6)
    y, where = some_labels(case, 5, 6), ragged(5, 6)
    expected = measured(case, s, y, where=where, **more)
    for rising in (torch.exp, lambda y: y**3 + 1e4, lambda y: win_shares(y, where)):
        agree(case, measured(case, s, rising(y), where=where, **more), expected)


@of_all
def test_shares_of_wins_are_labels_of_every_domain_but_grades(case):
    """Those of negated ranks are those of the scores that the ranks stand for."""
    y, where = some_labels(case, 5, 6), ragged(5, 6)
    better = (y[:, :, None] < y[:, None, :]) & where[:, None, :]
    ranks = 1 + better.sum(dim=-1).double()
    shares = win_shares(-ranks, where)
    assert torch.equal(shares, win_shares(y, where))
    if case.labels == "grades":
        with pytest.raises(OptionError, match="grades"):
            check_labels(torch.tensor([0.5]), case.labels)
        return
    check_labels(shares, case.labels, where=where, most=largest_label(case.loss))
    s, more = some_scores(case, 5, 6)
    assert torch.isfinite(case(s, shares, where=where, **more)).all()


# Bounds, sizes --------------------------------------------------------------------------------

WITHIN = {
    "order": st.floats(-1e3, 1e3),
    "scores": st.floats(-1e3, 1e3),
    "gains": st.floats(0, 100),
    "shares": st.floats(0, 1),
    "grades": st.integers(0, 3).map(float),
}


@of_bounded
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_loss_falls_below_its_bound(case, data):
    n = data.draw(st.integers(1, 6))
    items = partial(st.lists, min_size=n, max_size=n)
    some = data.draw(items(WITHIN[case.labels]))
    y = torch.tensor([some[k] for k in data.draw(items(st.integers(0, n - 1)))]).double()
    s = torch.tensor(data.draw(items(st.floats(-1e4, 1e4)))).double()
    given = {}
    if case.kind == "objective of preferences":
        s = -s.abs()
        given["reference"] = -torch.tensor(data.draw(items(st.floats(0, 1e4)))).double()
    check_labels(y, case.labels)
    assert case(s, y, **given).item() >= float(case.least) - 1e-6


@of_all
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("n", [2, 128])
def test_many_grades_and_large_scores_are_finite(case, size, n):
    """In float32, of all labels that ``check_labels`` lets through; padding too."""
    g = torch.Generator().manual_seed(0)
    grades = torch.stack([torch.randperm(128, generator=g)[:n] for _ in range(3)]).float()
    grades[:, 0] = 127
    y = win_shares(grades) if case.labels == "shares" else grades
    if size > 1:
        y = y.clamp(max=largest_label(case.loss))
        check_labels(y, case.labels, most=largest_label(case.loss))
    s = size * (2 * torch.rand(3, n, generator=g) - 1)
    s[0] -= 2 * size  # all far below what padding is filled with
    given = {}
    if case.kind == "objective of preferences":
        s = -s.abs()
        given["reference"] = -size * torch.rand(3, n, generator=g)
    where = ragged(3, n)
    for reduce in ("mean", "none"):
        own = s.clone().requires_grad_()
        loss = case(own, y, where=where, reduce=reduce, grades=128, **given)
        (gradient,) = torch.autograd.grad(loss.sum(), own)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0 or size > 1  # sigmoids saturate


@of_all
def test_labels_of_a_thousand_are_finite_where_they_are_taken(case):
    y = torch.tensor([1000.0, 0.0, 3.0, 999.0])
    if case.labels == "shares" or case.name == "ordinal":
        with pytest.raises(OptionError):
            check_labels(y, case.labels, most=3)
        return
    if largest_label(case.loss) < 1000:
        with pytest.raises(OptionError, match="at most"):
            check_labels(y, case.labels, most=largest_label(case.loss))
        return
    s = torch.tensor([-1.0, -2.0, -3.0, -4.0], requires_grad=True)
    loss = case(s, y)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(s.grad).all()


# Lists that say nothing, and the mean ---------------------------------------------------------


def lists_of_all_kinds(case):
    """Scores, labels, mask, and whether each list counts by what is documented."""
    s, _ = some_scores(case, 7, 4, size=0.1)
    tied = 0.1 if case.labels != "grades" else 1.0
    y = torch.stack([some_labels(case, 4, seed=k) for k in range(7)])
    y[0], y[1] = torch.tensor([0.0, 1, 0, 1]), torch.tensor([1.0, 0, 0, 0])
    y[2], y[3], y[4] = tied, 0.0, y[4].abs() + tied
    where = torch.ones(7, 4, dtype=torch.bool)
    where[4, 1:] = where[5] = False
    counts = {
        "two labels": [1, 1, 0, 0, 0, 0],
        "a positive label": [1, 1, 1, 0, 1, 0],
        "two items": [1, 1, 1, 1, 0, 0],
        "an item": [1, 1, 1, 1, 1, 0],
    }
    y[6], where[6, 2:] = torch.tensor([1.0, 0, 0, 0]), False
    return s, y, where, torch.tensor([*counts[case.counts_with], 1]).bool()


@of_all
def test_lists_that_say_nothing(case):
    """Lists of one item, all tied, of no positive label, all masked: 0, without a gradient."""
    s, y, where, counts = lists_of_all_kinds(case)
    each, gradient = measured(case, s, y, where=where)
    assert torch.isfinite(each).all()
    assert torch.isfinite(gradient).all()
    assert (each[~counts] == 0).all()
    assert (gradient[~counts] == 0).all()
    assert (gradient[counts].abs().amax(dim=-1) > 0)[[0, 1, -1]].all()
    nothing = case(s[:1], y[:1], where=torch.zeros(1, 4, dtype=torch.bool), reduce="mean")
    assert nothing == 0


@of_all
def test_equal_labels_ask_for_no_order(case):
    """However their mean is rounded: equal scores stay equal, and where they are."""
    for n in range(2, 12):
        for tied in (1.0,) if case.labels == "grades" else (0.1, 0.7, 1 / 3):
            s = torch.full((n,), -1.0, requires_grad=True)
            case(s, torch.full((n,), tied)).backward()
            assert (s.grad - s.grad[0]).abs().max() < 1e-6
            assert s.grad.abs().max() == 0 or case.counts_with != "two labels"


@of_all
def test_the_mean_is_the_sum_over_the_lists_that_count(case):
    s, y, where, counts = lists_of_all_kinds(case)

    def gradient(rows, reduce):
        own = s[rows].clone().requires_grad_()
        case(own, y[rows], where=where[rows], reduce=reduce).backward()
        return own.grad

    mean, whole = gradient(slice(None), "mean"), gradient(slice(None), "sum")
    torch.testing.assert_close(mean, whole / counts.sum())
    if not case.sampled:
        parts = [gradient(rows, "sum") for rows in (slice(0, 3), slice(3, 4), slice(4, 7))]
        torch.testing.assert_close(mean, torch.cat(parts) / counts.sum())
    each = case(s, y, where=where, reduce="none")
    torch.testing.assert_close(case(s, y, where=where, reduce="sum"), each.sum())
    torch.testing.assert_close(case(s, y, where=where, reduce="mean"), each.sum() / counts.sum())


# What is learned ------------------------------------------------------------------------------


@of_all
def test_descent_learns_the_order_of_the_labels(case):
    """Free scores that start equal: never the reverse, and all of the order where it is asked."""
    grades = torch.tensor([[1.0, 3, 0, 2, 3], [0, 0, 1, 0, 0], [2, 0, 1, 3, 0]])
    y = {
        "order": grades - 2,
        "scores": 2 * grades - 5,
        "gains": grades,
        "shares": win_shares(grades),
        "grades": grades,
    }[case.labels]
    s = torch.full((3, 5), -3.0, requires_grad=True)
    (slope,) = torch.autograd.grad(case(s, y, reduce="mean"), s)
    optimizer = torch.optim.SGD([s], lr=0.1 / slope.abs().max().item())
    for _ in range(1000):
        optimizer.zero_grad()
        case(s, y, reduce="mean").backward()
        optimizer.step()
    above = (y[:, :, None] > y[:, None, :]).nonzero(as_tuple=True)
    gap = (s[:, :, None] - s[:, None, :])[above].detach()
    assert gap.min() > -1e-4
    if case.name not in ASKS_NO_STRICT_ORDER:
        assert gap.min() > 0.01
    highest, lowest = y.max(dim=-1, keepdim=True).values, y.min(dim=-1, keepdim=True).values
    best, worst = s.detach()[y == highest], s.detach()[y == lowest]
    assert best.min() > worst.max() + 0.01


# Asking before training -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "fitting", "strange"),
    [
        ("order", [-2.0, 1e9], [math.nan, math.inf]),
        ("scores", [-2.0, 0.3], [math.nan, -math.inf]),
        ("gains", [0.0, 127.0], [-1.0, math.nan, math.inf]),
        ("shares", [0.0, 1.0, 0.5], [-0.1, 1.5, math.nan]),
        ("grades", [0.0, 4.0], [0.5, -1.0, math.nan]),
    ],
)
def test_check_labels(domain, fitting, strange):
    check_labels(torch.tensor(fitting), domain)
    check_labels(fitting, domain)
    for value in strange:
        lists = torch.zeros(3, 2)
        lists[1, 1] = value
        check_labels(lists, domain, where=torch.tensor([[1, 1], [1, 0], [1, 1]]).bool())
        with pytest.raises(OptionError, match=f"^L takes .*: list 1 has a label {value:g}; "):
            check_labels(lists, domain, name="L")
        with pytest.raises(OptionError, match=f"^the loss takes .*: label 3 is {value:g}; "):
            check_labels(lists.flatten().numpy(), domain)


def test_what_a_loss_takes_follows_its_options():
    own = partial(LOSSES["ranknet"], lambda_weight="dcg")
    assert (label_domain(own), largest_label(own)) == ("gains", 100)
    assert label_domain(partial(PREFERENCE_LOSSES["dpo"], lambda_weight="ndcg-1")) == "gains"
    assert label_domain(partial(PREFERENCE_LOSSES["lipo-lambda"], lambda_weight=None)) == "order"
    assert label_domain(partial(PREFERENCE_LOSSES["pro"], gaps=False)) == "order"
    assert label_domain(partial(REWARD_LOSSES["bradley-terry"], margin_per_label=1.0)) == "scores"
    assert largest_label(partial(LOSSES["ordinal"], cutoffs=[0.0, 1.0])) == 2
    assert largest_label("softmax") == math.inf

    def mine(scores, labels, *, where=None, gaps=False, reduce="mean"): ...

    assert label_domain(mine) == label_domain(partial(mine, gaps=False)) == "scores"
    mine.label_domain = "shares"
    assert (
        label_domain(mine) == label_domain(partial(PREFERENCE_LOSSES["dpo"].func, mine)) == "shares"
    )
    for ask in (label_domain, largest_label):
        with pytest.raises(OptionError, match=r"no loss is called 'odd'\. There are: mse"):
            ask("odd")


def test_win_shares():
    y = torch.tensor([[3.0, 1.0, 1.0, math.nan], [5.0, 0.0, 0.0, 0.0]])
    where = torch.tensor([[True, True, True, False], [True, False, False, False]])
    assert win_shares(y, where).tolist() == [[1, 0.25, 0.25, 0], [0.5, 0, 0, 0]]
    assert win_shares(torch.tensor([1, 1, 1, 1], dtype=torch.int32)).tolist() == [0.5] * 4
    drawn = torch.randint(0, 4, (20, 9), generator=torch.Generator().manual_seed(0)).double()
    beats = (drawn[:, :, None] > drawn[:, None, :]) + 0.5 * (drawn[:, :, None] == drawn[:, None, :])
    torch.testing.assert_close(win_shares(drawn), (beats.double().sum(dim=-1) - 0.5) / 8)
