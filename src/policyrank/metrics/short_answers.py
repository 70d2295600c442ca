"""Short answers judged by the right ones: exact match, token F1, and whether a text holds one."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACED = str.maketrans(dict.fromkeys(string.punctuation, " "))
CLOSED = frozenset({"yes", "no", "true", "false"})
"""Answers that any text may hold by chance."""


def normalised_answer(text: str) -> str:
    """In lower case, without punctuation, articles and needless blanks, as SQuAD has it.

    Examples
    --------
    >>> normalised_answer("The  Jay-Z label!")
    'jayz label'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(said: str, right: Sequence[str]) -> float:
    """1 where a normalised answer is one of the right ones; NaN without any.

    Examples
    --------
    >>> exact_match("the Ulm.", ["Bern", "Ulm"])
    1.0
    """
    if not right:
        return float("nan")
    own = normalised_answer(said)
    return float(any(own == normalised_answer(answer) for answer in right))


def token_f1(one: Sequence[str], other: Sequence[str]) -> float:
    """F1 of two bags of words: 2 (in both) / (in one + in other); 0 when nothing is shared.

    Examples
    --------
    >>> one = "host nation of 2004 summer olympic games".split()
    >>> round(token_f1(one, "host nation of 2004 summer olympics".split()), 3)
    0.769
    """
    shared = sum((Counter(one) & Counter(other)).values())
    return 2 * shared / (len(one) + len(other)) if shared else 0.0


def answer_f1(said: str, right: Sequence[str]) -> float:
    """The best F1 of normalised words with one of the right answers; NaN without any.

    Examples
    --------
    >>> round(answer_f1("the town of Ulm", ["Ulm", "Bern"]), 3)
    0.5
    """
    if not right:
        return float("nan")
    own = normalised_answer(said).split()
    return max(token_f1(own, normalised_answer(answer).split()) for answer in right)


def query_words(text: str) -> list[str]:
    """Words of a query by which queries are alike: punctuation divides, articles are left out.

    References
    ----------
    Zeng et al. (2026), "CoSearch", arXiv 2604.17555, Algorithm 2.

    Examples
    --------
    >>> query_words("Jay-Z's the current label")
    ['jay', 'z', 's', 'current', 'label']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_SPACED)).split()


@lru_cache(maxsize=100_000)
def _tokens(text: str) -> str:
    """Runs of letters, digits and marks, and other visible characters alone, between blanks."""
    plain = unicodedata.normalize("NFD", text).lower()
    found = []
    for together, signs in groupby(plain, lambda sign: unicodedata.category(sign)[0] in "LNM"):
        if together:
            found.append("".join(signs))
        else:
            found += [sign for sign in signs if not sign.isspace()]
    return " " + " ".join(found) + " "


def holds_answer(text: str, right: Sequence[str]) -> bool:
    """Whether a text holds a right answer, word for word; accents and punctuation count.

    False where all right answers are yes, no, true or false.

    References
    ----------
    Zeng et al. (2026), "CoSearch", arXiv 2604.17555 (its released code).

    Examples
    --------
    >>> holds_answer("Born in Ulm, 1879.", ["ulm"]), holds_answer("Ulmer", ["Ulm"])
    (True, False)
    >>> holds_answer("Yes, it is.", ["yes"])
    False
    """
    if all(answer.strip().lower() in CLOSED for answer in right):
        return False
    within = _tokens(text)
    return any(_tokens(answer).strip() and _tokens(answer) in within for answer in right)
