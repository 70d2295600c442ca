"""Named data sets of texts: prompts with answers, queries with documents, programs with tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import polars as pl

from policyrank.evidence.answers import RankedAnswers
from policyrank.evidence.data_files import FILES, text_lines


def _crowd_pairs() -> list[dict[str, Any]]:
    """Pairs of answers of the crowd votes on which a majority decided.

    prompt, chosen, rejected, alpha (share of votes, ties half), slug.
    """
    votes = pl.read_csv(FILES["crowd-comparisons.csv"].fetch())
    of_left = pl.col("winner").replace_strict({"left": 1.0, "tie": 0.5, "right": 0.0})
    shares = votes.group_by("id").agg(of_left.mean())
    share_of = dict(shares.iter_rows())
    pairs = []
    for row in _json_lines("pairs-crowd.jsonl"):
        share = share_of.get(row["id"], 0.5)
        chosen, rejected = row["result_x"], row["result_y"]
        if share == 0.5 or chosen == rejected:
            continue
        if share < 0.5:
            chosen, rejected = rejected, chosen
        pair = {
            "prompt": row["text"],
            "chosen": chosen,
            "rejected": rejected,
            "alpha": max(share, 1 - share),
            "slug": row["slug"],
        }
        pairs.append(pair)
    return pairs


def _cranfield() -> tuple[dict[str, str], dict[str, str], pl.DataFrame]:
    """Cranfield: queries, documents, judgements (grade 5 - code, 1 to 4).

    Queries are numbered as they come, as the judgements do.
    """
    rows = []
    for line in text_lines("cranqrel"):
        query, document, code = line.split()[:3]
        rows.append((query, document, 5.0 - abs(int(code))))
    judged = pl.DataFrame(rows, schema=["query", "document", "grade"], orient="row")
    qrels = judged.unique(["query", "document"], keep="first", maintain_order=True)
    return _cranfield_texts("cran.qry"), _cranfield_texts("cran.all.1400"), qrels


def _cranfield_texts(name: str) -> dict[str, str]:
    """What stands after .W in each record, on one line, by its number from 1."""
    text = FILES[name].fetch().read_text(encoding="utf-8", errors="replace")
    texts = {}
    for number, record in enumerate(f"\n{text}".split("\n.I ")[1:], 1):
        _, _, body = record.partition("\n.W\n")
        texts[str(number)] = " ".join(body.split())
    return texts


def _screening() -> tuple[dict[str, str], pl.DataFrame]:
    """Nine systematic reviews: their titles, and the works their searches found.

    Works: review, work_id, year, title, abstract, included.
    """
    reviews = pl.read_csv(FILES["reviews.csv"].fetch())
    works = pl.read_csv(FILES["synergy_small9.csv.gz"].fetch())
    titles = dict(reviews.select("review", "title").iter_rows())
    return titles, works.with_columns(pl.col("title", "abstract").fill_null(""))


def _concepts() -> pl.DataFrame:
    """Works of nine reviews with graded concepts of 81, by OpenAlex's classifier.

    review, work_id, text, concepts (a list of name and score).
    """
    _, works = _screening()
    text = pl.concat_str("title", "abstract", separator=" ").str.strip_chars()
    texts = works.select("review", "work_id", text=text)
    filled = pl.element().filter(pl.element() != "")
    parts = filled.str.extract_groups(r"^(?<name>.*):(?<score>[^:]+)$")
    concept = parts.struct.with_fields(pl.field("score").cast(pl.Float64))
    concepts = pl.col("concepts").fill_null("").str.split(";").list.eval(concept)
    labels = pl.read_csv(FILES["concepts81.csv.gz"].fetch()).with_columns(concepts)
    return texts.join(labels, on=["review", "work_id"], how="left", maintain_order="left")


def _json_lines(name: str) -> list[dict[str, Any]]:
    data = FILES[name].fetch().read_bytes()
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    return [json.loads(line) for line in data.splitlines()]


def _alpacaeval() -> list[tuple[RankedAnswers, tuple[str, ...]]]:
    """805 prompts with the answers of ten models, and the models' names.

    Labelled by the chance that the answer beats GPT-4 Turbo's in a judge's eyes.
    """
    lists = []
    for row in _json_lines("alpacaeval_ranked_lists.jsonl.gz"):
        texts, labels, models = [], [], []
        for answer in row["responses"]:
            if answer["text"].strip():
                texts.append(answer["text"])
                labels.append(answer["psi"])
                models.append(answer["model"])
        answers = RankedAnswers(row["instruction"], tuple(texts), tuple(labels))
        lists.append((answers, tuple(models)))
    return lists


def _humaneval() -> list[dict[str, Any]]:
    """HumanEval: task_id, prompt, entry_point, canonical_solution, test."""
    return _json_lines("HumanEval.jsonl.gz")


def _humaneval_solutions() -> list[dict[str, Any]]:
    """96 HumanEval problems with models' answers: task_id, entry_point, prompt, candidates.

    Candidates: response, code, n_passed, n_tests, passed_all, ...
    """
    return _json_lines("humaneval_ranked_solutions.jsonl")


def _gsm8k_solutions() -> list[dict[str, Any]]:
    """1,319 word problems of GSM8K, each with a real answer of four systems.

    question, ground_truth, and of each system (6b_finetuning, 6b_verification, 175b_finetuning,
    175b_verification): is_correct, solution.
    """
    return _json_lines("gsm8k_example_model_solutions.jsonl")


def _musique() -> list[dict[str, Any]]:
    """100 MuSiQue questions with 20 paragraphs each, two to four of them supporting."""
    text = FILES["musique_train_100.json"].fetch().read_text(encoding="utf-8")
    return list(json.loads(text))


def _hotpotqa() -> list[dict[str, Any]]:
    """100 HotpotQA questions with ten paragraphs each (one has four), as lists of sentences."""
    text = FILES["hotpotqa_train_100.json"].fetch().read_text(encoding="utf-8")
    return list(json.loads(text))


def _inspired() -> tuple[list[dict[str, Any]], dict[int, str]]:
    """228 turns of dialogues on films, and the catalogue: id -> name.

    A turn has context, target_ids, mentioned_before, and 20 names by each of gpt4 and gpt35.
    """
    table = pl.read_csv(FILES["inspired_catalog.tsv"].fetch(), separator="\t", quote_char=None)
    catalogue = dict(zip(table["item_id"].to_list(), table["name"].to_list(), strict=True))
    return _json_lines("inspired_test_turns.jsonl"), catalogue


TEXT_DATASETS: dict[str, Callable[[], object]] = {
    "crowd-pairs": _crowd_pairs,
    "cranfield": _cranfield,
    "screening": _screening,
    "concepts81": _concepts,
    "alpacaeval": _alpacaeval,
    "humaneval": _humaneval,
    "humaneval-solutions": _humaneval_solutions,
    "gsm8k-solutions": _gsm8k_solutions,
    "musique100": _musique,
    "hotpotqa100": _hotpotqa,
    "inspired": _inspired,
}
"""The part of ``datasets.DATASETS`` that is text."""
