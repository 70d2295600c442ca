"""PRO: the best answer against the rest, then the second against the rest.

Song et al. (2023), "Preference Ranking Optimization for Human Alignment", arXiv 2306.17492.

**The claim**: learning the whole ranking of n answers, with temperatures from the gaps of rewards
and a term that imitates the best, beats RRHF and imitation of the best answer, and gains from
longer lists.

**What is done here**: the world of short sequences with a known true reward: a GRU imitates the
better of two random answers; 1,500 prompts with n of its samples are ranked by the true reward;
every method has the same lists, start, 4 epochs and learning rate 3e-4. The win rate is that over
the policy before, on 400 fresh prompts. A replicate is a world. "equal gaps" is ListMLE on the same
scores with the same imitation. Real lists: the ten answers of 805 AlpacaEval prompts, a linear
scorer on MiniLM's embedding of the answer and its product with the prompt's, trained by the staged
loss and by ListMLE on labels standardised in each list (40 epochs, learning rate 3e-3, five folds
by prompt; a replicate is a fold), beside the longest answer first. Differences from the paper: no
language model is trained, the labels are the true reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import Scores, datasets
from policyrank.learn import LOSSES
from policyrank.learn.losses.preference import pro
from policyrank.learn.utilities import ndcg_gains
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.sequences import Arena, RankedSequences, align, best_only, start

TITLE = "PRO"
PAPER = "arXiv 2306.17492"
ABOUT = "whole lists: the best answer against the rest, then the second against the rest"


METHODS: dict[str, dict[str, Any]] = {
    "PRO": {"loss": "pro"},
    "PRO without imitation": {"loss": "pro", "sft_weight": 0.0},
    "PRO, equal gaps (ListMLE)": {"loss": "pro", "gaps": False},
    "RRHF": {"loss": "rrhf"},
    "imitation of the best": {"loss": best_only},
}
LENGTHS = (2, 3, 5, 8)
LISTS = "AlpacaEval"
WIN = "win rate"


@dataclass(frozen=True)
class Size:
    """``steps``: of imitation; ``folds``: of the real lists."""

    seeds: int
    prompts: int
    epochs: int
    folds: int
    steps: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(seeds=2, prompts=64, epochs=2, folds=0, steps=50),
    "small": Size(seeds=10, prompts=1500, epochs=4, folds=5, steps=600),
    "full": Size(seeds=50, prompts=1500, epochs=4, folds=5, steps=600),
}
UNIT = Unit("world")
CLAIMS = (
    *for_each(
        product(("RRHF", "imitation of the best"), LENGTHS),
        Claim("PRO beats {0} on lists of {1}", "PRO", "{0}", WIN, tasks=("n={1}",)),
    ),
    Claim(
        "PRO on lists of 8 beats PRO on pairs",
        "PRO",
        "PRO",
        WIN,
        tasks=("n=8",),
        than_tasks=("n=2",),
    ),
    Claim(
        "Gaps beat equal gaps on pairs",
        "PRO",
        "PRO, equal gaps (ListMLE)",
        WIN,
        tasks=("n=2",),
    ),
    Claim(
        "Gaps beat equal gaps on lists of 8",
        "PRO",
        "PRO, equal gaps (ListMLE)",
        WIN,
        tasks=("n=8",),
    ),
    Claim(
        "A linear scorer trained by the staged loss beats the longest answer",
        "staged loss",
        "longest first",
        "NDCG",
        tasks=(LISTS,),
    ),
    Claim(
        "With the length among its features too",
        "staged loss and length",
        "longest first",
        "NDCG",
        tasks=(LISTS,),
    ),
    Claim(
        "The staged loss beats ListMLE on real lists",
        "staged loss",
        "ListMLE",
        "NDCG",
        tasks=(LISTS,),
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world, of the real lists a fold."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    rows = chain(_sequences(size, seed, report), real_lists(size.folds, seed, report))
    return scores_of(rows, lower_is_better=["KL"])


def _sequences(size: Size, seed: int, report: Report) -> Iterator[Row]:
    for r in range(size.seeds):
        world, base = start(seed, r, size.steps)
        arena = Arena.of(world, base, r)
        x = world.prompts(size.prompts, seed=r * 7919 + 1)
        for n in LENGTHS:
            y = base.sample(x, n, seed=r * 7919 + 2)
            data = RankedSequences(x, y, world.reward(x, y))
            for method, options in METHODS.items():
                report(f"world {r + 1} of {size.seeds}: {method}, lists of {n}")
                policy = align(base, data, epochs=size.epochs, lr=3e-4, seed=r, **options)
                yield from by_metric(method, f"n={n}", r, arena(policy, r))


def real_lists(folds: int, seed: int, report: Report) -> Iterator[Row]:
    """Scorers of AlpacaEval's answers, by folds of prompts."""
    if not folds:
        return
    from policyrank.models.encoders import encode_texts, load_encoder

    lists = [x for x, _ in datasets.load("alpacaeval") if len(x.completions) == 10]
    report("encoding AlpacaEval's answers")
    encoder = load_encoder("minilm")
    texts = [text for x in lists for text in x.completions]
    answers = torch.from_numpy(encode_texts(encoder, texts, cache="minilm"))
    answers = answers.unflatten(0, (len(lists), 10))
    prompts = [str(x.prompt) for x in lists]
    asked = torch.from_numpy(encode_texts(encoder, prompts, cache="minilm"))
    features = torch.cat([answers, answers * asked[:, None]], dim=-1)
    length = torch.tensor([len(text) for text in texts]).float().unflatten(0, (len(lists), 10))
    long = (length.log() - length.log().mean()) / length.log().std()
    with_length = torch.cat([features, long[..., None]], dim=-1)
    psi = torch.tensor([x.labels for x in lists])
    centred = psi - psi.mean(dim=1, keepdim=True)
    labels = centred / psi.std(dim=1, correction=0, keepdim=True).clamp(min=1e-8)
    fold = np.random.default_rng(seed).permutation(len(lists)) % folds
    for f in range(folds):
        report(f"fold {f + 1} of {folds}")
        held = torch.from_numpy(fold == f)
        found = {
            "staged loss": fitted(features, labels, held, staged),
            "staged loss and length": fitted(with_length, labels, held, staged),
            "ListMLE": fitted(features, labels, held, LOSSES["listmle"]),
            "longest first": length[held],
            "in the order of the file": -torch.arange(10.0).expand(int(held.sum()), 10),
        }
        for method, scores in found.items():
            yield method, LISTS, "NDCG", f, ndcg(psi[held], scores)


def ndcg(labels: Tensor, scores: Tensor) -> float:
    """Mean over lists, gain 2^label - 1."""
    order = scores.argsort(dim=1, descending=True)[None]
    gains = ndcg_gains(labels, order, torch.ones_like(labels, dtype=torch.bool))
    return float(gains.sum(dim=-1).mean())


def staged(scores: Tensor, labels: Tensor) -> Tensor:
    """PRO's loss on scores that are no log-probabilities."""
    return pro(scores, labels, lengths=torch.ones_like(labels), sft_weight=0.0, centre=True)


def fitted(
    features: Tensor, labels: Tensor, held: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Scores of the held-out lists under a linear scorer that learned from the others."""
    torch.manual_seed(0)
    model = torch.nn.Linear(features.shape[-1], 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    x, y = features[~held], labels[~held]
    for _ in range(40):
        for group in torch.randperm(len(x)).split(32):
            value = loss(model(x[group]).squeeze(-1), y[group])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    with torch.no_grad():
        return model(features[held]).squeeze(-1)
