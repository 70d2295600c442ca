"""`policyrank rerank --method`: passages ranked by a language model that is asked about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from policyrank.cli.options import AtLeastOne, Flag
from policyrank.cli.output import say, working
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    import polars as pl

    from policyrank.models.fitting import Seen
    from policyrank.train.language_rankers import Asking, Budget, LanguageRanker
    from policyrank.train.sorts import Sorted

LANGUAGE = Group("Language models", sort_key=7)
Method = Literal["setwise-heapsort", "setwise-bubble", "pairwise", "listwise-window", "pointwise"]
Many = Annotated[AtLeastOne | None, Parameter(show_default=False)]
SETWISE = ("setwise-heapsort", "setwise-bubble")
OF_METHODS: dict[str, tuple[str, ...]] = {
    "children": (*SETWISE, "pairwise"),
    "places": (*SETWISE, "pairwise"),
    "votes": SETWISE,
    "window": ("listwise-window",),
    "step": ("listwise-window",),
    "passes": ("listwise-window",),
}
"""Option -> methods that look at it."""
OF_ENDPOINTS = ("served_model", "key", "workers", "cache")


@Parameter(name="*", group=LANGUAGE)
@dataclass(frozen=True)
class Asked:
    """Ranking by a language model.

    Parameters
    ----------
    method
        RANKER is a causal language model, or the URL of an OpenAI-compatible endpoint, and is
        asked: which of some passages is the best (setwise, by a heap or a bubble; pairwise, in both
        orders), in what order they are (listwise-window), whether one is relevant (pointwise).
    write
        A local model writes its answer, instead of telling how likely each label is (endpoints and
        listwise-window always write).
    thinks
        It thinks first, between tags, and answers between others.
    children
        Passages that one is compared with in a question (19).
    places
        Places that are sorted; the rest follows as it was (10).
    votes
        Times that each question is asked, the passages shuffled (1).
    window
        Passages that are ordered at once (20).
    step
        How far the window moves (10).
    passes
        Over the whole list (1).
    query_words
        Words of a query that are shown (64).
    passage_words
        Words of a passage that are shown (150).
    tokens
        That it may write (64; 2,048 where it thinks).
    served_model
        The model's name at the endpoint.
    key
        Environment variable that holds the endpoint's key.
    workers
        Queries at once at an endpoint (8).
    cache
        JSONL file of the endpoint's answers, which are not asked for again.
    calls
        Questions that may be asked in all; what comes after keeps its place.
    """

    method: Method | None = None
    write: Flag = False
    thinks: Flag = False
    children: Many = None
    places: Many = None
    votes: Many = None
    window: Many = None
    step: Many = None
    passes: Many = None
    query_words: Many = None
    passage_words: Many = None
    tokens: Many = None
    served_model: str | None = None
    key: str | None = None
    workers: Many = None
    cache: Path | None = None
    calls: Many = None

    def check(self, ranker: str) -> None:
        """Refuse what nothing would look at.

        Raises
        ------
        OptionError
            Naming the option.
        """
        given = {name: value for name, value in vars(self).items() if value not in (None, False)}
        if self.method is None:
            for name in given:
                raise OptionError(f"{_option(name)} is of language models: give --method too.")
            return
        for name in given:
            if self.method not in OF_METHODS.get(name, (self.method,)):
                raise OptionError(f"{_option(name)} says nothing with --method {self.method}.")
            if name in OF_ENDPOINTS and "://" not in ranker:
                raise OptionError(f"{_option(name)} is of an endpoint: name its URL as the ranker.")
        if "://" in ranker and self.served_model is None:
            raise OptionError("--served-model: which model is it at the endpoint?")
        if self.method == "pointwise" and self._writes(ranker):
            raise OptionError(
                "--method pointwise weighs Yes and No, which only a local model tells."
            )
        if self._writes(ranker):
            return
        for name in ("thinks", "tokens"):
            if name in given:
                raise OptionError(f"{_option(name)} is of a model that writes: give --write too.")

    def _writes(self, ranker: str) -> bool:
        return self.write or "://" in ranker or self.method == "listwise-window"

    @property
    def asking(self) -> Asking:
        """How texts are shown."""
        from policyrank.train.language_rankers import Asking

        shown = _given(query_words=self.query_words, passage_words=self.passage_words)
        return Asking(thinks=self.thinks, **shown)

    def ranker(self, name: str, dtype: str | None, seen: Seen) -> tuple[LanguageRanker, Budget]:
        """Who ranks, and the budget of its questions; ``seen`` counts those that are too long."""
        from policyrank.train.language_rankers import Budget, LanguageRanker

        options = _given(
            children=self.children,
            k=self.places,
            votes=self.votes,
            window=self.window,
            step=self.step,
            passes=self.passes,
        )
        assert self.method is not None
        how = Budget(self._model(name, dtype, seen), self.calls)
        asked: dict[str, Any] = {"write": how} if self._writes(name) else {"weigh": how}
        return LanguageRanker(asking=self.asking, method=self.method, **asked, **options), how

    def _model(self, name: str, dtype: str | None, seen: Seen) -> Any:
        tokens = self.tokens or (2048 if self.thinks else 64)
        if "://" in name:
            from policyrank.train.endpoints import Endpoint

            assert self.served_model is not None
            endpoint = Endpoint(
                name,
                self.served_model,
                key=self.key,
                temperature=0.0,
                max_tokens=tokens,
                cache=self.cache,
                report=say,
            )
            return lambda prompts: [answers[0] for answers in endpoint(prompts)]
        from policyrank.models.language import load_causal_lm
        from policyrank.train.language_rankers import weigher, writer

        model, tokenizer = load_causal_lm(name, **_given(dtype=dtype))
        if self._writes(name):
            return writer(model, tokenizer, tokens=tokens, seen=seen)
        return weigher(model, tokenizer, max_length=2**20, seen=seen)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def rerank_by_language(
    name: str,
    asked: Asked,
    dtype: str | None,
    texts: tuple[dict[str, str], dict[str, str]],
    run: pl.DataFrame,
) -> pl.DataFrame:
    """A run in the order of a language model: query, document, score (places from the end)."""
    import polars as pl

    from policyrank.models.fitting import Seen
    from policyrank.train.language_rankers import rerank_all

    queries, documents = texts
    listed = run.sort("query", "score", "document", descending=[False, True, True])
    groups = listed.group_by("query", maintain_order=True).agg("document")
    lists = []
    for query, names in groups.iter_rows():
        missing = [own for own in names if own not in documents]
        if query not in queries or missing:
            lacking = f"document {missing[0]!r}" if missing else f"query {query!r}"
            raise EvidenceError(f"the run names {lacking}, which has no text.")
        lists.append((queries[query], [documents[own] for own in names]))
    _tell_cut(queries, lists, asked)
    seen = Seen()
    ranker, budget = asked.ranker(name, dtype, seen)
    workers = (asked.workers or 8) if "://" in name else 1
    found: list[Sorted] = []
    with working("Ranking ...") as update:
        ranked = rerank_all(
            ranker,
            lists,
            concurrency=workers,
            report=lambda done, of: update(f"{done:,} of {of:,} queries"),
        )
        found += ranked
    _tell(found, budget)
    if seen.long:
        less = "show less (--passage-words, --children, --window)"
        say(
            f"! {seen.long:,} questions are longer than the model reads, and were not asked: {less}"
        )
    rows = []
    for (query, names), own in zip(groups.iter_rows(), found, strict=True):
        rows += [
            (query, names[item], float(len(names) - place)) for place, item in enumerate(own.order)
        ]
    return pl.DataFrame(rows, schema=["query", "document", "score"], orient="row")


def _tell_cut(queries: dict[str, str], lists: list[tuple[str, list[str]]], asked: Asked) -> None:
    """What of the texts is not shown, and who has no candidates."""
    if len(lists) < len(queries):
        say(f"{len(queries) - len(lists):,} queries have no candidates, and are not in the run")
    passages = [text for _, own in lists for text in own]
    for what, texts, most in (
        ("queries", [query for query, _ in lists], asked.asking.query_words),
        ("candidates", passages, asked.asking.passage_words),
    ):
        longer = sum(len(text.split()) > most for text in texts)
        if longer:
            option = f"--{'query' if what == 'queries' else 'passage'}-words"
            say(
                f"{longer:,} of {len(texts):,} {what} are longer than {most:,} words: their end is"
                f" not shown ({option})"
            )


def _tell(found: list[Sorted], budget: Budget) -> None:
    """How often it was asked, and what could not be read."""
    invalid = sum(own.invalid for own in found)
    say(
        f"{len(found):,} queries, {budget.asked:,} questions asked; {invalid:,} without an answer"
        " that could be read"
    )
    if budget.refused:
        say(f"! {budget.refused:,} more were not asked: --calls {budget.calls:,} were spent")
    kept = sum(own.gave_up for own in found)
    if kept:
        say(f"! {kept:,} queries are as the first stage had them: most answers could not be read")
