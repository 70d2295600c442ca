"""Do language models rank answers as people do, and what could preference training reach?

Chen, Malladi, Zhang, Chen, Zhang, Ranganath and Cho (2024), "Preference Learning Algorithms Do Not
Learn Preference Rankings", arXiv 2405.19534.

**The claim**: models rank fewer than 60% of the answers as people do, although the optimum of
preference training would rank nearly all of them rightly (alignment gap); training raises the
reward accuracy long before the ranking accuracy, because the pairs that the reference ranks wrongly
flip only at a tiny loss; while a policy is near its reference, its ranking accuracy and its win
rate rise together.

**What is done here**: (1) 1,704 real pairs of answers by 59 models to 13 prompts, on which a
majority of people decided (8,931 votes); a tie is half a vote. Log-probabilities under
SmolLM2-135M-Instruct; a prompt is one observation. Beside the model: a coin, and the shorter
answer. The ideal is that of the paper's Theorem 3.1 with the model as reference, and, beside it,
what the paper's released code computes without length normalisation: it multiplies the raters' odds
by the ratio of the two negative log-likelihoods, not of the probabilities, and takes |ratio - 1| <
.05 as a tie. (2) Tabular DPO: 2,000 pairs, reference log-ratio N(0, 30), beta .1, free log-ratios,
gradient descent until the loss is .58, .33, .072 and .010. (3) Short sequences with a known true
reward: DPO, IPO, SLiC and SimPO learn from 300 pairs of a policy's samples
that a noisy judge ordered, 24 epochs at a learning rate of 1e-3; after each epoch ranking accuracy
on pairs of fresh prompts, win rate over the policy before, and KL from it; their correlation over
the checkpoints up to 1 nat, and beyond; a world is one observation. Differences from the paper: one
small model that was not trained on these preferences, other data; distance from the reference by
KL, not in parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit
from torch import Tensor

from policyrank.auditing.preferences import read_pairs, score_pairs
from policyrank.evidence import Scores, datasets
from policyrank.metrics import idealized_log_ratio
from policyrank.models.language import load_causal_lm
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, quiet, scores_of
from policyrank.studies.sequences import Place, RankedSequences, align
from policyrank.worlds.sequences import SequencePolicy

TITLE = "Preference ranking accuracy"
PAPER = "arXiv 2405.19534"
ABOUT = "do language models rank answers as people do, and what could training reach"
Float = NDArray[np.float64]
ACCURACY, TABULAR = "ranking accuracy", "accuracy in tabular DPO"
BETAS = (0.01, 0.1, 1.0, 10.0)
IDEAL = {beta: f"ideal ranking accuracy, beta {beta:g}" for beta in BETAS}
LOSSES = (0.58, 0.33, 0.072, 0.010)
OBJECTIVES = {"DPO": "dpo", "IPO": "ipo", "SLiC": "slic", "SimPO": "simpo"}
TOGETHER = "correlation of ranking accuracy and win rate"
EVERY, NEAR, FAR = "all four objectives", "up to 1 nat", "beyond 1 nat"

UNIT, WORLD = Unit("prompt", "task"), Unit("world")
CLAIMS = (
    Claim("The model ranks better than a coin", "model", "coin", ACCURACY),
    Claim(
        "The model ranks better than taking the shorter answer", "model", "shorter answer", ACCURACY
    ),
    Claim("Per token, the model ranks better than a coin", "model, per token", "coin", ACCURACY),
    Claim("The ideal at beta .1 lies far (.2) above the model", "ideal", "model", IDEAL[0.1], 0.2),
    Claim(
        "Per token, the ideal at beta .1 lies far (.2) above the model",
        "ideal, per token",
        "model, per token",
        IDEAL[0.1],
        0.2,
    ),
    Claim(
        "At beta 1 the released code's ideal lies above the theorem's (.1)",
        "ideal, released code",
        "ideal",
        IDEAL[1.0],
        0.1,
    ),
    Claim("... and at beta 10", "ideal, released code", "ideal", IDEAL[10.0], 0.1),
    Claim(
        "In training, reward accuracy runs ahead of ranking accuracy (.2)",
        "reward accuracy",
        "ranking accuracy",
        TABULAR,
        0.2,
        ("loss 0.58", "loss 0.33"),
        unit=Unit("draw"),
    ),
    *for_each(
        (*OBJECTIVES, EVERY),
        Claim(
            "Near the reference, ranking accuracy and win rate rise together: {}",
            "{}",
            0.0,
            TOGETHER,
            tasks=(NEAR,),
            unit=WORLD,
        ),
    ),
    Claim(
        "They go together more near the reference than far from it",
        EVERY,
        EVERY,
        TOGETHER,
        tasks=(NEAR,),
        than_tasks=(FAR,),
        unit=WORLD,
    ),
)


@dataclass(frozen=True)
class Size:
    """``draws``: of tabular DPO; ``worlds``, ``steps`` of imitation, ``epochs``: of sequences."""

    draws: int
    worlds: int
    steps: int
    epochs: int
    judged: int
    device: str | None = "cpu"


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, worlds=2, steps=50, epochs=4, judged=50),
    "small": Size(20, worlds=16, steps=600, epochs=24, judged=200),
    "full": Size(100, worlds=100, steps=600, epochs=24, judged=400, device=None),
}


def released_ideal(chosen: Float, rejected: Float, alpha: Float, beta: float) -> NDArray[np.bool_]:
    """Whether the paper's released code counts the ideal as right (not the theorem's formula)."""
    odds = logit(np.clip(alpha, 1e-3, 1 - 1e-3)) / beta
    with np.errstate(over="ignore"):
        ratio = np.exp(np.minimum(odds + np.log(chosen / rejected), 700))
    return (ratio > 1) & (np.abs(ratio - 1) >= 0.05)


def tabular_dpo(
    reference: Float, beta: float, losses: tuple[float, ...], step: float = 20.0
) -> list[tuple[Float, float]]:
    """Gradient descent on DPO's loss over free log-ratios.

    Returned are the log-ratios when the mean loss first falls to each level, and that loss.

    Parameters
    ----------
    reference
        (pairs,), log pi_ref(y_w) - log pi_ref(y_l)
    beta
        KL penalty
    losses
        levels, falling
    step
        learning rate
    """
    h, out = reference.copy(), []
    for level in losses:
        while (loss := float(np.logaddexp(0, -beta * (h - reference)).mean())) > level:
            h = h + step * beta * expit(-beta * (h - reference))
        out.append((h.copy(), loss))
    return out


@cache
def smollm2(device: str | None) -> tuple[Any, Any]:
    """The model and its tokenizer, loaded once."""
    return load_causal_lm("smollm2", device=device)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a task is a prompt, a level of the loss, or a distance from the reference."""
    data, size = datasets.load("crowd-pairs"), SCALES[scale]
    if scale == "smoke":
        data = _short(data)
    rows = [*_pairs(data, size.device, report), *_tabular(size.draws, seed)]
    return scores_of([*rows, *_sequences(size, seed, report)])


def _short(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two short pairs of each of three prompts."""
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for pair in sorted(data, key=_length):
        by_prompt.setdefault(pair["slug"], []).append(pair)
    short = []
    for pairs in list(by_prompt.values())[:3]:
        short += pairs[:2]
    return short


def _length(pair: dict[str, Any]) -> int:
    return len(pair["chosen"]) + len(pair["rejected"])


def _pairs(data: list[dict[str, Any]], device: str | None, report: Report) -> Iterator[Row]:
    """The model, the ideal and two trivial rankers on real pairs, by prompt."""
    pairs = read_pairs(data)
    report("loading SmolLM2-135M-Instruct")
    model, tokenizer = smollm2(device)

    def say(done: int, of: int) -> None:
        report(f"{done} of {of} answers")

    chosen, rejected = score_pairs(pairs, model, tokenizer, report=say)
    alpha = np.array([pair.alpha for pair in pairs], dtype=float)
    right = _right(
        _logprobs(chosen), _logprobs(rejected), _tokens(chosen), _tokens(rejected), alpha
    )
    prompt = np.array([pair["slug"] for pair in data])
    for slug in np.unique(prompt):
        for (method, metric), values in right.items():
            yield method, str(slug), metric, 0, float(values[prompt == slug].mean())


def _logprobs(answers: Any) -> Float:
    return np.array([answer.logprob for answer in answers])


def _tokens(answers: Any) -> Float:
    return np.array([max(answer.tokens, 1) for answer in answers], dtype=float)


def _right(
    chosen: Float, rejected: Float, long: Float, short: Float, alpha: Float
) -> dict[tuple[str, str], Float]:
    """Of (method, metric), whether each pair is ranked rightly; ties are half.

    Log-probabilities and tokens are those of the chosen and of the rejected answers.
    """
    gap, by_token = chosen - rejected, chosen / long - rejected / short
    own = (chosen >= rejected).astype(float)
    own_by_token = (chosen / long >= rejected / short).astype(float)
    right = {
        ("model", ACCURACY): own,
        ("model, per token", ACCURACY): own_by_token,
        ("shorter answer", ACCURACY): np.where(long == short, 0.5, long < short),
        ("coin", ACCURACY): np.full(len(chosen), 0.5),
    }
    for beta, metric in IDEAL.items():
        ideal = idealized_log_ratio(gap, alpha, beta) > 0
        ideal_by_token = idealized_log_ratio(by_token, alpha, beta) > 0
        released = released_ideal(chosen, rejected, alpha, beta)
        right["model", metric] = own
        right["model, per token", metric] = own_by_token
        right["ideal", metric] = ideal.astype(float)
        right["ideal, per token", metric] = ideal_by_token.astype(float)
        right["ideal, released code", metric] = released.astype(float)
    return right


def _tabular(draws: int, seed: int) -> Iterator[Row]:
    """Reward and ranking accuracy as the loss of tabular DPO falls."""
    for r in range(draws):
        reference = np.random.default_rng([seed, r]).normal(0, 30, size=2000)
        yield "reward accuracy", "before", TABULAR, r, 0.0
        yield "ranking accuracy", "before", TABULAR, r, float((reference >= 0).mean())
        for level, (h, _) in zip(LOSSES, tabular_dpo(reference, 0.1, LOSSES), strict=True):
            yield "reward accuracy", f"loss {level:g}", TABULAR, r, float((h > reference).mean())
            yield "ranking accuracy", f"loss {level:g}", TABULAR, r, float((h >= 0).mean())


def _sequences(size: Size, seed: int, report: Report) -> Iterator[Row]:
    """How ranking accuracy and win rate go together along the training of each objective."""
    for r in range(size.worlds):
        report(f"checkpoints in world {r + 1} of {size.worlds}")
        place = Place.of(seed, r, size.steps, size.judged)
        found = {name: checkpoints(place, loss, size.epochs) for name, loss in OBJECTIVES.items()}
        found[EVERY] = np.concatenate(list(found.values()))
        for name, table in found.items():
            near = table[:, 2] <= 1.0
            for task, rows in ((NEAR, table[near]), (FAR, table[~near])):
                value = correlation(rows[:, 0], rows[:, 1])
                if value is not None:
                    yield name, task, TOGETHER, r, value


def checkpoints(place: Place, loss: str, epochs: int) -> Float:
    """Ranking accuracy, win rate and KL from the start, before training and after each epoch."""
    draw = place.number * 7919
    x = place.world.prompts(300, seed=draw + 1)
    y = place.base.sample(x, 2, seed=draw + 2)
    generator = torch.Generator().manual_seed(draw + 3)
    noisy = place.world.reward(x, y) + torch.randn(y.shape[:2], generator=generator)
    held = place.arena.prompts
    pairs = place.base.sample(held, 2, seed=draw + 4)
    better = place.world.reward(held, pairs)
    table: list[tuple[float, float, float]] = []

    def note(_: int, policy: SequencePolicy) -> None:
        own = place.arena(policy, place.number)
        table.append((ranked_rightly(policy, held, pairs, better), own["win rate"], own["KL"]))

    note(-1, place.base)
    labels = (noisy == noisy.amax(dim=1, keepdim=True)).float()
    data = RankedSequences(x, y, labels)
    align(place.base, data, loss, epochs=epochs, seed=place.number, watch=note)
    return np.array(table)


@torch.no_grad()
def ranked_rightly(policy: SequencePolicy, x: Tensor, pairs: Tensor, rewards: Tensor) -> float:
    """Share of pairs of which the better answer is the likelier; pairs alike are left out."""
    likelier = policy(x, pairs).sum(dim=-1).diff(dim=1)[:, 0]
    better = rewards.diff(dim=1)[:, 0]
    other = better != 0
    return float((likelier * better > 0)[other].double().mean())


def correlation(a: Float, b: Float) -> float | None:
    """Pearson's; None of fewer than three, or where one does not change."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
