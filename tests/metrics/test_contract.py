"""What every metric keeps: rows, lists, answers and names may come in any order, ties or not, and
NaN is refused with its place.
"""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from policyrank import metrics
from policyrank.errors import EvidenceError
from policyrank.metrics import calibration, effects, programs


def of_two(metric):
    """A metric of two columns."""
    return lambda rows: metric(rows[0], rows[1])


OF_ROWS = {
    **{
        name: of_two(getattr(metrics, name))
        for name in ("kendall_tau", "spearman", "pearson", "mmrv", "regret_at_1", "top_1_agreement")
    },
    "regret_at_k": of_two(partial(metrics.regret_at_k, k=2)),
    "ranking_accuracy": lambda rows: metrics.ranking_accuracy(
        rows[0], rows[1], chosen_length=rows[2] + 1, rejected_length=rows[3] + 1
    ),
    "tied_share": of_two(metrics.tied_share),
    "reward_accuracy": lambda rows: metrics.reward_accuracy(*rows),
    "idealized_log_ratio": lambda rows: np.sort(
        metrics.idealized_log_ratio(rows[0], rows[1] / 4, 1)
    ),
    "idealized_ranking_accuracy": lambda rows: metrics.idealized_ranking_accuracy(
        rows[0], rows[1] / 4, 0.5
    ),
    "dpo_flip_threshold": lambda rows: np.sort(metrics.dpo_flip_threshold(rows[0], 0.1)),
    "flip_table": lambda rows: list(metrics.flip_table(rows[0] - 2, rows[1] - 2).values()),
    **{
        f"effects.{metric.__name__}": of_two(metric)
        for metric in (
            effects.pehe,
            effects.treatment_regret,
            effects.top_share_regret,
            effects.qini,
            effects.autoc,
        )
    },
    "calibration.expected_calibration_error": lambda rows: calibration.expected_calibration_error(
        rows[0] / 4, rows[1] > 2
    ),
    "calibration.histogram": lambda rows: calibration.histogram(rows[0] / 4, rows[1] > 2)(
        rows[0] / 4
    ).sum(),
    "calibration.isotonic": lambda rows: calibration.isotonic(rows[0] / 4, rows[1] > 2)(
        rows[0] / 4
    ).sum(),
}
OF_LISTS = {
    "listwise_ranking_accuracy": metrics.listwise_ranking_accuracy,
    "best_share": metrics.best_share,
    "programs.best_of_n": lambda scores, labels: programs.best_of_n(scores, np.minimum(labels, 1)),
}
OF_NAMES = {
    "kendall_distance": metrics.kendall_distance,
    "identification_error": partial(metrics.identification_error, k=2),
    "generalised_ranking_error": partial(metrics.generalised_ranking_error, k=2),
    "agre": metrics.agre,
}


def test_every_metric_is_held_to_it():
    assert {*OF_ROWS, *OF_LISTS, *OF_NAMES} >= set(metrics.__all__)


@pytest.mark.parametrize("name", OF_ROWS)
@given(
    rows=st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=3, max_size=8),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_rows_in_any_order(name, rows, seed):
    columns = np.array(rows, dtype=float).T
    order = np.random.default_rng(seed).permutation(len(rows))
    ours, theirs = OF_ROWS[name](columns), OF_ROWS[name](columns[:, order])
    np.testing.assert_allclose(theirs, ours, atol=1e-9)


@pytest.mark.parametrize("name", OF_LISTS)
@given(
    lists=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_lists_and_their_answers_in_any_order(name, lists, seed):
    scores, labels = np.moveaxis(np.array(lists, dtype=float), -1, 0)
    rng = np.random.default_rng(seed)
    order, answers = rng.permutation(len(lists)), rng.permutation(4)
    theirs = OF_LISTS[name](scores[order][:, answers], labels[order][:, answers])
    assert theirs == pytest.approx(OF_LISTS[name](scores, labels))


@pytest.mark.parametrize("name", OF_NAMES)
@given(st.permutations("abcde"), st.permutations("abcde"), st.permutations("vwxyz"))
@settings(max_examples=25, deadline=None)
def test_names_say_nothing(name, ranking, truth, names):
    renamed = dict(zip("abcde", names, strict=True))
    theirs = OF_NAMES[name]([renamed[own] for own in ranking], [renamed[own] for own in truth])
    assert theirs == OF_NAMES[name](ranking, truth)


NAN = [
    (name, column)
    for name in OF_ROWS
    for column in (0, 1)
    if not name.startswith("calibration.") and (name, column) != ("dpo_flip_threshold", 1)
]


@pytest.mark.parametrize(("name", "column"), [*NAN, ("calibration.expected_calibration_error", 0)])
def test_nan_is_refused(name, column):
    columns = np.array([[1.0, 2, 3], [2, 1, 3], [1, 1, 1], [1, 2, 1]])
    columns[column, 1] = np.nan
    with pytest.raises(EvidenceError, match="2"):
        OF_ROWS[name](columns)


@pytest.mark.parametrize("name", ["listwise_ranking_accuracy", "best_share", "programs.best_of_n"])
def test_nan_in_a_list_is_refused(name):
    with pytest.raises(EvidenceError, match="2"):
        OF_LISTS[name](np.array([[1.0, np.nan]]), np.array([[1.0, 0.0]]))


def test_answers_that_cannot_be_tie_where_raters_do():
    """Two log-probabilities of -inf are equal; one of them is far from any other."""
    chosen, rejected = [-np.inf, -np.inf, -3.0], [-np.inf, -3.0, -3.001]
    assert metrics.ranking_accuracy(chosen, rejected, alpha=[0.5] * 3) == pytest.approx(2 / 3)
