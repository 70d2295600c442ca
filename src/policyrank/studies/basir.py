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

import numpy as np
import torch
from numpy.typing import NDArray

from policyrank.evidence import Scores, datasets
from policyrank.learn import losses
from policyrank.metrics.retrieval import Judged, ndcg, normalised_ndcg
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.frame import Claim, Report, Scale, quiet

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
    ),
    Claim(
        "Corrected for chance, it loses at least .9", "rho 1", "rho 0", "nnDCG", 0.9, (SIMULATED,)
    ),
)
Float = NDArray[np.float64]


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a split."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    splits, most, steps = {"smoke": (2, 300, 5), "small": (5, None, 200), "full": (20, None, 200)}[
        scale
    ]
    table = datasets.load("concepts81")
    texts = table["text"].to_list()
    if most is not None:
        table, texts = table.head(most), texts[:most]
    report("encoding texts")
    encoder = load_encoder("minilm", device="cpu")
    encoder.max_seq_length = 160
    vectors = encode_texts(encoder, texts, cache="minilm")
    found = [[] if c is None else c for c in table["concepts"].to_list()]
    names = sorted({c["name"] for row in found for c in row})
    grades = np.zeros((len(found), len(names)))
    for k, row in enumerate(found):
        for concept in row:
            grades[k, names.index(concept["name"])] = concept["score"]
    rich = np.flatnonzero((grades > 0).sum(axis=1) >= 3)
    vectors, grades = vectors[rich], grades[rich]
    labels = (grades > 0).astype(int)
    meaning = encode_texts(encoder, names)
    out: list[tuple[str, str, str, int, float]] = []
    for r in range(splits):
        rng = np.random.default_rng([seed, r])
        order = rng.permutation(len(rich))
        cut = 4000 if most is None else len(rich) * 3 // 4
        fit, choose, test = order[: cut * 3 // 4], order[cut * 3 // 4 : cut], order[cut:]
        report(f"logistic regression: split {r + 1} of {splits}")
        used = np.flatnonzero(labels[fit].any(axis=0) & ~labels[fit].all(axis=0))
        scores = {m: np.zeros(labels.shape) for m in (LOGISTIC, POPULAR)}
        model = OneVsRestClassifier(LogisticRegression(C=10, max_iter=300)).fit(
            vectors[fit], labels[fit][:, used]
        )
        scores[LOGISTIC][:, used] = model.predict_proba(vectors)
        scores[POPULAR] += labels[fit].mean(axis=0)
        scores[ZERO] = (vectors @ meaning.T).astype(float)
        report(f"tuning: split {r + 1} of {splits}")
        scores[TUNED] = _tuned(vectors, meaning, labels, fit, steps, seed + r)
        for method, s in scores.items():
            out += [(method, FIND, m, r, v) for m, v in _identify(s, labels, choose, test).items()]
        for method, s in (
            scores
            | {
                "random order": rng.random(labels.shape),
                "ideal order": grades,
                "worst order": -grades,
            }
        ).items():
            if method != POPULAR:
                out += [(method, ORDER, m, r, v) for m, v in _order(s[test], grades[test]).items()]
        out += [
            (f"rho {rho:g}", SIMULATED, m, r, v)
            for rho in RHO
            for m, v in _simulate(rho, rng).items()
        ]
    methods, tasks, metrics, replicates, values = zip(*out, strict=True)
    return Scores.of(methods, tasks, values, metric=metrics, replicate=replicates)


def _tuned(
    vectors: NDArray[np.float32],
    meaning: NDArray[np.float32],
    labels: NDArray[np.int64],
    fit: NDArray[np.int64],
    steps: int,
    seed: int,
) -> Float:
    """Cosines after a projection of texts, starting from the identity, and label vectors, starting
    from their names.
    """
    torch.manual_seed(seed)
    x, y = torch.from_numpy(vectors), torch.from_numpy(labels).float()
    project, label = (
        torch.eye(x.shape[1]).requires_grad_(),
        torch.from_numpy(meaning.copy()).requires_grad_(),
    )

    def cosine(rows: torch.Tensor) -> torch.Tensor:
        return (
            torch.nn.functional.normalize(rows @ project, dim=-1)
            @ torch.nn.functional.normalize(label, dim=-1).T
        )

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
    from sklearn.metrics import f1_score

    levels = np.unique(np.quantile(scores[choose], np.linspace(0.5, 0.999, 200)))
    best = max(
        levels,
        key=lambda t: f1_score(
            labels[choose], scores[choose] >= t, average="micro", zero_division=0
        ),
    )
    return {
        f"{a} F1": float(f1_score(labels[test], scores[test] >= best, average=a, zero_division=0))
        for a in ("micro", "macro")
    }


def _order(scores: Float, grades: Float) -> dict[str, float]:
    text, label = np.nonzero(grades)
    judged = Judged.of(text, scores[text, label], grades[text, label])
    return {"NDCG": float(ndcg(judged).mean()), "nnDCG": float(np.nanmean(normalised_ndcg(judged)))}


def _simulate(rho: float, rng: np.random.Generator, lists: int = 200) -> dict[str, float]:
    truth = rng.uniform(-0.05, 0.05, (lists, 81))
    scores = rho * truth / truth.std() + np.sqrt(1 - rho**2) * rng.normal(size=truth.shape)
    judged = Judged.of(np.repeat(np.arange(lists), 81), scores.ravel(), 1 + truth.ravel())
    return {"NDCG": float(ndcg(judged).mean()), "nnDCG": float(normalised_ndcg(judged).mean())}
