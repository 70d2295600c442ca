"""Tables in Markdown: what people copy from papers and README files."""

from __future__ import annotations

import re

import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence.account import plural


def is_rule(line: str) -> bool:
    """Whether a line stands between the header and the rows of a Markdown table."""
    return bool(re.fullmatch(r"\|?[\s:|-]*-[\s:|-]*\|?", line.strip()))


def frame_of_markdown(text: str, name: str) -> pl.DataFrame:
    """The one table in a Markdown text; bold, code and links are their text."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip().startswith("|"):
            blocks[-1].append(line.strip())
        elif blocks[-1]:
            blocks.append([])
    found = [block for block in blocks if len(block) > 2 and is_rule(block[1])]
    if len(found) != 1:
        raise EvidenceError(
            f"{name}: holds {plural(len(found), 'Markdown table')}. Give a file with one."
        )
    header, _, *rows = [_cells(line) for line in found[0]]
    for number, row in enumerate(rows, 1):
        if len(row) > len(header):
            raise EvidenceError(
                f"{name}, row {number} of the table: {len(row)} cells, and {len(header)} columns."
            )
    columns = {}
    for place, column in enumerate(header):
        columns[column or f"column {place + 1}"] = [
            row[place] if place < len(row) else "" for row in rows
        ]
    if len(columns) < len(header):
        raise EvidenceError(f"{name}: a column stands in the header twice. Rename one.")
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    cells = re.split(r"(?<!\\)\|", inner)
    return [_plain(cell.replace("\\|", "|")) for cell in cells]


def _plain(cell: str) -> str:
    """A cell without bold, code, links and tags."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
    text = re.sub(r"<[^>]+>", "", text)
    return re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", text).strip().strip("*")
