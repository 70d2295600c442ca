"""Do language models rank answers as people do, and what could preference training reach?

Chen, Malladi, Zhang, Chen, Zhang, Ranganath and Cho (2024), "Preference Learning Algorithms Do Not
Learn Preference Rankings", arXiv 2405.19534.

**The claim**: models rank fewer than 60% of the answers as people do, although the optimum of
preference training would rank nearly all of them rightly (alignment gap); training raises the
reward accuracy long before the ranking accuracy, because the pairs that the reference ranks wrongly
flip only at a tiny loss.

**What is done here**: (1) 1,704 real pairs of answers by 59 models to 13 prompts, on which a
majority of people decided (8,931 votes); a tie is half a vote. Log-probabilities under
SmolLM2-135M-Instruct; a prompt is one observation. Beside the model: a coin, and the shorter
answer. The ideal is that of the paper's Theorem 3.1 with the model as reference, and, beside it,
what the paper's released code computes without length normalisation: it multiplies the raters' odds
by the ratio of the two negative log-likelihoods, not of the probabilities, and takes |ratio - 1| <
.05 as a tie. (2) Tabular DPO: 2,000 pairs, reference log-ratio N(0, 30), beta .1, free log-ratios,
gradient descent until the loss is .58, .33, .072 and .010. Differences from the paper: one small
model that was not trained on these preferences, other data.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from policyrank.auditing.preferences import read_pairs, score_pairs
from policyrank.evidence import Scores, datasets
from policyrank.metrics import idealized_log_ratio
from policyrank.models.language import load_causal_lm
from policyrank.studies.frame import Claim, Report, Scale, quiet

TITLE = "Preference ranking accuracy"
PAPER = "arXiv 2405.19534"
ABOUT = "do language models rank answers as people do, and what could training reach"
Float = NDArray[np.float64]
ACCURACY, TABULAR = "ranking accuracy", "accuracy in tabular DPO"
BETAS = (0.01, 0.1, 1.0, 10.0)
IDEAL = {beta: f"ideal ranking accuracy, beta {beta:g}" for beta in BETAS}
LOSSES = (0.58, 0.33, 0.072, 0.010)

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
        tuple(f"loss {x:g}" for x in LOSSES[:2]),
    ),
)


def released_ideal(chosen: Float, rejected: Float, alpha: Float, beta: float) -> NDArray[np.bool_]:
    """Whether the paper's released code counts the ideal as ranking a pair rightly (not the
    theorem's formula).
    """
    with np.errstate(over="ignore"):
        ratio = np.exp(
            np.minimum(
                logit(np.clip(alpha, 1e-3, 1 - 1e-3)) / beta + np.log(chosen / rejected), 700
            )
        )
    return (ratio > 1) & (np.abs(ratio - 1) >= 0.05)


def tabular_dpo(
    reference: Float, beta: float, losses: tuple[float, ...], step: float = 20.0
) -> list[tuple[Float, float]]:
    """Gradient descent on DPO's loss over free log-ratios: the log-ratios when the mean loss first
    falls to each level, and that loss.

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
    return load_causal_lm("smollm2", device=device)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a task is a prompt, or a level of the loss."""
    rows: list[tuple[str, str, str, int, float]] = []
    data = datasets.load("crowd-pairs")
    if scale == "smoke":  # two short pairs of each of three prompts
        data = sorted(data, key=lambda r: len(r["chosen"]) + len(r["rejected"]))
        slugs = list(dict.fromkeys(r["slug"] for r in data))[:3]
        data = [r for s in slugs for r in [r for r in data if r["slug"] == s][:2]]
    pairs = read_pairs(data)
    report("loading SmolLM2-135M-Instruct")
    model, tokenizer = smollm2(None if scale == "full" else "cpu")
    chosen, rejected = score_pairs(
        pairs, model, tokenizer, report=lambda done, of: report(f"{done} of {of} answers")
    )
    w, lo = (np.array([x.logprob for x in side]) for side in (chosen, rejected))
    nw, nl = (
        np.array([max(x.tokens, 1) for x in side], dtype=float) for side in (chosen, rejected)
    )
    alpha = np.array([p.alpha for p in pairs], dtype=float)
    right: dict[tuple[str, str], Float] = {
        ("model", ACCURACY): (w >= lo).astype(float),
        ("model, per token", ACCURACY): (w / nw >= lo / nl).astype(float),
        ("shorter answer", ACCURACY): np.where(nw == nl, 0.5, nw < nl),
        ("coin", ACCURACY): np.full(len(w), 0.5),
    }
    for beta, metric in IDEAL.items():
        right |= {
            ("model", metric): right["model", ACCURACY],
            ("model, per token", metric): right["model, per token", ACCURACY],
            ("ideal", metric): (idealized_log_ratio(w - lo, alpha, beta) > 0).astype(float),
            ("ideal, per token", metric): (
                idealized_log_ratio(w / nw - lo / nl, alpha, beta) > 0
            ).astype(float),
            ("ideal, released code", metric): released_ideal(w, lo, alpha, beta).astype(float),
        }
    prompt = np.array([r["slug"] for r in data])
    for slug in np.unique(prompt):
        rows += [
            (method, str(slug), metric, 0, float(v[prompt == slug].mean()))
            for (method, metric), v in right.items()
        ]
    for r in range({"smoke": 2, "small": 20, "full": 100}[scale]):
        reference = np.random.default_rng([seed, r]).normal(0, 30, size=2000)
        rows += [
            ("reward accuracy", "before", TABULAR, r, 0.0),
            ("ranking accuracy", "before", TABULAR, r, float((reference >= 0).mean())),
        ]
        for level, (h, _) in zip(LOSSES, tabular_dpo(reference, 0.1, LOSSES), strict=True):
            rows += [
                ("reward accuracy", f"loss {level:g}", TABULAR, r, float((h > reference).mean())),
                ("ranking accuracy", f"loss {level:g}", TABULAR, r, float((h >= 0).mean())),
            ]
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(methods, tasks, values, metric=metrics, replicate=replicates)
