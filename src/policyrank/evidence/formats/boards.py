"""Published boards whose columns need to be known: Kaggle, Open LLM, Open ASR, AlpacaEval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evidence.account import listed, plural
from policyrank.evidence.formats.entries import rows_of_text, separator_of
from policyrank.evidence.formats.results import Score, Wanted, read_as, scores_of
from policyrank.evidence.scores import Scores
from policyrank.evidence.sources import Source

Row = dict[str, str]


def _titles(source: Source, starts: str) -> dict[str, str]:
    """The header that starts so: keys without case and spaces -> names."""
    text = _below(source, starts)
    header = text.partition("\n")[0].split(separator_of(text))
    return {_key(name): name.strip().strip('"') for name in header}


def _rows(source: Source, starts: str) -> list[tuple[int, Row]]:
    """Rows of a CSV below the header that starts so; keys without case and spaces."""
    found = []
    for number, (_, row) in enumerate(rows_of_text(_below(source, starts), source.name), 1):
        found.append(
            (number, {_key(key): (value or "").strip() for key, value in row.items() if key})
        )
    return found


def _below(source: Source, starts: str) -> str:
    """The text from the header on, which starts so, whatever separates its columns."""
    text = source.text.replace("\r\n", "\n")
    place = 0
    for line in text.split("\n"):
        if _key(line.replace(separator_of(line), ",")).startswith(starts):
            return text[place:]
        place += len(line) + 1
    raise EvidenceError(
        f"{source.name}: no header that begins with {starts.rstrip(',')!r}. Give the table as it"
        " was published."
    )


def _key(text: str) -> str:
    return "".join(text.lower().replace("\ufeff", "").split()).strip('"')


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_kaggle(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Kaggle's leaderboards: the file's ranks tell which way is better, where it has some.

    Of several rows of a team the best counts: older files list every improvement.
    """
    rows: list[tuple[str, float, float]] = []
    broken = []
    for source in sources:
        start = "rank,team" if _has_rank(source) else "teamid,teamname"
        for number, row in _rows(source, start):
            score = _number(row.get("score", ""))
            if not math.isfinite(score) or not row.get("teamname"):
                broken.append(f"{source.name}, row {number}")
            else:
                rows.append((row["teamname"], score, _number(row.get("rank", ""))))
    wanted.account.unusable("a team without a score", broken, "row")
    lower = _direction(rows, wanted)
    best: dict[str, float] = {}
    for team, score, _ in rows:
        better = min if lower else max
        best[team] = better(best.get(team, score), score)
    if len(best) < len(rows):
        wanted.account.note(
            f"{plural(len(rows) - len(best), 'earlier submission')} left out: the best one counts"
        )
    read_as(wanted.account, "a Kaggle leaderboard", sources, "policies from TeamName, task Score")
    scores = [Score(team, "Score", score, lower=lower) for team, score in best.items()]
    return scores_of(scores, wanted.account)


def _has_rank(source: Source) -> bool:
    return any(_key(line).startswith("rank,") for line in source.head.splitlines()[:5])


def _direction(rows: Sequence[tuple[str, float, float]], wanted: Wanted) -> bool:
    """Whether smaller scores have the better ranks; without ranks the first team is the best."""
    if not rows:
        raise EvidenceError(f"{wanted.account.name}: it holds no teams.")
    scores = np.array([score for _, score, _ in rows])
    ranks = np.array([rank for _, _, rank in rows])
    if np.isfinite(ranks).all() and len(set(scores)) > 1:
        lower = scores[np.argmin(ranks)] < scores[np.argmax(ranks)]
        way = "lower" if lower else "higher"
        wanted.account.note(f"{way} is better, as the file's own ranks say")
        return bool(lower)
    wanted.account.guess(
        "higher is better: the file has no ranks, and does not say",
        "Say lower_is_better=True or False (--lower-is-better).",
    )
    return False


_OPEN_V1 = ("arc", "hellaswag", "mmlu", "truthfulqa", "winogrande", "gsm8k", "drop")


def read_open_llm_v1(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Tables of the Open LLM Leaderboard v1: in percent, and 0.0 means not run."""
    scores, missing = [], []
    seen: dict[str, int] = {}
    for source in sources:
        titles = _titles(source, "model,")
        for number, row in _rows(source, "model,"):
            model = row["model"]
            seen[model] = seen.get(model, 0) + 1
            for column, cell in row.items():
                if not column.startswith(_OPEN_V1):
                    continue
                value = _number(cell)
                if value == 0 or not math.isfinite(value):
                    missing.append(f"{model} on {column} (row {number})")
                else:
                    scores.append(Score(model, titles[column], value, replicate=str(seen[model])))
    if missing:
        wanted.account.note(
            f"{plural(len(missing), 'score')} of 0.0, empty or no number taken as not run:"
            f" {listed(missing)}"
        )
    twice = [model for model, count in seen.items() if count > 1]
    if twice:
        wanted.account.guess(
            f"several rows of {listed(twice)} taken as replicates (revisions, precisions)",
            "Leave one row a model.",
        )
    wanted.account.note("Average, Parameters and what is not a benchmark left out")
    read_as(wanted.account, "Open LLM Leaderboard v1", sources, "policies from Model, in percent")
    if not twice:
        scores = [score._replace(replicate=None) for score in scores]
    return scores_of(scores, wanted.account)


_OPEN_V2 = {
    "ifeval": "IFEval",
    "bbh": "BBH",
    "mathlvl5": "MATH Lvl 5",
    "gpqa": "GPQA",
    "musr": "MUSR",
    "mmlu-pro": "MMLU-PRO",
}


def read_open_llm_v2(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Contents of the Open LLM Leaderboard v2: rescaled scores; flagged models are left out."""
    scores: list[Score] = []
    flagged, broken = [], []
    rows = [(source, *one) for source in sources for one in _rows(source, "eval_name,")]
    names = [row.get("fullname", "") for _, _, row in rows]
    for source, number, row in rows:
        name = row.get("fullname", "")
        if row.get("flagged", "").lower() == "true":
            flagged.append(name)
            continue
        if names.count(name) > 1:
            name = f"{name} ({row.get('precision', '?')})"
        for column, task in _OPEN_V2.items():
            value = _number(row.get(column, ""))
            if math.isfinite(value):
                scores.append(Score(name, task, value))
            elif row.get(column):
                broken.append(f"{source.name}, row {number}, {task}")
    wanted.account.unusable("a score that is no number", broken, "score")
    if flagged:
        wanted.account.note(f"{plural(len(flagged), 'flagged model')} left out: {listed(flagged)}")
    wanted.account.note("scores rescaled so that chance is 0; raw ones and the average left out")
    read_as(wanted.account, "Open LLM Leaderboard v2", sources, "policies from fullname")
    return scores_of(scores, wanted.account)


def read_alpaca_board(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """AlpacaEval's boards: the length-controlled win rate, or the one that ``metric`` names."""
    metric = wanted.metric or "length_controlled_winrate"
    errors = {"length_controlled_winrate": "lc_standard_error", "win_rate": "standard_error"}
    if metric not in errors:
        raise EvidenceError(
            f"{wanted.account.name}: no metric {metric!r}. It has: {', '.join(errors)}."
        )
    scores, without = [], []
    for source in sources:
        for _, row in rows_of_text(source.text, source.name):
            model = (row.get("name") or row[next(iter(row))] or "").strip()
            value = _number(row.get(metric) or "")
            if not math.isfinite(value):
                without.append(model)
                continue
            stderr = _number(row.get(errors[metric]) or "")
            scores.append(Score(model, metric, value, stderr=stderr))
    if without:
        wanted.account.note(f"without {metric}: {listed(without)}")
    if wanted.metric is None:
        wanted.account.note(f"metric {metric}, the headline; win_rate is there too (metric=...)")
    read_as(wanted.account, "an AlpacaEval board", sources, "policies from the first column")
    return scores_of(scores, wanted.account)


_ASR_OUT = ("model", "model_id", "average", "avg.wer", "rtfx", "modelsize(b)", "license")


def read_open_asr(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """The Open ASR Leaderboard: word error rates in percent; -1 is not measured."""
    scores, left_out, unnamed, unmeasured = [], set(), [], 0
    for source in sources:
        titles = _titles(source, "model")
        for number, row in _rows(source, "model"):
            model = row.get("model") or row.get("model_id")
            if not model:
                unnamed.append(f"{source.name}, row {number}")
                continue
            for column, cell in row.items():
                if column in _ASR_OUT or column.startswith("avg"):
                    left_out.add(column)
                    continue
                value = _number(cell)
                if math.isfinite(value) and value >= 0:
                    scores.append(Score(model, titles[column], value, lower=True))
                else:
                    unmeasured += 1
    if unmeasured:
        wanted.account.note(f"{plural(unmeasured, 'cell')} of -1 or no number: not measured")
    wanted.account.unusable("a row without a model", unnamed, "row")
    wanted.account.note(f"left out: {listed(sorted(left_out - {'model', 'model_id'}))}")
    wanted.account.note("word error rates: lower is better")
    read_as(wanted.account, "the Open ASR Leaderboard", sources, "policies from the first column")
    return scores_of(scores, wanted.account)


def read_mteb_arena(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """MTEB arena's boards: Elo of the anonymous battles."""
    scores = []
    for source in sources:
        for _, row in _rows(source, "key,"):
            value = _number(row["arenaelorating(anony)"])
            scores.append(Score(row["model"], "Arena Elo rating (anony)", value))
    wanted.account.note("the rating over all battles and MTEB's averages left out")
    read_as(wanted.account, "an MTEB arena board", sources, "policies from Model")
    return scores_of(scores, wanted.account)


def refuse_trec(sources: Sequence[Source], wanted: Wanted) -> Scores:
    """Runs need judgements, and a measure."""
    raise EvidenceError(
        f"{sources[0].name}: a retrieval run of TREC, no scores of a policy. Rank runs by their"
        " judgements with: policyrank eval-run QRELS RUN... (evaluate_run in Python)."
    )
