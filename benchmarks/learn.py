"""Losses, samplers and retrieval metrics beside their peers, in one run: ``make bench`` writes
docs/benchmarks-learn.md.

Losses: value and gradient of a batch of 32 lists, peers under jit and warm. The best of several
rounds of each.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

LISTS = 32


def best(call: Callable[[], object], rounds: int = 5, least: float = 0.3) -> float:
    """Seconds of one call: the best of some rounds, each of at least ``least`` seconds."""
    call()
    out = np.inf
    for _ in range(rounds):
        start, n = time.perf_counter(), 0
        while (spent := time.perf_counter() - start) < least or not n:
            call()
            n += 1
        out = min(out, spent / n)
    return out


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.{3 if seconds < 1e-3 else 1}f} ms"


def jitted(loss: Callable[..., Any], s: np.ndarray, y: np.ndarray) -> str:
    import jax

    grad = jax.jit(jax.value_and_grad(loss))
    return ms(best(lambda: jax.block_until_ready(grad(s, y))))


def sentence_transformers(name: str, s: np.ndarray, y: np.ndarray) -> str:
    """Their loss on given scores: a model that reads nothing, so that only the loss is timed."""
    import torch
    from sentence_transformers.cross_encoder import losses as st
    from sentence_transformers.cross_encoder.losses import lambda_loss as scheme

    makers: dict[str, Callable[[Any], Any]] = {
        "ranknet": st.RankNetLoss,
        "listnet": st.ListNetLoss,
        "listmle": st.ListMLELoss,
        "p-listmle": st.PListMLELoss,
        "lambdarank": lambda m, **k: st.LambdaLoss(m, scheme.LambdaRankScheme(), **k),
        "lambda-ndcg-1": lambda m, **k: st.LambdaLoss(m, scheme.NDCGLoss1Scheme(), **k),
        "lambda-ndcg-2": lambda m, **k: st.LambdaLoss(m, scheme.NDCGLoss2Scheme(), **k),
        "lambda-ndcg-2pp": lambda m, **k: st.LambdaLoss(m, scheme.NDCGLoss2PPScheme(), **k),
    }
    if name not in makers:
        return "-"
    x, labels = torch.tensor(s, requires_grad=True), list(torch.tensor(y))

    class Reads(torch.nn.Module):
        num_labels, device = 1, torch.device("cpu")

        def preprocess(self, pairs: Any, **_: Any) -> dict[str, Any]:
            return {}

        def forward(self, seen: Any) -> dict[str, Any]:
            return {"scores": x.reshape(-1, 1)}

    loss = makers[name](Reads(), mini_batch_size=-1)
    texts = [["q"] * len(s), [["d"] * s.shape[1]] * len(s)]
    return ms(best(lambda: torch.autograd.grad(loss(texts, labels), x), rounds=3))


def losses() -> list[tuple[str, str, str, str, str]]:
    import rax
    import torch

    from policyrank.learn import LOSSES

    rows = []
    peers = {
        "mse": rax.pointwise_mse_loss,
        "ranknet": rax.pairwise_logistic_loss,
        "hinge": rax.pairwise_hinge_loss,
        "softmax": rax.softmax_loss,
        "listmle": rax.listmle_loss,
    }
    for n in (100, 1000):
        rng = np.random.default_rng(0)
        s, y = (
            rng.normal(size=(LISTS, n)).astype(np.float32),
            rng.integers(0, 5, size=(LISTS, n)).astype(np.float32),
        )
        for name in LOSSES:
            if name in ("ordinal", "sigmoid"):
                continue
            x, labels = torch.tensor(s, requires_grad=True), torch.tensor(y)

            def ours(name: str = name, x: torch.Tensor = x, labels: torch.Tensor = labels) -> None:
                torch.autograd.grad(LOSSES[name](x, labels), x)

            theirs = jitted(peers[name], s, y) if name in peers else "-"
            rows.append((name, str(n), ms(best(ours)), theirs, sentence_transformers(name, s, y)))
    return rows


def sampling() -> list[tuple[str, str, str]]:
    import torch

    from policyrank.learn import PlackettLuce

    scores = np.random.default_rng(0).normal(size=100)
    policy = PlackettLuce(torch.tensor(scores))
    ours = best(lambda: policy.sample(1000, k=10))

    def loop() -> None:
        rng, p = np.random.default_rng(0), np.exp(scores)
        for _ in range(1000):
            left = p.copy()
            for _ in range(10):
                left[rng.choice(len(left), p=left / left.sum())] = 0

    return [
        (
            "1,000 rankings of 100 items, first 10 places",
            f"{ours * 1e3:.2f} ms",
            f"{best(loop, rounds=2) * 1e3:.1f} ms",
        )
    ]


def metrics() -> list[tuple[str, str, str]]:
    from ranx import Qrels, Run, evaluate

    from policyrank.metrics.retrieval_names import measure
    from policyrank.ranking.runs import judged

    rng, queries, depth = np.random.default_rng(0), 10_000, 100
    size = queries * depth
    run = pl.DataFrame(
        {
            "query": [f"q{i}" for i in np.repeat(np.arange(queries), depth)],
            "document": [f"d{k}" for k in range(size)],
            "score": rng.normal(size=size),
        }
    )
    qrels = run.filter(pl.Series(rng.random(size) < 0.1)).select("query", "document")
    qrels = qrels.with_columns(grade=pl.Series(rng.integers(1, 4, size=qrels.height).astype(float)))
    names = qrels["query"].unique().to_list()
    labels = ("nDCG@10", "AP", "RR", "P@10", "R@100")
    found = judged(run, qrels, names)
    prepare = best(lambda: judged(run, qrels, names), rounds=3)
    ours = best(lambda: [measure(m)(found) for m in labels], rounds=3)
    frames = [
        f.to_pandas().astype({"query": object, "document": object})
        for f in (run, qrels.with_columns(pl.col("grade").cast(pl.Int64)))
    ]
    start = time.perf_counter()
    r, q = (
        Run.from_df(frames[0], "query", "document", "score"),
        Qrels.from_df(frames[1], "query", "document", "grade"),
    )
    build = time.perf_counter() - start
    theirs = best(
        lambda: evaluate(
            q, r, ["ndcg@10", "map", "mrr", "precision@10", "recall@100"], make_comparable=True
        ),
        rounds=2,
    )
    return [
        (
            "read the frames of 1,000,000 rows into its own form",
            f"{prepare:.2f} s",
            f"{build:.1f} s",
        ),
        ("nDCG@10, AP, RR, P@10, R@100 of 10,000 queries", f"{ours:.3f} s", f"{theirs:.3f} s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    lines = ["# Benchmarks: learning to rank", "", str(__doc__).strip(), ""]
    lines += [
        f"## Losses, value and gradient, {LISTS} lists",
        "",
        "| loss | items | policyrank | rax (jit) | sentence-transformers |",
        "| :-- | --: | --: | --: | --: |",
    ]
    lines += [f"| {' | '.join(r)} |" for r in losses()]
    lines += [
        "",
        "## Sampling from Plackett-Luce",
        "",
        "| what | policyrank | loop in numpy |",
        "| :-- | --: | --: |",
    ]
    lines += [f"| {' | '.join(r)} |" for r in sampling()]
    lines += [
        "",
        "## Retrieval metrics",
        "",
        "| what | policyrank | ranx (warm) |",
        "| :-- | --: | --: |",
    ]
    lines += [f"| {' | '.join(r)} |" for r in metrics()]
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}"
        for p in ("policyrank", "torch", "rax", "jax", "sentence-transformers", "ranx")
    )
    lines += [
        "",
        f"{platform.machine()}, two cores, Python {platform.python_version()}; {versions}.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if out:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
