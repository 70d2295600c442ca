"""`policyrank rerank URL`: candidates scored by an endpoint; how any endpoint is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.options import AtLeastOne, Count, Flag
from policyrank.cli.output import say, working
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    import polars as pl

    from policyrank.train.endpoints import Endpoint
    from policyrank.train.rerank_endpoints import Met, RerankEndpoint

ENDPOINTS = Group("Endpoints", sort_key=7)
Api = Literal["rerank", "score", "tei"]
Many = Annotated[AtLeastOne | None, Parameter(show_default=False)]
OF_RERANKING = ("api", "at_once", "truncate")
Lists = list[tuple[str, list[str]]]
"""A query's text, and its candidates' texts, of each query."""


@Parameter(name="*", group=ENDPOINTS)
@dataclass(frozen=True)
class AtEndpoint:
    """Ranking by a server.

    Parameters
    ----------
    api
        Shape of requests to a rerank endpoint: rerank (Cohere, Jina, vLLM, policyrank serve), score
        (vLLM, where the URL ends in /score), tei (text-embeddings-inference).
    served_model
        The model's name at the endpoint.
    key
        Environment variable that holds the endpoint's key.
    workers
        Queries at once; requests at a rerank endpoint (8).
    at_once
        Documents of a request to a rerank endpoint (all; tei 32).
    truncate
        A rerank endpoint may cut texts that are longer than it reads.
    cache
        JSONL file of the endpoint's answers, which are not asked for again.
    retries
        Tries after a failure that may pass, waiting longer each time (5).
    timeout
        Seconds without a sign of the server (120).
    """

    api: Api | None = None
    served_model: str | None = None
    key: str | None = None
    workers: Many = None
    at_once: Many = None
    truncate: Flag = False
    cache: Path | None = None
    retries: Annotated[Count | None, Parameter(show_default=False)] = None
    timeout: Annotated[
        float | None, Parameter(show_default=False, validator=Number(gt=0, lte=86_400))
    ] = None

    def check(self, ranker: str, method: str | None) -> None:
        """Refuse what nothing would look at.

        Raises
        ------
        OptionError
            Naming the option.
        """
        for name, value in vars(self).items():
            if value is None or value is False:
                continue
            if "://" not in ranker:
                raise OptionError(
                    f"{option_name(name)} is of an endpoint: name its URL as the ranker."
                )
            if method is not None and name in OF_RERANKING:
                raise OptionError(f"{option_name(name)} says nothing with --method {method}.")
        if "://" in ranker and method is not None and self.served_model is None:
            raise OptionError("--served-model: which model is it at the endpoint?")

    @property
    def at_a_time(self) -> int:
        """Queries, or requests, at once."""
        return self.workers or 8

    def writer(self, url: str, tokens: int) -> Endpoint:
        """Who writes, greedily."""
        from policyrank.train.endpoints import Endpoint

        assert self.served_model is not None
        return Endpoint(
            url, self.served_model, temperature=0.0, max_tokens=tokens, **self._common()
        )

    def reranker(self, url: str) -> RerankEndpoint:
        """Who scores."""
        from policyrank.train.rerank_endpoints import RerankEndpoint

        return RerankEndpoint(
            url,
            self.served_model,
            self.api,
            at_once=self.at_once,
            truncate=self.truncate,
            workers=self.at_a_time,
            **self._common(),
        )

    def _common(self) -> dict[str, Any]:
        more = given(retries=self.retries, timeout=self.timeout)
        return {"key": self.key, "cache": self.cache, "report": say, **more}


def option_name(name: str) -> str:
    """An option as it is typed."""
    return "--" + name.replace("_", "-")


def given(**options: Any) -> dict[str, Any]:
    """Those options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def lists_of(
    queries: dict[str, str], documents: dict[str, str], run: pl.DataFrame
) -> tuple[list[tuple[str, list[str]]], Lists]:
    """Names and texts of each query's candidates, as the run has them.

    Raises
    ------
    EvidenceError
        When the run names what has no text.
    """
    listed = run.sort("query", "score", "document", descending=[False, True, True])
    groups = listed.group_by("query", maintain_order=True).agg("document")
    lists: Lists = []
    for query, names in groups.iter_rows():
        missing = [own for own in names if own not in documents]
        if query not in queries or missing:
            lacking = f"document {missing[0]!r}" if missing else f"query {query!r}"
            raise EvidenceError(f"the run names {lacking}, which has no text.")
        lists.append((queries[query], [documents[own] for own in names]))
    return list(groups.iter_rows()), lists


def tell_missing(queries: dict[str, str], lists: Lists) -> None:
    """Who has no candidates."""
    if len(lists) < len(queries):
        say(f"{len(queries) - len(lists):,} queries have no candidates, and are not in the run")


def tell_cut(lists: Lists, query_words: int | None, passage_words: int | None) -> None:
    """What of the texts is not shown."""
    from policyrank.train.asking import longer_than

    passages = [text for _, own in lists for text in own]
    for what, texts, most in (
        ("queries", [query for query, _ in lists], query_words),
        ("candidates", passages, passage_words),
    ):
        longer = 0 if most is None else sum(longer_than(text, most) for text in texts)
        if longer:
            option = f"--{'query' if what == 'queries' else 'passage'}-words"
            say(
                f"{longer:,} of {len(texts):,} {what} are longer than {most:,} words: their end is"
                f" not shown ({option})"
            )


def rerank_at_endpoint(
    endpoint: RerankEndpoint,
    texts: tuple[dict[str, str], dict[str, str]],
    run: pl.DataFrame,
    *,
    words: tuple[int | None, int | None] = (None, None),
    calls: int | None = None,
) -> pl.DataFrame:
    """A run with an endpoint's scores: query, document, score.

    Parameters
    ----------
    words
        of a query and of a passage that are shown; None: all
    calls
        requests that may be made; queries after them are as the run has them
    """
    import polars as pl

    from policyrank.train.rerank_endpoints import rank_lists

    groups, lists = lists_of(*texts, run)
    tell_missing(texts[0], lists)
    tell_cut(lists, *words)
    with working("Ranking ...") as update:
        found, met = rank_lists(
            endpoint,
            _shown(lists, *words),
            calls=calls,
            report=lambda done, of: update(f"{done:,} of {of:,} requests"),
        )
    _tell(met, endpoint, sum(own is None for own in found), calls)
    rows = []
    for (query, names), scores in zip(groups, found, strict=True):
        own = range(len(names), 0, -1) if scores is None else scores
        rows += [(query, name, float(score)) for name, score in zip(names, own, strict=True)]
    return pl.DataFrame(rows, schema=["query", "document", "score"], orient="row")


def _shown(
    lists: Lists, query_words: int | None, passage_words: int | None
) -> Sequence[tuple[str, Sequence[str]]]:
    """Texts as they are sent."""
    from policyrank.train.asking import first_words

    shown = []
    for query, passages in lists:
        if query_words is not None:
            query = first_words(query, query_words)
        if passage_words is not None:
            passages = [first_words(text, passage_words) for text in passages]
        shown.append((query, passages))
    return shown


def _tell(met: Met, endpoint: RerankEndpoint, left: int, calls: int | None) -> None:
    """What was asked, and what was met."""
    tokens = f"; {met.tokens:,} tokens read" if met.told else ""
    if met.told not in (0, met.requests + met.kept):
        tokens += f" ({met.told:,} answers tell)"
    say(f"{met.requests:,} requests, {met.kept:,} more answers kept from before{tokens}")
    if met.split:
        say(
            f"{met.split:,} queries were asked about in parts of {endpoint.most:,} documents: their"
            " scores are compared as they are"
        )
    if met.truncated:
        say(f"! {met.truncated:,} documents are longer than the server reads: it cut them")
    if met.unordered:
        say(f"! {met.unordered:,} answers were not in the order of their scores, which counts")
    if left:
        say(
            f"! {left:,} queries are as the first stage had them: --calls {calls:,} were spent"
            f" ({met.refused:,} requests more)"
        )
