"""Log-probabilities of pairs under a small causal language model, and what is made of them."""

import json

import numpy as np
import polars as pl
import pytest

from policyrank.auditing.preferences import Cache, Pair, preference_audit, read_pairs, score_pairs
from policyrank.errors import EvidenceError
from policyrank.models.fitting import Seen
from policyrank.models.language import LogProb, answer_logprobs, load_causal_lm
from twins import log_prob_by_hand

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

PAIRS = [Pair(f"say {a}", a * 3, b * 7, 0.75) for a, b in ("ab", "cd", "ef", "gh")] + [
    Pair("say x", "", "y", 1.0)
]


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("batch_tokens", [1, 30, 4096])
def test_sums_of_token_logprobs_whatever_the_batch(lm, end, batch_tokens):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    texts = [(p.prompt, a) for p in PAIRS for a in (p.chosen, p.rejected)]
    found = dict(
        x
        for batch in answer_logprobs(model, tokenizer, texts, end=end, batch_tokens=batch_tokens)
        for x in batch
    )
    assert sorted(found) == list(range(len(texts)))
    for k, (prompt, answer) in enumerate(texts):
        assert found[k].logprob == pytest.approx(
            log_prob_by_hand(model, tokenizer, prompt, answer, end), abs=1e-4
        )
        assert found[k].tokens == len(answer) + end
        assert not found[k].cut
    cut = next(answer_logprobs(model, tokenizer, [("say a", "b" * 50)], max_length=10))[0][1]
    assert cut.cut
    assert cut.tokens == 5
    seen = Seen()
    texts = [("say a", "b" * 3), ("say b", "bb")]
    ((k, lost),) = next(answer_logprobs(model, tokenizer, texts[:1], max_length=5, seen=seen))
    assert (k, lost.tokens, np.isnan(lost.logprob), seen.long) == (0, 0, True, 1)
    cut = answer_logprobs(model, tokenizer, texts[:1], max_length=5, long_prompts="cut")
    assert next(cut)[0][1].tokens == 3


def test_interrupted_runs_go_on(lm, tmp_path):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    path, settings = tmp_path / "logprobs.jsonl", {"model": "m"}
    whole = score_pairs(PAIRS, model, tokenizer, cache=Cache(path, settings))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:20])  # killed while writing
    seen = []
    again = score_pairs(
        PAIRS,
        model,
        tokenizer,
        cache=Cache(path, settings),
        report=lambda done, of: seen.append((done, of)),
    )
    assert again == whole
    assert seen[-1] == (10, 10)
    assert seen[0][0] > 3
    assert (
        score_pairs(PAIRS, None, tokenizer, cache=Cache(path, settings)) == whole
    )  # nothing left to compute
    assert not Cache(path, {"model": "other"}).kept.keys() & {
        Cache(None, {"model": "other"}).key(p.prompt, p.chosen) for p in PAIRS
    }
    path.write_text("nonsense\n" + lines[0])
    with pytest.raises(EvidenceError, match="line 1"):
        Cache(path, settings)


def test_what_the_audit_says():
    pairs = [Pair(f"p{k % 4}", "x", "y", 1.0) for k in range(40)]
    short, long = LogProb(-5.0, 5, False), LogProb(-50.0, 60, False)
    found = preference_audit(pairs, [short] * 30 + [long] * 10, [long] * 30 + [short] * 10)
    value = dict(found.frame.select("measure", "accuracy").iter_rows())
    assert value["the model (log-probability)"] == 0.75
    assert value["the model, per token"] == 0.25
    assert value["length alone: the shorter answer"] == 0.75
    assert value["ideal of preference training, beta 0.01"] == 1.0  # 6.9 / 0.01 outweighs 45 nats
    assert value["ideal of preference training, beta 10"] == 0.75
    assert any("no sign" in n for n in found.notes)
    assert any("4 prompts" in n for n in found.notes)
    assert found.difficulty.tolist() == [-45.0] * 30 + [45.0] * 10
    # Pairs that repeat one prompt are one observation.
    right = np.array([1.0] * 30 + [0.0] * 10)
    sums = np.array([(right[k::4] - 0.75).sum() for k in range(4)])
    variance = 4 / 3 * (sums**2).sum() / 40**2
    prior = (0.25 + 0.75 * 4 / 40) / (4 * 4)
    q = 3.182446**2 * (3 * variance + prior) / (3 * 0.75 * 0.25 + 0.25)
    root = np.sqrt((0.75 + q / 2) ** 2 - (1 + q) * 0.75**2)
    assert found.frame["upper"][0] == pytest.approx((0.75 + q / 2 + root) / (1 + q), abs=1e-6)


def test_reading_pairs(tmp_path):
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "alpha": 0.8},
        {
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
        },
    ]
    first, second = read_pairs(rows)
    assert first == Pair("p", "a", "b", 0.8)
    assert (list(second.prompt), second.chosen, second.rejected) == (
        rows[1]["chosen"][:1],
        "a",
        "b",
    )
    pl.DataFrame(rows[:1]).write_parquet(tmp_path / "x.parquet")
    assert read_pairs(tmp_path / "x.parquet") == [Pair("p", "a", "b", 0.8)]
    (tmp_path / "x.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n{bad\n')
    for source, said in (
        (tmp_path / "x.jsonl", "line 2"),
        (tmp_path / "no.jsonl", "no such file"),
        ([], "no pairs"),
        ([{"chosen": "a"}], "row 1: no rejected"),
        ([{"chosen": "a", "rejected": "b"}], "no prompt"),
        ([rows[0] | {"rejected": "a"}], "the same answer"),
        ([rows[0] | {"alpha": 0.3}], "more than half"),
    ):
        with pytest.raises(EvidenceError, match=said):
            read_pairs(source)


def test_command(lm, tmp_path, capsys, monkeypatch):
    from policyrank.cli import main

    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        "\n".join(
            json.dumps(
                {"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected, "alpha": p.alpha}
            )
            for p in PAIRS
        )
    )
    command = [
        "policyrank",
        "preferences",
        str(pairs),
        "--model",
        str(lm),
        "--store",
        str(tmp_path / "s.jsonl"),
        "--out",
        str(tmp_path / "o.csv"),
    ]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert "5 pairs" in out
    assert "length alone" in out
    table = pl.read_csv(tmp_path / "o.csv")
    assert table.height == 5
    assert table["difficulty"].to_list() == pytest.approx(
        (table["logprob_rejected"] - table["logprob_chosen"]).to_list()
    )
    monkeypatch.setattr("sys.argv", [*command[:4], str(tmp_path / "nothing"), *command[5:]])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 1
    assert "cannot be loaded" in capsys.readouterr().err
