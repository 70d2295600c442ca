"""Named data sets of others: where they are, under which licence, and how they become evidence."""

from __future__ import annotations

import ast
import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence.base import Labels, place_of
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.data_files import FILES, text_lines
from policyrank.evidence.detections import (
    Detections,
    GroundTruth,
    read_detections,
    read_ground_truth,
)
from policyrank.evidence.quality_datasets import QUALITY_DATASETS
from policyrank.evidence.readers import read_comparisons
from policyrank.evidence.scores import Scores
from policyrank.evidence.text_datasets import TEXT_DATASETS

Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def _atari(name: str) -> Scores:
    """Atari scores by game; the spread after ± is cut, a game is a task."""
    published = _AtariTable.of(name)
    return Scores.from_table(
        published.mean,
        published.games,
        published.agents,
        notes=(f"scores published in {published.source}",),
    )


@dataclass(frozen=True, eq=False)
class _AtariTable:
    """A published table: (games, agents) means and what stands after their ±, 0 without it."""

    source: str
    games: list[str]
    agents: list[str]
    mean: Table
    spread: Table

    @classmethod
    def of(cls, name: str) -> _AtariTable:
        source, heads, *lines = text_lines(name)
        games, means, spreads = [], [], []
        for line in lines:
            game, *cells = line.split()
            pairs = [cell.replace(",", "").partition("±") for cell in cells]
            games.append(game)
            means.append([float(mean) for mean, _, _ in pairs])
            spreads.append([float(spread or 0) for _, _, spread in pairs])
        agents = heads.removeprefix("# game").split()
        return cls(source.lstrip("# "), games, agents, np.array(means), np.array(spreads))


def atari_spread(name: str = "atari_agent57_table.txt") -> Table:
    """Published standard deviations of the Atari scores: (games, agents), 0 where there is none.

    In the order of ``load("atari-agent57").table()``.
    """
    published = _AtariTable.of(name)
    by_game = np.argsort(published.games, kind="stable")
    by_agent = np.argsort(published.agents, kind="stable")
    return published.spread[np.ix_(by_game, by_agent)]


def _systems(name: str) -> Scores:
    """Task-level scores of NLP systems; the column Score (the board's own mean) is no task."""
    heads, *lines = text_lines(name)
    tasks = [head.strip() for head in heads.split(",")[2:]]
    names, table = [], []
    seen: Counter[str] = Counter()
    for line in lines:
        cells = line.split(",")
        system = " ".join(cells[0].replace('"', "").split())
        seen[system] += 1
        if seen[system] > 1:
            system = f"{system} ({seen[system]})"
        names.append(system)
        table.append([float(cell) for cell in cells[-len(tasks) :]])
    return Scores.from_table(np.array(table).T, tasks, names)


def _instances(name: str) -> Scores:
    """Instance-level metric scores: metrics are tasks, instances are replicates.

    The two id columns are swapped in the released files: ``Utterance`` holds the system, ``System``
    the instance.
    """
    table = pl.read_csv(FILES[name].fetch(), infer_schema_length=None)
    ids = ["System", "Utterance"]
    long = table.unpivot(index=ids, variable_name="metric", value_name="score")
    score = pl.col("score").cast(pl.Float64, strict=False)
    long = long.with_columns(score).filter(pl.col("score").is_finite())
    return Scores(
        Labels.of(long["Utterance"]),
        Labels.of(long["metric"]),
        long["score"].to_numpy(),
        replicate=Labels.of(long["System"]),
    )


def _roboarena() -> Comparisons:
    """Blind pairwise preferences between robot policies (796 trials).

    0 in the file means that A is preferred.
    """
    return read_comparisons(
        FILES["policy_preferences.csv"].fetch(), a="A", b="B", outcome="preference", first_wins=0
    )


def _roboarena_progress() -> Scores:
    """Progress in [0, 1] of seven robot policies in the same trials; a trial is a task."""
    table = pl.read_csv(FILES["per_trial_progress_data.csv"].fetch(), infer_schema_length=None)
    trials = [f"trial {i + 1}" for i in range(table.height)]
    progress = table.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return Scores.from_table(progress, trials, table.columns)


def _llmfao() -> Comparisons:
    """Crowd votes on language-model answers: 59 models, 124 workers, 13 prompts."""
    return read_comparisons(
        FILES["crowd-comparisons.csv"].fetch(),
        a="left",
        b="right",
        outcome="winner",
        task="prompt",
        rater="worker",
    )


def _coco100() -> tuple[GroundTruth, Detections]:
    """100 COCO images in LVIS's form, crowds removed, and pycocotools' demo detections (boxes)."""
    truth = read_ground_truth(FILES["coco100_lvis.json"].fetch())
    boxes = FILES["instances_val2014_fakebbox100_results.json"].fetch()
    return truth, read_detections(boxes, truth, name="demo")


def _lvis100() -> GroundTruth:
    """100 LVIS images, 1,230 categories."""
    return read_ground_truth(FILES["lvis_val_100.json"].fetch())


def _ihdp() -> list[Table]:
    """Nine semi-synthetic outcomes of the Infant Health and Development Program, 747 rows each.

    Treatment, outcome, the other outcome, mu0, mu1, 25 covariates.
    """
    return [np.loadtxt(FILES[f"ihdp_npci_{k}.csv"].fetch(), delimiter=",") for k in range(1, 10)]


def _inventory_episodes() -> pl.DataFrame:
    """Every published episode of 30 inventory controllers on 26 scenarios, and what it came to."""
    table = gzip.decompress(FILES["episodes.csv.gz"].fetch().read_bytes())
    return pl.read_csv(table, infer_schema_length=None)


def _m5_window() -> list[float]:
    """30 days of demand for one product in one shop (Walmart M5), scaled to a mean of 20."""
    return list(json.loads(FILES["m5_window_metadata.json"].fetch().read_text())["scaled_series"])


def _supply_network() -> dict[str, Any]:
    """A synthetic retail supply network of 40 nodes: nodes and edges (frames).

    And what was published of it: shocks, policies, costs, numbers.
    """
    nodes = pl.read_csv(FILES["nodes.csv"].fetch())
    edges = pl.read_csv(FILES["edges.csv"].fetch())
    published = json.loads(FILES["published.json"].fetch().read_text())
    return {"nodes": nodes, "edges": edges, **published}


def _ihdp_trial() -> pl.DataFrame:
    """The Infant Health and Development Program itself: 985 infants of eight sites.

    treat (at random) and iqsb.36, IQ at 36 months (77 missing), with covariates.
    """
    return pl.read_csv(FILES["ihdp_trial_outcomes.csv"].fetch(), null_values=["NA", ""])


def _soccer() -> Table:
    """Win probabilities of ten MuJoCo soccer agents, row beats column."""
    return np.loadtxt(FILES["soccer.txt"].fetch())


def _rrps_bots() -> Table:
    """Mean returns of 43 repeated rock-paper-scissors bots (1,000 throws), row against column.

    In the order of their names.
    """
    rows = [ast.literal_eval(line) for line in text_lines("rrps_bot_table.txt")]
    place = place_of(sorted({bot for bot, _, _ in rows}))
    table = np.zeros((len(place), len(place)))
    for bot, other, value in rows:
        table[place[bot], place[other]] = value
    return table


DATASETS: dict[str, Callable[[], object]] = {
    "atari-agent57": partial(_atari, "atari_agent57_table.txt"),
    "atari-muesli": partial(_atari, "atari_muesli_table11.txt"),
    "atari-rainbow": partial(_atari, "atari_rainbow_table5.txt"),
    "glue": partial(_systems, "glue.csv"),
    "superglue": partial(_systems, "superglue.data"),
    "xtreme": partial(_systems, "xtrem.data"),
    "tac08": partial(_instances, "TAC_08.csv"),
    "tac09": partial(_instances, "TAC_09.csv"),
    "tac11": partial(_instances, "TAC_11.csv"),
    "realsumm": partial(_instances, "REAL_SUM.csv"),
    "summeval": partial(_instances, "SUM_EVAL.csv"),
    "personachat": partial(_instances, "DIALOG_pc.csv"),
    "topicalchat": partial(_instances, "DIALOG_tc.csv"),
    "flickr": partial(_instances, "FLICKR.csv"),
    "mlqe": partial(_instances, "MLQE.csv"),
    "roboarena": _roboarena,
    "roboarena-progress": _roboarena_progress,
    "llmfao": _llmfao,
    **TEXT_DATASETS,
    **QUALITY_DATASETS,
    "coco100": _coco100,
    "lvis100": _lvis100,
    "ihdp": _ihdp,
    "inventory-episodes": _inventory_episodes,
    "m5-window": _m5_window,
    "supply-network": _supply_network,
    "ihdp-trial": _ihdp_trial,
    "soccer": _soccer,
    "rrps-bots": _rrps_bots,
}


def load(name: str) -> Any:
    """A named data set: ``Comparisons``, ``Scores``, an array of payoffs, or rows.

    Raises
    ------
    EvidenceError
        When the name is unknown, or the file can be neither found nor downloaded.
    """
    if name not in DATASETS:
        raise EvidenceError(f"no data set is called {name!r}. There are: {', '.join(DATASETS)}.")
    return DATASETS[name]()


def atari() -> Scores:
    """Published mean scores of eight policies on 57 Atari games.

    Badia et al. (2020), arXiv 2003.13350, section H.4.
    """
    file = resources.files("policyrank.evidence").joinpath("examples/atari.csv")
    table = pl.read_csv(file.read_bytes(), comment_prefix="#")
    return Scores.from_table(
        table.drop("game").to_numpy(),
        table["game"].to_list(),
        table.columns[1:],
        notes=("scores published in arXiv 2003.13350, section H.4",),
    )
