"""Labels are chosen by thresholds that are best elsewhere, and judged as scikit-learn does."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from policyrank.errors import EvidenceError, OptionError
from policyrank.metrics.multilabel import best_thresholds, choose_labels, f1_scores


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_f1_is_scikit_learns(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels, chosen = rng.random((2, 12, 4)) < rng.random((2, 1, 4))
    found = f1_scores(labels, chosen)
    for name in ("micro", "macro"):
        expected = sklearn.f1_score(labels, chosen, average=name, zero_division=0)
        assert getattr(found, name) == pytest.approx(expected)
    order = rng.permutation(12)
    assert f1_scores(labels[order], chosen[order]).macro == pytest.approx(found.macro)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_no_threshold_is_better(seed, ties):
    rng = np.random.default_rng(seed)
    labels = rng.random((30, 3)) < 0.4
    scores = labels * rng.random() + rng.normal(size=labels.shape)
    if ties:
        scores = scores.round()
    common = best_thresholds(scores, labels)
    assert len(set(common)) == 1
    reached = f1_scores(labels, choose_labels(scores, threshold=common)).micro
    for level in np.unique(scores):
        assert f1_scores(labels, scores >= level).micro <= reached + 1e-12
    own = best_thresholds(scores, labels, by_label=True, rare=0)
    by_label = f1_scores(labels, choose_labels(scores, threshold=own)).by_label
    for k in range(3):
        for level in np.unique(scores[:, k]):
            assert f1_scores(labels[:, [k]], scores[:, [k]] >= level).micro <= by_label[k] + 1e-12


def test_rare_labels_take_the_common_threshold():
    labels = np.zeros((100, 3), dtype=bool)
    labels[:40, 0], labels[:3, 1], labels[:40, 2] = True, True, True
    scores = labels + np.array([0.0, 5.0, 10.0])  # each label has a scale of its own
    common = best_thresholds(scores, labels)
    found = best_thresholds(scores, labels, by_label=True, rare=10)
    assert found.tolist() == [0.5, common[1], 10.5]
    assert best_thresholds(scores, labels, by_label=True, rare=3).tolist() == [0.5, 5.5, 10.5]
    assert common[1] != 5.5


def test_refusals():
    with pytest.raises(OptionError, match="either a threshold or top"):
        choose_labels([[1.0]])
    with pytest.raises(OptionError, match="there are 1 labels"):
        choose_labels([[1.0]], top=2)
    with pytest.raises(EvidenceError, match="both are"):
        f1_scores([[1, 0]], [[1]])
    with pytest.raises(EvidenceError, match="not finite"):
        best_thresholds([[np.nan]], [[1]])
