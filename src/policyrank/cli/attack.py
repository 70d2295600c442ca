"""``policyrank attack``: how far can documents be moved in a ranker one owns?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import METHOD, OUT, AtLeastOne, Csv, Names, Seed, Whole, check_table
from policyrank.cli.output import print_csv, show, working, write_table
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    import polars as pl

Texts = dict[str, str]
Candidates = dict[str, list[str]]


def attack_ranker(
    ranker: str,
    /,
    *,
    queries: Path,
    documents: Path,
    kind: str | None = None,
    run: Path | None = None,
    depth: Annotated[Whole, Parameter(validator=Number(gte=10))] = 200,
    topics: Annotated[Path | None, Parameter(group=METHOD)] = None,
    method: Annotated[Names, Parameter(group=METHOD)] = None,
    attacked: Annotated[
        AtLeastOne | None, Parameter(group=METHOD, show_default="30; of topics 10")
    ] = None,
    targets: Annotated[
        AtLeastOne | None, Parameter(group=METHOD, show_default="5; of topics 3")
    ] = None,
    budget: Annotated[AtLeastOne, Parameter(group=METHOD)] = 6,
    lists: Annotated[AtLeastOne | None, Parameter(group=METHOD, show_default="150")] = None,
    seed: Annotated[Seed, Parameter(group=METHOD)] = 0,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    csv: Csv = False,
) -> None:
    """How far can a few words move documents in your ranker?

    Imitate it from its rankings alone, try to lift its lowest documents, and see whether it shows.
    For each attack: success (share of documents that rose), boost (mean ranks gained, 95% interval
    over queries), share lifted into the first 10 and the first quarter, share of words changed, of
    the added words that are query words, and the share that a watch for odd or stuffed passages
    would flag at 5% false alarms a sign. With --topics, for groups of queries on one topic: one
    document, edited by a policy that learned on other groups, for all queries of a group. Test
    rankers of your own only.

    Parameters
    ----------
    ranker
        Folder or hub name of a sentence-transformers model, or what `policyrank train ranker`
        wrote.
    queries
        TSV (name, text) or JSONL.
    documents
        TSV (name, text) or JSONL.
    kind
        cross-encoder or bi-encoder, for models of others.
    run
        TREC run with the candidates of each query (otherwise BM25, filled up at random).
    depth
        Candidates of a query.
    topics
        TSV of group, query (names): lift documents for whole groups instead.
    method
        Attack; repeatable (all if not given).
    attacked
        Queries (with --topics groups) to attack.
    targets
        Lowest documents of each (with --topics of middling rank).
    budget
        Words that may be added or replaced.
    lists
        Other queries whose lists the imitation learns from.
    out
        Write every attacked document with its ranks and text (CSV).
    """
    check_table(out)
    if topics is not None and method:
        raise EvidenceError("--topics tries its own attacks; leave --method out.")
    if topics is not None and lists is not None:
        raise EvidenceError("--topics learns from all lists outside the groups; leave --lists out.")
    from policyrank.evidence import read_texts

    asked, texts = read_texts(queries), read_texts(documents)
    victim = _victim(ranker, kind)
    listed = _candidates(asked, texts, run, depth, seed)
    common: dict[str, Any] = {"budget": budget, "seed": seed}
    if topics is not None:
        groups = _groups(topics)
        common |= {"attacked": attacked or 10, "targets": targets or 3}
        _attack_topics(victim, asked, texts, listed, groups, out=out, csv=csv, **common)
        return
    from policyrank.auditing.attacks import attack

    targets = targets or 5
    with working("Attacking …") as update:
        report = attack(
            victim,
            asked,
            texts,
            listed,
            methods=method,
            attacked=attacked or 30,
            targets=targets,
            lists=lists or 150,
            report=update,
            **common,
        )
    if out is not None:
        _write(report, "query", out)
    cut = max(20, depth // 4)
    table = report.summary((10, cut))
    if csv:
        print_csv(table)
        return
    show(
        f"imitation from {report.lists} lists: first ten overlap {report.overlap:.0%} (chance"
        f" {report.chance:.0%}), rank-biased overlap {report.rbo:.2f}"
    )
    show(
        f"{report.frame['query'].n_unique()} queries, {targets} lowest documents each, at most"
        f" {budget} words; the ranker scored {report.calls:,} documents\n"
    )
    shown = {
        "success": "success",
        "boost": "boost",
        "95% interval": "95% interval",
        "into 10": "top 10",
        f"into {cut}": f"top {cut}",
        "changed": "changed",
        "query words": "query words",
        "flagged": "flagged",
    }
    _print_table(table, shown, width=14)


def _victim(ranker: str, kind: str | None) -> Any:
    from policyrank.models.encoders import load_cross_encoder, load_encoder, refuse_new_head
    from policyrank.train.saved_rankers import kind_of
    from policyrank.train.scorers import cosine_scorer, cross_scorer

    if kind_of(ranker, kind) == "bi-encoder":
        return cosine_scorer(load_encoder(ranker))
    encoder = load_cross_encoder(ranker)
    refuse_new_head(encoder, ranker)
    return cross_scorer(encoder)


def _candidates(asked: Texts, texts: Texts, run: Path | None, depth: int, seed: int) -> Candidates:
    """Query -> its candidates, the best first: a run's, or BM25's filled up at random."""
    import numpy as np

    from policyrank.evidence import read_run
    from policyrank.train.first_stage import bm25_run

    found = bm25_run(asked, texts, depth=depth) if run is None else read_run(run)
    listed: Candidates = {query: [] for query in asked}
    for query, document in found.select("query", "document").iter_rows():
        if query not in listed or document not in texts:
            raise EvidenceError(
                f"{run}: query {query!r} or document {document!r} is not among the texts."
            )
        if len(listed[query]) < depth:
            listed[query].append(document)
    if run is not None:
        return listed
    rng, names = np.random.default_rng(seed), list(texts)
    for own in listed.values():
        have = set(own)
        others = [names[k] for k in rng.permutation(len(names)) if names[k] not in have]
        own += others[: depth - len(own)]
    return listed


def _groups(path: Path) -> Candidates:
    """Group -> names of its queries."""
    groups: Candidates = {}
    from policyrank.evidence.sources import open_source

    for line_number, line in open_source(path).lines():
        if not line.strip():
            continue
        group, sign, query = line.partition("\t")
        if not sign or not query.strip():
            raise EvidenceError(
                f"{path}, line {line_number}: write group, a tab, and the name of a query."
            )
        groups.setdefault(group.strip(), []).append(query.strip())
    return groups


def _attack_topics(
    victim: Any,
    asked: Texts,
    texts: Texts,
    listed: Candidates,
    groups: Candidates,
    *,
    out: Path | None,
    csv: bool,
    **options: Any,
) -> None:
    from policyrank.auditing.attacks import attack_topics

    with working("Attacking …") as update:
        report = attack_topics(victim, asked, texts, listed, groups, report=update, **options)
    if out is not None:
        _write(report, "group", out)
    table = report.summary()
    if csv:
        print_csv(table)
        return
    show(
        f"imitation from {report.lists} lists; {report.frame['group'].n_unique()} groups,"
        f" {options['targets']} documents each, at most {options['budget']} edits; the ranker"
        f" scored {report.calls:,} documents\n"
    )
    shown = {
        "queries risen": "query success",
        "boost": "boost",
        "95% interval": "95% interval",
        "least boost": "least boost",
        "risen for 75%": "QSR@75%",
        "similarity": "similarity",
    }
    _print_table(table, shown, width=16)


def _write(report: Any, unit: str, path: Path) -> None:
    """Every attacked document with its ranks and its text."""
    import polars as pl

    keys = report.frame.select("method", unit, "document").iter_rows()
    texts = [report.texts[key] for key in keys]
    write_table(report.frame.with_columns(text=pl.Series(texts)), path)


def _print_table(table: pl.DataFrame, shown: dict[str, str], *, width: int) -> None:
    """A row a method; ``shown``: heading -> column."""
    first = max(map(len, table["method"]))
    show(" " * first + "".join(f"{heading:>{width}s}" for heading in shown))
    for row in table.iter_rows(named=True):
        cells = [f"{_cell(row, column):>{width}s}" for column in shown.values()]
        show(f"{row['method']:{first}s}" + "".join(cells))


def _cell(row: dict[str, Any], column: str) -> str:
    if column == "95% interval":
        return f"{row['lower']:.0f} … {row['upper']:.0f}"
    if column in ("boost", "least boost"):
        return f"{row[column]:.1f}"
    if column == "similarity":
        return f"{row[column]:.2f}"
    return f"{row[column]:.0%}"
