"""mkdocs hook: methods and studies are listed from the library's own lists."""


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

    yield "| study | what | paper |"
    yield "| :-- | :-- | :-- |"
    for entry in ENTRIES:
        yield f"| [{entry.slug}]({entry.slug}.md) | {entry.about} | {address(entry.paper)} |"


def address(paper):
    """A paper on arXiv as a link."""
    if paper.startswith("arXiv "):
        return f"[{paper}](https://arxiv.org/abs/{paper.removeprefix('arXiv ')})"
    return paper


TABLES = {"<!-- methods -->": methods, "<!-- studies -->": studies}
"""Mark in a page -> the lines of the table that takes its place."""
