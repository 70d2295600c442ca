"""mkdocs hook: the table of methods is written from the library's own list."""


def on_page_markdown(markdown, page, **_):
    if "<!-- methods -->" not in markdown:
        return markdown
    from policyrank.ranking import METHODS

    rows = [
        "| method | takes | what it does | options beside those of all |",
        "| :-- | :-- | :-- | :-- |",
    ]
    for name, m in METHODS.items():
        takes = ", ".join(t.__name__ for t in m.takes)
        fixed = ", ".join(f"{k}={v}" for k, v in m.defaults)
        where = f"[`{m.path.split(':')[1]}`](api/ranking.md)"
        rows.append(
            f"| `{name}` | {takes} | {m.about} | {where}{' with ' + fixed if fixed else ''} |"
        )
    return markdown.replace("<!-- methods -->", "\n".join(rows))
