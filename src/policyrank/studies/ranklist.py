"""RankList: learning subjective preferences from ordered lists.

Naini, Diaz and Busso (2025), "RankList: A Listwise Preference Learning Framework for Predicting
Subjective Preferences", arXiv 2508.09826.

**The claim**: asking all neighbours of a list, and pairs further apart, to be in order beats
RankNet on pairs and standard listwise losses; one log-sum-exp approximates the exact loss well.

**What is done here**: EmoBank, 10,062 sentences with mean human ratings of valence and arousal;
frozen MiniLM vectors, standardised, and an MLP with one hidden layer of 64 (dropout .3). Every loss
sees the same 400 batches of 32 lists of eight sentences whose neighbouring labels differ by at
least .1, with AdamW, weight decay .01 and the learning rate, of three, that does best on the
development sentences; the score is Kendall's tau-b on resamples of the test sentences. *Across
genres*: learned without headlines, tested on 1,192 of them. Disjoint pairs split each list into
four pairs. Differences from the paper: text instead of speech and images; its equations could not
be read, and ours are a reconstruction from its abstract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from policyrank.evidence import datasets
from policyrank.learn import losses
from policyrank.metrics import kendall_tau
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.fairness import Settings, tune
from policyrank.studies.frame import Measured, Report, Row, Scale, quiet, scores_of
from policyrank.train import Mlp, gap_lists

TITLE = "RankList"
PAPER = "arXiv 2508.09826"
ABOUT = "listwise preference learning of rated sentences"
TAU = "Kendall's tau-b"
ATTRIBUTES = {"valence": "V", "arousal": "A"}
WHERE = {"": ("train", "test"), ", across genres": ("other genres", "headlines")}
"""Suffix of a setting -> what is learned from, and tested on."""
WITHIN = tuple(ATTRIBUTES)
ACROSS = tuple(f"{name}, across genres" for name in ATTRIBUTES)
Float = NDArray[np.float64]


def disjoint_pairs(scores: Tensor, labels: Tensor) -> Tensor:
    """RankNet on neighbours 1-2, 3-4, ... of lists sorted by label."""
    return losses.ranknet(scores.unflatten(-1, (-1, 2)), labels.unflatten(-1, (-1, 2)))


def listnet_of_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """ListNet whose target is the softmax of the reversed ranks."""
    return losses.listnet(scores, labels.argsort(dim=-1).argsort(dim=-1).float())


RISING = "skip 1 to 3"
METHODS: dict[str, Callable[..., Tensor]] = {
    "disjoint pairs": disjoint_pairs,
    "neighbours": losses.ranklist,
    "neighbours, LSE": partial(losses.ranklist, form="lse"),
    "skip 3": partial(losses.ranklist, skip=3),
    "skip 3, LSE": partial(losses.ranklist, skip=3, form="lse"),
    "all pairs": partial(losses.ranklist, skip=None),
    "all pairs, LSE": partial(losses.ranklist, skip=None, form="lse"),
    RISING: losses.ranklist,
    "ListMLE": losses.listmle,
    "ListNet": listnet_of_ranks,
}

RESAMPLES = 100
"""Of the test sentences, for each seed of training."""
UNIT = Unit("resample of the test sentences", "resample")
CLAIMS = (
    Claim(
        "Neighbours of a list beat disjoint pairs by .015",
        "neighbours",
        "disjoint pairs",
        TAU,
        0.015,
        WITHIN,
    ),
    Claim(
        "Skipping up to 3 beats neighbours alone by .01", "skip 3", "neighbours", TAU, 0.01, WITHIN
    ),
    Claim(
        "The log-sum-exp over skips up to 3 loses at most .01",
        "skip 3, LSE",
        "skip 3",
        TAU,
        -0.01,
        WITHIN,
    ),
    Claim(
        "Skips up to 3 lose at most .005 to all pairs", "skip 3", "all pairs", TAU, -0.005, WITHIN
    ),
    Claim("RankList (skip 3) beats ListMLE", "skip 3", "ListMLE", TAU, tasks=WITHIN),
    Claim("RankList (skip 3) beats ListNet", "skip 3", "ListNet", TAU, tasks=WITHIN),
    Claim(
        "A skip that rises from 1 to 3 loses at most .005 to 3 all along",
        RISING,
        "skip 3",
        TAU,
        -0.005,
        WITHIN,
    ),
    Claim(
        "Across genres skipping up to 3 beats disjoint pairs by .015",
        "skip 3",
        "disjoint pairs",
        TAU,
        0.015,
        ACROSS,
    ),
)


@cache
def vectors(rows: int | None) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """EmoBank (about ``rows`` of it, spread over all) and standardised vectors."""
    table = pl.read_csv(datasets.FILES["emobank.csv"].fetch())
    if rows is not None:
        table = table.gather_every(max(1, len(table) // rows))
    x = encode_texts(load_encoder("minilm", device="cpu"), table["text"].fill_null("").to_list())
    train = (table["split"] == "train").to_numpy()
    return table, (x - x[train].mean(axis=0)) / x[train].std(axis=0).clip(min=1e-6)


RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates that each loss may choose from."""


@dataclass(frozen=True)
class Sentences:
    """Vectors and ratings of the sentences, and which are learned from and tested on."""

    x: NDArray[np.float32]
    ratings: dict[str, Float]
    parts: dict[str, NDArray[np.int64]]

    @classmethod
    def read(cls, rows: int | None) -> Sentences:
        """EmoBank; headlines are those of SemEval, a genre of their own."""
        table, x = vectors(rows)
        headline = table["id"].str.starts_with("SemEval").to_numpy()
        parts = {}
        for name in ("train", "dev", "test"):
            parts[name] = np.flatnonzero(table["split"] == name)
        parts["other genres"] = np.flatnonzero((table["split"] == "train").to_numpy() & ~headline)
        parts["headlines"] = np.flatnonzero(headline)
        ratings = {}
        for name, column in ATTRIBUTES.items():
            ratings[name] = table[column].to_numpy().astype(float)
        return cls(x, ratings, parts)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a task is a rated attribute, a replicate a seed and a resample of the test."""
    seeds, steps, rows = {"smoke": (2, 5, 500), "small": (5, 400, None), "full": (20, 2000, None)}[
        scale
    ]
    report("encoding sentences")
    sentences = Sentences.read(rows)
    torch.set_num_threads(1)  # batches this small gain nothing from more

    def predicted(method: str, rate: float, attribute: str, learned: str, on: str, r: int) -> Float:
        torch.manual_seed(seed * 10_000 + r)
        own, rng = sentences.parts[learned], np.random.default_rng([seed, r])
        model = _fitted(
            method, sentences.x[own], sentences.ratings[attribute][own], steps, rate, rng
        )
        held = sentences.x[sentences.parts[on]]
        with torch.no_grad():
            scores = model(torch.from_numpy(held), torch.ones(len(held), dtype=torch.bool))
        return scores.numpy().astype(float)

    def reached(method: str, settings: Settings, r: int) -> float:
        report(f"tuning {method}: {settings}")
        taus = []
        for attribute, ratings in sentences.ratings.items():
            rate = settings["learning_rate"]
            scores = predicted(method, rate, attribute, "train", "dev", 1000 + r)
            taus.append(kendall_tau(ratings[sentences.parts["dev"]], scores))
        return float(np.mean(taus))

    grids = {method: [{"learning_rate": rate} for rate in RATES] for method in METHODS}
    tuned = tune(grids, reached, range(1), metric=f"{TAU} on other sentences")
    rng = np.random.default_rng([seed, 10**6])
    found: list[Row] = []
    for suffix, (learned, on) in WHERE.items():
        test = sentences.parts[on]
        resampled = [rng.integers(len(test), size=len(test)) for _ in range(RESAMPLES)]
        for attribute, r, method in product(ATTRIBUTES, range(seeds), METHODS):
            report(f"{attribute}{suffix}, {method}: seed {r + 1} of {seeds}")
            rate = tuned[method].chosen["learning_rate"]
            scores = predicted(method, rate, attribute, learned, on, r)
            y = sentences.ratings[attribute][test]
            for k, some in enumerate(resampled):
                tau = kendall_tau(y[some], scores[some])
                found.append((method, f"{attribute}{suffix}", TAU, r * RESAMPLES + k, tau))
    return Measured(scores_of(found), tuple(tuned.values()))


def _fitted(
    method: str,
    x: NDArray[np.float32],
    y: NDArray[np.float64],
    steps: int,
    rate: float,
    rng: np.random.Generator,
) -> Mlp:
    """A model that learned from batches of 32 lists of eight."""
    model = Mlp(x.shape[1], (64,), dropout=0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    for step in range(steps):
        loss = METHODS[method]
        if method == RISING:
            loss = partial(losses.ranklist, skip=losses.skip_schedule(3 * step // steps))
        lists = gap_lists(y, 32, 8, 0.1, rng)
        where = torch.ones(lists.shape, dtype=torch.bool)
        scores = model(torch.from_numpy(x[lists]), where)
        value = loss(scores, torch.from_numpy(y[lists]).float())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return model.eval()
