"""Speed beside the peers, in one run on one machine: ``make bench`` writes docs/benchmarks.md.

Each measurement is a process of its own that reads the same parquet file (whole command), or a call
on inputs prepared beforehand (where it says "call"). A peer that does not finish in the limit is
reported as such.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

LIMIT = 600


def battles(path: Path, size: int, policies: int, seed: int = 0) -> Path:
    """Battles by Davidson's model with about a fifth of ties; written once, by a process of its
    own: a child's peak memory
    counts what its parent held when it was started."""
    if path.exists():
        return path
    if "--make" not in sys.argv:
        subprocess.run(
            [sys.executable, __file__, "--make", path, str(size), str(policies)], check=True
        )
        return path
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=policies)
    i = rng.integers(policies, size=size)
    j = (i + rng.integers(1, policies, size=size)) % policies
    win = np.exp((theta[i] - theta[j]) / 2)
    u = rng.random(size) * (win + 1 / win + 0.7)
    y = np.where(u < win, 0, np.where(u < win + 1 / win, 1, 2))
    names = pl.Series([f"model-{k:05d}" for k in range(policies)])
    frame = {
        "model_a": names[i],
        "model_b": names[j],
        "winner": pl.Series(["model_a", "model_b", "tie"])[y],
    }
    pl.DataFrame(frame).write_parquet(path)
    return path


def measure(code: str, *args: object, limit: int = LIMIT) -> tuple[float | None, float, str]:
    """Seconds (None: not finished), peak memory in MB, and what it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)], stdout=out, stderr=subprocess.STDOUT
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() - start > limit:
                process.kill()
                os.wait4(process.pid, 0)
                return None, 0.0, ""
            time.sleep(0.005)
        seconds = time.perf_counter() - start
        out.seek(0)
        text = out.read()
    if status:
        raise RuntimeError(f"benchmark failed:\n{code}\n{text}")
    return seconds, usage.ru_maxrss / 1024, text


POLICYRANK = "import sys; sys.argv[0] = 'policyrank'; from policyrank.cli import main; main()"
ARENA_RANK = """
import sys, multiprocessing, pandas as pd
multiprocessing.set_start_method("spawn")  # its pool hangs when it forks a process in which JAX runs
from arena_rank.utils.data_utils import PairDataset
from arena_rank.models.bradley_terry import BradleyTerry
data = PairDataset.from_pandas(pd.read_parquet(sys.argv[1]))
model = BradleyTerry(n_competitors=len(data.competitors))
options = {} if len(sys.argv) < 3 else dict(ci_method="bootstrap", num_bootstrap=int(sys.argv[2]))
print(model.compute_ratings_and_cis(data, **options)["ratings"][:3])
"""
EVALICA = """
import sys, pandas as pd, evalica
d = pd.read_parquet(sys.argv[1])
w = d.winner.map({"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y, "tie": evalica.Winner.Draw})
print(evalica.bradley_terry(d.model_a, d.model_b, w).scores.iloc[:3])
"""
NUMPY_BOOTSTRAP = """
import sys, time, numpy as np
from policyrank.evidence import read_comparisons
c = read_comparisons(sys.argv[1], counted=True, keep=())
n, size, rng = len(c.policies), int(sys.argv[2]), np.random.default_rng(0)
p = c.count / c.count.sum()
for r in range(size):
    w, theta = rng.multinomial(c.total, p), np.zeros(n)
    wins = np.bincount(c.a * n + c.b, w * c.outcome, n * n) + np.bincount(c.b * n + c.a, w * (1 - c.outcome), n * n)
    wins = wins.reshape(n, n); total = wins + wins.T
    for _ in range(20):
        q = 1 / (1 + np.exp(theta[None] - theta[:, None])); h = total * q * (1 - q)
        step = np.linalg.solve(np.diag(h.sum(1)) - h + 1, (wins - total * q).sum(1)); theta += step
        if abs(step).max() < 1e-7: break
"""
ELO_OURS = """
import sys, time, policyrank as pr
c = pr.read_comparisons(sys.argv[1], keep=())
pr.elo(c.take(range(10)), orders=0, interval="none")
t = time.perf_counter(); pr.elo(c, orders=0, interval="none"); print(time.perf_counter() - t)
"""
ELO_EVALICA = """
import sys, time, pandas as pd, evalica
d = pd.read_parquet(sys.argv[1])
w = d.winner.map({"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y, "tie": evalica.Winner.Draw}).tolist()
from evalica import _brzo
xs, ys, index = evalica.indexing(d.model_a, d.model_b)
ones = evalica._wrap_weights(None, len(xs))
options = dict(initial=1500.0, base=10.0, scale=400.0, k=32.0, win_weight=1.0, tie_weight=0.5)
t = time.perf_counter(); _brzo.elo(xs=xs, ys=ys, winners=w, weights=ones, total=len(index), **options); loop = time.perf_counter() - t
t = time.perf_counter(); evalica.elo(d.model_a, d.model_b, w); print(loop, time.perf_counter() - t)
"""
KEMENY_OURS = """
import sys, time, numpy as np, policyrank as pr
n, voters = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
from policyrank.ranking import kemeny_order
wins = pr.Rankings.of_scores(rng.normal(size=(voters, n)) + 0.5 * np.linspace(1, 0, n), [f"p{k:03d}" for k in range(n)]).preferences()
t = time.perf_counter(); found = kemeny_order(wins, time_limit=300); print(time.perf_counter() - t, found.optimal)
"""
KEMENY_SPIEL = """
import sys, time, numpy as np
from open_spiel.python.voting import base, kemeny_young
n, voters = int(sys.argv[1]), int(sys.argv[2])
scores = np.random.default_rng(0).normal(size=(voters, n)) + 0.5 * np.linspace(1, 0, n)
names = [f"p{k:03d}" for k in range(n)]
profile = base.PreferenceProfile(alternatives=names)
for row in scores: profile.add_vote([names[k] for k in np.argsort(-row)])
t = time.perf_counter(); kemeny_young.KemenyYoungVoting().run_election(profile); print(time.perf_counter() - t, True)
"""
ALPHA_OURS = """
import sys, time, numpy as np
from policyrank.ranking import alpharank
shape = tuple(map(int, sys.argv[1].split("x"))); rng = np.random.default_rng(0)
tables = [rng.normal(size=shape) for _ in shape]
t = time.perf_counter(); alpharank(tables); print(time.perf_counter() - t)
"""
ALPHA_SPIEL = """
import sys, time, numpy as np
from open_spiel.python.egt import alpharank
shape = tuple(map(int, sys.argv[1].split("x"))); rng = np.random.default_rng(0)
tables = [rng.normal(size=shape) for _ in shape]
t = time.perf_counter(); alpharank.compute(tables, use_inf_alpha=True, inf_alpha_eps=0.01); print(time.perf_counter() - t)
"""


def said(text: str) -> float:
    return float(text.split()[0])


def seconds(value: float | None) -> str:
    return f"> {LIMIT} s" if value is None else f"{value:.3g} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "policyrank-bench"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a hundredth of the battles, to try the script"
    )
    options = parser.parse_args()
    options.cache.mkdir(exist_ok=True)
    scale = 100 if options.quick else 1
    big = battles(
        options.cache / f"battles-{10_000_000 // scale}-200.parquet", 10_000_000 // scale, 200
    )
    lines = [
        "# Benchmarks",
        "",
        (
            "Made by `make bench` in one run: the peers and policyrank side by side on the same"
            " machine and file."
        ),
        "",
    ]

    def tell(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    def section(title: str, *header: str) -> None:
        for line in (
            "",
            f"## {title}",
            "",
            "| " + " | ".join(header) + " |",
            "|" + " :-- |" * len(header),
        ):
            tell(line)

    def row(*cells: object) -> None:
        tell("| " + " | ".join(map(str, cells)) + " |")

    section(
        f"Whole command: {10_000_000 // scale:,} battles, 200 policies, from parquet",
        "what",
        "time",
        "peak memory",
        "against policyrank",
    )
    ours, memory, _ = measure(POLICYRANK, "rank", big, "--json")
    assert ours is not None
    row(
        "policyrank, Bradley-Terry with intervals, rank sets, diagnostics",
        seconds(ours),
        f"{memory:,.0f} MB",
        "1",
    )
    for name, code in (
        ("arena-rank, Bradley-Terry with intervals", ARENA_RANK),
        ("evalica, Bradley-Terry without intervals", EVALICA),
    ):
        took, memory, _ = measure(code, big)
        row(
            name,
            seconds(took),
            f"{memory:,.0f} MB",
            "" if took is None else f"{took / ours:.1f} times as long",
        )

    section(
        "Whole command with a bootstrap of 1,000 resamples", "what", "time", "against policyrank"
    )
    ours, _, _ = measure(
        POLICYRANK, "rank", big, "--interval", "bootstrap", "--resamples", 1000, "--json"
    )
    assert ours is not None
    row("policyrank", seconds(ours), "1")
    took, _, _ = measure(NUMPY_BOOTSTRAP, big, 1000)
    row(
        "numpy: counts once, then a Newton fit a resample",
        seconds(took),
        "" if took is None else f"{took / ours:.1f} times as long",
    )
    few = 40 if not options.quick else 2
    base, _, _ = measure(ARENA_RANK, big)
    took, _, _ = measure(ARENA_RANK, big, few)
    if took is None or base is None:
        row(f"arena-rank, {few} resamples only", seconds(took), "does not finish")
    else:
        whole = base + (took - base) / few * 1000
        row(
            f"arena-rank, extrapolated from {few} resamples ({took:.0f} s)",
            f"about {whole:,.0f} s",
            f"about {whole / ours:,.0f} times as long",
        )

    section(f"Online Elo, one pass over {10_000_000 // scale:,} battles (call)", "what", "time")
    row("policyrank, on encoded inputs (Comparisons)", seconds(said(measure(ELO_OURS, big)[2])))
    loop, whole = map(float, measure(ELO_EVALICA, big)[2].split())
    row("evalica's Rust loop alone, on encoded inputs", seconds(loop))
    row("evalica.elo, on names", seconds(whole))

    section("Kemeny, exact (call)", "what", "policies", "voters", "time", "proven optimal")
    for n, voters in ((8, 25), (50, 25), (100, 101), (100, 25)):
        text = measure(KEMENY_OURS, n, voters)[2].split()
        row("policyrank", n, voters, seconds(float(text[0])), text[1])
    for n, voters in ((7, 25), (8, 25), (9, 25), (10, 25)):
        took, _, text = measure(KEMENY_SPIEL, n, voters, limit=120)
        row(
            "open_spiel (enumeration)",
            n,
            voters,
            "> 120 s" if took is None else seconds(said(text)),
            "" if took is None else "True",
        )

    section("alpha-Rank, infinite alpha, random games (call)", "what", "game", "profiles", "time")
    for shape in ("10x10", "30x30", "6x6x6x6x6", "10x10x10x10x10", "316x316"):
        row(
            "policyrank",
            shape,
            f"{np.prod(list(map(int, shape.split('x')))):,}",
            seconds(said(measure(ALPHA_OURS, shape)[2])),
        )
    for shape in ("10x10", "20x20", "30x30", "10x10x10"):
        took, _, text = measure(ALPHA_SPIEL, shape, limit=120)
        row(
            "open_spiel",
            shape,
            f"{np.prod(list(map(int, shape.split('x')))):,}",
            "> 120 s" if took is None else seconds(said(text)),
        )

    section(
        "policyrank's cost: whole command, Bradley-Terry with intervals",
        "battles",
        "policies",
        "time",
        "peak memory",
    )
    for size, policies in (
        (10_000, 200),
        (100_000, 200),
        (1_000_000, 200),
        (10_000_000, 200),
        (1_000_000, 20),
        (1_000_000, 1000),
        (1_000_000, 3000),
    ):
        path = battles(
            options.cache / f"battles-{size // scale}-{policies}.parquet", size // scale, policies
        )
        took, memory, _ = measure(POLICYRANK, "rank", path, "--json")
        row(f"{size // scale:,}", f"{policies:,}", seconds(took), f"{memory:,.0f} MB")

    packages = (
        "policyrank",
        "arena-rank",
        "evalica",
        "open_spiel",
        "numpy",
        "scipy",
        "polars",
        "highspy",
        "numba",
    )
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    for line in (
        "",
        "## Where",
        "",
        (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()};"
            f" {versions}."
        ),
    ):
        tell(line)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        battles(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
