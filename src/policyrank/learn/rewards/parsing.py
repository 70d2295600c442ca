"""What a model's text says: a choice, an order, a list, blocks, a number.

The same parse serves training and inference, and rewards and segments: what is found says where in
the text it stands. Strict: what a reward should pay for; lenient: what can be made of an answer
when one is needed, and what was mended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Trouble = Literal["", "no answer", "not one of them", "several", "incomplete", "out of range"]
Span = tuple[int, int]
T = TypeVar("T")

_BOTH = re.compile(r"<think>.*?</think>\s*<answer>(.*?)</answer>", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"[\[［【〔]\s*(\d+)\s*[\]］】〕]")
_ID = re.compile(r"\d+", re.ASCII)
_ANY_ID = re.compile(r"\d+")
"""Numbers in the digits of any script."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_LISTED = re.compile(r"^\s*(?:[-*•]+|\(?\d{1,3}[.):])\s+")


@dataclass(frozen=True)
class Said(Generic[T]):
    """A text's answer.

    Attributes
    ----------
    value
        what it says; None where nothing can be made of it
    trouble
        why not, or what was mended; empty where all is well
    span
        first character, and the one after the last, of what was read
    """

    value: T | None
    trouble: Trouble = ""
    span: Span = (0, 0)


def answer_block(text: str, *, strict: bool = True) -> tuple[str, Span] | None:
    """What stands between the tags ``<answer>`` and ``</answer>``, and where; None: nowhere.

    Strict: the first that follows a closed ``<think>`` block, tags in lower case (Rank-R1,
    ReasonRank). Lenient: the last one, closed or not; without one, what follows the thinking, or
    the whole text; thinking that does not end has no answer.

    Examples
    --------
    >>> answer_block("<think>a</think> <answer>[3]</answer>")
    ('[3]', (25, 28))
    >>> answer_block("[3]") is None, answer_block("[3]", strict=False)
    (True, ('[3]', (0, 3)))
    """
    if strict:
        found = _BOTH.search(text)
        return None if found is None else (found[1], found.span(1))
    tagged = list(_ANSWER.finditer(text))
    if tagged:
        return tagged[-1][1], tagged[-1].span(1)
    start = text.rfind("</think>")
    if start < 0 and text.lstrip().startswith("<think>"):
        return None
    start = 0 if start < 0 else start + len("</think>")
    return text[start:], (start, len(text))


def choice(text: str, items: int, *, strict: bool = True) -> Said[int]:
    """Which of ``items`` is chosen: 0, 1, ...

    Strict: the answer is a label alone, ``[3]``. Lenient: the only label of one of them in it, or
    the only number.

    Examples
    --------
    >>> choice("<think>a</think><answer> [3] </answer>", 5).value
    2
    >>> choice("<think>a</think><answer>[03]</answer>", 5).trouble
    'not one of them'
    >>> choice("The best is 3.", 5, strict=False).value
    2
    """
    found = answer_block(text, strict=strict)
    if found is None:
        return Said(None, "no answer")
    content, span = found
    if strict:
        labels = [content.strip()]
        known = {f"[{k + 1}]": k for k in range(items)}
        if labels[0] not in known:
            return Said(None, "not one of them", span)
        return Said(known[labels[0]], "", span)
    named = _LABEL.findall(content) or _ANY_ID.findall(content)
    chosen = {int(label) - 1 for label in named if 1 <= int(label) <= items}
    if len(chosen) != 1:
        return Said(None, "several" if chosen else "not one of them", span)
    return Said(chosen.pop(), "", span)


def permutation(text: str, items: int, *, strict: bool = True) -> Said[tuple[int, ...]]:
    """An order of ``items``, 0, 1, ..., as ``[2] > [1]`` says it.

    Strict: each number from 1 to ``items`` once, and no other. Lenient: others and repetitions are
    left out, and what is missing follows in the order in which it was shown (RankGPT); what was
    mended is said.

    Examples
    --------
    >>> permutation("<think></think><answer>[2] > [3] > [1]</answer>", 3).value
    (1, 2, 0)
    >>> permutation("[2] > [1]", 3, strict=False)
    Said(value=(1, 0, 2), trouble='incomplete', span=(0, 9))
    """
    found = answer_block(text, strict=strict)
    if found is None:
        return Said(None, "no answer")
    content, span = found
    known = _ID if strict else _ANY_ID
    said = [int(number) - 1 for number in known.findall(content)]
    if not strict and _LABEL.search(content):
        said = [int(number) - 1 for number in _LABEL.findall(content)]
    order = tuple(dict.fromkeys(k for k in said if 0 <= k < items))
    trouble: Trouble = ""
    if len(order) < items:
        trouble = "incomplete"
    if len(said) > len(order):
        trouble = "several"
    if any(not 0 <= k < items for k in said):
        trouble = "out of range"
    if strict:
        plain = all(number == str(int(number)) for number in _ID.findall(content))
        if trouble or not plain:
            return Said(None, trouble or "not one of them", span)
        return Said(order, "", span)
    if not order:
        return Said(None, trouble or "no answer", span)
    rest = tuple(k for k in range(items) if k not in order)
    return Said(order + rest, trouble, span)


def number(text: str, low: float, high: float, *, strict: bool = True) -> Said[float]:
    """A number from ``low`` to ``high``.

    Strict: the answer is a number alone. Lenient: the first number of the answer; a decimal comma
    between digits is a point. A number outside is no number: it would move everybody's rank.

    Examples
    --------
    >>> number("<think></think><answer>.75</answer>", 0, 1).value
    0.75
    >>> number("about 3,51 of 5", 1, 5, strict=False).value
    3.51
    >>> number("75", 0, 1, strict=False).trouble
    'out of range'
    """
    found = answer_block(text, strict=strict)
    if found is None:
        return Said(None, "no answer")
    content, span = found
    plain = content if strict else re.sub(r"(?<=\d),(?=\d{1,2}\b)", ".", content)
    first = _NUMBER.fullmatch(plain.strip()) if strict else _NUMBER.search(plain)
    if first is None:
        return Said(None, "not one of them", span)
    value = float(first[0])
    if not low <= value <= high:
        return Said(None, "out of range", span)
    return Said(value, "", span)


@dataclass(frozen=True)
class Listed:
    """A line of a list: its text without marks and numbering (empty: nothing), and its place.

    The span takes the line's end with it, so that the spans of a list meet.
    """

    text: str
    span: Span


def lines(text: str, start: int = 0) -> tuple[Listed, ...]:
    """The items of a list, a line each: (items,); an empty line is an item that says nothing.

    Places are kept: what cannot be read stands where it stood, so that item k of the reward is
    segment k of the tokens.

    Examples
    --------
    >>> [item.text for item in lines("1. Up (2009)\\n\\n- **Heat** (1995)")]
    ['Up (2009)', '', 'Heat (1995)']
    """
    out = []
    for line in text.splitlines(keepends=True):
        plain = _LISTED.sub("", line.strip() + " ").strip()
        plain = re.sub(r"(\*\*|__)(.+?)\1", r"\2", plain).strip("\"'` ")
        out.append(Listed(plain, (start, start + len(line))))
        start += len(line)
    return tuple(out)


def blocks(text: str, names: Sequence[str]) -> tuple[Span, ...] | None:
    """Where the blocks ``<NAME>...</NAME>`` stand, in this order: their content; None: not so.

    Each once, none inside another.

    Examples
    --------
    >>> blocks("<SLATE>[1] [2]</SLATE> <RANK>[2]</RANK>", ["SLATE", "RANK"])
    ((7, 14), (29, 32))
    """
    found, place = [], 0
    for name in names:
        opens, closes = f"<{name}>", f"</{name}>"
        if text.count(opens) != 1 or text.count(closes) != 1:
            return None
        start, end = text.index(opens) + len(opens), text.index(closes)
        if start - len(opens) < place or end < start:
            return None
        found.append((start, end))
        place = end + len(closes)
    return tuple(found)
