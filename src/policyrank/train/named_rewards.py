"""Rewards that have names: of lists and choices by labels, of programs, of judges.

Each makes a ``Reward``. What cannot be read earns 0 and is told as the part ``unparsed``; where a
row has no label, the reward does not apply (NaN).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.answers import text_of
from policyrank.learn import Reward, Rewards, Rollouts
from policyrank.learn.rewards import Rubric, coverage, ndcg, rubric_reward
from policyrank.learn.rewards.parsing import answer_block, choice, permutation
from policyrank.models.fitting import Seen
from policyrank.models.language import choice_probs
from policyrank.train.judges import Scorer
from policyrank.train.program_tests import shares_passed
from policyrank.train.programs import read_problems
from policyrank.worlds import problem_texts

Ranked = Literal["ndcg", "recall"]
CRITERION = """Does the answer meet the criterion?

Question: {prompt}

Answer: {answer}

Criterion: {criterion}

Yes or no:"""


def list_reward(
    metric: Ranked = "ndcg",
    *,
    label: str = "label",
    places: int | None = None,
    strict: bool = True,
) -> Reward:
    """nDCG or recall of the order that an output gives, such as ``[2] > [1]``.

    Parameters
    ----------
    label
        column with the relevance of each item, in the order in which they are shown
    places
        first places that count; None: all
    strict
        as of ``learn.rewards.parsing.permutation``
    """

    def value(text: str, relevance: Tensor) -> float | None:
        said = permutation(text, len(relevance), strict=strict).value
        if said is None:
            return None
        ranked = relevance[list(said)][None]
        if metric == "ndcg":
            return float(ndcg(ranked, relevance, k=places))
        top = (ranked[:, :places] > 0).sum(dim=-1)
        return float(coverage(top, torch.tensor([len(relevance)]), (relevance > 0).sum()))

    if metric not in ("ndcg", "recall"):
        raise OptionError(f"metric={metric!r}: use ndcg or recall.")
    return _parsed(metric, label, value)


def choice_reward(*, label: str = "label", strict: bool = True) -> Reward:
    """The relevance of the item that an output chooses, such as ``[3]``, over the highest one."""

    def value(text: str, relevance: Tensor) -> float | None:
        said = choice(text, len(relevance), strict=strict).value
        best = float(relevance.max())
        if best <= 0:
            return math.nan
        return None if said is None else float(relevance[said]) / best

    return _parsed("choice", label, value)


def exact_reward(*, label: str = "label", strict: bool = True) -> Reward:
    """1 where the answer is what the label says, blanks around it aside."""

    def reward(group: Rollouts) -> Rewards:
        wanted = _column(group, label, "exact")
        said = [answer_block(text, strict=strict) for text in _texts(group)]
        if wanted is None:
            return _told([math.nan] * len(group), [own is None for own in said])
        values = []
        for own in said:
            values.append(float(own is not None and own[0].strip() == str(wanted).strip()))
        return _told(values, [own is None for own in said])

    reward.__name__ = "exact"
    return reward


def program_reward(*, seconds: float = 2.0, packages: Sequence[str] = ()) -> Reward:
    """The share of a problem's tests that the program in an output passes, in the sandbox.

    Rows are those of ``train.programs.read_problems``; whether all pass is the part ``passed``.
    """

    def reward(group: Rollouts) -> Rewards:
        own = {name: values[0] for name, values in group.columns.items()}
        row = {"prompt": text_of(group.prompts[0])} | own
        problems = read_problems([row], problem_texts.check_statements)
        (shares,) = shares_passed(problems, [_texts(group)], seconds=seconds, packages=packages)
        values = torch.tensor(shares)
        return Rewards(values, {"passed": (values == 1).float()})

    reward.__name__ = "tests"
    return reward


def rubric_by(
    model: Any,
    tokenizer: Any,
    *,
    column: str = "rubric",
    template: str = CRITERION,
    max_length: int = 2048,
    chat: bool | None = None,
    seen: Seen | None = None,
) -> Reward:
    """The weighted share of a rubric's criteria that an output meets, by a language model.

    A verdict is the probability of yes against no; one that is too long to be asked counts as not
    met, and ``seen`` counts it.

    Parameters
    ----------
    column
        list of ``{"criterion": text, "weight": number, "category": name}``, the last two optional
    template
        with {prompt}, {answer}, {criterion}
    """

    def reward(group: Rollouts) -> Rewards | list[float]:
        rows = _column(group, column, "rubric")
        if rows is None:
            return [math.nan] * len(group)
        rubric = read_rubric(rows)
        asked, prompt = [], text_of(group.prompts[0])
        for answer in _texts(group):
            for own in rows:
                shown = {"prompt": prompt, "criterion": own["criterion"]}
                asked.append(template.format(answer=answer, **shown))
        chances = choice_probs(
            model, tokenizer, asked, ["Yes", "No"], max_length=max_length, chat=chat, seen=seen
        )
        verdicts = torch.tensor(chances[:, 0]).reshape(len(group), len(rows)).float()
        met = verdicts.nan_to_num(nan=0.0).mean(dim=-1)
        return Rewards(rubric_reward(verdicts, rubric), {"met": met})

    reward.__name__ = "rubric"
    return reward


def read_rubric(rows: Any) -> Rubric:
    """A rubric from a row's column.

    Raises
    ------
    EvidenceError
        For anything else than a list of criteria.
    """
    weights, categories = [], []
    try:
        for own in rows:
            if not isinstance(own["criterion"], str):
                raise TypeError("a criterion is a text")
            weights.append(float(own.get("weight", 1.0)))
            categories.append(str(own.get("category", "")))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise EvidenceError(
            f"a rubric is a list of criterion (text), weight, category: {str(rows)[:80]} ({error})."
        ) from None
    if not weights:
        raise EvidenceError("a rubric without a criterion.")
    names = sorted(set(categories))
    at = torch.tensor([names.index(name) for name in categories])
    return Rubric(torch.tensor(weights), at)


def of_scorer(scorer: Scorer, name: str) -> Reward:
    """A reward model, a judge or a likelihood (``train.judges``) as a reward; NaN: not scored."""

    def reward(group: Rollouts) -> list[float]:
        return list(scorer([group.prompts[0]], [_texts(group)])[0])

    reward.__name__ = name
    return reward


def _parsed(name: str, label: str, value: Callable[[str, Tensor], float | None]) -> Reward:
    """A reward by the relevance of items and what each text says of them; None: unparsed."""

    def reward(group: Rollouts) -> Rewards:
        found: list[float | None] = [math.nan] * len(group)
        given = _column(group, label, name)
        if given is not None:
            relevance = _relevance(given, label)
            found = [value(text, relevance) for text in _texts(group)]
        values = [0.0 if own is None else own for own in found]
        return _told(values, [own is None for own in found])

    reward.__name__ = name
    return reward


def _relevance(given: Any, label: str) -> Tensor:
    try:
        relevance = torch.tensor([float(own) for own in given])
    except (TypeError, ValueError):
        relevance = torch.zeros(0)
    if not len(relevance) or not bool(relevance.isfinite().all()):
        raise EvidenceError(
            f"column {label!r} holds {str(given)[:60]}: it has the relevance of each item, a list."
        )
    return relevance


def _told(values: Sequence[float], unparsed: Sequence[bool]) -> Rewards:
    return Rewards(torch.tensor(values), {"unparsed": torch.tensor(unparsed).float()})


def _texts(group: Rollouts) -> list[str]:
    return [text_of(own) for own in group.completions]


def _column(group: Rollouts, name: str, reward: str) -> Any:
    """What the data say of a group's prompt."""
    if name not in group.columns:
        there = ", ".join(group.columns) or "none"
        raise OptionError(f"reward {reward} reads a column {name!r}; there are: {there}.")
    return group.columns[name][0]
