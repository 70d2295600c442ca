"""Rewards of whole settings, made of ``learn.rewards``: each a function of a group's rollouts.

They read columns of the data by the names that each tells, and are named in files
(``places.imported``): ``"policyrank.train.compositions:scored(low=1, high=5, sigma=0.5)"``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from policyrank.learn.rewards import (
    bell,
    consistency_bonus,
    coverage,
    ndcg,
    parsing,
    rank_biased_overlap,
    rank_credit,
    rank_fidelity,
    tiered,
    weighted_sum,
)
from policyrank.learn.rollouts import Reward, Rewards, Rollouts, of_batch

_YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$")
_DECIMALS = re.compile(r"\.(\d*?)0*$")


def text_of(completion: Any) -> str:
    """What a policy wrote, of a text or of messages."""
    if isinstance(completion, str):
        return completion
    own = [one["content"] for one in completion if one.get("role") == "assistant"]
    return "".join(content if isinstance(content, str) else "" for content in own)


def chosen(group: Rollouts) -> Rewards:
    """1 where the answer is the label of the right one, form and all, else 0.

    Columns: ``items``, how many there were to choose from; ``answer``, the right one, from 1.

    References
    ----------
    Rank-R1, arXiv 2503.06034.
    """
    right, formed = [], []
    for text, items, answer in _rows(group, "items", "answer"):
        said = parsing.choice(text, int(items))
        right.append(said.value == int(answer) - 1)
        formed.append(said.trouble != "no answer")
    return Rewards(_numbers(right), {"form": _numbers(formed)})


def ordered(
    *, k: int = 10, recall: float = 0.2, overlap: float = 0.1, unformed: float = -1.0
) -> Reward:
    """nDCG@k + ``recall`` x recall@k + ``overlap`` x average overlap with a teacher's order.

    ``unformed`` where there is no answer block, 0 where it is no order of all items. Columns:
    ``order``, the teacher's, labels from 1; ``relevant``, those that are relevant; ``found``,
    how many relevant ones there are in all (missing: those).

    References
    ----------
    ReasonRank, arXiv 2508.07050 (its code: overlap with p = 1, over the whole list).
    """

    def reward(group: Rollouts) -> Rewards:
        values, tiers, parts = [], [], []
        found = _maybe(group, "found", 0)
        for row, (text, order, relevant) in enumerate(_rows(group, "order", "relevant")):
            said = parsing.permutation(text, len(order))
            tiers.append(0 if said.value is not None else 1 if said.trouble == "no answer" else 2)
            place = said.value or tuple(range(len(order)))
            gains = torch.tensor([[float(item + 1 in relevant) for item in place]])
            many = int(found[row]) or len(relevant)
            hits = gains[:, :k].sum(dim=1)
            views = [
                ndcg(gains, torch.ones(many), k=k),
                coverage(hits, torch.tensor([k]), torch.tensor(many)),
                rank_biased_overlap(torch.tensor([place]) + 1, torch.tensor(order)),
            ]
            parts.append(torch.cat(views))
            values.append(weighted_sum(parts[-1], torch.tensor([1.0, recall, overlap])))
        named = dict(zip(("ndcg", "recall", "overlap"), torch.stack(parts, dim=1), strict=True))
        tier = torch.tensor(tiers)
        held = {name: own.masked_fill(tier > 0, torch.nan) for name, own in named.items()}
        told = tiered(torch.stack(values), tier, {1: unformed, 2: 0.0})
        return Rewards(told, held | {"form": _numbers(tier == 0)})

    reward.__name__ = "ordered"
    return reward


def listed(*, places: int = 20, years: int = 2, future: float | None = 0.0) -> Reward:
    """What each line of a list is credited with: (rows, places), 1 where it names what is sought.

    Each thing sought counts once, where it is first named; "Name (1999)" may be off by ``years``;
    what was seen counts nothing. Columns: ``relevant``, names; ``seen``, names already mentioned
    (missing: none). ``future``: see ``rank_credit``.

    References
    ----------
    Rank-GRPO, arXiv 2510.20150 (``exp_inf``; None: its log variant).
    """

    def reward(group: Rollouts) -> Rewards:
        gains = torch.zeros(len(group), places)
        seen = _maybe(group, "seen", ())
        for row, (text, relevant) in enumerate(_rows(group, "relevant")):
            items = [own.text for own in parsing.lines(text)][:places]
            for place in hits(items, relevant, seen[row], years=years):
                gains[row, place] = 1.0
        return Rewards(rank_credit(gains, future=future), {"hits": gains.sum(dim=1)})

    reward.__name__ = "listed"
    return reward


def hits(
    items: Sequence[str], relevant: Sequence[str], seen: Sequence[str], *, years: int = 2
) -> list[int]:
    """Places at which a list names what is sought, each thing once; the nearest year first.

    Examples
    --------
    >>> hits(["Heat (1995)", "UP (2010)", "Up (2009)"], ["Up (2009)"], ["Heat (1995)"])
    [1]
    """
    left = [_name_and_year(text) for text in relevant]
    known = {_name_and_year(text) for text in seen}
    found = []
    for place, text in enumerate(items):
        name, year = _name_and_year(text)
        near = [one for one in left if one[0] == name and _apart(one[1], year) <= years]
        if (name, year) in known or not near:
            continue
        left.remove(min(near, key=lambda one: _apart(one[1], year)))
        found.append(place)
    return found


def slate_and_order(
    *, names: Sequence[str] = ("SLATE", "RANK"), k: int = 5, unformed: float = 0.0
) -> Reward:
    """Recall of a slate, and nDCG@k of the order of what it holds: (rows, 2).

    Of all that is relevant both, so that the order is judged by what the slate left out, too; what
    is named again, or is not in the slate, earns nothing. ``unformed`` in both where the blocks are
    not there. Columns: ``relevant``, numbers.

    References
    ----------
    F-GRPO, arXiv 2605.12995.
    """

    def reward(group: Rollouts) -> Rewards:
        values, formed = [], []
        for text, relevant in _rows(group, "relevant"):
            spans = parsing.blocks(text, names)
            formed.append(spans is not None)
            if spans is None:
                values.append([unformed, unformed])
                continue
            slate, order = ([int(n) for n in re.findall(r"\d+", text[a:b])] for a, b in spans)
            kept = [n for n in dict.fromkeys(order) if n in slate]
            gains = torch.tensor([[float(n in relevant) for n in kept]])
            held = torch.tensor([len(set(slate) & set(relevant))])
            whole, size = torch.tensor(len(relevant)), torch.tensor([len(set(slate))])
            score = ndcg(gains, torch.ones(len(relevant)), k=k) if kept else torch.zeros(1)
            values.append([coverage(held, size, whole).item(), score.item()])
        found = torch.tensor(values)
        named = {"recall": found[:, 0], "ndcg": found[:, 1], "form": _numbers(formed)}
        return Rewards(found, named)

    reward.__name__ = "slate_and_order"
    return reward


def scored(
    *,
    low: float,
    high: float,
    sigma: float,
    tie: float = 0.5,
    decimals: int = 0,
    bonus: float = 0.0,
    gates: Sequence[float] = (0.9, 0.5),
) -> Reward:
    """Nearness to a score, fidelity to the order of the batch's items, and form: 1 each at most.

    Each group is the answers to one item. An answer without a number earns what its form does.
    Columns: ``target``; with ``bonus``, ``item``, and ``corrupted`` where a row is the twin of an
    item with a spoilt input: twins teach nothing themselves.

    Parameters
    ----------
    low, high
        the scale; numbers outside are none
    sigma, tie
        see ``bell``, ``rank_fidelity``
    decimals
        that an answer has, zeros at its end aside, or nearness counts .8
    bonus, gates
        see ``consistency_bonus``, for nearness and fidelity above their gates, an item at a time

    References
    ----------
    RAPO, arXiv 2509.21871; VQAThinker, arXiv 2508.06051.
    """

    def reward(batch: Rollouts) -> Rewards:
        said, formed, exact = [], [], []
        for text, _ in _rows(batch, "target"):
            own = parsing.number(text, low, high, strict=False)
            said.append(torch.nan if own.value is None else own.value)
            formed.append(parsing.answer_block(text) is not None)
            found = parsing.answer_block(text, strict=False)
            told = _DECIMALS.search(found[0].strip()) if found else None
            exact.append(len(told[1]) if told else 0)
        scores, target = torch.tensor(said), torch.tensor(batch.columns["target"]).float()
        near = bell(scores, target, sigma=sigma)
        near = torch.where(torch.tensor(exact) < decimals, 0.8 * near, near)
        spoilt = torch.tensor([bool(one) for one in _maybe(batch, "corrupted", False)])
        rank = torch.full_like(near, torch.nan)
        for rows in (~spoilt, spoilt):
            rank[rows] = _against_others(scores[rows], target[rows], batch.groups[rows], tie)
        parts = {"near": near, "rank": rank, "form": _numbers(formed)}
        if bonus:
            items = batch.columns["item"]
            for name, gate in zip(("near", "rank"), gates, strict=True):
                more = _bonus(parts[name], spoilt, items, gate, bonus)
                parts[name] = parts[name] + more
        values = weighted_sum(torch.stack(list(parts.values()), dim=-1))
        return Rewards(values.masked_fill(spoilt, torch.nan), parts)

    reward.__name__ = "scored"
    return of_batch(reward)


def _against_others(scores: Tensor, target: Tensor, groups: Tensor, tie: float) -> Tensor:
    """``rank_fidelity`` of groups of any sizes: (answers,)."""
    if not len(scores):
        return scores
    keys, item = groups.unique(return_inverse=True)
    place = torch.zeros_like(item)
    for k in range(len(keys)):
        place[item == k] = torch.arange(int((item == k).sum()))
    table = torch.full((len(keys), int(place.max()) + 1), torch.nan)
    table[item, place] = scores
    of_item = torch.full((len(keys),), torch.nan)
    of_item[item] = target
    return rank_fidelity(table, of_item, tie=tie)[item, place]


def _bonus(
    values: Tensor, spoilt: Tensor, items: Sequence[Any], gate: float, bonus: float
) -> Tensor:
    """What answers earn for beating those on their item's twin: (answers,)."""
    known = {item: k for k, item in enumerate(dict.fromkeys(items))}
    keys = torch.tensor([known[item] for item in items])
    own, twin = values.masked_fill(spoilt, torch.nan), values.masked_fill(~spoilt, torch.nan)
    return consistency_bonus(own, twin, keys, gate=gate, bonus=bonus).masked_fill(spoilt, 0.0)


def _rows(group: Rollouts, *columns: str) -> Any:
    """What each row says, and its columns."""
    texts = [text_of(completion) for completion in group.completions]
    return zip(texts, *(group.columns[name] for name in columns), strict=True)


def _maybe(group: Rollouts, name: str, missing: Any) -> list[Any]:
    """A column that data may lack, in whole or on some rows."""
    own = group.columns.get(name, [None] * len(group))
    return [missing if value is None else value for value in own]


def _numbers(flags: Any) -> Tensor:
    return torch.as_tensor(flags).float()


def _name_and_year(text: str) -> tuple[str, int | None]:
    found = _YEAR.match(text)
    name = " ".join((found[1] if found else text).split()).casefold()
    return name, int(found[2]) if found else None


def _apart(one: int | None, other: int | None) -> float:
    if one is None or other is None:
        return 0.0 if one == other else float("inf")
    return abs(one - other)
