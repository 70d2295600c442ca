"""`policyrank rerank --method`: passages ranked by a language model that is asked about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from policyrank.cli.options import AtLeastOne, Flag
from policyrank.cli.output import say, working
from policyrank.cli.rerank_endpoint import (
    AtEndpoint,
    given,
    lists_of,
    option_name,
    tell_cut,
    tell_missing,
)
from policyrank.errors import OptionError

if TYPE_CHECKING:
    import polars as pl

    from policyrank.train.asking import Asking, Questions
    from policyrank.train.language_rankers import Budget, LanguageRanker
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
OF_RERANK_ENDPOINTS = ("query_words", "passage_words", "calls")
"""What says something about a rerank endpoint too, without a method."""


@Parameter(name="*", group=LANGUAGE)
@dataclass(frozen=True)
class Ordering:
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
        Words of a query that are shown (64; to a rerank endpoint all).
    passage_words
        Words of a passage that are shown (150; to a rerank endpoint all).
    tokens
        That it may write (64, or 8 for each passage of a window; 2,048 where it thinks).
    questions
        TOML or YAML with the questions in other words or another language: choice, letter, order,
        relevance, label, think, yes, no.
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
    questions: Path | None = None

    def check(self, ranker: str) -> None:
        """Refuse what nothing would look at.

        Raises
        ------
        OptionError
            Naming the option.
        """
        told = {name: value for name, value in vars(self).items() if value not in (None, False)}
        if self.method is None:
            for name in told:
                if "://" not in ranker or name not in OF_RERANK_ENDPOINTS:
                    raise OptionError(
                        f"{option_name(name)} is of language models: give --method too."
                    )
            return
        for name in told:
            if self.method not in OF_METHODS.get(name, (self.method,)):
                raise OptionError(f"{option_name(name)} says nothing with --method {self.method}.")
        if self.method == "pointwise" and self._writes(ranker):
            raise OptionError(
                "--method pointwise weighs Yes and No, which only a local model tells."
            )
        if self._writes(ranker):
            return
        for name in ("thinks", "tokens"):
            if name in told:
                raise OptionError(
                    f"{option_name(name)} is of a model that writes: give --write too."
                )

    def _writes(self, ranker: str) -> bool:
        return self.write or "://" in ranker or self.method == "listwise-window"

    @property
    def asking(self) -> Asking:
        """How texts are shown."""
        from policyrank.train.asking import Asking, read_questions

        shown: dict[str, Any] = given(
            query_words=self.query_words, passage_words=self.passage_words
        )
        if self.questions is not None:
            shown["questions"] = read_questions(self.questions)
        return Asking(thinks=self.thinks, **shown)

    def ranker(
        self, name: str, there: AtEndpoint, dtype: str | None, calls: int | None = None
    ) -> tuple[LanguageRanker, Budget]:
        """Who ranks, and the budget of its questions."""
        from policyrank.train.language_rankers import Budget, LanguageRanker

        assert self.method is not None
        options = given(
            children=self.children,
            k=self.places,
            votes=self.votes,
            window=self.window,
            step=self.step,
            passes=self.passes,
        )
        asking = self.asking
        model, more = self._model(name, there, dtype, asking.questions)
        how = Budget(model, calls)
        asked = "write" if self._writes(name) else "weigh"
        options |= {asked: how, **more}
        return LanguageRanker(asking=asking, method=self.method, **options), how

    def _model(
        self, name: str, there: AtEndpoint, dtype: str | None, questions: Questions
    ) -> tuple[Any, dict[str, Any]]:
        """Who answers; what a ranker is told of it beside."""
        if "://" in name:
            endpoint = there.writer(name, self._most_tokens())
            more: dict[str, Any] = {"spent": endpoint.spent}
            return lambda prompts: [answers[0] for answers in endpoint(prompts)], more
        from policyrank.models.language import load_causal_lm
        from policyrank.train import language_rankers as by
        from policyrank.train.spent import Spent

        spent, (model, tokenizer) = Spent(), load_causal_lm(name, **given(dtype=dtype))
        if self._writes(name):
            tokens = self._most_tokens()
            answer: Any = by.writer(model, tokenizer, tokens=tokens, spent=spent)
        else:
            labels = (questions.yes, questions.no)
            tokens = by.label_tokens(
                tokenizer, labels if self.method == "pointwise" else by.LETTERS
            )
            answer = by.weigher(model, tokenizer, spent=spent, max_length=2**20)
        return answer, {"spent": spent, "fits": by.fits_in(model, tokenizer, tokens)}

    def _most_tokens(self) -> int:
        """Tokens of an answer: one label; all of a window's; or also what is thought before."""
        usual = 8 * (self.window or 20) if self.method == "listwise-window" else 64
        return self.tokens or (2048 if self.thinks else max(usual, 64))


@Parameter(name="*", group=LANGUAGE)
@dataclass(frozen=True)
class Asked(Ordering):
    """Ranking by a language model, of a run.

    Parameters
    ----------
    calls
        Questions, or requests to a rerank endpoint, that may be made in all, those that --cache
        answers included; what comes after keeps its place.
    """

    calls: Many = None


def rerank_by_language(
    name: str,
    asked: Asked,
    there: AtEndpoint,
    dtype: str | None,
    texts: tuple[dict[str, str], dict[str, str]],
    run: pl.DataFrame,
) -> pl.DataFrame:
    """A run in the order of a language model: query, document, score (places from the end)."""
    import polars as pl

    from policyrank.train.language_rankers import rerank_all

    queries, documents = texts
    groups, lists = lists_of(queries, documents, run)
    ranker, budget = asked.ranker(name, there, dtype, asked.calls)
    tell_missing(queries, lists)
    tell_cut(lists, ranker.asking.query_words, ranker.asking.passage_words)
    workers = there.at_a_time if "://" in name else 1
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
    for note in ranker.spent.notes():
        say(note)
    rows = []
    for (query, names), own in zip(groups, found, strict=True):
        rows += [
            (query, names[item], float(len(names) - place)) for place, item in enumerate(own.order)
        ]
    return pl.DataFrame(rows, schema=["query", "document", "score"], orient="row")


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
