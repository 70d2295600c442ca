"""Rubrics as a chain of evidence: what was named, cited, supported, and connected to the answer.

A rubric is a statement of one hop with placeholders, ``"<E1> directed <E0>"``; ``<E0>`` is the
answer. A judge says which entities an answer names and which filled statements its citations
support; the rest is exact. Connection goes by placeholders, not by what they are filled with: a
wrong but consistent chain scores, which is why the outcome must gate it (``mixed_outcome``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policyrank.errors import OptionError

ROOT = "E0"
_PLACEHOLDER = re.compile(r"<(E\d+)>")
_REFERENCES = "## References"
_STRICT = re.compile(r"\[\d+\]\((https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)\)(?=[\],])")
_ANY = re.compile(r"\]\(((?:view-source:)?https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)\)")
_PROXIES = ("view-source:", "https://r.jina.ai/", "http://r.jina.ai/")


def placeholders(text: str) -> frozenset[str]:
    """The entities that a statement speaks of.

    Examples
    --------
    >>> sorted(placeholders("<E0> featured a bout between <E1> and <E2>"))
    ['E0', 'E1', 'E2']
    """
    return frozenset(_PLACEHOLDER.findall(text))


def filled(text: str, values: Mapping[str, str | None]) -> str | None:
    """A statement with its entities named; None where one is not.

    Examples
    --------
    >>> filled("<E1> directed <E0>", {"E0": "Heat", "E1": "Michael Mann"})
    'Michael Mann directed Heat'
    """
    named = {name: values.get(name) for name in placeholders(text)}
    if any(value is None for value in named.values()):
        return None
    return _PLACEHOLDER.sub(lambda found: str(named[found[1]]), text)


def reachable_rubrics(
    entities: Sequence[frozenset[str] | set[str]], supported: Sequence[bool], root: str = ROOT
) -> tuple[bool, ...]:
    """Which supported statements hang together with the answer: (rubrics,).

    Statements and entities are the two sides of a graph; what is reached from the root through
    supported statements alone counts. One without entities is never reached.

    Parameters
    ----------
    entities
        of each statement (``placeholders``)
    supported
        of each

    Raises
    ------
    OptionError
        When there is not one verdict for each statement.

    Examples
    --------
    >>> reachable_rubrics([{"E0", "E1"}, {"E1", "E2"}, {"E3"}], [True, True, True])
    (True, True, False)
    """
    if len(entities) != len(supported):
        raise OptionError(f"{len(supported)} verdicts for {len(entities)} rubrics: give each one.")
    known, left = {root}, [k for k, yes in enumerate(supported) if yes]
    reached: set[int] = set()
    while True:
        new = [k for k in left if k not in reached and known & set(entities[k])]
        if not new:
            return tuple(k in reached for k in range(len(entities)))
        reached.update(new)
        known.update(*(entities[k] for k in new))


@dataclass(frozen=True)
class ChainVerdict:
    """What an answer earns for its evidence, and why.

    Attributes
    ----------
    reward
        statements that count, over all of them, in [0, 1]
    named, supported, reached
        (rubrics,), whether all entities of each are named; what is named and supported; what of
        that is connected to the answer
    """

    reward: float
    named: tuple[bool, ...]
    supported: tuple[bool, ...]
    reached: tuple[bool, ...]


def chain_reward(
    rubrics: Sequence[str],
    values: Mapping[str, str | None],
    supported: Sequence[bool],
    *,
    root: str = ROOT,
    connect: bool = True,
) -> ChainVerdict:
    """The share of a question's statements that an answer named, supported and connected.

    Parameters
    ----------
    rubrics
        statements with placeholders
    values
        placeholder -> the name that the answer gives explicitly; None, or missing: none
    supported
        (rubrics,), whether the cited text supports each; of one that is not named it does not count
    connect
        only what hangs together with the root counts; else all that is supported

    Raises
    ------
    OptionError
        For no rubrics, or another number of verdicts.

    References
    ----------
    "Chaining the Evidence" (CaRR, 2026), arXiv 2601.06021 (its released code).

    Examples
    --------
    >>> chain_reward(["<E1> directed <E0>", "<E1> was born in <E2>"],
    ...              {"E0": "Heat", "E1": "Michael Mann", "E2": None}, [True, True]).reward
    0.5
    """
    if not rubrics:
        raise OptionError("no rubrics: an answer without any has no such reward (give NaN).")
    entities = [placeholders(text) for text in rubrics]
    named = tuple(filled(text, values) is not None for text in rubrics)
    if len(supported) != len(rubrics):
        raise OptionError(f"{len(supported)} verdicts for {len(rubrics)} rubrics: give each one.")
    held = tuple(bool(yes) and there for yes, there in zip(supported, named, strict=True))
    reached = reachable_rubrics(entities, held, root)
    counted = reached if connect else held
    return ChainVerdict(sum(counted) / len(rubrics), named, held, reached)


def citations(text: str, *, strict: bool = True) -> tuple[str, ...]:
    """The addresses that a report cites, each once, in order; its list of references is left out.

    What stands before an address to show its source, or a reader's proxy, is taken off.

    Parameters
    ----------
    strict
        only ``[n](http...)`` directly before ``]`` or ``,`` (CaRR's released code: ``[[1](u)]`` and
        ``[2](u),``, not ``[3](u).``); else every Markdown link

    Examples
    --------
    >>> citations("Heat [[1](http://a.org)] is old [2](http://b.org). ## References [3](http://c)")
    ('http://a.org',)
    >>> citations("Heat [2](view-source:http://b.org).", strict=False)
    ('http://b.org',)
    """
    body = text.rpartition(_REFERENCES)[0] if _REFERENCES in text else text
    pattern = _STRICT if strict else _ANY
    return tuple(dict.fromkeys(_plain(address) for address in pattern.findall(body)))


def _plain(address: str) -> str:
    for proxy in _PROXIES:
        if address.startswith(proxy) and address != proxy:
            return _plain(address.removeprefix(proxy))
    return address


def cited_text(
    text: str, pages: Mapping[str, Sequence[str]], *, most: int = 20, strict: bool = True
) -> str:
    """What the cited pages said, as far as they were seen; an invented address adds nothing.

    Parameters
    ----------
    pages
        address -> what was seen of it: snippets of searches, opened text, finds in the page
    most
        cited addresses that count, the first of those that were seen

    Examples
    --------
    >>> seen = {"http://a.org": ["Heat is a film.", "Heat is a film.", "By Mann."]}
    >>> cited_text("[[1](http://a.org)] [[2](http://made.up)]", seen)
    'Heat is a film.\\nBy Mann.'
    """
    by_address = {_plain(address): own for address, own in pages.items()}
    found = [address for address in citations(text, strict=strict) if address in by_address]
    parts = [part for address in found[:most] for part in by_address[address]]
    return "\n".join(dict.fromkeys(parts))
