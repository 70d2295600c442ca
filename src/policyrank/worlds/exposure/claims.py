"""Claims, true and false, in several framings: what people are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from policyrank.errors import EvidenceError
from policyrank.evidence.plain_tables import read_columns

Float = NDArray[np.float64]

AS_IT_STANDS = "{claim}"
OPENING = re.compile(r"(The|A|An|In|It|There|This|These|Some|Most|Many|On|At|By)\b")
"""Articles and pronouns that open a sentence lose their capital within another; names and
abbreviations keep it.
"""

FRAMINGS: dict[str, tuple[str, ...]] = {
    "original": (AS_IT_STANDS,),
    "authoritative": (
        "According to experts, {claim}",
        "Researchers who study this confirm that {claim}",
        "Official sources state that {claim}",
    ),
    "consensus": (
        "It is widely agreed that {claim}",
        "Almost everyone accepts that {claim}",
        "As is common knowledge, {claim}",
    ),
    "emotional": (
        "It is heartbreaking but true that {claim}",
        "You will be deeply moved to hear that {claim}",
        "Many are afraid because {claim}",
    ),
    "prestige": (
        "At the most exclusive universities they say that {claim}",
        "Leading figures of our time note that {claim}",
        "In the highest circles it is said that {claim}",
    ),
    "sensationalist": (
        "SHOCKING revelation: {claim}!",
        "You will not believe this: {claim}!",
        "Breaking: {claim}!",
    ),
}
"""Five framings by templates; the paper's are rewrites by a language model, which checks that the
question stays the same.
"""


@dataclass(frozen=True, eq=False)
class Claims:
    """n claims in F framings; item number = claim * F + framing.

    Attributes
    ----------
    texts
        (n,) as they stand
    true
        (n,) whether they are
    framings
        (F,) names of ``FRAMINGS``
    groups
        (n,) claims of one group (about one document) stay together in a split
    """

    texts: tuple[str, ...]
    true: NDArray[np.bool_]
    framings: tuple[str, ...]
    groups: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        true: ArrayLike,
        framings: Sequence[str] = tuple(FRAMINGS),
        groups: ArrayLike | None = None,
    ) -> Claims:
        """Checked.

        Raises
        ------
        EvidenceError
            For fewer than two claims, empty ones, labels of another number, or unknown framings.
        """
        labels = np.asarray(true)
        if len(texts) < 2 or labels.shape != (len(texts),) or not np.isin(labels, (0, 1)).all():
            raise EvidenceError(
                f"{len(texts)} claims with labels of shape {labels.shape}: at least two claims,"
                " each true (1) or false (0)."
            )
        for place, text in enumerate(texts):
            if not text.strip():
                raise EvidenceError(f"claim {place} is empty.")
        for framing in framings:
            if framing not in FRAMINGS:
                raise EvidenceError(f"framing {framing!r}: use {', '.join(FRAMINGS)}.")
        if groups is None:
            groups = np.arange(len(texts))
        of = np.asarray(groups, dtype=np.int64)
        return cls(tuple(texts), labels.astype(bool), tuple(framings), of)

    def __len__(self) -> int:
        return len(self.texts)

    def items(self) -> list[str]:
        """(n * F,) texts in their framings; the template of a claim changes from claim to claim."""
        found = []
        for number, text in enumerate(self.texts):
            for framing in self.framings:
                templates = FRAMINGS[framing]
                found.append(_framed(text.strip(), templates[number % len(templates)]))
        return found

    def take(self, which: ArrayLike) -> Claims:
        """Some of the claims."""
        rows = np.asarray(which)
        texts = tuple(self.texts[row] for row in rows)
        return Claims(texts, self.true[rows], self.framings, self.groups[rows])

    def split(
        self, shares: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
    ) -> list[NDArray[np.int64]]:
        """Claims of each part, no group in two of them; shares hold as nearly as groups allow."""
        if min(shares) < 0 or not np.isclose(sum(shares), 1):
            raise EvidenceError(f"shares {tuple(shares)} are not negative and add up to 1.")
        names, sizes = np.unique(self.groups, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(names))
        middle = (np.cumsum(sizes[order]) - sizes[order] / 2) / len(self)
        part_of = np.empty(len(names), dtype=int)
        part_of[order] = np.searchsorted(np.cumsum(shares)[:-1], middle)
        mine = part_of[np.searchsorted(names, self.groups)]
        return [np.flatnonzero(mine == part) for part in range(len(shares))]


def _framed(claim: str, template: str) -> str:
    if template == AS_IT_STANDS:
        return claim
    claim = claim.rstrip(".")
    if not template.startswith("{") and OPENING.match(claim):
        claim = claim[0].lower() + claim[1:]
    text = template.format(claim=claim)
    if template.endswith("!"):
        return text
    return text + "."


def linked_groups(keys: Sequence[Sequence[Hashable]]) -> NDArray[np.int64]:
    """Group of each claim when claims that share a key belong together, directly or not.

    A key is, for example, a page that they rest on.

    Examples
    --------
    >>> linked_groups([["a"], ["a", "b"], ["c"], ["b"]]).tolist()
    [0, 0, 1, 0]
    """
    place: dict[Hashable, int] = {}
    claims, columns = [], []
    for claim, own in enumerate(keys):
        for key in own:
            claims.append(claim)
            columns.append(len(keys) + place.setdefault(key, len(place)))
    size = len(keys) + len(place)
    graph = coo_matrix((np.ones(len(claims)), (claims, columns)), shape=(size, size))
    _, group = connected_components(graph, directed=False)
    return np.asarray(group[: len(keys)], dtype=np.int64)


def read_claims(path: str | Path) -> pl.DataFrame:
    """A table with claim, label (1: true, 0: false) and perhaps credibility in [0, 1], group.

    Raises
    ------
    EvidenceError
        Naming the row whose label or credibility is something else, or whose claim is empty.
    """
    frame = read_columns(
        path,
        texts=("claim", "group"),
        numbers=("label", "credibility"),
        perhaps=("group", "credibility"),
    )
    ranges = {"label": pl.col("label").is_in([0.0, 1.0])}
    if "credibility" in frame.columns:
        ranges["credibility"] = pl.col("credibility").is_between(0, 1)
    for column, within in ranges.items():
        row = frame.select(~within).to_series().arg_true()
        if len(row):
            takes = "0 or 1" if column == "label" else "between 0 and 1"
            raise EvidenceError(
                f"{path}, row {row[0] + 1:,}: {column} is {frame[column][row[0]]:g}, and it is"
                f" {takes}. Mend the row."
            )
    return frame


def openfactcheck(words: tuple[int, int] = (4, 40)) -> Claims:
    """The claims that the package openfactcheck ships (GPL-3, read where it is installed).

    1,392 after removing duplicates and lengths outside of 4 to 40 words, grouped by document.

    Raises
    ------
    EvidenceError
        When the package is missing.
    """
    path = _shipped()
    seen: dict[str, tuple[bool, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text = row["claim"].strip()
        if words[0] <= len(text.split()) <= words[1]:
            seen.setdefault(text, (bool(row["claim_label"]), row["whole_document_context"]))
    labels = [label for label, _ in seen.values()]
    documents = [[document] for _, document in seen.values()]
    return Claims.of(list(seen), labels, groups=linked_groups(documents))


def _shipped() -> Path:
    """The package's file of claims."""
    spec = find_spec("openfactcheck")
    if spec is not None:
        for folder in spec.submodule_search_locations or []:
            path = Path(folder) / "templates/factchecker/gold/claims.jsonl"
            if path.is_file():
                return path
    raise EvidenceError(
        "the claims are in the package openfactcheck: pip install --no-deps openfactcheck"
    )
