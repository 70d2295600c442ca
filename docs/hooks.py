"""mkdocs hook: methods, studies and rooms are listed from the library's own lists."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def on_config(config):
    """Every study gets its place in the menu."""
    from policyrank.studies.catalogue import ENTRIES

    pages = [{entry.title: f"studies/{entry.slug}.md"} for entry in ENTRIES]
    for section in config.nav:
        if "Studies" in section:
            section["Studies"] += pages
    return config


def on_page_markdown(markdown, page, **_):
    for place, table in TABLES.items():
        if place in markdown:
            markdown = markdown.replace(place, "\n".join(table()))
    return markdown


def methods():
    from policyrank.ranking import METHODS

    yield "| method | takes | what it does | options beside those of all |"
    yield "| :-- | :-- | :-- | :-- |"
    for name, method in METHODS.items():
        takes = ", ".join(kind.__name__ for kind in method.takes)
        options = f"[`{method.path.split(':')[1]}`](api/ranking.md)"
        if method.defaults:
            options += " with " + ", ".join(f"{k}={v}" for k, v in method.defaults)
        yield f"| `{name}` | {takes} | {method.about} | {options} |"


def studies():
    from policyrank.studies.catalogue import ENTRIES

    shown = ("holds", "not shown", "contradicted", "seeds differ", "others")
    yield f"| study | what | paper | {' | '.join(shown)} |"
    yield "| :-- | :-- | :-- |" + " --: |" * len(shown)
    for entry in ENTRIES:
        counts = verdicts(ROOT / "docs" / "studies" / f"{entry.slug}.md")
        cells = [str(counts.pop(name, "")) for name in shown[:-1]]
        others = ", ".join(f"{number} {name}" for name, number in counts.items())
        place = f"[{entry.slug}]({entry.slug}.md) | {entry.about} | {address(entry.paper)}"
        yield f"| {place} | {' | '.join(cells)} | {others} |"


def verdicts(path):
    """How many claims of a page got each verdict with all its seeds."""
    counts = Counter()
    for line in path.read_text(encoding="utf-8").partition("## Verdicts")[2].splitlines():
        if line.startswith("## "):
            break
        answers = re.findall(r"\*\*([a-z ]+)\*\*(?= [|≠])|\| ([a-z ]+) \(exploratory\)", line)
        if answers:
            found = {plain or explored for plain, explored in answers}
            counts["seeds differ" if len(found) > 1 else found.pop()] += 1
    return counts


def layers():
    """Rooms by layer, the top one first, as the contracts of the imports have them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    for layer in contract["layers"]:
        yield [name.strip().removeprefix("policyrank.") for name in layer.split("|")]


def about(room):
    """The first line of a room's docstring."""
    path = ROOT / "src" / "policyrank" / room / "__init__.py"
    path = path if path.is_file() else path.parent.with_suffix(".py")
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]


def rooms():
    rows = list(layers())
    yield f'<svg viewBox="0 0 720 {46 * len(rows)}" role="img" aria-label="Rooms by layer">'
    for k, row in enumerate(rows):
        width = 720 / len(row)
        for n, room in enumerate(row):
            x, y = n * width, 46 * k
            yield (
                f'<rect x="{x + 2:.0f}" y="{y + 2}" width="{width - 4:.0f}" height="38" rx="4"'
                ' fill="none" stroke="currentColor"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + 26}" text-anchor="middle" font-size="15"'
                f' fill="currentColor">{room}</text>'
            )
    yield "</svg>"
    yield ""
    yield "| room | what it is |"
    yield "| :-- | :-- |"
    for row in rows:
        for room in row:
            yield f"| `{room}` | {about(room)} |"


def address(paper):
    """A paper on arXiv as a link."""
    if paper.startswith("arXiv "):
        return f"[{paper}](https://arxiv.org/abs/{paper.removeprefix('arXiv ')})"
    return paper


TABLES = {"<!-- methods -->": methods, "<!-- studies -->": studies, "<!-- rooms -->": rooms}
"""Mark in a page -> the lines of the table that takes its place."""
