"""What paired comparisons are taken to depend on, which intervals they get, and their notes."""

import numpy as np
import pytest

from policyrank.errors import OptionError
from policyrank.evidence import Comparisons, Labels
from policyrank.ranking import paired_errors
from policyrank.ranking.cells import Cells
from policyrank.ranking.likelihood import newton
from policyrank.ranking.links import LINKS
from policyrank.ranking.paired_errors import (
    bootstrapped,
    cluster_by,
    interval_kind,
    robust,
    scaled,
)
from policyrank.ranking.resampling import bootstrap_fits
from policyrank.ranking.robust_errors import sandwich


def played(size=120, raters=6, seed=0, covariates=0, columns=()):
    rng = np.random.default_rng(seed)
    i = rng.integers(4, size=size)
    j = (i + rng.integers(1, 4, size)) % 4
    codes = Labels(
        (np.arange(size) % raters).astype(np.int32), tuple(f"r{k}" for k in range(raters))
    )
    x = rng.normal(size=(size, covariates)) if covariates else None
    given = dict.fromkeys(columns, codes)
    y = rng.choice([0.0, 1.0], size)
    return Comparisons(list("abcd"), i, j, y, covariates=x, **given)


def test_what_is_taken_as_independent():
    many, few = played(columns=["rater"]), played(raters=4, columns=["rater"])
    ballots, plain = played(columns=["ballot", "rater"]), played()
    for cluster, evidence, by in (
        ("auto", many, "rater"),
        ("auto", ballots, "ballot"),
        ("auto", plain, None),
        ("rater", few, "rater"),
        ("task", few, "task"),
        ("none", many, None),
        (None, many, None),
    ):
        notes = []
        assert cluster_by(evidence, cluster, notes) == by
        assert notes == []
    assert cluster_by(few, "auto", notes) is None
    assert [(note.kind, note.text) for note in notes] == [
        (
            "few raters",
            "4 raters are taken as all that count, and their verdicts as independent: intervals say"
            " nothing of other raters. cluster='rater' (--cluster rater) takes them as a sample.",
        )
    ]
    alone = []
    assert cluster_by(played(raters=1, columns=["rater"]), "auto", alone) is None
    assert alone == []
    two = []
    cluster_by(played(raters=2, columns=["rater"]), "auto", two)
    assert len(two) == 1
    with pytest.raises(OptionError, match="'auto', 'ballot', 'rater', 'task', 'none'"):
        cluster_by(plain, "voter", [])


def kind(interval, raters=None, with_prior=False):
    notes = []
    c = played(raters=raters or 6, columns=["rater"])
    by = "rater" if raters else None
    cells = Cells.of(c, cluster=by)
    found = interval_kind(interval, cells, by, with_prior=with_prior, notes=notes)
    return found, [(note.kind, note.text, note.severity) for note in notes]


def test_which_interval_can_be_had(monkeypatch):
    assert kind("none") == ("none", [])
    assert kind("auto") == ("sandwich", [])
    assert kind("auto", with_prior=True) == ("fisher", [])
    assert kind("auto", raters=6, with_prior=True) == ("sandwich", [])
    assert kind("auto", raters=2) == ("sandwich", [])
    text = "All comparisons come from one rater: nothing is known of others, no intervals."
    assert kind("auto", raters=1) == ("none", [("no intervals", text, "warning")])
    assert kind("sandwich", raters=1) == ("sandwich", [])
    assert kind("bootstrap") == ("bootstrap", [])
    assert kind("bootstrap", raters=50) == ("bootstrap", [])
    message = r"drawing 49 raters with replacement .* \(fewer than 50\)\. Use interval='sandwich'"
    with pytest.raises(OptionError, match=message):
        kind("bootstrap", raters=49)
    monkeypatch.setattr(paired_errors, "DENSE_LIMIT", 4)
    assert kind("fisher") == ("fisher", [])
    monkeypatch.setattr(paired_errors, "DENSE_LIMIT", 3)
    text = "Intervals are left out beyond 3 policies."
    assert kind("fisher") == ("none", [("no intervals", text, "warning")])
    assert kind("none") == ("none", [])


CENTRE = np.eye(4) - 1 / 4


@pytest.mark.parametrize("many", [1000, 3])
@pytest.mark.parametrize("centred", [True, False])
def test_errors_in_the_unit_of_a_board(centred, many, monkeypatch):
    monkeypatch.setattr(paired_errors, "MANY", many)
    root = np.random.default_rng(0).normal(size=(7, 7))
    covariance = root @ root.T
    kept = covariance.copy()
    cells = Cells.of(played(covariates=2))
    df = np.full((4, 4), 9.0)
    found = scaled(covariance, cells, 3.0, centred=centred, df=df)
    ratings = kept[:4, :4]
    slow = CENTRE @ ratings @ CENTRE if centred else ratings
    assert found.covariance == pytest.approx(9 * slow)
    assert found.of_coefficients == pytest.approx(np.sqrt(kept.diagonal()[4:6]))
    assert found.df is df
    assert found.draws is None
    assert found.df_of_coefficients is None
    if not centred:
        assert (covariance == kept).all()


@pytest.mark.parametrize("by", [None, "rater"])
@pytest.mark.parametrize("centred", [True, False])
def test_robust_errors_are_the_sandwichs(centred, by):
    cells, link = Cells.of(played(covariates=1, columns=["rater"]), cluster=by), LINKS["half"]
    fit, notes = newton(cells, link), []
    found = robust(cells, link, fit, 2.0, by, notes, centred=centred)
    known = sandwich(cells, link, fit, centred=centred)
    ratings = known.covariance[:4, :4]
    slow = CENTRE @ ratings @ CENTRE if centred else ratings
    assert found.covariance == pytest.approx(4 * slow)
    assert found.df == pytest.approx(known.df)
    assert found.of_coefficients == pytest.approx(np.sqrt(known.covariance.diagonal()[4:5]))
    assert found.df_of_coefficients == pytest.approx(known.df_of_covariates)
    assert [note.kind for note in notes] == (["clusters"] if by else [])


def note_of(counts, seed=0):
    """The note of a board whose raters made so many comparisons each."""
    rng = np.random.default_rng(seed)
    size = sum(counts)
    codes = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    i = rng.integers(3, size=size)
    j = (i + rng.integers(1, 3, size)) % 3
    names = tuple(f"r{k:04d}" for k in range(len(counts)))
    c = Comparisons(list("abc"), i, j, rng.choice([0.0, 1], size), rater=Labels(codes, names))
    cells, link, notes = Cells.of(c, cluster="rater"), LINKS["half"], []
    fit = newton(cells, link)
    robust(cells, link, fit, 1.0, "rater", notes, centred=True)
    df = sandwich(cells, link, fit).df
    return notes[0], np.inf if df is None else np.median(df.diagonal())


def test_notes_say_how_many_clusters_there_are_and_how_uneven():
    note, _ = note_of([20] * 30)
    assert note.text == "Comparisons of one rater are taken as dependent: 30 raters."
    assert (note.kind, note.severity) == ("clusters", "info")
    note, _ = note_of([20] * 29 + [200])
    share = np.r_[np.full(29, 20), 200] / 780
    told = f"30 raters, as good as {1 / (share**2).sum():.1f} of one size."
    assert note.text.endswith(told)
    assert note.severity == "info"
    note, typical = note_of([30] * 20 + [700])
    assert "; one has 54% of the comparisons" in note.text
    assert note.severity == "warning"
    note, typical = note_of([40] * 4)
    assert typical < 4
    few = f". Intervals rest on few raters ({typical:.1f} degrees of freedom) and are wide."
    assert note.text == f"Comparisons of one rater are taken as dependent: 4 raters{few}"
    assert note.severity == "warning"
    note, _ = note_of([2] * 1200)
    assert note.text == "Comparisons of one rater are taken as dependent: 1,200 raters."


@pytest.mark.parametrize("centred", [True, False])
def test_bootstrapped_errors_are_of_the_refits(centred):
    cells, link = Cells.of(played(covariates=1)), LINKS["half"]
    fit, notes = newton(cells, link), []
    found = bootstrapped(cells, link, fit, 50, 3, notes, 2.0, centred=centred)
    refits, weak = bootstrap_fits(
        cells, link, fit, resamples=50, seed=3, weak_prior=paired_errors.WEAK_PRIOR
    )
    assert weak == 0
    draws = 2 * (refits[:, :4] - fit.theta) @ (CENTRE if centred else np.eye(4))
    assert found.draws == pytest.approx(draws)
    assert found.covariance == pytest.approx(np.cov(draws, rowvar=False))
    assert found.of_coefficients == pytest.approx(refits[:, 4:5].std(axis=0, ddof=1))
    assert found.df is None
    assert notes == []


def test_few_comparisons_are_said_to_be_few_for_the_bootstrap():
    link = LINKS["half"]
    for size, said in ((79, True), (80, False)):
        cells, notes = Cells.of(played(size)), []
        bootstrapped(cells, link, newton(cells, link), 20, 0, notes, 1.0, centred=True)
        few = [note for note in notes if note.kind == "few units"]
        assert bool(few) == said
        for note in few:
            assert note.severity == "warning"
            assert note.text == (
                "Resamples of 79 comparisons of 4 policies cover about 92% where 95% is said;"
                " interval='sandwich' covers."
            )
    c = Comparisons(list("ab"), [0] * 6, [1] * 6, [1, 1, 1, 1, 1, 0])
    cells, notes = Cells.of(c), []
    fit = newton(cells, link)
    bootstrapped(cells, link, fit, 100, 0, notes, 1.0, centred=True)
    _, weak = bootstrap_fits(
        cells, link, fit, resamples=100, seed=0, weak_prior=paired_errors.WEAK_PRIOR
    )
    assert weak > 0
    note = next(note for note in notes if note.kind == "weak resamples")
    assert note.text == f"{weak} of 100 resamples had no finite maximum and got the weak prior."
    assert note.severity == "warning"
