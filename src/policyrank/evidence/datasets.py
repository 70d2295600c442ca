"""Named data sets of others: where they are, under which licence, and how they become evidence."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import polars as pl

from policyrank.errors import EvidenceError
from policyrank.evidence.answers import RankedAnswers
from policyrank.evidence.base import Labels
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.data_files import FILES
from policyrank.evidence.detections import (
    Detections,
    GroundTruth,
    read_detections,
    read_ground_truth,
)
from policyrank.evidence.readers import read_comparisons
from policyrank.evidence.scores import Scores


def _atari(name: str) -> Scores:
    """Atari scores by game; the spread after ± is cut, a game is a task."""
    lines = FILES[name].fetch().read_text(encoding="utf-8").splitlines()
    policies = lines[1].removeprefix("# game").split()
    rows = [line.split() for line in lines[2:] if line.strip()]
    table = np.array([[float(x.split("±")[0].replace(",", "")) for x in r[1:]] for r in rows])
    return Scores.from_table(
        table,
        [r[0] for r in rows],
        policies,
        notes=("scores published in " + lines[0].lstrip("# "),),
    )


def atari_spread(
    name: str = "atari_agent57_table.txt",
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Published standard deviations of the Atari scores, (games, agents) in the order of
    ``load("atari-agent57").table()``; 0 where there is none.
    """
    lines = FILES[name].fetch().read_text(encoding="utf-8").splitlines()
    agents = lines[1].removeprefix("# game").split()
    rows = sorted((line.split() for line in lines[2:] if line.strip()), key=lambda r: r[0])
    spread = np.array(
        [
            [float(x.split("±")[1].replace(",", "")) if "±" in x else 0.0 for x in r[1:]]
            for r in rows
        ]
    )
    return spread[:, np.argsort(agents, kind="stable")]


def _systems(name: str) -> Scores:
    """Task-level scores of NLP systems; Score (the leaderboard's own mean) is no task."""
    rows = [
        [c.strip() for c in line.split(",")]
        for line in FILES[name].fetch().read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    tasks = rows[0][2:]
    names = [" ".join(r[0].replace("\t", " ").replace('"', "").split()) for r in rows[1:]]
    table = np.array([[float(x) for x in r[-len(tasks) :]] for r in rows[1:]])
    seen: dict[str, int] = {}
    for i, n in enumerate(names):
        seen[n] = seen.get(n, 0) + 1
        names[i] = n if seen[n] == 1 else f"{n} ({seen[n]})"
    return Scores.from_table(table.T, tasks, names)


def _instances(name: str) -> Scores:
    """Instance-level metric scores: metrics are tasks, instances are replicates.

    The two id columns are swapped in the released files: ``Utterance`` holds the system, ``System``
    the instance.
    """
    table = pl.read_csv(FILES[name].fetch(), infer_schema_length=None)
    metrics = [c for c in table.columns if c not in ("System", "Utterance")]
    long = table.unpivot(
        metrics, index=["System", "Utterance"], variable_name="metric", value_name="score"
    )
    long = long.with_columns(pl.col("score").cast(pl.Float64, strict=False)).filter(
        pl.col("score").is_finite()
    )
    return Scores(
        Labels.of(long["Utterance"]),
        Labels.of(long["metric"]),
        long["score"].to_numpy(),
        replicate=Labels.of(long["System"]),
    )


def _roboarena() -> Comparisons:
    """Blind pairwise preferences between robot policies (796 trials); 0 in the file means that A is
    preferred.
    """
    return read_comparisons(
        FILES["policy_preferences.csv"].fetch(), a="A", b="B", outcome="preference", first_wins=0
    )


def _roboarena_progress() -> Scores:
    """Progress in [0, 1] of seven robot policies in the same trials; a trial is a task."""
    table = pl.read_csv(FILES["per_trial_progress_data.csv"].fetch(), infer_schema_length=None)
    trials = [f"trial {i + 1}" for i in range(table.height)]
    return Scores.from_table(
        table.cast(pl.Float64).fill_null(np.nan).to_numpy(), trials, table.columns
    )


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


def _crowd_pairs() -> list[dict[str, Any]]:
    """Pairs of answers of the crowd votes on which a majority decided: prompt, chosen, rejected,
    alpha (share of votes, ties half), slug.
    """
    votes = pl.read_csv(FILES["crowd-comparisons.csv"].fetch())
    share = votes.with_columns(
        left=pl.col("winner").replace_strict({"left": 1.0, "tie": 0.5, "right": 0.0})
    )
    alpha = dict(share.group_by("id").agg(pl.col("left").mean()).iter_rows())
    out = []
    for line in FILES["pairs-crowd.jsonl"].fetch().read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        a = alpha.get(row["id"], 0.5)
        if a != 0.5 and row["result_x"] != row["result_y"]:
            chosen, rejected = ("result_x", "result_y") if a > 0.5 else ("result_y", "result_x")
            out.append(
                {
                    "prompt": row["text"],
                    "chosen": row[chosen],
                    "rejected": row[rejected],
                    "alpha": max(a, 1 - a),
                    "slug": row["slug"],
                }
            )
    return out


def _cranfield() -> tuple[dict[str, str], dict[str, str], pl.DataFrame]:
    """Cranfield: queries, documents, judgements (grade 5 - code, 1 to 4). Queries are numbered as
    they come, as the judgements do.
    """

    def records(name: str) -> list[str]:
        text = FILES[name].fetch().read_text(encoding="utf-8", errors="replace")
        bodies = [r.partition("\n.W\n")[2] for r in ("\n" + text).split("\n.I ")[1:]]
        return [" ".join(b.split()) for b in bodies]

    queries = {str(k): t for k, t in enumerate(records("cran.qry"), 1)}
    documents = {str(k): t for k, t in enumerate(records("cran.all.1400"), 1)}
    rows = [
        line.split()
        for line in FILES["cranqrel"].fetch().read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    qrels = pl.DataFrame(
        {
            "query": [r[0] for r in rows],
            "document": [r[1] for r in rows],
            "grade": [5.0 - abs(int(r[2])) for r in rows],
        }
    )
    return (
        queries,
        documents,
        qrels.unique(["query", "document"], keep="first", maintain_order=True),
    )


def _screening() -> tuple[dict[str, str], pl.DataFrame]:
    """Nine systematic reviews: their titles, and the works their searches found (review, work_id,
    year, title, abstract, included).
    """
    titles = pl.read_csv(FILES["reviews.csv"].fetch())
    works = pl.read_csv(FILES["synergy_small9.csv.gz"].fetch())
    return dict(titles.select("review", "title").iter_rows()), works.with_columns(
        pl.col("title", "abstract").fill_null("")
    )


def _concepts() -> pl.DataFrame:
    """Works of nine reviews with graded concepts of 81, by OpenAlex's classifier: review, work_id,
    text, concepts (a list of name and score).
    """
    _, works = _screening()
    labels = pl.read_csv(FILES["concepts81.csv.gz"].fetch()).with_columns(
        pl.col("concepts")
        .fill_null("")
        .str.split(";")
        .list.eval(
            pl.element()
            .filter(pl.element() != "")
            .str.extract_groups(r"^(?<name>.*):(?<score>[^:]+)$")
            .struct.with_fields(pl.field("score").cast(pl.Float64))
        )
    )
    text = pl.concat_str("title", "abstract", separator=" ").str.strip_chars()
    return works.select("review", "work_id", text=text).join(
        labels, on=["review", "work_id"], how="left", maintain_order="left"
    )


def _lines(name: str) -> list[dict[str, Any]]:
    data = FILES[name].fetch().read_bytes()
    return [
        json.loads(line)
        for line in (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()
    ]


def _alpacaeval() -> list[tuple[RankedAnswers, tuple[str, ...]]]:
    """805 prompts with the answers of ten models, labelled by the chance that the answer beats
    GPT-4 Turbo's in a judge's eyes; and the models' names.
    """
    out = []
    for row in _lines("alpacaeval_ranked_lists.jsonl.gz"):
        given = [r for r in row["responses"] if r["text"].strip()]
        texts, labels, models = (tuple(r[k] for r in given) for k in ("text", "psi", "model"))
        out.append((RankedAnswers(row["instruction"], texts, labels), models))
    return out


def _humaneval() -> list[dict[str, Any]]:
    """HumanEval: task_id, prompt, entry_point, canonical_solution, test."""
    return _lines("HumanEval.jsonl.gz")


def _humaneval_solutions() -> list[dict[str, Any]]:
    """96 HumanEval problems with models' answers: task_id, entry_point, prompt, candidates
    (response, code, n_passed, n_tests, passed_all, ...).
    """
    return _lines("humaneval_ranked_solutions.jsonl")


def _coco100() -> tuple[GroundTruth, Detections]:
    """100 COCO images in LVIS's form, crowds removed, and pycocotools' demo detections (boxes)."""
    truth = read_ground_truth(FILES["coco100_lvis.json"].fetch())
    return truth, read_detections(
        FILES["instances_val2014_fakebbox100_results.json"].fetch(), truth, name="demo"
    )


def _lvis100() -> GroundTruth:
    """100 LVIS images, 1,230 categories."""
    return read_ground_truth(FILES["lvis_val_100.json"].fetch())


def _ihdp() -> list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Nine semi-synthetic outcomes of the Infant Health and Development Program, 747 rows:
    treatment, outcome, the other outcome, mu0, mu1, 25 covariates.
    """
    return [np.loadtxt(FILES[f"ihdp_npci_{k}.csv"].fetch(), delimiter=",") for k in range(1, 10)]


def _inventory_episodes() -> pl.DataFrame:
    """Every published episode of 30 inventory controllers on 26 scenarios with ten seeds, and what
    it came to.
    """
    return pl.read_csv(
        gzip.decompress(FILES["episodes.csv.gz"].fetch().read_bytes()), infer_schema_length=None
    )


def _m5_window() -> list[float]:
    """30 days of demand for one product in one shop (Walmart M5), scaled to a mean of 20."""
    return list(json.loads(FILES["m5_window_metadata.json"].fetch().read_text())["scaled_series"])


def _supply_network() -> dict[str, Any]:
    """A synthetic retail supply network of 40 nodes: nodes and edges (frames), and what was
    published of it: shocks, policies, costs, numbers.
    """
    frames = {k: pl.read_csv(FILES[f"{k}.csv"].fetch()) for k in ("nodes", "edges")}
    return {**frames, **json.loads(FILES["published.json"].fetch().read_text())}


def _ihdp_trial() -> pl.DataFrame:
    """The Infant Health and Development Program itself: 985 infants of eight sites, treat (at
    random) and iqsb.36, IQ at 36 months (77 missing), with covariates.
    """
    return pl.read_csv(FILES["ihdp_trial_outcomes.csv"].fetch(), null_values=["NA", ""])


def _soccer() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Win probabilities of ten MuJoCo soccer agents, row beats column."""
    return np.loadtxt(FILES["soccer.txt"].fetch())


def _rrps_bots() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Mean returns of 43 repeated rock-paper-scissors bots (1,000 throws), row against column, in
    the order of their names.
    """
    rows = [
        ast.literal_eval(line)
        for line in FILES["rrps_bot_table.txt"].fetch().read_text().splitlines()
        if line.strip()
    ]
    place = {name: k for k, name in enumerate(sorted({a for a, _, _ in rows}))}
    table = np.zeros((len(place), len(place)))
    for a, b, value in rows:
        table[place[a], place[b]] = value
    return table


DATASETS: dict[str, Callable[[], object]] = {
    "atari-agent57": lambda: _atari("atari_agent57_table.txt"),
    "atari-muesli": lambda: _atari("atari_muesli_table11.txt"),
    "atari-rainbow": lambda: _atari("atari_rainbow_table5.txt"),
    "glue": lambda: _systems("glue.csv"),
    "superglue": lambda: _systems("superglue.data"),
    "xtreme": lambda: _systems("xtrem.data"),
    "tac08": lambda: _instances("TAC_08.csv"),
    "tac09": lambda: _instances("TAC_09.csv"),
    "tac11": lambda: _instances("TAC_11.csv"),
    "realsumm": lambda: _instances("REAL_SUM.csv"),
    "summeval": lambda: _instances("SUM_EVAL.csv"),
    "roboarena": _roboarena,
    "roboarena-progress": _roboarena_progress,
    "llmfao": _llmfao,
    "crowd-pairs": _crowd_pairs,
    "cranfield": _cranfield,
    "screening": _screening,
    "concepts81": _concepts,
    "alpacaeval": _alpacaeval,
    "humaneval": _humaneval,
    "humaneval-solutions": _humaneval_solutions,
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
    """Published mean scores of eight policies on 57 Atari games (Badia et al. 2020, arXiv
    2003.13350, section H.4).
    """
    text = (
        resources.files("policyrank.evidence")
        .joinpath("examples/atari.csv")
        .read_text(encoding="utf-8")
    )
    table = pl.read_csv(text.encode(), comment_prefix="#")
    return Scores.from_table(
        table.drop("game").to_numpy(),
        table["game"].to_list(),
        table.columns[1:],
        notes=("scores published in arXiv 2003.13350, section H.4",),
    )
