"""What people see: text, Markdown, HTML, plots - and that names cannot break out of any of them."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rich.cells import cell_len

import policyrank as pr
from policyrank.board import comparison_text, terminal, wording
from policyrank.errors import EvidenceError
from policyrank.evidence import Comparisons, datasets

NASTY = [
    "<script>alert(1)</script>",
    "quote\"d & 'single'",
    "new\nline",
    "pipe|star*tick`",
    "שלום עולם",
    "\x1b[31mred\x07",
    "$x_1$ %s {{7*7}}",
    "日本語モデル" * 4,
]


@pytest.fixture(scope="module")
def nasty():
    rng = np.random.default_rng(0)
    i = rng.integers(len(NASTY), size=400)
    j = (i + rng.integers(1, len(NASTY), size=400)) % len(NASTY)
    return Comparisons([n.strip() for n in NASTY], i, j, rng.choice([0, 0.5, 1], size=400))


class Page(HTMLParser):
    """Counts elements, and holds that every opened one is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_is_whole_self_contained_and_escaped(nasty, tmp_path):
    board = pr.rank(nasty)
    page = board.to_html(
        tmp_path / "board.html",
        evidence=nasty,
        compared=pr.compare(nasty),
        title="<i>title</i>",
        command="policyrank rank 'x'",
    )
    parsed = Page(page)
    assert not parsed.open
    assert "script" not in parsed.tags
    assert "i" in parsed.tags  # bars
    assert not re.search(r"""(src|href)\s*=|url\(|@import|https?://""", page)
    assert "<script>alert" not in page
    assert "<script>alert(1)</script>" in parsed.text
    assert "{{7*7}}" in parsed.text
    assert "\x1b" not in page
    for heading in (
        "What to know",
        "How sure are the ranks",
        "Who beats whom",
        "Would another method",
        "How it was computed",
    ):
        assert heading in parsed.text
    assert (tmp_path / "board.html").read_text(encoding="utf-8") == page


def test_page_without_intervals_has_no_empty_parts(nasty):
    page = Page(pr.rank(nasty, interval="none").to_html())
    assert "interval" not in page.text.split("How it was computed")[0]
    assert "How sure" not in page.text


def test_terminal_table_is_aligned_for_any_names(nasty):
    for width in (70, 100, 140):
        lines = terminal.text(pr.rank(nasty), width=width).splitlines()
        assert all(cell_len(line) <= width for line in lines)
        assert "\x1b" not in "".join(lines)
        rows = [line for line in lines if "●" in line]
        assert len(rows) == len(NASTY)
        assert len({cell_len(re.split(r"\s{2,}", r)[0]) > 0 for r in rows}) == 1
    assert "… 5 more" in terminal.text(pr.rank(nasty), top=3)
    assert str(pr.rank(nasty)).startswith("bradley-terry")


@settings(max_examples=200, deadline=None)
@given(st.floats(-10, 10), st.floats(0, 5), st.integers(3, 40))
def test_bars_hold_their_point(mid, half, width):
    bar = terminal.interval_bar(mid - half, mid, mid + half, -15, 15, width)
    assert len(bar) == width
    assert bar.count("●") == 1
    assert bar.index("●") == round((mid + 15) / 30 * (width - 1))


def test_markdown_cells_stay_in_their_row(nasty):
    text = pr.rank(nasty).to_markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(NASTY)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {7}


def test_json_and_csv_say_everything(nasty, tmp_path):
    board = pr.rank(nasty)
    back = json.loads(board.to_json(tmp_path / "board.json"))
    assert [p["policy"] for p in back["policies"]] == list(board.policies)
    assert back["may_be_best"] == list(board.may_be_best)
    assert back["policies"][0]["rank_lower"] == 1
    assert json.loads((tmp_path / "board.json").read_text()) == back
    assert {n["kind"] for n in back["notes"]} >= {"method"}
    assert len(board.frame.write_csv().encode()) > 100


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_plots_are_written(nasty, tmp_path, ending):
    path = tmp_path / f"board{ending}"
    pr.rank(nasty).plot(path)
    assert path.stat().st_size > 5000
    assert path.read_bytes()[:4] == {".png": b"\x89PNG", ".svg": b"<?xm", ".pdf": b"%PDF"}[ending]
    with pytest.raises(EvidenceError, match="png"):
        pr.rank(nasty).plot(tmp_path / "board.gif")


def test_comparison_names_every_method():
    found = pr.compare(datasets.atari())
    text = comparison_text(found, width=140)
    for method in found.methods:
        assert method in text
    assert "tau  1.00" in text
    assert "… 5 more" in comparison_text(found, top=3, width=140)


def test_shares_never_round_to_certainty():
    assert [wording.share(p) for p in (0, 0.004, 0.3, 0.997, 1)] == [
        "<1%",
        "<1%",
        "30%",
        ">99%",
        ">99%",
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_numbers_are_never_cut(width):
    from policyrank.board.assembly import make_leaderboard

    board = make_leaderboard(
        [f"a policy with a long name {k}" for k in range(12)],
        1500 - 13.0 * np.arange(12),
        method="given",
        n=np.full(12, 1_234_567),
        covariance=np.eye(12) * 0.3,
    )
    text = terminal.text(board, width=width)
    rows = [line for line in text.splitlines() if "●" in line]
    assert len(rows) == 12
    assert all(r.endswith("1,234,567") for r in rows)
    assert all(
        f"{low:,.1f} … {high:,.1f}" in r
        for r, low, high in zip(rows, board.lower, board.upper, strict=True)
    )
