"""BASIR: sectors of budget speeches, identified and ranked.

Ghosh and Naskar (2025), "BASIR: Budget-Assisted Sectoral Impact Ranking - A Dataset for Sector
Identification and Performance Prediction Using Language Models", arXiv 2504.13189.

**The claim**: fine-tuned embeddings find which of 81 sectors an excerpt concerns (F1 .605), and a
language model ranks the sectors by their performance (NDCG .997).

**What is done here**: the data cannot be had, so a stand-in of the same shape: 5,502 titles and
abstracts with at least three of 81 graded concepts (OpenAlex's classifier), 4,000 to learn from (a
quarter of them to choose the one threshold of each method), the rest to test; a replicate is a
split. *Identification*: MiniLM vectors with one-vs-rest logistic regression (C = 10), with a
projection and label vectors tuned by the contrastive list loss (temperature 1/20), untuned against
the labels' names, and the most frequent labels. *Ranking*: the true labels of each text by
predicted score, against their grades (linear gain), beside a random and the worst order.
*Simulation*: 81 sectors with returns within 5%, gains 1 + return, and rankers whose scores
correlate with the truth by rho, 200 lists a replicate. nnDCG corrects NDCG for chance: 0 is a
random order, 1 the ideal one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from policyrank.evidence import Scores, datasets
from policyrank.learn import losses
from policyrank.metrics.multilabel import best_thresholds, choose_labels, f1_scores
from policyrank.metrics.retrieval import Judged, ndcg, normalised_ndcg
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of

TITLE = "BASIR"
PAPER = "arXiv 2504.13189"
ABOUT = "identifying and ranking sectors, and what an NDCG near 1 is worth"
FIND, ORDER, SIMULATED = (
    "identification",
    "ranking of true labels",
    "81 simulated returns within 5%",
)
LOGISTIC, TUNED, ZERO, POPULAR = (
    "logistic regression",
    "tuned embedding",
    "untuned embedding",
    "popularity",
)
RHO = (0.0, 0.3, 0.6, 0.9, 1.0)
UNIT, DRAW = Unit("split", overlap=1502 / 3000), Unit("draw")
CLAIMS = (
    Claim(
        "Logistic regression on vectors beats popularity by .3 in micro F1",
        LOGISTIC,
        POPULAR,
        "micro F1",
        0.3,
        (FIND,),
    ),
    Claim(
        "The tuned embedding beats the untuned one in micro F1",
        TUNED,
        ZERO,
        "micro F1",
        0.0,
        (FIND,),
    ),
    Claim(
        "The tuned embedding loses at most .02 to logistic regression in micro F1",
        TUNED,
        LOGISTIC,
        "micro F1",
        -0.02,
        (FIND,),
    ),
    Claim(
        "Ranking the true labels beats a random order in NDCG",
        LOGISTIC,
        "random order",
        "NDCG",
        0.0,
        (ORDER,),
    ),
    Claim(
        "NDCG hardly tells: a random order of the true labels loses at most .1 to the ideal one",
        "random order",
        "ideal order",
        "NDCG",
        -0.1,
        (ORDER,),
    ),
    Claim(
        "With returns within 5%, a random order loses at most .02 to the ideal one in NDCG",
        "rho 0",
        "rho 1",
        "NDCG",
        -0.02,
        (SIMULATED,),
        unit=DRAW,
    ),
    Claim(
        "Corrected for chance, it loses at least .9",
        "rho 1",
        "rho 0",
        "nnDCG",
        0.9,
        (SIMULATED,),
        unit=DRAW,
    ),
)
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Texts:
    """Vectors (n, d), grades (n, sectors), and vectors of the sectors' names."""

    vectors: NDArray[np.float32]
    grades: Float
    meaning: NDArray[np.float32]

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 where a text concerns a sector."""
        return (self.grades > 0).astype(int)

    @classmethod
    def read(cls, most: int | None) -> Texts:
        """Those of the first ``most`` that concern at least three sectors."""
        table = datasets.load("concepts81")
        if most is not None:
            table = table.head(most)
        encoder = load_encoder("minilm", device="cpu")
        encoder.max_seq_length = 160
        vectors = encode_texts(encoder, table["text"].to_list(), cache="minilm")
        concepts = table.select("concepts").with_row_index("row").explode("concepts")
        named = concepts.drop_nulls("concepts").unnest("concepts")
        names = sorted(named["name"].unique())
        place = {name: k for k, name in enumerate(names)}
        grades = np.zeros((table.height, len(names)))
        for row, name, score in named.select("row", "name", "score").iter_rows():
            grades[row, place[name]] = score
        rich = np.flatnonzero((grades > 0).sum(axis=1) >= 3)
        return cls(vectors[rich], grades[rich], encode_texts(encoder, names))


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a split."""
    splits, most, steps = {"smoke": (2, 300, 5), "small": (5, None, 200), "full": (20, None, 200)}[
        scale
    ]
    report("encoding texts")
    texts = Texts.read(most)
    cut = 4000 if most is None else len(texts.vectors) * 3 // 4
    rows: list[Row] = []
    for r in range(splits):
        rng = np.random.default_rng([seed, r])
        order = rng.permutation(len(texts.vectors))
        fit, choose, test = order[: cut * 3 // 4], order[cut * 3 // 4 : cut], order[cut:]
        report(f"logistic regression: split {r + 1} of {splits}")
        scores = _regression(texts, fit)
        scores[ZERO] = (texts.vectors @ texts.meaning.T).astype(float)
        report(f"tuning: split {r + 1} of {splits}")
        scores[TUNED] = _tuned(texts, fit, steps, seed + r)
        for method, own in scores.items():
            rows += by_metric(method, FIND, r, _identify(own, texts.labels, choose, test))
        del scores[POPULAR]
        scores["random order"] = rng.random(texts.grades.shape)
        scores["ideal order"] = texts.grades
        scores["worst order"] = -texts.grades
        for method, own in scores.items():
            rows += by_metric(method, ORDER, r, _order(own[test], texts.grades[test]))
        for rho in RHO:
            rows += by_metric(f"rho {rho:g}", SIMULATED, r, _simulate(rho, rng))
    return scores_of(rows)


def _regression(texts: Texts, fit: NDArray[np.int64]) -> dict[str, Float]:
    """Chances by logistic regression, and the share of each sector, from these texts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    labels = texts.labels
    known = labels[fit]
    used = np.flatnonzero(known.any(axis=0) & ~known.all(axis=0))
    model = OneVsRestClassifier(LogisticRegression(C=10, max_iter=300))
    model.fit(texts.vectors[fit], known[:, used])
    chances = np.zeros(labels.shape)
    chances[:, used] = model.predict_proba(texts.vectors)
    popular = np.zeros(labels.shape) + known.mean(axis=0)
    return {LOGISTIC: chances, POPULAR: popular}


def _tuned(texts: Texts, fit: NDArray[np.int64], steps: int, seed: int) -> Float:
    """Cosines after a projection of texts, which starts from the identity, with label vectors.

    These start from the names of the labels.
    """
    torch.manual_seed(seed)
    x, y = torch.from_numpy(texts.vectors), torch.from_numpy(texts.labels).float()
    project = torch.eye(x.shape[1]).requires_grad_()
    label = torch.from_numpy(texts.meaning.copy()).requires_grad_()

    def cosine(rows: torch.Tensor) -> torch.Tensor:
        return normalize(rows @ project, dim=-1) @ normalize(label, dim=-1).T

    optimizer = torch.optim.Adam([project, label], lr=3e-3)
    for _ in range(steps):
        batch = torch.from_numpy(fit)[torch.randint(len(fit), (512,))]
        loss = losses.softmax_cross_entropy(20 * cosine(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return cosine(x).double().numpy()


def _identify(
    scores: Float, labels: NDArray[np.int64], choose: NDArray[np.int64], test: NDArray[np.int64]
) -> dict[str, float]:
    """F1 at the threshold that is best in micro F1 on the texts to choose by."""
    threshold = best_thresholds(scores[choose], labels[choose])
    found = f1_scores(labels[test], choose_labels(scores[test], threshold=threshold))
    return {"micro F1": found.micro, "macro F1": found.macro}


def _order(scores: Float, grades: Float) -> dict[str, float]:
    text, label = np.nonzero(grades)
    judged = Judged.of(text, scores[text, label], grades[text, label])
    return {"NDCG": float(ndcg(judged).mean()), "nnDCG": float(np.nanmean(normalised_ndcg(judged)))}


def _simulate(rho: float, rng: np.random.Generator, lists: int = 200) -> dict[str, float]:
    truth = rng.uniform(-0.05, 0.05, (lists, 81))
    scores = rho * truth / truth.std() + np.sqrt(1 - rho**2) * rng.normal(size=truth.shape)
    judged = Judged.of(np.repeat(np.arange(lists), 81), scores.ravel(), 1 + truth.ravel())
    return {"NDCG": float(ndcg(judged).mean()), "nnDCG": float(normalised_ndcg(judged).mean())}
