"""CR2 and its degrees of freedom: against the dense formulas of the papers."""

import numpy as np
import pytest

from policyrank.evidence import Comparisons, Labels, Rankings
from policyrank.ranking import cluster_errors, robust_errors
from policyrank.ranking.cells import Cells
from policyrank.ranking.cluster_errors import corrected, degrees_of_freedom, heaviest
from policyrank.ranking.likelihood import expected_inverse, newton
from policyrank.ranking.links import LINKS
from policyrank.ranking.robust_errors import Units, sandwich

SIZE = 5


def power(matrix, exponent):
    value, axis = np.linalg.eigh(matrix)
    return (axis * value**exponent) @ axis.T


def some_clusters(seed, sizes):
    """Places, information and score of clusters of observations, and the bread."""
    rng = np.random.default_rng(seed)
    clusters, total = [], np.zeros((SIZE, SIZE))
    for g, size in enumerate(sizes):
        place = np.delete(np.arange(SIZE), g % SIZE)
        rows = rng.normal(size=(size, len(place)))
        clusters.append((place, rows.T @ rows, rows.T @ rng.normal(size=size)))
        total[np.ix_(place, place)] += rows.T @ rows
    return clusters, total


def dense(place, part):
    whole = np.zeros((SIZE,) * part.ndim)
    whole[np.ix_(*[place] * part.ndim)] = part
    return whole


def slow_correction(place, information, score, total):
    """CR2's score, and M^1/2 f(K) M^1/2 of all parameters, of K's powers by eigenvalues."""
    root, back = power(total, 0.5), power(total, -0.5)
    leverage = back @ dense(place, information) @ back
    shared = np.eye(SIZE) - leverage
    moved = root @ power(shared, -0.5) @ back @ dense(place, score)
    of_root = root @ leverage @ power(shared, -0.5) @ root
    of_inverse = root @ leverage @ power(shared, -1.0) @ root
    return moved, of_root, of_inverse


@pytest.mark.parametrize("modest", [0.15, 0.0])
@pytest.mark.parametrize("seed", range(4))
def test_corrections_are_those_of_all_parameters(seed, modest, monkeypatch):
    """By eigenvectors, and of clusters of little leverage by a series."""
    monkeypatch.setattr(cluster_errors, "MODEST", modest)
    clusters, total = some_clusters(seed, [2, 3, 4, 40, 400, 60])
    bread = np.linalg.inv(total)
    by_series = 0
    for place, information, score in clusters:
        found = corrected(place, information, score, bread, copies=3.0)
        moved, of_root, of_inverse = slow_correction(place, information, score, total)
        inner = bread[np.ix_(place, place)] @ information
        by_series += np.sqrt((inner * inner.T).sum()) <= modest
        assert found.score == pytest.approx(moved[place], rel=1e-5, abs=1e-5)
        assert dense(place, found.root) == pytest.approx(of_root, rel=1e-5, abs=1e-5)
        # The series of the inverse breaks off at the same power, with all weights 1.
        assert dense(place, found.inverse) == pytest.approx(of_inverse, rel=2e-4, abs=1e-4)
        assert found.place is place
        assert found.copies == 3
        assert found.alone.shape == (4, 0)
    assert (by_series > 0) == (modest > 0)


def test_the_series_has_its_power_up_to_its_bound():
    """Along one direction of leverage h: (1 - h)^-1/2 and 1 / (1 - h)."""
    for h in (0.01, 0.1, 0.149):
        information, bread = np.array([[h]]), np.array([[1.0]])
        found = corrected(np.array([0]), information, np.array([1.0]), bread)
        assert found.score[0] == pytest.approx((1 - h) ** -0.5, abs=4e-6)
        assert found.root[0, 0] == pytest.approx(h * (1 - h) ** -0.5, abs=1e-6)
        assert found.inverse[0, 0] == pytest.approx(h / (1 - h), abs=3e-5)
        assert found.copies == 1


def test_a_direction_that_one_cluster_alone_knows():
    """Its score is left out of CR2, and its information is handed on."""
    information = np.diag([4.0, 1.0])
    bread = np.diag([1 / 4, 1 / 2])  # another cluster shares the second parameter
    found = corrected(np.array([0, 1]), information, np.array([3.0, 5.0]), bread)
    assert found.score == pytest.approx([0, 5 * np.sqrt(2)])
    assert found.root == pytest.approx(np.diag([0, np.sqrt(2)]))
    assert found.inverse == pytest.approx(np.diag([0, 2]))
    assert np.abs(found.alone) == pytest.approx(np.array([[2.0], [0.0]]))


def test_a_direction_without_information_keeps_its_score():
    information = np.diag([1.0, 0.0])
    found = corrected(np.array([0, 1]), information, np.array([2.0, 7.0]), np.eye(2) / 2)
    assert found.score == pytest.approx([2 * np.sqrt(2), 7])
    assert found.inverse == pytest.approx(np.diag([2, 0]))


def slow_freedom(clusters, total, contrast):
    """(tr G)^2 / |G|^2 with G the covariance of the corrected scores' contrasts."""
    bread = np.linalg.inv(total)
    root, back = power(total, 0.5), power(total, -0.5)
    along, informations = [], []
    for place, information, _ in clusters:
        whole = dense(place, information)
        shared = np.eye(SIZE) - back @ whole @ back
        along.append(contrast @ bread @ root @ power(shared, -0.5) @ back)
        informations.append(whole)
    gamma = np.empty((len(clusters),) * 2)
    for g, one in enumerate(along):
        for h, other in enumerate(along):
            middle = -informations[g] @ bread @ informations[h]
            if g == h:
                middle = middle + informations[g]
            gamma[g, h] = one @ middle @ other
    assert np.trace(gamma) == pytest.approx(contrast @ bread @ contrast)
    return np.trace(gamma) ** 2 / (gamma**2).sum()


def contrast_of(parameters, j, k):
    return parameters[:, j] if j == k else parameters[:, j] - parameters[:, k]


@pytest.mark.parametrize(
    ("seed", "sizes"), [(0, [4, 5, 9]), (1, [4, 6, 6, 8]), (2, [4] * 9), (3, [5, 5, 40, 30, 5, 6])]
)
def test_degrees_of_freedom_of_ratings_and_differences(seed, sizes):
    clusters, total = some_clusters(seed, sizes)
    bread = np.linalg.inv(total)
    ratings = np.eye(SIZE)[:, :3] - 0.2
    made = [corrected(*cluster, bread) for cluster in clusters]
    found = degrees_of_freedom(made, bread, ratings, 0.0)
    for j in range(3):
        for k in range(3):
            by_hand = slow_freedom(clusters, total, contrast_of(ratings, j, k))
            assert found.df[j, k] == pytest.approx(max(by_hand, 1), rel=1e-4)
    assert (found.alone == 0).all()


def test_equal_clusters_may_be_counted_instead():
    clusters, total = some_clusters(0, [8, 9, 10])
    total = total + 2 * dense(*clusters[1][:2])
    bread, ratings = np.linalg.inv(total), np.eye(SIZE)
    counted = [
        corrected(*cluster, bread, copies)
        for cluster, copies in zip(clusters, (1, 3, 1), strict=True)
    ]
    single = [corrected(*clusters[k], bread) for k in (0, 1, 1, 1, 2)]
    one = degrees_of_freedom(counted, bread, ratings, 0.0).df
    other = degrees_of_freedom(single, bread, ratings, 0.0).df
    assert one == pytest.approx(other)


def test_beyond_the_work_a_bound_from_below_serves(monkeypatch):
    """Variance over the largest part of one cluster; of clusters left out, their leverage."""
    clusters, total = some_clusters(4, [6, 7, 8, 9])
    bread, ratings = np.linalg.inv(total), np.eye(SIZE)
    made = [corrected(*cluster, bread) for cluster in clusters]
    exact = degrees_of_freedom(made, bread, ratings, 0.0).df
    parts = [bread @ slow_correction(*cluster, total)[2] @ bread for cluster in clusters]
    lightest = 0.3
    bounded = degrees_of_freedom(made, bread, ratings, lightest).df
    monkeypatch.setattr(cluster_errors, "MOST_WORK", 5 * 6 / 2 * 4 * 5 * 4 - 1)
    hurried = degrees_of_freedom(made, bread, ratings, 0.0).df
    monkeypatch.setattr(cluster_errors, "MOST_WORK", 5 * 6 / 2 * 4 * 5 * 4)
    assert degrees_of_freedom(made, bread, ratings, 0.0).df == pytest.approx(exact)
    for j in range(SIZE):
        for k in range(SIZE):
            c = contrast_of(ratings, j, k)
            variance, most = c @ bread @ c, max(c @ part @ c for part in parts)
            assert hurried[j, k] == pytest.approx(max(variance / most, 1), rel=1e-4)
            light = max(most, variance * lightest / (1 - lightest))
            assert bounded[j, k] == pytest.approx(max(variance / light, 1), rel=1e-4)
    assert (hurried <= exact + 1e-6).all()


def test_what_rests_on_one_cluster_has_no_degrees_of_freedom():
    """Parameter 0 is known from the first cluster alone, its difference to 1 nearly so."""
    first = (np.array([0, 1]), np.diag([1.0, 2.0]), np.zeros(2))
    second = (np.array([1, 2]), np.diag([18.0, 3.0]), np.zeros(2))
    third = (np.array([2]), np.array([[3.0]]), np.zeros(1))
    bread = np.diag([1, 1 / 20, 1 / 6])
    made = [corrected(*cluster, bread) for cluster in (first, second, third)]
    found = degrees_of_freedom(made, bread, np.eye(3), 0.0)
    told = ~np.isnan(found.df)
    assert told.tolist() == [[False] * 3, [False, True, True], [False, True, True]]
    assert found.alone == pytest.approx(np.diag([1, 0, 0]))
    bread = np.diag([1 / 25, 1, 1])
    made = [corrected(first[0], np.diag([25.0, 0.5]), np.zeros(2), bread)]
    made.append(corrected(second[0], np.diag([0.5, 0.5]), np.zeros(2), bread))
    made.append(corrected(third[0], np.array([[0.5]]), np.zeros(1), bread))
    found = degrees_of_freedom(made, bread, np.eye(3), 0.0)
    # A share of 0.04 / 1.04 of the difference's variance is below a twentieth.
    assert np.isnan(found.df[0, 0])
    assert not np.isnan(found.df[0, 1])


def test_the_heaviest_are_taken_exactly(monkeypatch):
    few = np.array([0.1, 0.5, 0.001, 0.1])
    assert heaviest(few).tolist() == [1, 0, 3, 2]
    assert len(heaviest(np.full(100, 0.01))) == 100
    assert len(heaviest(np.full(101, 0.01))) == 0
    many = np.full(101, 0.01)
    many[[7, 3]] = 0.021, 0.4
    assert heaviest(many).tolist() == [3, 7]
    assert len(heaviest(np.full(1000, 0.5))) == 300
    monkeypatch.setattr(cluster_errors, "MOST_EXACT", 2)
    assert heaviest(few).tolist() == [1, 0]


def played(n, size, seed, raters, covariates=0):
    """Random battles with ties, covariates and raters of unequal diligence."""
    rng = np.random.default_rng(seed)
    i = rng.integers(n, size=size)
    j = (i + rng.integers(1, n, size)) % n
    y = rng.choice([0.0, 0.5, 1.0], size)
    codes = np.sort(rng.integers(raters, size=size) * rng.integers(1, 3, size) % raters)
    rater = Labels(codes.astype(np.int32), tuple(f"r{k}" for k in range(raters)))
    x = rng.normal(size=(size, covariates)) if covariates else None
    return Comparisons([f"p{k}" for k in range(n)], i, j, y, rater=rater, covariates=x)


def by_row(cells, link, fit):
    """Each cell's score and expected information over all parameters: dense."""
    n, k = cells.size, cells.x.shape[1]
    gap = cells.gap(fit.theta, fit.beta)
    terms, mean = link.terms(gap, cells.y, fit.phi), link.expected(gap, fit.phi)
    scores, informations = [], []
    for row in range(len(cells.i)):
        v, tie = np.zeros(n + k + 1), np.zeros(n + k + 1)
        v[cells.i[row]], v[cells.j[row]] = 1, -1
        v[n : n + k] = cells.x[row]
        tie[-1] = 1
        scores.append(terms.d[row] * v + terms.phi[row] * tie)
        information = mean.dd[row] * np.outer(v, v) + mean.phiphi[row] * np.outer(tie, tie)
        information += mean.dphi[row] * (np.outer(v, tie) + np.outer(tie, v))
        informations.append(information)
    return np.array(scores), np.array(informations)


@pytest.mark.parametrize("ties", ["half", "davidson"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_sandwich_of_raters_by_hand(ties, weighted):
    """Scores and information of each rater, corrected one by one; the floor; the freedom."""
    c = played(4, 240, seed=1, raters=6, covariates=2)
    if weighted:
        weight = np.random.default_rng(0).uniform(0.5, 2, 240)
        c = Comparisons(c.policies, c.a, c.b, c.outcome, rater=c.rater, covariates=c.covariates,
                        weight=weight)  # fmt: skip
    link, cells = LINKS[ties], Cells.of(c, cluster="rater")
    fit = newton(cells, link)
    bread = expected_inverse(cells, link, fit)
    scores, informations = by_row(cells, link, fit)
    meat, everything = np.zeros_like(bread), np.arange(len(bread))
    free = everything[bread.diagonal() > 0]
    mass, made = cells.count * cells.weight, []
    for rater in range(6):
        rows = cells.cluster == rater
        information = (informations[rows] * mass[rows, None, None]).sum(axis=0)
        score = mass[rows] @ scores[rows]
        square = np.ix_(free, free)
        made.append(corrected(free, information[square], score[free], bread))
        meat[square] += np.outer(made[-1].score, made[-1].score)
    terms = link.expected(cells.gap(fit.theta, fit.beta), fit.phi)
    typical = (mass * terms.dd) @ cells.weight / (mass @ terms.dd)
    expected = fit.inverse @ meat @ fit.inverse + fit.inverse * typical / 6
    found = sandwich(cells, link, fit)
    assert found.covariance == pytest.approx(expected, abs=1e-9)
    ratings = np.eye(len(bread))[:, :4]
    ratings[:4] -= 0.25
    df = degrees_of_freedom(made, bread, ratings, 0.0).df
    assert found.df == pytest.approx(df)
    covariates = np.eye(len(bread))[:, 4:6]
    of_covariates = degrees_of_freedom(made, bread, covariates, 0.0).df.diagonal()
    assert found.df_of_covariates == pytest.approx(of_covariates)
    apart = sandwich(cells, link, fit, centred=False)
    single = degrees_of_freedom(made, bread, np.eye(len(bread))[:, :4], 0.0).df
    assert apart.df == pytest.approx(single)
    assert apart.covariance == pytest.approx(found.covariance)


@pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])
def test_a_sandwich_of_single_comparisons_with_covariates(ties):
    c = played(4, 150, seed=2, raters=5, covariates=2)
    link, cells = LINKS[ties], Cells.of(c)
    fit = newton(cells, link)
    bread = expected_inverse(cells, link, fit)
    scores, informations = by_row(cells, link, fit)
    meat = np.zeros_like(bread)
    for score, information, count in zip(scores, informations, cells.count, strict=True):
        leverage = np.trace(information @ bread)
        meat += count * np.outer(score, score) / (1 - leverage)
    found = sandwich(cells, link, fit)
    expected = fit.inverse @ meat @ fit.inverse + fit.inverse / 150
    assert found.covariance == pytest.approx(expected, abs=1e-9)
    assert (found.clusters, found.largest) == (150, pytest.approx(1 / 150))
    assert found.effective == pytest.approx(150)


def test_a_prior_adds_the_variance_of_what_it_decides():
    cells, link = Cells.of(played(4, 60, seed=3, raters=4)), LINKS["half"]
    fit = newton(cells, link, precision=np.array([0.5, 1.0, 2.0, 0.1]))
    assert fit.precision.any()
    scores, informations = by_row(cells, link, fit)
    bread = expected_inverse(cells, link, fit)
    meat = np.zeros_like(bread)
    for score, information, count in zip(scores, informations, cells.count, strict=True):
        meat += count * np.outer(score, score) / (1 - np.trace(information @ bread))
    of_prior = np.zeros_like(bread)
    of_prior[:4, :4] = np.diag(fit.precision)
    expected = fit.inverse @ (meat + of_prior) @ fit.inverse + fit.inverse / 60
    assert sandwich(cells, link, fit).covariance == pytest.approx(expected, abs=1e-9)


def test_the_floor_is_left_out_of_very_many(monkeypatch):
    cells, link = Cells.of(played(4, 60, seed=4, raters=4)), LINKS["half"]
    fit = newton(cells, link)
    with_floor = sandwich(cells, link, fit).covariance
    monkeypatch.setattr(robust_errors, "MANY_UNITS", 61)
    assert sandwich(cells, link, fit).covariance == pytest.approx(with_floor)
    monkeypatch.setattr(robust_errors, "MANY_UNITS", 60)
    without = sandwich(cells, link, fit).covariance
    assert with_floor - without == pytest.approx(fit.inverse / 60)


def test_degrees_of_freedom_far_off_are_normal(monkeypatch):
    cells, link = Cells.of(played(3, 400, seed=5, raters=4)), LINKS["half"]
    fit = newton(cells, link)
    df = sandwich(cells, link, fit).df
    assert df.min() > 50
    monkeypatch.setattr(robust_errors, "NORMAL", df.min() - 1)
    assert sandwich(cells, link, fit).df is None
    monkeypatch.setattr(robust_errors, "NORMAL", df.min() + 1)
    assert sandwich(cells, link, fit).df == pytest.approx(df)


def test_thousands_of_policies_have_no_degrees_of_freedom_but_of_raters(monkeypatch):
    c, link = played(5, 300, seed=6, raters=7, covariates=1), LINKS["half"]
    cells = Cells.of(c, cluster="rater")
    fit = newton(cells, link)
    dense_one = sandwich(cells, link, fit)
    monkeypatch.setattr(robust_errors, "MANY", 4)
    monkeypatch.setattr(robust_errors, "STRIP", 3)
    by_strips = sandwich(cells, link, fit)
    assert by_strips.covariance == pytest.approx(dense_one.covariance)
    assert by_strips.df == pytest.approx(dense_one.df)
    alone = sandwich(Cells.of(c), link, fit)
    assert alone.df is None
    assert alone.df_of_covariates.tolist() == [np.inf]


def test_units_of_cells():
    c = played(3, 40, seed=7, raters=4)
    apart = Units.of(Cells.of(c))
    cells = Cells.of(c)
    assert apart.member.tolist() == list(range(len(cells.i)))
    assert (apart.number, apart.copies.tolist()) == (40, cells.count.tolist())
    assert apart.balance == (pytest.approx(40), pytest.approx(1 / 40))
    raters = Cells.of(c, cluster="rater")
    whole = Units.of(raters)
    held = np.bincount(c.rater.codes, minlength=4)
    assert whole.size.tolist() == held.tolist()
    assert whole.number == 4
    share = held / held.sum()
    assert whole.balance == (pytest.approx(1 / (share**2).sum()), pytest.approx(share.max()))
    assert whole.times(raters).tolist() == raters.count.tolist()
    assert (apart.times(cells) == 1).all()


def test_equal_ballots_are_units_each():
    """A ballot of three voters counts as three clusters, whatever the number of its pairs."""
    rows = [list("abc"), list("bca"), list("acb"), list("cab")]
    heavy = Comparisons.of_rankings(Rankings.of(rows, weight=[3, 1, 2, 1]))
    many = Comparisons.of_rankings(Rankings.of([rows[k] for k in (0, 0, 0, 1, 2, 2, 3)]))
    link = LINKS["half"]
    found = []
    for pairs in (heavy, many):
        cells = Cells.of(pairs, cluster="ballot")
        fit = newton(cells, link)
        found.append(sandwich(cells, link, fit))
    one, other = found
    assert one.covariance == pytest.approx(other.covariance)
    assert one.df == pytest.approx(other.df)
    assert (one.clusters, one.effective, one.largest) == (7, pytest.approx(7), pytest.approx(1 / 7))
    units = Units.of(Cells.of(heavy, cluster="ballot"))
    assert units.size.tolist() == [3, 3, 3, 3]
    assert units.copies.tolist() == [3, 1, 2, 1]


def rater_parts(cells, link, fit):
    """Each rater's score, information and leverage over all parameters."""
    scores, informations = by_row(cells, link, fit)
    mass, bread = cells.count * cells.weight, expected_inverse(cells, link, fit)
    found = []
    for rater in np.unique(cells.cluster):
        rows = cells.cluster == rater
        information = (informations[rows] * mass[rows, None, None]).sum(axis=0)
        leverage = np.trace(information @ bread)
        found.append((mass[rows] @ scores[rows], information, leverage))
    return found, bread


@pytest.mark.parametrize("chunk", [robust_errors.CHUNK, 4 * 6])
@pytest.mark.parametrize("ties", ["half", "rao-kupper"])
def test_light_raters_are_corrected_to_first_order_and_bound_the_freedom(ties, chunk, monkeypatch):
    """Of twelve raters the two of the largest leverage are exact; the others in chunks."""
    monkeypatch.setattr(cluster_errors, "MOST_EXACT", 2)
    monkeypatch.setattr(robust_errors, "CHUNK", chunk)
    cells = Cells.of(played(4, 400, seed=8, raters=12, covariates=1), cluster="rater")
    link = LINKS[ties]
    fit = newton(cells, link)
    parts, bread = rater_parts(cells, link, fit)
    leverage = np.array([part[2] for part in parts])
    heavy = np.argsort(-leverage)[:2]
    free = np.flatnonzero(bread.diagonal() > 0)
    square = np.ix_(free, free)
    meat, made = np.zeros_like(bread), []
    for k, (score, information, _) in enumerate(parts):
        moved = score + information @ bread @ score / 2
        if k in heavy:
            made.append(corrected(free, information[square], score[free], bread))
            moved = np.zeros(len(bread))
            moved[free] = made[-1].score
        meat += np.outer(moved, moved)
    found = sandwich(cells, link, fit)
    expected = fit.inverse @ meat @ fit.inverse + fit.inverse / 12
    assert found.covariance == pytest.approx(expected, abs=1e-9)
    ratings = np.eye(len(bread))[:, :4]
    ratings[:4] -= 0.25
    lightest = np.sort(leverage)[-3]
    df = degrees_of_freedom(made, bread, ratings, lightest).df
    assert found.df == pytest.approx(df)
    monkeypatch.setattr(robust_errors, "MOST_CELLS", 31)  # of four ratings: one rater
    fewer = sandwich(cells, link, fit).df
    first = corrected(free, parts[heavy[0]][1][square], parts[heavy[0]][0][free], bread)
    df = degrees_of_freedom([first], bread, ratings, np.sort(leverage)[-2]).df
    assert fewer == pytest.approx(df)
