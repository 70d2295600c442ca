"""Speed beside the peers, in one run on one machine: ``make bench`` writes docs/benchmarks.md.

Each measurement is a process of its own that reads the same parquet file (whole command), or a call
on inputs prepared beforehand (where it says "call"). A peer that does not finish in the limit is
reported as such.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
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
ABOUT = (
    "Made by `make bench` in one run: the peers and policyrank side by side on the same machine"
    " and file."
)


def battles(path: Path, size: int, policies: int, seed: int = 0) -> Path:
    """Battles by Davidson's model with about a fifth of ties, written once.

    By a process of its own: a child's peak memory counts what its parent held when it was started.
    """
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
IMPORTS = "import numpy, scipy.special, polars"
COUNTED = """
import sys, polars
polars.scan_parquet(sys.argv[1]).group_by(polars.all()).len().collect()
"""
FLOORS = """The floor of 10,000 battles and of help is a bare import of numpy, scipy.special and
polars; of 10 million battles that polars is imported, reads the file and counts equal rows. The
shortest of nine runs, in turn."""
ARENA_RANK = """
import sys, multiprocessing, pandas as pd
# its pool hangs when it forks a process in which JAX runs
multiprocessing.set_start_method("spawn")
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
X, Y, draw = evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw
w = d.winner.map({"model_a": X, "model_b": Y, "tie": draw})
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
    wins = np.bincount(c.a * n + c.b, w * c.outcome, n * n)
    wins += np.bincount(c.b * n + c.a, w * (1 - c.outcome), n * n)
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
X, Y, draw = evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw
w = d.winner.map({"model_a": X, "model_b": Y, "tie": draw}).tolist()
from evalica import _brzo
xs, ys, index = evalica.indexing(d.model_a, d.model_b)
ones = evalica._wrap_weights(None, len(xs))
options = dict(initial=1500.0, base=10.0, scale=400.0, k=32.0, win_weight=1.0, tie_weight=0.5)
t = time.perf_counter()
_brzo.elo(xs=xs, ys=ys, winners=w, weights=ones, total=len(index), **options)
loop = time.perf_counter() - t
t = time.perf_counter(); evalica.elo(d.model_a, d.model_b, w); print(loop, time.perf_counter() - t)
"""
KEMENY_OURS = """
import sys, time, numpy as np, policyrank as pr
n, voters = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
from policyrank.ranking import kemeny_order
scores = rng.normal(size=(voters, n)) + 0.5 * np.linspace(1, 0, n)
wins = pr.Rankings.of_scores(scores, [f"p{k:03d}" for k in range(n)]).preferences()
t = time.perf_counter(); found = kemeny_order(wins, time_limit=300)
print(time.perf_counter() - t, found.optimal)
"""
KEMENY_SPIEL = """
import sys, time, numpy as np
from open_spiel.python.voting import base, kemeny_young
n, voters = int(sys.argv[1]), int(sys.argv[2])
scores = np.random.default_rng(0).normal(size=(voters, n)) + 0.5 * np.linspace(1, 0, n)
names = [f"p{k:03d}" for k in range(n)]
profile = base.PreferenceProfile(alternatives=names)
for row in scores: profile.add_vote([names[k] for k in np.argsort(-row)])
t = time.perf_counter(); kemeny_young.KemenyYoungVoting().run_election(profile)
print(time.perf_counter() - t, True)
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
t = time.perf_counter(); alpharank.compute(tables, use_inf_alpha=True, inf_alpha_eps=0.01)
print(time.perf_counter() - t)
"""


class Page:
    """The page's lines, told as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, *lines: str) -> None:
        for line in lines:
            print(line, flush=True)
            self.lines.append(line)

    def section(self, title: str, *header: str) -> None:
        self.tell("", f"## {title}", "")
        self.row(*header)
        self.tell("|" + " :-- |" * len(header))

    def row(self, *cells: object) -> None:
        self.tell("| " + " | ".join(map(str, cells)) + " |")


def said(text: str) -> float:
    """The number that a script printed first."""
    return float(text.split()[0])


def seconds(value: float | None, limit: int = LIMIT) -> str:
    return f"> {limit} s" if value is None else f"{value:.3g} s"


def as_long(took: float | None, ours: float) -> str:
    return "" if took is None else f"{took / ours:.1f} times as long"


def whole_command(page: Page, big: Path, size: int) -> None:
    page.section(
        f"Whole command: {size:,} battles, 200 policies, from parquet",
        "what",
        "time",
        "peak memory",
        "against policyrank",
    )
    ours, memory, _ = measure(POLICYRANK, "rank", big, "--json")
    assert ours is not None
    name = "policyrank, Bradley-Terry with intervals, rank sets, diagnostics"
    page.row(name, seconds(ours), f"{memory:,.0f} MB", "1")
    for name, code in (
        ("arena-rank, Bradley-Terry with intervals", ARENA_RANK),
        ("evalica, Bradley-Terry without intervals", EVALICA),
    ):
        took, memory, _ = measure(code, big)
        page.row(name, seconds(took), f"{memory:,.0f} MB", as_long(took, ours))


def bootstrap(page: Page, big: Path, few: int) -> None:
    title = "Whole command with a bootstrap of 1,000 resamples"
    page.section(title, "what", "time", "against policyrank")
    options = ("--interval", "bootstrap", "--resamples", 1000, "--json")
    ours, _, _ = measure(POLICYRANK, "rank", big, *options)
    assert ours is not None
    page.row("policyrank", seconds(ours), "1")
    took, _, _ = measure(NUMPY_BOOTSTRAP, big, 1000)
    name = "numpy: counts once, then a Newton fit a resample"
    page.row(name, seconds(took), as_long(took, ours))
    base, _, _ = measure(ARENA_RANK, big)
    took, _, _ = measure(ARENA_RANK, big, few)
    if took is None or base is None:
        page.row(f"arena-rank, {few} resamples only", seconds(took), "does not finish")
        return
    whole = base + (took - base) / few * 1000
    page.row(
        f"arena-rank, extrapolated from {few} resamples ({took:.0f} s)",
        f"about {whole:,.0f} s",
        f"about {whole / ours:,.0f} times as long",
    )


def online_elo(page: Page, big: Path, size: int) -> None:
    page.section(f"Online Elo, one pass over {size:,} battles (call)", "what", "time")
    took = said(measure(ELO_OURS, big)[2])
    page.row("policyrank, on encoded inputs (Comparisons)", seconds(took))
    loop, whole = map(float, measure(ELO_EVALICA, big)[2].split())
    page.row("evalica's Rust loop alone, on encoded inputs", seconds(loop))
    page.row("evalica.elo, on names", seconds(whole))


def kemeny(page: Page) -> None:
    header = ("what", "policies", "voters", "time", "proven optimal")
    page.section("Kemeny, exact (call)", *header)
    for n, voters in ((8, 25), (50, 25), (100, 101), (100, 25)):
        took, optimal = measure(KEMENY_OURS, n, voters)[2].split()[:2]
        page.row("policyrank", n, voters, seconds(float(took)), optimal)
    for n in (7, 8, 9, 10):
        done, _, text = measure(KEMENY_SPIEL, n, 25, limit=120)
        if done is None:
            page.row("open_spiel (enumeration)", n, 25, seconds(None, 120), "")
        else:
            page.row("open_spiel (enumeration)", n, 25, seconds(said(text)), "True")


def alpha_rank(page: Page) -> None:
    header = ("what", "game", "profiles", "time")
    page.section("alpha-Rank, infinite alpha, random games (call)", *header)
    for shape in ("10x10", "30x30", "6x6x6x6x6", "10x10x10x10x10", "316x316"):
        took = said(measure(ALPHA_OURS, shape)[2])
        page.row("policyrank", shape, profiles(shape), seconds(took))
    for shape in ("10x10", "20x20", "30x30", "10x10x10"):
        done, _, text = measure(ALPHA_SPIEL, shape, limit=120)
        spent = None if done is None else said(text)
        page.row("open_spiel", shape, profiles(shape), seconds(spent, 120))


def profiles(shape: str) -> str:
    return f"{math.prod(map(int, shape.split('x'))):,}"


def cost(page: Page, cache: Path, scale: int) -> None:
    title = "policyrank's cost: whole command, Bradley-Terry with intervals"
    page.section(title, "battles", "policies", "time", "peak memory")
    for whole, policies in (
        (10_000, 200),
        (100_000, 200),
        (1_000_000, 200),
        (10_000_000, 200),
        (1_000_000, 20),
        (1_000_000, 1000),
        (1_000_000, 3000),
    ):
        size = whole // scale
        path = battles(cache / f"battles-{size}-{policies}.parquet", size, policies)
        took, memory, _ = measure(POLICYRANK, "rank", path, "--json")
        page.row(f"{size:,}", f"{policies:,}", seconds(took), f"{memory:,.0f} MB")


def floors(page: Page, cache: Path, scale: int, times: int = 9) -> None:
    """The shortest of several runs, ours and the floor in turn."""
    page.section("What no board can do without", "command", "policies", "time", "floor", "times")
    commands: list[tuple[str, int, str, tuple[object, ...]]] = [("--help", 0, IMPORTS, ("--help",))]
    for whole, policies in ((10_000, 20), (10_000, 50), (10_000, 200), (10_000_000, 200)):
        path = battles(cache / f"battles-{whole // scale}-{policies}.parquet", whole, policies)
        floor = IMPORTS if whole == 10_000 else COUNTED
        commands.append((f"rank {whole:,} battles", policies, floor, ("rank", path)))
    for name, policies, floor, arguments in commands:
        ours, least = [], []
        for _ in range(times):
            ours.append(measure(POLICYRANK, *arguments)[0] or LIMIT)
            least.append(measure(floor, *arguments[1:])[0] or LIMIT)
        ratio = f"{min(ours) / min(least):.2f}"
        page.row(name, policies or "", seconds(min(ours)), seconds(min(least)), ratio)
    page.tell("", FLOORS)


def where(page: Page) -> None:
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
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    page.tell("", "## Where", "", f"{machine}; {versions}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    cache = Path(tempfile.gettempdir()) / "policyrank-bench"
    parser.add_argument("--cache", type=Path, default=cache)
    about = "a hundredth of the battles, to try the script"
    parser.add_argument("--quick", action="store_true", help=about)
    options = parser.parse_args()
    options.cache.mkdir(exist_ok=True)
    scale, few = (100, 2) if options.quick else (1, 40)
    size = 10_000_000 // scale
    big = battles(options.cache / f"battles-{size}-200.parquet", size, 200)
    page = Page()
    page.lines += ["# Benchmarks", "", ABOUT, ""]
    whole_command(page, big, size)
    bootstrap(page, big, few)
    online_elo(page, big, size)
    kemeny(page)
    alpha_rank(page)
    cost(page, options.cache, scale)
    floors(page, options.cache, scale)
    where(page)
    options.out.write_text("\n".join(page.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        battles(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
