"""Bradley-Terry and its family: ties, priors, anchors, order effects, covariates, and intervals for
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from policyrank.board.assembly import make_leaderboard
from policyrank.board.intervals import Seed
from policyrank.board.leaderboard import Leaderboard, Note
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons
from policyrank.evidence.base import positions
from policyrank.ranking.diagnostics import comparison_notes, input_notes
from policyrank.ranking.paired import (
    DENSE_LIMIT,
    LINKS,
    Cells,
    Fit,
    Link,
    is_strong,
    newton,
    sandwich,
)
from policyrank.ranking.resampling import bootstrap_fits

Interval = Literal["auto", "sandwich", "fisher", "bootstrap", "none"]
ELO = 400 / np.log(10)
ELO_CENTRE = 1500.0
WEAK_PRIOR = 2.0


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


def thurstone(
    evidence: Comparisons, *, ties: Literal["half", "glenn-david"] = "half", **options: Any
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
    if interval not in ("auto", "sandwich", "fisher", "bootstrap", "none"):
        raise EvidenceError(
            f"interval={interval!r}: use 'auto', 'sandwich', 'fisher', 'bootstrap' or 'none'."
        )
    unit, base = scale_of(scale, link)
    cells = Cells.of(evidence, order_effect=order_effect, cluster=cluster)
    notes = input_notes(evidence.notes)
    if not link.linear and not np.isin(cells.y, (0.0, 0.5, 1.0)).all():
        raise EvidenceError(
            f"ties={settings['ties']!r} needs outcomes 0, 0.5 and 1; these have others. Use"
            " ties='half'."
        )
    if not link.linear and not (cells.y == 0.5).any():
        notes.append(Note("no ties", "No ties were seen: the tie parameter was left out."))
        link = LINKS[link.tieless or "half"]
    precision, sd = None, prior
    if prior == "auto":
        sd = None if is_strong(cells, link) else WEAK_PRIOR
        if sd is not None:
            notes.append(
                Note(
                    "prior",
                    "The maximum of the likelihood is infinite, so a Gaussian prior with sd"
                    f" {WEAK_PRIOR:g} log-odds ({WEAK_PRIOR * ELO:.0f} Elo points) was put around"
                    " the mean. It decides how far one-sided policies stand apart.",
                    "warning",
                )
            )
    if sd is not None:
        if not isinstance(sd, (int, float)) or not sd > 0:
            raise EvidenceError(
                f"prior={prior!r}: give a standard deviation > 0 in log-odds, None, or 'auto'."
            )
        precision = np.full(cells.size, float(sd) ** -2)
    elif not is_strong(cells, link):
        raise EvidenceError(
            "no finite maximum: some policies never lost, never won, or never met the others. Keep"
            " prior='auto', give prior=2.0, or leave these policies out."
        )
    fixed = {}
    if anchors:
        codes = positions(evidence.policies, list(anchors), "policy")
        fixed = {int(c): (v - base) / unit for c, v in zip(codes, anchors.values(), strict=True)}
    fit = newton(cells, link, precision=precision, fixed=fixed)
    if interval == "auto":
        interval = "fisher" if sd is not None and cluster is None else "sandwich"
    if cells.size > DENSE_LIMIT and interval != "none":
        notes.append(
            Note(
                "no intervals",
                f"Intervals are left out beyond {DENSE_LIMIT:,} policies.",
                "warning",
            )
        )
        interval = "none"
    n, k = cells.size, cells.x.shape[1]
    centre = np.eye(n) if fixed or n > DENSE_LIMIT else np.eye(n) - 1 / n
    theta = fit.theta if fixed else fit.theta - fit.theta.mean()
    covariance = draws = df = parameter_cov = None
    if interval == "bootstrap":
        refits, weak = bootstrap_fits(
            cells, link, fit, resamples=resamples, seed=seed, weak_prior=WEAK_PRIOR
        )
        draws = (refits[:, :n] - fit.theta) @ centre * unit
        # Normal intervals with the bootstrap's covariance: with few battles its percentiles cover
        # too rarely.
        covariance = np.asarray(np.cov(draws, rowvar=False))
        parameter_cov = np.cov(refits, rowvar=False)
        if weak:
            notes.append(
                Note(
                    "weak resamples",
                    f"{weak} of {resamples} resamples had no finite maximum and got the weak"
                    " prior.",
                    "warning",
                )
            )
    elif interval != "none":
        assert fit.inverse is not None
        parameter_cov, df = (
            sandwich(cells, link, fit) if interval == "sandwich" else (fit.inverse, None)
        )
        covariance = centre @ parameter_cov[:n, :n] @ centre * unit**2
    wins = evidence.preferences() if n <= DENSE_LIMIT else None
    if wins is not None:
        gap = fit.theta[:, None] - fit.theta
        terms = LINKS["half" if link.slope == 1 else "probit"].terms(
            gap, np.ones_like(gap), fit.phi
        )
        notes += comparison_notes(evidence, wins, np.exp(terms.value))
    used = {**settings, "scale": scale, "prior": sd, "interval": interval, "cluster": cluster}
    if anchors:
        used["anchors"] = dict(anchors)
    if interval == "bootstrap":
        used |= {"resamples": resamples, "seed": seed}
    return make_leaderboard(
        evidence.policies,
        theta * unit + base,
        method=method,
        n=evidence.seen(),
        covariance=covariance,
        draws=draws,
        df=df,
        level=level,
        simultaneous=simultaneous,
        seed=seed,
        notes=notes,
        settings=used,
        unit=(
            "Elo points" if scale == "elo" else "log-odds" if link.slope == 1 else "normal deviates"
        ),
        source=evidence.summary,
        extras=_extras(fit, evidence, order_effect, parameter_cov, settings["ties"], n, k),
    )


def _extras(
    fit: Fit, evidence: Comparisons, order_effect: bool, cov: Any, ties: str, n: int, k: int
) -> dict[str, Any]:
    out: dict[str, Any] = {"loglik": fit.loglik, "iterations": fit.iterations}
    if fit.free[-1]:
        natural = {"davidson": np.exp(fit.phi) / 2, "rao-kupper": np.exp(fit.phi)}
        out["tie_parameter"] = float(natural.get(ties, fit.phi))
    names = (["listed first"] if order_effect else []) + list(evidence.covariate_names)
    if names:
        se = [None] * k if cov is None else np.sqrt(cov.diagonal()[n : n + k])
        out["coefficients"] = [
            {"name": name, "log_odds": float(b), "standard_error": None if s is None else float(s)}
            for name, b, s in zip(names, fit.beta, se, strict=True)
        ]
    return out


def scale_of(scale: str, link: Link | None = None) -> tuple[float, float]:
    """Board units a unit of theta, and the centre of the board."""
    if scale == "elo":
        return ELO * (1.0 if link is None else link.slope), ELO_CENTRE
    if scale == "natural":
        return 1.0, 0.0
    raise EvidenceError(f"scale={scale!r}: use 'elo' or 'natural'.")


def need(evidence: Any, kinds: type | tuple[type, ...], method: str) -> None:
    """Refuse another form of evidence than the method takes, and name the conversion."""
    if isinstance(evidence, kinds):
        return
    wanted = [k.__name__ for k in (kinds if isinstance(kinds, tuple) else (kinds,))]
    ways = [f".to_{w.lower()}()" for w in wanted if hasattr(evidence, f"to_{w.lower()}")]
    remedy = (
        f"Convert it with {' or '.join(ways)}."
        if ways
        else f"Read it with read_{wanted[0].lower()}()."
    )
    raise EvidenceError(
        f"{method} takes {' or '.join(wanted)}, not {type(evidence).__name__}. {remedy}"
    )
