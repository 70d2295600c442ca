"""Filters compared on logged answers: real ones, what people's files hold, and what is said."""

import json

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import EvidenceError, OptionError
from policyrank.train import compare_filters, read_logged

RULES = ["all", "best", "best-random", "best-worst", "power-1", "power-2", "power-3"]


def rows(prompts=60, answers=5, seed=0, noise=1.5):
    """A reward that is reliable at its ends and not in the middle."""
    draw = np.random.default_rng(seed)
    out = []
    for prompt in range(prompts):
        truth = draw.normal(size=answers)
        off = noise * draw.normal(size=answers) * np.exp(-((truth / 0.7) ** 2))
        for z, r in zip(truth, np.tanh(0.6 * truth + off), strict=True):
            out.append({"prompt": f"p{prompt}", "reward": float(r), "correct": bool(z > 0.5)})
    return out


def write(path, table):
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


def test_one_log_in_many_forms(tmp_path):
    table = rows()
    lines = write(tmp_path / "rows.jsonl", table)
    frame = pl.DataFrame(table)
    frame.write_csv(tmp_path / "rows.csv")
    frame.write_parquet(tmp_path / "rows.parquet")
    by_prompt = frame.group_by("prompt", maintain_order=True).agg("reward", "correct")
    by_prompt.write_parquet(tmp_path / "lists.parquet")
    write(tmp_path / "lists.jsonl", by_prompt.to_dicts())
    expected = read_logged(lines)
    assert expected.columns == {"prompt": "prompt", "reward": "reward", "score": "correct"}
    assert len(expected.prompts.unique()) == 60
    for name in ("rows.csv", "rows.parquet", "lists.parquet", "lists.jsonl"):
        found = read_logged(tmp_path / name)
        assert torch.allclose(found.rewards, expected.rewards)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.prompts, expected.prompts)


def test_messages_and_several_columns_say_whose_answer_it_is(tmp_path):
    table = [
        {"messages": [{"role": "user", "content": name}], "step": step, "rm": 1.0, "ok": 1}
        for name in "ab"
        for step in (1, 2)
        for _ in range(2)
    ]
    path = write(tmp_path / "rows.jsonl", table)
    one = read_logged(path, prompt=["messages"], reward="rm", score="ok")
    assert one.prompts.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    two = read_logged(path, prompt=["messages", "step"], reward="rm", score="ok")
    assert two.prompts.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(EvidenceError, match="--prompt"):
        read_logged(path, reward="rm", score="ok")


def test_what_cannot_be_used_is_named_or_counted(tmp_path):
    table = rows(prompts=30)
    table[0]["reward"] = None
    table[1]["correct"] = None
    found = read_logged(write(tmp_path / "rows.jsonl", table))
    assert found.left_out == 2
    assert len(found.rewards) == 148
    assert any("2 rows without" in note for note in compare_filters(found).notes)
    for change, told in (
        ({"reward": "high"}, "'high' is no number"),
        ({"other": 1}, None),
    ):
        table = rows(prompts=3)
        table[2] = {**table[2], **change}
        as_text = [{**row, "reward": str(row["reward"])} for row in table]
        path = write(tmp_path / "bad.jsonl", as_text)
        if told:
            with pytest.raises(EvidenceError, match=told):
                read_logged(path)
        else:
            assert len(read_logged(path).rewards) == 15
    for gone, told in (("reward", "--reward"), ("correct", "--score"), ("prompt", "--prompt")):
        kept = [{k: v for k, v in row.items() if k != gone} for row in rows(prompts=3)]
        with pytest.raises(EvidenceError, match=told):
            read_logged(write(tmp_path / "less.jsonl", kept))
    path = write(tmp_path / "apart.jsonl", [{"prompt": "a", "reward": [1, 2], "score": [1]}])
    with pytest.raises(EvidenceError, match="as many scores"):
        read_logged(path)
    path = write(tmp_path / "half.jsonl", [{"prompt": "a", "reward": [1, 2], "score": 1}])
    with pytest.raises(EvidenceError, match="holds lists"):
        read_logged(path)


def test_the_ends_are_told_where_they_are_reliable(tmp_path):
    found = compare_filters(
        read_logged(write(tmp_path / "rows.jsonl", rows(prompts=300))), resamples=200
    )
    by_name = {row["filter"]: row for row in found.frame.to_dicts()}
    assert sorted(by_name) == RULES
    assert found.frame["filter"][-1] == "best"
    assert by_name["best"]["less_all_upper"] < 0
    assert by_name["all"]["less_all_lower"] == by_name["all"]["less_all_upper"] == 0
    for row in by_name.values():
        assert row["lower"] <= row["upper"]
        assert row["slope"] > 0
    costs = {name: (row["learned"], row["generated"]) for name, row in by_name.items()}
    assert costs["all"] == pytest.approx((5, 1))
    assert costs["best"] == pytest.approx((1, 5))
    assert costs["best-worst"] == pytest.approx((2, 2.5))
    assert costs["best-random"] == pytest.approx((1 / (1 / 4 + 4 / 64), 5 * (1 / 4 + 4 / 64)))
    told = found.to_dict()
    assert told["prompts"] == 300
    assert json.loads(json.dumps(told)) == told
    assert "best-worst" in str(found)


def test_what_a_careful_reader_should_know(tmp_path):
    table = rows(prompts=8)
    for row in table:
        row["reward"] = round(row["reward"])
        row["correct"] = float(row["reward"] < 0)
    table.append({"prompt": "alone", "reward": 0.5, "correct": 0})
    found = compare_filters(
        read_logged(write(tmp_path / "rows.jsonl", table)), bins=3, resamples=50, threshold=0.2
    )
    said = "\n".join(found.notes)
    for words in ("one answer", "best or worst reward twice", "few to draw", "falls as reward"):
        assert words in said
    assert {"above", "above-random"} <= set(found.frame["filter"])
    same = compare_filters(
        read_logged(write(tmp_path / "same.jsonl", [{**row, "correct": 1} for row in table])),
        resamples=20,
    )
    assert all(row["r2"] is None for row in same.to_dict()["filters"])
    assert "no R^2" in "\n".join(same.notes)
    for wrong in ({"bottom": 0.1}, {"resamples": 3}, {"level": 1.0}, {"bins": 2}):
        with pytest.raises(OptionError):
            compare_filters(read_logged(tmp_path / "rows.jsonl"), **wrong)


def test_best_of_n_is_told_worst_on_real_solutions(data, tmp_path):
    """Real answers to HumanEval, scored by the share of tests passed, rewarded by being short."""
    table = []
    for own in data("humaneval-solutions"):
        for answer in own["candidates"]:
            score = (answer["n_passed"] or 0) / max(answer["n_tests"] or 1, 1)
            reward = -len(answer["response"])
            table.append({"task_id": own["task_id"], "reward": reward, "score": score})
    found = compare_filters(read_logged(write(tmp_path / "rows.jsonl", table)), resamples=100)
    assert (found.answers, found.prompts) == (701, 96)
    assert found.frame["filter"][-1] == "best"
