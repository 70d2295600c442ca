"""Bradley-Terry and its family: ties, priors, anchors, order effects, covariates, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.intervals import Seed, quantile
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.evidence.base import positions
from policyrank.ranking.cells import Cells, is_strong
from policyrank.ranking.conventions import (
    check_interval,
    checks_options,
    need,
    scale_of,
)
from policyrank.ranking.diagnostics import comparison_notes, input_notes, pairs_met
from policyrank.ranking.likelihood import DENSE_LIMIT, Fit, newton
from policyrank.ranking.links import LINKS, Link
from policyrank.ranking.paired_errors import (
    Cluster,
    PairedErrors,
    bootstrapped,
    cluster_by,
    interval_kind,
    robust,
    scaled,
)
from policyrank.ranking.priors import prior_sd

Float = NDArray[np.float64]
Interval = Literal["auto", "sandwich", "fisher", "bootstrap", "none"]
INTERVALS = get_args(Interval)
NO_MAXIMUM = "some policies never lost, never won, or never met the others"


class PairedOptions(BoardOptions, total=False):
    """Options of models of paired comparisons; ``bradley_terry`` says what each means."""

    scale: Literal["elo", "natural"]
    prior: float | Literal["auto"] | None
    anchors: Mapping[str, float] | None
    order_effect: bool
    interval: Interval
    cluster: Cluster
    resamples: int


@checks_options
def bradley_terry(
    evidence: Comparisons,
    *,
    ties: Literal["half", "davidson", "rao-kupper"] = "half",
    scale: Literal["elo", "natural"] = "elo",
    prior: float | Literal["auto"] | None = "auto",
    anchors: Mapping[str, float] | None = None,
    order_effect: bool = False,
    interval: Interval = "auto",
    cluster: Cluster = "auto",
    level: float = 0.95,
    simultaneous: bool = True,
    resamples: int = 1000,
    seed: Seed = 0,
) -> Leaderboard:
    """Bradley-Terry: P(i beats j) = 1 / (1 + exp(theta_j - theta_i)), by maximum likelihood.

    Parameters
    ----------
    evidence
        Comparisons; covariates, where it has them, are fitted along (style control)
    ties
        ``"half"``: half a win to each; ``"davidson"``: P(tie) proportional to 2 nu sqrt(p_i p_j);
        ``"rao-kupper"``: a win needs a margin log eta
    scale
        ``"elo"``: 400 points a factor of ten in odds, mean 1500; ``"natural"``: log-odds, mean 0
    prior
        sd (log-odds) of a Gaussian prior around the mean; None: none; ``"auto"``: 2 where the
        maximum does not exist (Ford's condition fails: someone never lost, never won, or groups
        never met), otherwise none. The notes say so.
    anchors
        ratings (on ``scale``) that are fixed; the board then keeps their level instead of being
        centred
    order_effect
        whether to fit the advantage of the policy that is listed first
    interval
        ``"sandwich"``: robust to ties and misfit (CR2 with Satterthwaite's degrees of freedom, by
        cluster or by comparison); ``"fisher"``: trusts the model; ``"bootstrap"``: covariance over
        resampled comparisons, or clusters; ``"none"``; ``"auto"``: sandwich, but fisher under a
        prior where comparisons are independent
    cluster
        what is independent of each other: ``"ballot"``, ``"rater"``, ``"task"``, or ``"none"``
        (each comparison); ``"auto"``: the ballots that the comparisons were made of, else raters
        where there are five or more
    level, simultaneous, resamples, seed
        of the intervals and rank sets

    Returns
    -------
    Leaderboard
        ``extras``: loglik, tie parameter (nu or eta), order_effect, coefficients with standard
        errors.

    Raises
    ------
    EvidenceError
        For outcomes other than 0, 0.5, 1 under a tie model, unknown anchors, a fit that does not
        converge, or a bootstrap of few clusters.

    References
    ----------
    Bradley and Terry (1952); Davidson (1970); Rao and Kupper (1967); Ford (1957) on existence.

    Examples
    --------
    >>> battles = Comparisons.of(["x"] * 4, ["y"] * 4, [1, 1, 1, 0])
    >>> board = bradley_terry(battles, scale="natural")
    >>> round(float(board.rating[0] - board.rating[1]), 6)    # log 3
    1.098612
    """
    if ties not in ("half", "davidson", "rao-kupper"):
        raise EvidenceError(f"ties={ties!r}: use 'half', 'davidson' or 'rao-kupper'.")
    options: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("evidence", "ties")}
    return _rate(evidence, LINKS[ties], "bradley-terry", {"ties": ties}, **options)


@checks_options
def thurstone(
    evidence: Comparisons,
    *,
    ties: Literal["half", "glenn-david"] = "half",
    **options: Unpack[PairedOptions],
) -> Leaderboard:
    """Thurstone's case V: P(i beats j) = Phi(theta_i - theta_j), by maximum likelihood.

    Options are those of ``bradley_terry``; ``ties="glenn-david"`` gives ties a margin on the normal
    scale. On the Elo scale, points are such that small differences mean the same win probability as
    Bradley-Terry's.

    References
    ----------
    Thurstone (1927); Glenn and David (1960).

    Examples
    --------
    >>> battles = Comparisons.of(["x"] * 4, ["y"] * 4, [1, 1, 1, 0])
    >>> board = thurstone(battles, scale="natural")
    >>> round(float(board.rating[0] - board.rating[1]), 6)    # the normal quantile of 3/4
    0.67449
    """
    if ties not in ("half", "glenn-david"):
        raise EvidenceError(f"ties={ties!r}: use 'half' or 'glenn-david'.")
    link = LINKS["probit" if ties == "half" else "glenn-david"]
    return _rate(evidence, link, "thurstone", {"ties": ties}, **options)


def _rate(
    evidence: Comparisons,
    link: Link,
    method: str,
    settings: dict[str, Any],
    *,
    scale: str = "elo",
    prior: float | str | None = "auto",
    anchors: Mapping[str, float] | None = None,
    order_effect: bool = False,
    interval: str = "auto",
    cluster: Cluster = "auto",
    level: float = 0.95,
    simultaneous: bool = True,
    resamples: int = 1000,
    seed: Seed = 0,
) -> Leaderboard:
    need(evidence, Comparisons, method)
    check_interval(interval, INTERVALS, method)
    unit, base = scale_of(scale, link)
    notes = input_notes(evidence.notes)
    by = cluster_by(evidence, cluster, notes)
    cells = Cells.of(evidence, order_effect=order_effect, cluster=by)
    link = _usable_link(link, cells, settings["ties"], notes)
    sd = prior_sd(prior, is_strong(cells, link), NO_MAXIMUM, notes)
    precision = None if sd is None else np.full(cells.size, sd**-2)
    fixed = {}
    if anchors:
        codes = positions(evidence.policies, list(anchors), "policy")
        fixed = {int(c): (v - base) / unit for c, v in zip(codes, anchors.values(), strict=True)}
    fit = newton(cells, link, precision=precision, fixed=fixed)
    interval = interval_kind(interval, cells, by, with_prior=sd is not None, notes=notes)
    theta = fit.theta if fixed else fit.theta - fit.theta.mean()
    errors = PairedErrors()
    if interval == "bootstrap":
        errors = bootstrapped(cells, link, fit, resamples, seed, notes, unit, centred=not fixed)
    elif interval == "sandwich":
        errors = robust(cells, link, fit, unit, by, notes, centred=not fixed)
    elif interval == "fisher":
        assert fit.inverse is not None
        errors = scaled(fit.inverse, cells, unit, centred=not fixed)
    fit = replace(fit, inverse=None)
    if cells.size <= DENSE_LIMIT:
        notes += _fit_notes(evidence, cells, link, fit)
    used = {**settings, "scale": scale, "prior": sd, "interval": interval, "cluster": by}
    ends = None
    if anchors:
        used["anchors"] = dict(anchors)
        ends = _ends_beside_anchors(theta * unit + base, errors, fixed, level)
    if interval == "bootstrap":
        used |= {"resamples": resamples, "seed": seed}
    units = {"elo": "Elo points", "natural": "log-odds"}
    if link.slope != 1:
        units["natural"] = "normal deviates"
    extras = _extras(fit, evidence, order_effect, errors, settings["ties"])
    return make_leaderboard(
        evidence.policies,
        theta * unit + base,
        method=method,
        n=evidence.seen(),
        covariance=errors.covariance,
        draws=errors.draws,
        df=errors.df,
        ends=ends,
        level=level,
        simultaneous=simultaneous,
        seed=seed,
        notes=notes,
        settings=used,
        unit=units[scale],
        source=evidence.summary,
        extras=extras,
    )


def _ends_beside_anchors(
    rating: Float, errors: PairedErrors, fixed: Mapping[int, float], level: float
) -> Float | None:
    """Ends of intervals; an anchored rating is what it was set to, and has no error."""
    if errors.covariance is None:
        return None
    df = np.inf if errors.df is None else errors.df.diagonal()
    half = quantile((1 + level) / 2, df) * np.sqrt(errors.covariance.diagonal())
    half[list(fixed)] = 0
    return np.column_stack([rating - half, rating + half])


def _usable_link(link: Link, cells: Cells, ties: str, notes: list[Note]) -> Link:
    """The link, or the one without ties where there are none."""
    if link.linear:
        return link
    if not np.isin(cells.y, (0.0, 0.5, 1.0)).all():
        raise EvidenceError(
            f"ties={ties!r} needs outcomes 0, 0.5 and 1; these have others. Use ties='half'."
        )
    if (cells.y == 0.5).any():
        return link
    notes.append(Note("no ties", "No ties were seen: the tie parameter was left out."))
    return LINKS[link.tieless or "half"]


def _fit_notes(evidence: Comparisons, cells: Cells, link: Link, fit: Fit) -> list[Note]:
    """What the win matrix says of the fit: connection, thin pairs, cycles.

    Expected win rates hold all that was fitted: the order effect and covariates too.
    """
    wins = evidence.preferences()
    won = LINKS["half" if link.slope == 1 else "probit"].terms
    expected = np.zeros_like(wins)
    if not cells.x.shape[1]:
        i, j = pairs_met(wins)
        gap = fit.theta[i] - fit.theta[j]
        expected[i, j] = np.exp(won(gap, np.ones_like(gap), fit.phi).value)
        return comparison_notes(evidence, wins, expected)
    gap = cells.gap(fit.theta, fit.beta)
    chance = np.exp(won(gap, np.ones_like(gap), fit.phi).value)
    np.add.at(expected, (cells.i, cells.j), cells.mass * chance)
    np.add.at(expected, (cells.j, cells.i), cells.mass * (1 - chance))
    met = expected + expected.T
    rate = np.divide(expected, met, out=np.zeros_like(wins), where=met > 0)
    return comparison_notes(evidence, wins, rate)


def _extras(
    fit: Fit, evidence: Comparisons, order_effect: bool, errors: PairedErrors, ties: str
) -> dict[str, Any]:
    """Log-likelihood, the tie parameter, and coefficients with their standard errors."""
    extras: dict[str, Any] = {"loglik": fit.loglik, "iterations": fit.iterations}
    if fit.free[-1]:
        natural = {"davidson": np.exp(fit.phi) / 2, "rao-kupper": np.exp(fit.phi)}
        extras["tie_parameter"] = float(natural.get(ties, fit.phi))
    names = list(evidence.covariate_names)
    if order_effect:
        names = ["listed first", *names]
    if names:
        extras["coefficients"] = _coefficients(names, fit.beta, errors)
    return extras


def _coefficients(names: list[str], beta: Float, errors: PairedErrors) -> list[dict[str, Any]]:
    """Each covariate's coefficient, its standard error and degrees of freedom where known."""
    found = []
    for k, (name, log_odds) in enumerate(zip(names, beta, strict=True)):
        own: dict[str, Any] = {"name": name, "log_odds": float(log_odds), "standard_error": None}
        if errors.of_coefficients is not None:
            own["standard_error"] = float(errors.of_coefficients[k])
        if errors.df_of_coefficients is not None and np.isfinite(errors.df_of_coefficients[k]):
            own["df"] = float(errors.df_of_coefficients[k])
        found.append(own)
    return found
