"""The prior of ratings in log-odds: as given, or weak where the likelihood has no maximum."""

from __future__ import annotations

from typing import Any

from policyrank.board.leaderboard import Note
from policyrank.errors import EvidenceError, OptionError
from policyrank.ranking.conventions import ELO, WEAK_PRIOR


def prior_sd(prior: Any, exists: bool, why_not: str, notes: list[Note]) -> float | None:
    """The standard deviation in log-odds of a Gaussian prior around the mean; None: no prior.

    Parameters
    ----------
    prior
        a standard deviation > 0, None (none), or "auto": ``WEAK_PRIOR`` where there is no maximum,
        which is then noted
    exists
        whether the likelihood has a finite maximum
    why_not
        why it would have none, for the error of ``prior=None``
    notes
        of the board, added to

    Raises
    ------
    OptionError
        For another prior.
    EvidenceError
        For None where there is no maximum.

    Examples
    --------
    >>> notes = []
    >>> prior_sd("auto", False, "some policies never lost", notes), notes[0].kind
    (2.0, 'prior')
    """
    if prior is not None and prior != "auto":
        if not isinstance(prior, (int, float)) or not prior > 0:
            raise OptionError(
                f"prior={prior!r}: give a standard deviation > 0 in log-odds, None, or 'auto'."
            )
        return float(prior)
    if exists:
        return None
    if prior is None:
        raise EvidenceError(
            f"no finite maximum: {why_not}. Keep prior='auto', give prior=2.0, or leave these"
            " policies out."
        )
    text = (
        f"The maximum of the likelihood is infinite, so a Gaussian prior with sd {WEAK_PRIOR:g}"
        f" log-odds ({WEAK_PRIOR * ELO:.0f} Elo points) was put around the mean. It decides how far"
        " one-sided policies stand apart."
    )
    notes.append(Note("prior", text, "warning"))
    return WEAK_PRIOR
