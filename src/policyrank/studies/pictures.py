"""The picture of a study: its main comparison, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from policyrank.studies.claims import Claim, estimates
from policyrank.studies.frame import Study, module_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def main_comparison(studies: Sequence[Study]) -> Figure | None:
    """Means of the methods in the first claim's metric and settings, with 95% intervals.

    A study's file may name another claim (``MAIN``). None where nothing of it was measured.
    """
    from matplotlib.figure import Figure

    module: Any = module_of(studies[0].slug)
    claim: Claim = getattr(module, "MAIN", None) or module.CLAIMS[0]
    found = [estimates(claim, study.scores, module.UNIT) for study in studies]
    methods = [name for name in found[0] if all(name in own for own in found)]
    if not methods:
        return None
    methods.sort(key=lambda name: np.mean([own[name].effect for own in found]))
    height = 0.9 + 0.3 * len(methods) + 0.25 * (len(studies) > 1)
    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = figure.add_subplot()
    offsets = np.linspace(-0.15, 0.15, len(studies)) if len(studies) > 1 else [0.0]
    for study, own, offset, colour in zip(studies, found, offsets, ("C0", "C1"), strict=False):
        effects = np.array([own[name].effect for name in methods])
        low = effects - [own[name].lower for name in methods]
        high = np.array([own[name].upper for name in methods]) - effects
        spread = np.where(np.isfinite([low, high]), [low, high], 0.0)
        axes.errorbar(
            effects,
            np.arange(len(methods)) + offset,
            xerr=np.maximum(spread, 0.0),
            fmt="o",
            markersize=4,
            color=colour,
            label=f"seed {study.seed}",
        )
    axes.set_yticks(range(len(methods)), methods)
    lower = claim.metric in studies[0].scores.lower_is_better
    settings = ", ".join(claim.tasks[:2]) + (", ..." if len(claim.tasks) > 2 else "")
    label = claim.metric + (f" ({settings})" if settings else "")
    axes.set_xlabel(f"{label}{', lower is better' if lower else ''}")
    if lower:
        axes.invert_yaxis()
    if len(studies) > 1:
        figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
