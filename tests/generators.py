"""Generators of small random inputs that several tests use."""

import numpy as np


def random_network(rng, n, shocked):
    """A connected network with a few shocked nodes."""
    from policyrank.worlds.supply import SupplyNetwork

    edges = [(int(rng.integers(k)), k, float(rng.normal())) for k in range(1, n)]
    edges += [
        (*sorted(rng.choice(n, 2, replace=False).tolist()), float(rng.normal()))
        for _ in range(n // 2)
    ]
    shock = {int(k): float(rng.uniform(0.2, 1.5)) for k in rng.choice(n, shocked, replace=False)}
    return SupplyNetwork.of(rng.normal(size=n), edges, shock)


def small_world(n=40, f=3, seed=0, **options):
    """An exposure world of random claims, and its generator."""
    from policyrank.worlds.exposure import World

    rng = np.random.default_rng(seed)
    framings = ("original", "authoritative", "consensus", "emotional")[:f]
    return World.of(rng.random(n) < 0.6, rng.normal(size=(n, 8)), framings, **options), rng


def scene(seed, images=12, classes=4, federated=False):
    """Random ground truth with crowds, ignored objects and masks, and detections near it, with
    ties.
    """
    rng = np.random.default_rng(seed)

    def box():
        size = rng.uniform(4, 150, 2)
        return [*(rng.uniform(0, 1, 2) * (200 - size)).tolist(), *size.tolist()]

    def polygon(b):
        x, y, w, h = b
        return [[x, y, x + w, y, x + w, y + h, x + w / 3, y + h]]

    truth = {
        "images": [{"id": 3 * k + 1, "height": 200, "width": 200} for k in range(images)],
        "categories": [{"id": c + 5, "frequency": "rcf"[c % 3]} for c in range(classes)],
        "annotations": [],
    }
    found = []
    for k in range(images):
        if federated:
            truth["images"][k] |= {"neg_category_ids": [5], "not_exhaustive_category_ids": [6]}
        for _ in range(rng.integers(0, 8)):
            b, c = box(), int(rng.integers(classes)) + 5
            crowd = int(not federated and rng.random() < 0.2)
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": 3 * k + 1,
                    "category_id": c,
                    "bbox": b,
                    "area": b[2] * b[3] * 0.8,
                    "iscrowd": crowd,
                    "segmentation": polygon(b),
                }
            )
            for _ in range(rng.integers(0, 3)):
                near = [max(v + rng.normal() * 6, 2) for v in b]
                found.append(
                    {
                        "image_id": 3 * k + 1,
                        "category_id": c,
                        "bbox": near,
                        "score": round(rng.random(), 1),
                        "segmentation": polygon(near),
                    }
                )
        for _ in range(3):
            b = box()
            found.append(
                {
                    "image_id": 3 * k + 1,
                    "category_id": int(rng.integers(classes)) + 5,
                    "bbox": b,
                    "score": round(rng.random(), 1),
                    "segmentation": polygon(b),
                }
            )
    return truth, found


def runs_and_judgements(seed=0, queries=30, documents=60, ties=True):
    """A retrieval run with ties, and judgements that partly overlap it."""
    import polars as pl

    rng = np.random.default_rng(seed)
    run, qrels = [], []
    for q in range(queries):
        names = [f"d{d:03d}" for d in rng.permutation(200)[:documents]]
        score = rng.normal(size=documents)
        score = np.round(score, 1) if ties else score
        run += [(f"q{q:02d}", d, float(s)) for d, s in zip(names, score, strict=True)]
        pool = rng.permutation(200)[:40]
        qrels += [
            (f"q{q:02d}", f"d{d:03d}", float(g))
            for d, g in zip(pool, rng.integers(0, 4, size=40), strict=True)
        ]
    return (
        pl.DataFrame(run, schema=["query", "document", "score"], orient="row"),
        pl.DataFrame(qrels, schema=["query", "document", "grade"], orient="row"),
    )


def matchings(count, seed=0):
    """Small random instances of online matching."""
    from policyrank.worlds.matching import Matching

    rng = np.random.default_rng(seed)
    for k in range(count):
        edge = rng.random((3, 6)) < 0.7
        p = np.where(
            edge,
            rng.uniform(0.05, 0.6, edge.shape)
            if k % 2
            else rng.choice([0.1, 0.2, 0.3], edge.shape),
            0,
        )
        if p.any():
            yield Matching.of(p, rng.uniform(0.5, 2, 3) if k % 3 == 0 else None)


def planted(size=3000, seed=0, n=6):
    """A generator, known ratings, and the pairs that met."""
    rng = np.random.default_rng(seed)
    theta = np.linspace(1, -1, n)
    i = rng.integers(n, size=size)
    j = (i + rng.integers(1, n, size=size)) % n
    return rng, theta, i, j


def lists(seed=0, batch=4, n=6, dtype=None):
    """Scores, graded labels and a mask of ragged lists."""
    import torch

    dtype = dtype or torch.float64
    g = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, n, generator=g, dtype=dtype)
    labels = torch.randint(0, 4, (batch, n), generator=g).to(dtype)
    where = torch.rand(batch, n, generator=g) > 0.25
    where[:, 0] = True
    return scores, labels, where


def ranking_data(seed=0, queries=40, documents=12, features=5):
    """Lists whose labels two features explain."""
    from policyrank.train import RankingData

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(queries * documents, features))
    labels = np.clip(np.round(x[:, 0] - 0.7 * x[:, 1] + 0.2 * rng.normal(size=len(x))), 0, 3)
    return RankingData.of(
        np.repeat(np.arange(queries), documents).astype(str), labels, x, first_stage=x[:, 0]
    )
