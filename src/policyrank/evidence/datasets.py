"""Named data sets of others: where they are, under which licence, and how they become evidence.

Nothing is shipped. A file is looked for in the folder that ``POLICYRANK_DATA`` names, then in the cache, then at its
public address; its SHA-256 is always checked.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from policyrank.evidence.base import EvidenceError, Labels
from policyrank.evidence.comparisons import Comparisons
from policyrank.evidence.readers import read_comparisons
from policyrank.evidence.scores import Scores

_GITHUB = "https://raw.githubusercontent.com/"
_SPIEL = _GITHUB + "google-deepmind/open_spiel/master/open_spiel/"
_SYSTEMS = _GITHUB + "PierreColombo/RankingNLPSystems/main/"
_ANYRANK = _GITHUB + "irom-princeton/AnyRank/main/data/roboarena/"
_RANKEVAL = _GITHUB + "hpclab/rankeval/master/rankeval/test/data/"
_LLMFAO = _GITHUB + "dustalov/llmfao/master/"


def cache_folder() -> Path:
    """Where what was downloaded or is dear to compute is kept: ``policyrank`` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "policyrank"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: its place in the data folder, public address, licence and SHA-256 (of a .gz file: of its contents)."""

    path: str
    url: str
    licence: str
    sha256: str

    def fetch(self) -> Path:
        """The file on this machine, checked.

        Raises
        ------
        EvidenceError
            When it can be neither found nor downloaded, or is not the file that is meant.
        """
        root = os.environ.get("POLICYRANK_DATA")
        cache = cache_folder()
        places = [Path(root) / self.path] if root else []
        for place in (*places, cache / self.path):
            if place.is_file():
                return self._checked(place)
        target = cache / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(target.suffix + ".part")
        try:
            urllib.request.urlretrieve(self.url, partial)
            if self.path.endswith(".gz") and not self.url.endswith(".gz"):
                partial.write_bytes(gzip.compress(partial.read_bytes()))
        except OSError as error:
            raise EvidenceError(
                f"{self.path}: not in POLICYRANK_DATA ({root or 'not set'}) and {self.url} cannot be had ({error}). "
                "Download it by hand and name its folder in POLICYRANK_DATA."
            ) from None
        self._checked(partial).rename(target)
        return target

    def _checked(self, place: Path) -> Path:
        data = place.read_bytes()
        found = hashlib.sha256(gzip.decompress(data) if self.path.endswith(".gz") else data).hexdigest()
        if found != self.sha256:
            raise EvidenceError(
                f"{place}: SHA-256 is {found[:12]}..., expected {self.sha256[:12]}.... Remove the file and fetch it again."
            )
        return place


_NO_LICENCE = "no licence file; public leaderboard numbers, cite arXiv 2202.03799"
FILES: dict[str, DataFile] = {
    path.split("/")[-1]: DataFile(path, url, licence, sha)
    for path, url, licence, sha in (
        (
            "active-evaluation/atari_agent57_table.txt",
            _SPIEL + "python/voting/examples/atari_agent57_table.txt",
            "Apache-2.0",
            "965110184d9f66c75928540ff14ed3b79453bd4c1368b5e8d917040ed6bb364c",
        ),
        (
            "active-evaluation/atari_muesli_table11.txt",
            _SPIEL + "python/voting/examples/atari_muesli_table11.txt",
            "Apache-2.0",
            "c838c03aac5f88cf948c90900765cc92de343a38b48f70f0b00e2c4d8809c001",
        ),
        (
            "active-evaluation/atari_rainbow_table5.txt",
            _SPIEL + "python/voting/examples/atari_rainbow_table5.txt",
            "Apache-2.0",
            "0be22ff1997a51a9ebd9264e3b138eee6bacadac329595dd83ea2b1583d12ad3",
        ),
        (
            "best-systems/glue.csv",
            _SYSTEMS + "sample_df/glue.csv",
            _NO_LICENCE,
            "fffc792c7dfaace5097286a83f874ebdabef742a9c344ccfbce476641edab1ce",
        ),
        (
            "best-systems/superglue.data",
            _SYSTEMS + "data/superglue.data",
            _NO_LICENCE,
            "5d054fb6ea2e3d2056e3560e9be5749f1a502aed88436518746cf4871cb8d2c4",
        ),
        (
            "best-systems/xtrem.data",
            _SYSTEMS + "data/xtrem.data",
            _NO_LICENCE,
            "e0376287bedcec878dbd88438457bf7dfc1752bc60fd544d009a8e5fa0c8ed23",
        ),
        (
            "best-systems/TAC_08.csv",
            _SYSTEMS + "final_df/TAC_08.csv",
            _NO_LICENCE,
            "e487b0221548c453a2b61d7c53e68ab942a1d4cdf524129f5913ebe3087c9d89",
        ),
        (
            "best-systems/TAC_09.csv",
            _SYSTEMS + "final_df/TAC_09.csv",
            _NO_LICENCE,
            "a60e6859b753f78f0b94b7c6b92bac48a666aa4ad1eca87edcd402a4fbd6ca84",
        ),
        (
            "best-systems/TAC_11.csv",
            _SYSTEMS + "final_df/TAC_11.csv",
            _NO_LICENCE,
            "ee91f8f77e99d957f42816bc2dfd8a776373ea6d753b8867db3e15988d60cea7",
        ),
        (
            "best-systems/REAL_SUM.csv",
            _SYSTEMS + "final_df/REAL_SUM.csv",
            _NO_LICENCE,
            "2541b4456247519b3c28a01bcba6b7c57302411182898dc278cb367f9fd3a8f3",
        ),
        (
            "best-systems/SUM_EVAL.csv",
            _SYSTEMS + "final_df/SUM_EVAL.csv",
            _NO_LICENCE,
            "7be22f21969ef6de45f5bff79ec45dd11ae218bf12f3227ce3acb8c0d52307cb",
        ),
        (
            "roboarena/policy_preferences.csv",
            _ANYRANK + "policy_preferences.csv",
            "MIT",
            "46be8ea096ef6bcb546ffced65908e7c187b421be7e8f0392c2fa739179b08b6",
        ),
        (
            "roboarena/per_trial_progress_data.csv",
            _ANYRANK + "per_trial_progress_data.csv",
            "MIT",
            "a1a76e18ce8dd8ce73dcf19d965e4fcddd22481936ad53dd88fe76be22926065",
        ),
        (
            "leaderboard-illusion/crowd-comparisons.csv",
            _LLMFAO + "crowd-comparisons.csv",
            "CC BY 4.0",
            "106564a4bf06f047a4662979384313c22d9b4ca901e780f9e8419f8e5581adb1",
        ),
        (
            "training-curricula/cranfield/cran.all.1400",
            _GITHUB + "xyxxyyxy/cranvectors/master/cran.all.1400",
            "no formal licence; distributed for research by the University of Glasgow",
            "1ff6a3982db4ae6318262fd6b4ccaadaf79521e2a877204c350cf04ec9f1a6ad",
        ),
        (
            "training-curricula/cranfield/cran.qry",
            _GITHUB + "xyxxyyxy/cranvectors/master/cran.qry",
            "no formal licence; distributed for research by the University of Glasgow",
            "7071f9ccf6af1361f87b7c4d39e5fd647f22e1c43eca1e9f7eb862e000708c96",
        ),
        (
            "training-curricula/cranfield/cranqrel",
            _GITHUB + "xyxxyyxy/cranvectors/master/cranqrel",
            "no formal licence; distributed for research by the University of Glasgow",
            "e555db745e3f2af96d643d8a7c52c6c8e1ccc644c5a749c671e0c6a086af3c3f",
        ),
        (
            "ranklist/emobank.csv",
            _GITHUB + "JULIELab/EmoBank/master/corpus/emobank.csv",
            "CC BY-SA 4.0",
            "1ade4a4a453e880c0f39d0536d2b355e8a716e0cf88236c64cdb4d438cf9605b",
        ),
        (
            "neural-pg-rank/msn1.fold1.train.5k.txt.gz",
            _RANKEVAL + "msn1.fold1.train.5k.txt",
            "sample of MSLR-WEB10K, for research use",
            "6d1721de961a35fbaef7085dc5b41e2940f0ddb04bab5f7a8566cf7db4158fa6",
        ),
        (
            "neural-pg-rank/msn1.fold1.test.5k.txt.gz",
            _RANKEVAL + "msn1.fold1.test.5k.txt",
            "sample of MSLR-WEB10K, for research use",
            "13d3c638edd23e482c38f4316c2680c938c2eaedbe096970ab30a48e364463d3",
        ),
        (
            "preference-ranking-accuracy/pairs-crowd.jsonl",
            _LLMFAO + "pairs-crowd.jsonl",
            "CC BY 4.0",
            "83c32e02deeb657e2b6a4cad7391c9bbabbd4f108f78392859b09eeb911ff04b",
        ),
        (
            "multiagent-incomplete-information/soccer.txt",
            _SPIEL + "data/paper_data/response_graph_ucb/soccer.txt",
            "Apache-2.0",
            "b8e24989add98f4e494fb383d2e4ffaeac7db5f43324b290497395f7cdf66726",
        ),
        (
            "multiagent-incomplete-information/rrps_bot_table.txt",
            _SPIEL + "data/paper_data/pbe_rrps/bot_table_file.txt",
            "Apache-2.0",
            "9d51b0096ea2c64d1188c4853a5d40c0ea8af3f947adf041af538cb3e7887a39",
        ),
    )
}


def _atari(name: str) -> Scores:
    """Atari scores by game; the spread after ± is cut, a game is a task."""
    lines = FILES[name].fetch().read_text(encoding="utf-8").splitlines()
    policies = lines[1].removeprefix("# game").split()
    rows = [line.split() for line in lines[2:] if line.strip()]
    table = np.array([[float(x.split("±")[0].replace(",", "")) for x in r[1:]] for r in rows])
    return Scores.from_table(
        table, [r[0] for r in rows], policies, notes=("scores published in " + lines[0].lstrip("# "),)
    )


def atari_spread(name: str = "atari_agent57_table.txt") -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Published standard deviations of the Atari scores, (games, agents) in the order of ``load("atari-agent57").table()``; 0 where there is none."""
    lines = FILES[name].fetch().read_text(encoding="utf-8").splitlines()
    agents = lines[1].removeprefix("# game").split()
    rows = sorted((line.split() for line in lines[2:] if line.strip()), key=lambda r: r[0])
    spread = np.array([[float(x.split("±")[1].replace(",", "")) if "±" in x else 0.0 for x in r[1:]] for r in rows])
    return spread[:, np.argsort(agents, kind="stable")]


def _systems(name: str) -> Scores:
    """Task-level scores of NLP systems; the column Score (the leaderboard's own mean) is no task."""
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

    The two id columns are swapped in the released files: ``Utterance`` holds the system, ``System`` the instance.
    """
    table = pl.read_csv(FILES[name].fetch(), infer_schema_length=None)
    metrics = [c for c in table.columns if c not in ("System", "Utterance")]
    long = table.unpivot(metrics, index=["System", "Utterance"], variable_name="metric", value_name="score")
    long = long.with_columns(pl.col("score").cast(pl.Float64, strict=False)).filter(pl.col("score").is_finite())
    return Scores(
        Labels.of(long["Utterance"]),
        Labels.of(long["metric"]),
        long["score"].to_numpy(),
        replicate=Labels.of(long["System"]),
    )


def _roboarena() -> Comparisons:
    """Blind pairwise preferences between robot policies (796 trials); 0 in the file means that A is preferred."""
    return read_comparisons(FILES["policy_preferences.csv"].fetch(), a="A", b="B", outcome="preference", first_wins=0)


def _roboarena_progress() -> Scores:
    """Progress in [0, 1] of seven robot policies in the same trials; a trial is a task."""
    table = pl.read_csv(FILES["per_trial_progress_data.csv"].fetch(), infer_schema_length=None)
    trials = [f"trial {i + 1}" for i in range(table.height)]
    return Scores.from_table(table.cast(pl.Float64).fill_null(np.nan).to_numpy(), trials, table.columns)


def _llmfao() -> Comparisons:
    """Crowd votes on language-model answers: 59 models, 124 workers, 13 prompts."""
    return read_comparisons(
        FILES["crowd-comparisons.csv"].fetch(), a="left", b="right", outcome="winner", task="prompt", rater="worker"
    )


def _crowd_pairs() -> list[dict[str, Any]]:
    """Pairs of answers of the crowd votes on which a majority decided: prompt, chosen, rejected, alpha (share of votes, ties half), slug."""
    votes = pl.read_csv(FILES["crowd-comparisons.csv"].fetch())
    share = votes.with_columns(left=pl.col("winner").replace_strict({"left": 1.0, "tie": 0.5, "right": 0.0}))
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
    """Cranfield: queries, documents, judgements (grade 5 - code, 1 to 4). Queries are numbered as they come, as the judgements do."""

    def records(name: str) -> list[str]:
        text = FILES[name].fetch().read_text(encoding="utf-8", errors="replace")
        bodies = [r.partition("\n.W\n")[2] for r in ("\n" + text).split("\n.I ")[1:]]
        return [" ".join(b.split()) for b in bodies]

    queries = {str(k): t for k, t in enumerate(records("cran.qry"), 1)}
    documents = {str(k): t for k, t in enumerate(records("cran.all.1400"), 1)}
    rows = [line.split() for line in FILES["cranqrel"].fetch().read_text(encoding="utf-8").splitlines() if line.strip()]
    qrels = pl.DataFrame(
        {"query": [r[0] for r in rows], "document": [r[1] for r in rows], "grade": [5.0 - abs(int(r[2])) for r in rows]}
    )
    return queries, documents, qrels.unique(["query", "document"], keep="first", maintain_order=True)


def _soccer() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Win probabilities of ten MuJoCo soccer agents, row beats column."""
    return np.loadtxt(FILES["soccer.txt"].fetch())


def _rrps_bots() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Mean returns of 43 repeated rock-paper-scissors bots (1,000 throws), row against column, in the order of their names."""
    rows = [
        ast.literal_eval(line) for line in FILES["rrps_bot_table.txt"].fetch().read_text().splitlines() if line.strip()
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
    """Published mean scores of eight policies on 57 Atari games (Badia et al. 2020, arXiv 2003.13350, section H.4)."""
    text = resources.files("policyrank.evidence").joinpath("examples/atari.csv").read_text(encoding="utf-8")
    table = pl.read_csv(text.encode(), comment_prefix="#")
    return Scores.from_table(table.drop("game").to_numpy(), table["game"].to_list(), table.columns[1:],
                             notes=("scores published in arXiv 2003.13350, section H.4",))  # fmt: skip
