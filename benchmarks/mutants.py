"""Which small mistakes in the code that decides would no test notice? ``make mutants``.

A random sample of mutmut's mutants of ``ROOMS``; each is tried by the quick tests of its room that
reach it. Printed are those that survive, by file, and the share that was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path("src/policyrank")
WORK = REPOSITORY / ".cache/mutants"
COPIED = ("tests", "docs", "configs")
"""Beside the package, what tests read."""
PRELOADED = "numpy scipy.stats scipy.optimize polars numba hypothesis sklearn.linear_model torch"


@dataclass(frozen=True)
class Room:
    """Files under ``src/policyrank`` (patterns), the tests that cover them, and, where not all
    functions decide, those that do."""

    files: str
    tests: str
    functions: str = "*"


ROOMS = {
    "metrics": Room("metrics/*.py ranking/runs.py", "tests/metrics"),
    "learn": Room(
        "learn/losses/*.py learn/rewards/*.py learn/advantages.py learn/curricula.py"
        " learn/distributions.py learn/labels.py learn/segments.py learn/utilities.py",
        "tests/learn",
    ),
    "ranking": Room(
        "board/intervals.py board/bounded.py board/rank_sets.py board/clusters.py"
        " board/pair_gaps.py ranking/*_errors.py ranking/majorities.py ranking/committee*.py",
        "tests/board tests/ranking/test_bradley_terry_fit.py tests/ranking/test_certainty.py"
        " tests/ranking/test_ties.py tests/ranking/test_voting.py tests/ranking/test_committees.py"
        " tests/ranking/test_score_profiles.py tests/ranking/test_score_errors.py"
        " tests/ranking/test_ballot_errors.py tests/ranking/test_cluster_errors.py"
        " tests/ranking/test_committee_twins.py tests/ranking/test_paired_errors.py",
    ),
    "evaluation": Room(
        "evaluation/stopping.py evaluation/importance.py evaluation/cross_fitting.py"
        " evaluation/off_policy.py evaluation/support.py evaluation/targeting.py"
        " evaluation/simulation.py evaluation/transport*.py",
        "tests/evaluation/test_off_policy.py tests/evaluation/test_runner.py"
        " tests/evaluation/test_simulation.py tests/evaluation/test_targeting.py"
        " tests/evaluation/test_transport.py tests/evaluation/test_transport_twins.py"
        " tests/evaluation/test_support.py tests/evaluation/test_off_policy_twins.py",
    ),
    "train": Room(
        "train/judges.py train/reinforcement.py",
        "tests/train/test_answers.py tests/train/test_judges.py tests/train/test_reinforcement.py",
        "*judge* *scorer* each_answer as_lists best_of_n majority _differences _likelihoods"
        " _record _mean reinforce",
    ),
    "studies": Room(
        "studies/frame.py studies/leaderboard_illusion.py studies/roboarena.py"
        " studies/best_systems.py studies/fair_subset_selection.py",
        "tests/studies",
        "judge _paired _measured _half_width _answer distance _rated _agreement ranks mean borda"
        " two_level _corrupted _qualities",
    ),
}
"""What decides: metrics, losses and advantages, intervals, stopping, judges, studies' measures."""

DEAD = ("killed", "timeout", "segfault")

NOT_COUNTED = (
    r"^ *raise ",
    r"^ *(report|say)\(",
)
"""Lines whose expressions are left alone: texts of errors and of progress."""
SAME = ((r",? ?\bstrict=\w+", ""), (r"[<>]=? (1e-\d+)", r"< \1"))
"""What mutants may change without meaning another thing: a check of lengths that are equal, and
whether a tolerance itself is within it."""


def all_mutants(only: str) -> Iterator[str]:
    """Names of the mutants in these files; the folder must be one that mutmut is run in."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    for room in ROOMS.values():
        for path in files_of(room):
            if not fnmatch(str(path), f"{PACKAGE}/{only}"):
                continue
            made = mutate_file_contents(str(path), (REPOSITORY / path).read_text("utf-8"))
            for mutant in made.mutant_names:
                function = re.sub(r"^x_|^x.*ǁ|__mutmut_\d+$", "", mutant)
                if any(fnmatch(function, pattern) for pattern in room.functions.split()):
                    yield get_mutant_name(path, mutant)


def files_of(room: Room) -> Iterator[Path]:
    for pattern in room.files.split():
        for path in sorted((REPOSITORY / PACKAGE).glob(pattern)):
            yield path.relative_to(REPOSITORY)


def file_of(mutant: str) -> str:
    """The file of a mutant by its name."""
    module = re.split(r"\.x[_ǁ]", mutant)[0]
    return "src/" + module.replace(".", "/") + ".py"


def prepare(folder: Path, files: Sequence[str], tests: Sequence[str]) -> None:
    """A copy of the repository in which mutmut finds what it is told."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("src", *COPIED):
        shutil.copytree(
            REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    options = {
        "source_paths": [str(PACKAGE)],
        "also_copy": list(COPIED),
        "only_mutate": list(files),
        "do_not_mutate_patterns": list(NOT_COUNTED),
        "pytest_add_cli_args_test_selection": [*tests, *files],
        "pytest_add_cli_args": [*"-m|not slow|-k|not __mutmut|-p|no:cacheprovider".split("|")],
        "process_isolation": "forkserver",  # a fork that has used polars hangs
        "forkserver_warmup": "import",
        "preload_modules_file": "preloaded.txt",
        "timeout_constant": 30.0,
        "timeout_multiplier": 4.0,
        "debug": True,
    }
    (folder / "preloaded.txt").write_text("\n".join(PRELOADED.split()))
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text(text + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n")


def mutmut(folder: Path, *arguments: str) -> str:
    """What mutmut prints."""
    environment = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"} | os.environ
    program = str(Path(sys.executable).with_name("mutmut"))
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        said = re.sub(r"^[\u2800-\u28ff].*\n", "", done.stdout + done.stderr, flags=re.M)
        raise SystemExit(f"mutmut {arguments[0]}: {said[-5000:]}")
    return done.stdout


def says_the_same(diff: str) -> bool:
    """Whether a mutant only lost what ``SAME`` names."""
    lines = [line for line in diff.splitlines() if re.match(r"[-+](?![-+]{2} )", line)]
    before, after = ([line[1:] for line in lines if line[0] == side] for side in "-+")
    return list(map(plain, before)) == list(map(plain, after))


def plain(line: str) -> str:
    """Without what ``SAME`` names."""
    for pattern, instead in SAME:
        line = re.sub(pattern, instead, line)
    return line


def tried(room: str, mutants: Sequence[str]) -> dict[str, str]:
    """How each mutant fared."""
    folder = WORK / room
    prepare(folder, sorted(set(map(file_of, mutants))), ROOMS[room].tests.split())
    mutmut(folder, "run", "--max-children", "1", *mutants)
    results = dict(
        line.strip().split(": ", 1)
        for line in mutmut(folder, "results", "--all", "true").splitlines()
        if ": " in line
    )
    return {mutant: results[mutant] for mutant in mutants}


def told(room: str, mutants: Sequence[str]) -> tuple[int, int]:
    """Print the survivors among a room's mutants by file; how many were killed, and of how many."""
    start = time.perf_counter()
    fared = tried(room, mutants)
    alive, same = defaultdict(list), 0
    for mutant, result in fared.items():
        if result in DEAD:
            continue
        diff = mutmut(WORK / room, "show", mutant)
        if says_the_same(diff):
            same += 1
        else:
            alive[file_of(mutant)].append(diff)
    for file, diffs in sorted(alive.items()):
        print(f"\n## {file}: {len(diffs)}", *diffs, sep="\n")
    counted = len(mutants) - same
    killed = counted - sum(map(len, alive.values()))
    print(
        f"\n# {room}: {killed} of {counted} killed ({same} say the same),"
        f" {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    slow = [mutant for mutant, result in fared.items() if result == "timeout"]
    if slow:
        print("Killed by the clock:", *slow, flush=True)
    return killed, counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="*", help="pattern of files, such as 'metrics/*'")
    parser.add_argument("names", nargs="*", help="these mutants instead of a sample")
    options = parser.parse_args()
    chosen = options.names
    if not chosen:
        prepare(WORK / "names", [], [])
        os.chdir(WORK / "names")
        among = sorted(all_mutants(options.only))
        chosen = random.Random(options.seed).sample(among, min(options.number, len(among)))
        print(f"{len(chosen)} of {len(among)} mutants, seed {options.seed}", flush=True)
    killed = counted = 0
    for name, room in ROOMS.items():
        files = set(map(str, files_of(room)))
        own = [mutant for mutant in chosen if file_of(mutant) in files]
        if own:
            dead, all_of_them = told(name, own)
            killed, counted = killed + dead, counted + all_of_them
    print(f"\n{killed} of {counted} killed: {killed / max(counted, 1):.1%}")


if __name__ == "__main__":
    main()
