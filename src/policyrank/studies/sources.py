"""What a study was run with: versions of packages, and the commit of policyrank's source."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "policyrank numpy scipy polars torch transformers sentence-transformers scikit-learn"
    " gymnasium qiskit"
).split()


def versions_of() -> dict[str, str]:
    """Name -> version of the packages that studies depend on, as far as they are there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The commit of policyrank's source, "+" where it was changed since; None if there is none."""
    here = Path(__file__).parent
    call = ("git", "-C", str(here))
    try:
        name = subprocess.run(
            [*call, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*call, "status", "--porcelain", "--", str(here.parent)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{name}+" if changed else name
