"""How a language model is asked about passages, and how much of them is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.conversations import Prompt
from policyrank.evidence.settings_files import read_settings, refuse_others

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
"""Characters of scripts that put no blanks between words: Thai, Lao, Burmese, Khmer, kana, Han."""

_WORD = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")


def first_words(text: str, words: int) -> str:
    """The first words of a text, on one line.

    Where a script puts no blanks between words, each of its characters counts as one.

    Examples
    --------
    >>> first_words("one two  three", 2), first_words("今日は良い天気です", 3)
    ('one two ...', '今日は ...')
    """
    found = list(islice(_WORD.finditer(text), words + 1))
    more = len(found) > words
    if more:
        text = text[: found[words].start()]
    return " ".join(text.split()) + (" ..." if more else "")


def count_words(text: str) -> int:
    """The words of a text, as ``first_words`` counts them."""
    return sum(1 for _ in _WORD.finditer(text))


def longer_than(text: str, words: int) -> bool:
    """Whether a text has more words than that."""
    return len(list(islice(_WORD.finditer(text), words + 1))) > words


@dataclass(frozen=True)
class Questions:
    """The texts of the questions, to be written in other words or languages.

    ``{query}`` and ``{passages}`` stand for what is shown, ``{count}`` for how many passages,
    ``{how}`` for ``label`` or ``think``.

    Parameters
    ----------
    choice
        which passage is the most relevant; passages are labelled [1], [2], ...
    letter
        the same; passages are labelled A:, B:, ...
    order
        in what order the passages are relevant
    relevance
        whether a passage is relevant: ``yes`` or ``no``
    label, think
        how to answer: at once, or after thinking between tags
    yes, no
        the answers about one passage
    """

    choice: str = (
        "Which of these passages is the most relevant to the query?\n\nQuery: {query}\n\n"
        "{passages}\n\n{how} The answer is the label of one passage, such as [2], and nothing else."
    )
    letter: str = (
        "Which of these passages is the most relevant to the query?\n\nQuery: {query}\n\n"
        "{passages}\n\nAnswer with the letter of one passage alone."
    )
    order: str = (
        "Order these {count} passages by their relevance to the query, the most relevant first."
        "\n\nQuery: {query}\n\n{passages}\n\n{how} The answer names each label once, such as"
        " [2] > [1] > [3], and nothing else."
    )
    relevance: str = (
        "Does this passage answer the query?\n\nQuery: {query}\n\nPassage: {passages}\n\nAnswer"
        " Yes or No."
    )
    label: str = "Answer with the label alone."
    think: str = (
        "Think first about what the query asks and about each passage, between <think> and"
        " </think>, then answer between <answer> and </answer>."
    )
    yes: str = "Yes"
    no: str = "No"

    def __post_init__(self) -> None:
        for name in ("choice", "letter", "order", "relevance"):
            for part in ("{query}", "{passages}"):
                if part not in getattr(self, name):
                    raise OptionError(f"question {name!r} does not show {part}.")


def read_questions(path: str | Path) -> Questions:
    """Texts of questions from a TOML or YAML file; those that it does not have are as usual.

    Raises
    ------
    EvidenceError, OptionError
        For a file that has other names, no texts, or questions that do not show what they ask
        about.
    """
    found = read_settings(path)
    refuse_others(found, [own.name for own in fields(Questions)], str(path))
    for name, text in found.items():
        if not isinstance(text, str) or not text.strip():
            raise EvidenceError(f"{path}: {name} is no text.")
    return Questions(**found)


@dataclass(frozen=True)
class Asking:
    """How a model is asked, and how passages are shown.

    Parameters
    ----------
    thinks
        it thinks between tags before it answers between tags
    query_words, passage_words
        words of a query and of a passage that are shown; what is longer is cut at its end
    system
        message before the question, for models with a chat template; None: none
    questions
        their texts
    """

    thinks: bool = False
    query_words: int = 64
    passage_words: int = 150
    system: str | None = None
    questions: Questions = field(default_factory=Questions)

    def choice(self, query: str, passages: Sequence[str]) -> Prompt:
        """Which passage is the most relevant?"""
        shown = self._listed(passages, [f"[{k + 1}]" for k in range(len(passages))])
        return self._asked(self.questions.choice, query, shown, len(passages))

    def letter(self, query: str, passages: Sequence[str]) -> Prompt:
        """The same with letters as labels, which are one token each: to be weighed."""
        shown = self._listed(passages, [f"{letter}:" for letter in LETTERS[: len(passages)]])
        return self._asked(self.questions.letter, query, shown, len(passages))

    def order(self, query: str, passages: Sequence[str]) -> Prompt:
        """In what order are the passages relevant?"""
        shown = self._listed(passages, [f"[{k + 1}]" for k in range(len(passages))])
        return self._asked(self.questions.order, query, shown, len(passages))

    def relevance(self, query: str, passage: str) -> Prompt:
        """Is the passage relevant?"""
        shown = first_words(passage, self.passage_words)
        return self._asked(self.questions.relevance, query, shown, 1)

    def _listed(self, passages: Sequence[str], labels: Sequence[str]) -> str:
        shown = (first_words(text, self.passage_words) for text in passages)
        return "\n".join(f"{label} {text}" for label, text in zip(labels, shown, strict=True))

    def _asked(self, question: str, query: str, shown: str, count: int) -> Prompt:
        how = self.questions.think if self.thinks else self.questions.label
        filled = {
            "{query}": first_words(query, self.query_words),
            "{passages}": shown,
            "{count}": str(count),
            "{how}": how,
        }
        # In one pass: a passage may hold such a mark itself.
        text = re.sub(r"\{(?:query|passages|count|how)\}", lambda mark: filled[mark[0]], question)
        if self.system is None:
            return text
        return [{"role": "system", "content": self.system}, {"role": "user", "content": text}]
