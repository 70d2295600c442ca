"""``policyrank attack``: how far can documents be moved in a ranker one owns?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError


def attack(
    ranker: Annotated[
        str,
        typer.Argument(
            metavar="RANKER",
            help=(
                "Folder or hub name of a sentence-transformers model, or what `policyrank train"
                " ranker` wrote."
            ),
        ),
    ],
    queries: Annotated[Path, typer.Option(help="TSV (name, text) or JSONL.")],
    documents: Annotated[Path, typer.Option(help="TSV (name, text) or JSONL.")],
    kind: Annotated[
        str | None, typer.Option(help="cross-encoder or bi-encoder, for models of others.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="TREC run with the candidates of each query (otherwise BM25, filled up at random)."
        ),
    ] = None,
    depth: Annotated[int, typer.Option(help="Candidates of a query.", min=10)] = 200,
    topics: Annotated[
        Path | None,
        typer.Option(
            help="TSV of group, query (names): lift documents for whole groups instead.",
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Attack; repeatable (all if not given).", rich_help_panel=c.METHOD),
    ] = None,
    attacked: Annotated[
        int, typer.Option(help="Queries to attack.", min=1, rich_help_panel=c.METHOD)
    ] = 30,
    targets: Annotated[
        int, typer.Option(help="Lowest documents of each.", min=1, rich_help_panel=c.METHOD)
    ] = 5,
    budget: Annotated[
        int,
        typer.Option(help="Words that may be added or replaced.", min=1, rich_help_panel=c.METHOD),
    ] = 6,
    lists: Annotated[
        int,
        typer.Option(
            help="Other queries whose lists the imitation learns from.",
            min=1,
            rich_help_panel=c.METHOD,
        ),
    ] = 150,
    seed: Annotated[int, typer.Option(rich_help_panel=c.METHOD)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write every attacked document with its ranks and text (CSV).",
            rich_help_panel=c.OUT,
        ),
    ] = None,
    csv: c.Csv = False,
) -> None:
    """Audit a ranker you own: imitate it from its rankings alone, try to lift its lowest documents
    by a few words, and see whether it shows.

    For each attack: success (share of documents that rose), boost (mean ranks gained, 95% interval
    over queries), share lifted into the first 10 and the first quarter, share of words changed, of
    the added words that are query words, and the share that a watch for odd or stuffed passages
    would flag at 5% false alarms a sign. With --topics, for groups of queries on one topic: one
    document, edited by a policy that learned on other groups, for all queries of a group. Test
    rankers of your own only.
    """
    import numpy as np
    import polars as pl

    from policyrank.auditing.attacks import attack as attack_ranker
    from policyrank.cli.train import kind_of
    from policyrank.evidence import read_run, read_texts
    from policyrank.models.encoders import load_cross_encoder, load_encoder
    from policyrank.train.first_stage import bm25_run
    from policyrank.train.scorers import cosine_scorer, cross_scorer

    c.check_writable(out)
    asked, texts = read_texts(queries), read_texts(documents)
    kind = kind_of(ranker, kind)
    victim = (
        cosine_scorer(load_encoder(ranker))
        if kind == "bi-encoder"
        else cross_scorer(load_cross_encoder(ranker))
    )
    found = read_run(run) if run is not None else bm25_run(asked, texts, depth=depth)
    listed: dict[str, list[str]] = {q: [] for q in asked}
    for query, document in found.select("query", "document").iter_rows():
        if query not in listed or document not in texts:
            raise EvidenceError(
                f"{run}: query {query!r} or document {document!r} is not among the texts."
            )
        if len(listed[query]) < depth:
            listed[query].append(document)
    if run is None:
        rng, names = np.random.default_rng(seed), list(texts)
        for own in listed.values():
            have = set(own)
            own += [names[k] for k in rng.permutation(len(names)) if names[k] not in have][
                : depth - len(own)
            ]
    if topics is not None:
        if method:
            raise EvidenceError("--topics tries its own attacks; leave --method out.")
        _topics(
            victim,
            asked,
            texts,
            listed,
            topics,
            min(attacked, 10),
            min(targets, 3),
            budget,
            seed,
            out,
            csv,
        )
        return
    with c.working("Attacking …") as update:
        report = attack_ranker(
            victim,
            asked,
            texts,
            listed,
            methods=method,
            attacked=attacked,
            targets=targets,
            budget=budget,
            lists=lists,
            seed=seed,
            report=update,
        )
    if out is not None:
        keys = report.frame.select("method", "query", "document").iter_rows()
        report.frame.with_columns(text=pl.Series([report.texts[key] for key in keys])).write_csv(
            out
        )
        c.written(out)
    table = report.summary((10, cut := max(20, depth // 4)))
    if csv:
        print(table.write_csv(), end="")
        return
    print(
        f"imitation from {report.lists} lists: first ten overlap {report.overlap:.0%} (chance"
        f" {report.chance:.0%}), rank-biased overlap {report.rbo:.2f}"
    )
    print(
        f"{report.frame['query'].n_unique()} queries, {targets} lowest documents each, at most"
        f" {budget} words; the ranker scored {report.calls:,} documents\n"
    )
    shown = (
        "success",
        "boost",
        "95% interval",
        "into 10",
        f"into {cut}",
        "changed",
        "query words",
        "flagged",
    )
    width = max(len(m) for m in table["method"])
    print(" " * width + "".join(f"{s:>14s}" for s in shown))
    for r in table.iter_rows(named=True):
        interval = f"{r['lower']:.0f} … {r['upper']:.0f}"
        shares = "".join(
            f"{r[k]:14.0%}" for k in ("top 10", f"top {cut}", "changed", "query words", "flagged")
        )
        print(
            f"{r['method']:{width}s}{r['success']:14.0%}{r['boost']:14.1f}{interval:>14s}{shares}"
        )


def _topics(
    victim: Any,
    asked: dict[str, str],
    texts: dict[str, str],
    listed: dict[str, list[str]],
    topics: Path,
    attacked: int,
    targets: int,
    budget: int,
    seed: int,
    out: Path | None,
    csv: bool,
) -> None:
    import polars as pl

    from policyrank.auditing.attacks import attack_topics

    groups: dict[str, list[str]] = {}
    for number, line in enumerate(topics.read_text(encoding="utf-8").splitlines(), 1):
        group, sign, query = line.partition("\t")
        if line.strip() and (not sign or not query.strip()):
            raise EvidenceError(
                f"{topics}, line {number}: write group, a tab, and the name of a query."
            )
        if line.strip():
            groups.setdefault(group.strip(), []).append(query.strip())
    with c.working("Attacking …") as update:
        report = attack_topics(
            victim,
            asked,
            texts,
            listed,
            groups,
            attacked=attacked,
            targets=targets,
            budget=budget,
            seed=seed,
            report=update,
        )
    if out is not None:
        keys = report.frame.select("method", "group", "document").iter_rows()
        report.frame.with_columns(text=pl.Series([report.texts[key] for key in keys])).write_csv(
            out
        )
        c.written(out)
    table = report.summary()
    if csv:
        print(table.write_csv(), end="")
        return
    print(
        f"imitation from {report.lists} lists; {report.frame['group'].n_unique()} groups, {targets}"
        f" documents each, at most {budget} edits; the ranker scored {report.calls:,} documents\n"
    )
    width = max(len(m) for m in table["method"])
    print(
        " " * width
        + "".join(
            f"{s:>16s}"
            for s in (
                "queries risen",
                "boost",
                "95% interval",
                "least boost",
                "risen for 75%",
                "similarity",
            )
        )
    )
    for r in table.iter_rows(named=True):
        interval = f"{r['lower']:.0f} … {r['upper']:.0f}"
        print(
            f"{r['method']:{width}s}{r['query success']:16.0%}{r['boost']:16.1f}{interval:>16s}{r['least boost']:16.1f}{r['QSR@75%']:16.0%}{r['similarity']:16.2f}"
        )
