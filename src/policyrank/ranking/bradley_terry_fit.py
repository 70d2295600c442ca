"""Bradley-Terry and its family: ties, priors, anchors, order effects, covariates, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from policyrank.board.assembly import BoardOptions, make_leaderboard
from policyrank.board.intervals import MANY, Seed
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.evidence.base import positions
from policyrank.ranking.cells import Cells, is_strong
from policyrank.ranking.conventions import (
    ELO,
    WEAK_PRIOR,
    check_interval,
    checks_options,
    need,
    scale_of,
)
from policyrank.ranking.diagnostics import comparison_notes, input_notes, pairs_met
from policyrank.ranking.likelihood import DENSE_LIMIT, Fit, newton, sandwich
from policyrank.ranking.links import LINKS, Link
from policyrank.ranking.resampling import bootstrap_fits

Float = NDArray[np.float64]
Interval = Literal["auto", "sandwich", "fisher", "bootstrap", "none"]
INTERVALS = get_args(Interval)


class PairedOptions(BoardOptions, total=False):
    """Options of models of paired comparisons; ``bradley_terry`` says what each means."""

    scale: Literal["elo", "natural"]
    prior: float | Literal["auto"] | None
    anchors: Mapping[str, float] | None
    order_effect: bool
    interval: Interval
    cluster: Literal["rater", "task"] | None
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
    cluster: Literal["rater", "task"] | None = None,
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
        ``"sandwich"``: robust to ties and misfit (HC3, or by clusters); ``"fisher"``: trusts the
        model; ``"bootstrap"``: covariance over resampled comparisons, or clusters; ``"none"``;
        ``"auto"``: sandwich, but fisher under a prior
    cluster
        resample or sum over raters or tasks: comparisons of one rater are not independent
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
        For outcomes other than 0, 0.5, 1 under a tie model, unknown anchors, or a fit that does not
        converge.

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
    cluster: str | None = None,
    level: float = 0.95,
    simultaneous: bool = True,
    resamples: int = 1000,
    seed: Seed = 0,
) -> Leaderboard:
    need(evidence, Comparisons, method)
    check_interval(interval, INTERVALS, method)
    unit, base = scale_of(scale, link)
    cells = Cells.of(evidence, order_effect=order_effect, cluster=cluster)
    notes = input_notes(evidence.notes)
    link = _usable_link(link, cells, settings["ties"], notes)
    sd = _prior_sd(prior, cells, link, notes)
    precision = None if sd is None else np.full(cells.size, sd**-2)
    fixed = {}
    if anchors:
        codes = positions(evidence.policies, list(anchors), "policy")
        fixed = {int(c): (v - base) / unit for c, v in zip(codes, anchors.values(), strict=True)}
    fit = newton(cells, link, precision=precision, fixed=fixed)
    if interval == "auto":
        interval = "fisher" if sd is not None and cluster is None else "sandwich"
    if cells.size > DENSE_LIMIT and interval != "none":
        text = f"Intervals are left out beyond {DENSE_LIMIT:,} policies."
        notes.append(Note("no intervals", text, "warning"))
        interval = "none"
    theta = fit.theta if fixed else fit.theta - fit.theta.mean()
    errors = _Errors()
    if interval == "bootstrap":
        errors = _bootstrapped(cells, link, fit, resamples, seed, notes, unit, centred=not fixed)
    elif interval != "none":
        errors = _from_curvature(cells, link, fit, interval, unit, centred=not fixed)
    fit = replace(fit, inverse=None)
    if cells.size <= DENSE_LIMIT:
        notes += _fit_notes(evidence, link, fit)
    used = {**settings, "scale": scale, "prior": sd, "interval": interval, "cluster": cluster}
    if anchors:
        used["anchors"] = dict(anchors)
    if interval == "bootstrap":
        used |= {"resamples": resamples, "seed": seed}
    units = {"elo": "Elo points", "natural": "log-odds"}
    if link.slope != 1:
        units["natural"] = "normal deviates"
    extras = _extras(fit, evidence, order_effect, errors.of_coefficients, settings["ties"])
    return make_leaderboard(
        evidence.policies,
        theta * unit + base,
        method=method,
        n=evidence.seen(),
        covariance=errors.covariance,
        draws=errors.draws,
        df=errors.df,
        level=level,
        simultaneous=simultaneous,
        seed=seed,
        notes=notes,
        settings=used,
        unit=units[scale],
        source=evidence.summary,
        extras=extras,
    )


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


def _prior_sd(prior: Any, cells: Cells, link: Link, notes: list[Note]) -> float | None:
    """The prior's standard deviation in log-odds: as given, or weak where there is no maximum."""
    if prior is not None and prior != "auto":
        if not isinstance(prior, (int, float)) or not prior > 0:
            raise EvidenceError(
                f"prior={prior!r}: give a standard deviation > 0 in log-odds, None, or 'auto'."
            )
        return float(prior)
    if is_strong(cells, link):
        return None
    if prior is None:
        raise EvidenceError(
            "no finite maximum: some policies never lost, never won, or never met the others. Keep"
            " prior='auto', give prior=2.0, or leave these policies out."
        )
    text = (
        f"The maximum of the likelihood is infinite, so a Gaussian prior with sd {WEAK_PRIOR:g}"
        f" log-odds ({WEAK_PRIOR * ELO:.0f} Elo points) was put around the mean. It decides how far"
        " one-sided policies stand apart."
    )
    notes.append(Note("prior", text, "warning"))
    return WEAK_PRIOR


@dataclass(frozen=True, eq=False)
class _Errors:
    """What is known of the errors of a board's ratings, in its unit; of coefficients in theirs."""

    covariance: Float | None = None
    draws: Float | None = None
    df: float | None = None
    of_coefficients: Float | None = None


def _from_curvature(
    cells: Cells, link: Link, fit: Fit, interval: str, unit: float, *, centred: bool
) -> _Errors:
    assert fit.inverse is not None
    n, k = cells.size, cells.x.shape[1]
    covariance, df = fit.inverse, None
    if interval == "sandwich":
        covariance, df = sandwich(cells, link, fit)
    of_coefficients = np.sqrt(covariance.diagonal()[n : n + k])
    ratings = _centred(covariance[:n, :n]) if centred else covariance[:n, :n].copy()
    ratings *= unit**2
    return _Errors(ratings, None, df, of_coefficients)


def _centred(covariance: Float) -> Float:
    """Of the ratings less their mean: C cov C with C = I - 1/n; of thousands in place."""
    n = len(covariance)
    if n <= MANY:
        centre = np.eye(n) - 1 / n
        return centre @ covariance @ centre
    mean = covariance.mean(axis=0)
    covariance -= mean
    covariance -= (mean - mean.mean())[:, None]
    return covariance


def _bootstrapped(
    cells: Cells,
    link: Link,
    fit: Fit,
    resamples: int,
    seed: Seed,
    notes: list[Note],
    unit: float,
    *,
    centred: bool,
) -> _Errors:
    n, k = cells.size, cells.x.shape[1]
    refits, weak = bootstrap_fits(
        cells, link, fit, resamples=resamples, seed=seed, weak_prior=WEAK_PRIOR
    )
    if weak:
        text = f"{weak} of {resamples} resamples had no finite maximum and got the weak prior."
        notes.append(Note("weak resamples", text, "warning"))
    draws = refits[:, :n] - fit.theta
    if centred:
        draws = draws @ (np.eye(n) - 1 / n)
    draws = draws * unit
    # Normal intervals with the bootstrap's covariance: with few battles its percentiles cover too
    # rarely.
    covariance = np.asarray(np.cov(draws, rowvar=False), dtype=np.float64)
    of_coefficients = np.std(refits[:, n : n + k], axis=0, ddof=1)
    return _Errors(covariance, draws, None, of_coefficients)


def _fit_notes(evidence: Comparisons, link: Link, fit: Fit) -> list[Note]:
    """What the win matrix says of the fit: connection, thin pairs, cycles."""
    wins = evidence.preferences()
    won = LINKS["half" if link.slope == 1 else "probit"].terms
    i, j = pairs_met(wins)
    gap = fit.theta[i] - fit.theta[j]
    expected = np.zeros_like(wins)
    expected[i, j] = np.exp(won(gap, np.ones_like(gap), fit.phi).value)
    return comparison_notes(evidence, wins, expected)


def _extras(
    fit: Fit, evidence: Comparisons, order_effect: bool, errors: Float | None, ties: str
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
        errors = np.full(len(names), np.nan) if errors is None else errors
        extras["coefficients"] = [
            _coefficient(name, value, error)
            for name, value, error in zip(names, fit.beta, errors, strict=True)
        ]
    return extras


def _coefficient(name: str, log_odds: float, error: float) -> dict[str, Any]:
    known = None if np.isnan(error) else float(error)
    return {"name": name, "log_odds": float(log_odds), "standard_error": known}
