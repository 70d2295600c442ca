"""Agreement of orders: values with ties, and no dependence on the order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from policyrank import metrics
from policyrank.errors import EvidenceError
from policyrank.metrics import (
    kendall_tau,
    mmrv,
    pearson,
    regret_at_1,
    regret_at_k,
    spearman,
    top_1_agreement,
)

OF_TWO = {
    "kendall": kendall_tau,
    "spearman": spearman,
    "pearson": pearson,
    "MMRV": mmrv,
    "regret@1": regret_at_1,
    "regret@2": lambda x, y: regret_at_k(x, y, 2),
    "top-1": top_1_agreement,
}
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=9)


@pytest.mark.parametrize("name", OF_TWO)
@given(pairs=PAIRS, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_rows_may_come_in_any_order(name, pairs, seed):
    x, y = np.array(pairs, dtype=float).T
    order = np.random.default_rng(seed).permutation(len(x))
    ours, theirs = OF_TWO[name](x, y), OF_TWO[name](x[order], y[order])
    assert theirs == pytest.approx(ours, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_with_its_place(name, wrong):
    with pytest.raises(EvidenceError, match="number 2 of the second"):
        OF_TWO[name]([1.0, 2.0, 3.0], [1.0, wrong, 3.0])
    with pytest.raises(EvidenceError, match="number 3 of the first"):
        OF_TWO[name]([1.0, 2.0, wrong], [1.0, 2.0, 3.0])


@given(pairs=PAIRS)
@settings(max_examples=60, deadline=None)
def test_ties_as_scipy_has_them(pairs):
    x, y = np.array(pairs, dtype=float).T
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert kendall_tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_values_with_ties():
    assert kendall_tau([1, 2, 2, 3], [1, 3, 2, 2]) == pytest.approx(0.4)
    assert regret_at_1([3, 1, 2], [1, 1, 0]) == pytest.approx(1)
    assert regret_at_k([1, 2, 3, 9], [1, 1, 1, 0], 2) == pytest.approx(6.333333, abs=1e-6)
    assert regret_at_k([1, 2, 3, 9], [1, 1, 1, 0], 4) == 0
    assert top_1_agreement([2, 2, 1], [0, 3, 3]) == pytest.approx(0.25)
    # A pair tied in the estimate counts once, for the truly worse one.
    assert mmrv([1, 2], [0, 0]) == mmrv([2, 1], [0, 0]) == pytest.approx(0.5)
    assert mmrv([1, 1], [0, 5]) == 0
    assert (kendall_tau([1, 2], [5, 3]), kendall_tau([1, 2], [3, 5])) == (-1, 1)
    assert pearson([0, 0.1, 0.2], [0.2, 0.1, 0]) == pytest.approx(-1)
    assert np.isnan(pearson([1, 1], [0, 5]))


def test_answers_per_token_and_shares_of_raters():
    """Per token -1 beats -2, which is the other way round in all."""
    both, lengths = (
        ([-6.0, -4.0], [-4.0, -5.0]),
        {"chosen_length": [6, 2], "rejected_length": [2, 5]},
    )
    assert metrics.ranking_accuracy([-6.0, -6.0], [-4.0, -7.0], **lengths) == 0.5
    assert metrics.ranking_accuracy([-6.0, -6.0], [-4.0, -4.0], **lengths) == 0.5
    assert metrics.ranking_accuracy(*both) == 0.5
    assert metrics.ranking_accuracy(*both, chosen_length=[6, 1]) == 1
    assert metrics.ranking_accuracy(*both, rejected_length=[1, 5]) == 0
    assert metrics.tied_share([-6.0, -4.0], [-2.0, -5.0], **lengths) == 0.5
    with pytest.raises(EvidenceError, match=r"pair 2: 0\.4 of the raters"):
        metrics.ranking_accuracy(*both, alpha=[0.5, 0.4])
    close = [-1.0, -1.0], [-1.005, -2.0]
    assert metrics.ranking_accuracy(*close, alpha=[0.5, 0.5]) == 0.5
    assert metrics.ranking_accuracy(*close, alpha=[0.5, 1.0]) == 1


@given(
    scores=st.lists(st.lists(st.integers(-3, 0), min_size=4, max_size=4), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_answers_may_come_in_any_order(scores, seed):
    rng = np.random.default_rng(seed)
    table = np.array(scores, dtype=float)
    ranks = rng.integers(1, 4, table.shape).astype(float)
    order = rng.permutation(4)
    for metric in (
        metrics.listwise_ranking_accuracy,
        lambda s, r: metrics.best_share(s, -r),
        lambda s, r: metrics.ranking_accuracy(s.ravel(), r.ravel()),
    ):
        ours, theirs = metric(table, ranks), metric(table[:, order], ranks[:, order])
        assert theirs == pytest.approx(ours)
