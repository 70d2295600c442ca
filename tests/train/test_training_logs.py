"""Logs as TRL, verl, OpenRLHF, wandb and policyrank write them: one collapse, told in each."""

import json
import math

import polars as pl
import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError
from policyrank.learn import CollapseMonitor
from policyrank.train import CollapseCallback, read_training_log, watch_log

COLLAPSE, STEPS = 60, 100


def entropy(step):
    return 2.0 if step < COLLAPSE else 0.05


def length(step):
    return 100.0 if step < COLLAPSE else 400.0


TRL_GRPO = {
    "entropy": "entropy",
    "length": "completions/mean_length",
    "kl": "kl",
    "cut": "completions/clipped_ratio",
    "clip_share": "clip_ratio/region_mean",
    "gradient": "grad_norm",
    "reward": "reward",
    "reward_spread": "reward_std",
    "silent": "frac_reward_zero_std",
}
TRL_PPO = {
    "entropy": "policy/entropy_avg",
    "kl": "objective/kl",
    "reward": "objective/scores",
    "clip_share": "policy/clipfrac_avg",
    "step_kl": "policy/approxkl_avg",
    "value_loss": "loss/value_avg",
}
VERL = {
    "entropy": "actor/entropy",
    "length": "response_length/mean",
    "kl": "actor/kl_loss",
    "cut": "response_length/clip_ratio",
    "clip_share": "actor/pg_clipfrac",
    "step_kl": "actor/ppo_kl",
    "gradient": "actor/grad_norm",
    "reward": "critic/score/mean",
    "value_loss": "critic/vf_loss",
    "explained": "critic/vf_explained_var",
}
OPENRLHF = {
    "entropy": "train/entropy_loss",
    "length": "train/response_length",
    "kl": "train/kl",
    "clip_share": "train/ppo_clip_ratio",
    "step_kl": "train/ppo_kl",
    "reward": "train/reward",
    "value_loss": "train/critic_loss",
}
OURS = {
    "entropy": "entropy",
    "length": "tokens",
    "kl": "kl",
    "cut": "cut",
    "reward": "reward",
    "reward_spread": "reward_spread",
    "silent": "silent",
    "clip_share": "clip_share",
    "gradient": "grad_norm",
}
CALM = {
    "kl": 0.05,
    "cut": 0.1,
    "clip_share": 0.02,
    "step_kl": 0.001,
    "gradient": 1.0,
    "reward": 0.5,
    "reward_spread": 0.4,
    "silent": 0.2,
    "value_loss": 0.1,
    "explained": 0.6,
}


def rows(names, axis="step", first=1):
    for step in range(STEPS):
        values = CALM | {"entropy": entropy(step), "length": length(step)}
        own = {column: values[signal] for signal, column in names.items()}
        yield {**own, axis: step + first, "epoch": step / 10, "note": "text"}


def trainer_state(path):
    history = [dict(row) for row in rows(TRL_GRPO)]
    history.insert(50, {"eval_loss": 1.0, "eval_reward": 0.3, "step": 50})
    path.write_text(json.dumps({"log_history": history, "global_step": 100}))
    return TRL_GRPO


def log_history(path):
    path.write_text(json.dumps(list(rows(TRL_PPO))))
    return TRL_PPO


def verl_lines(path):
    table = [{"step": row.pop("step"), "data": row} for row in rows(VERL)]
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return VERL


def verl_console(path):
    lines = ["starting ray ..."]
    for row in rows(VERL):
        step = row.pop("step")
        told = [f"step:{step}"]
        for name, value in row.items():
            text = f"np.float64({value})" if name == "actor/grad_norm" else f"{value}"
            told.append(f"{name}:{text}")
        lines.append("\x1b[36m(TaskRunner pid=9)\x1b[0m " + " - ".join(told))
    path.write_text("\n".join(lines))
    return VERL


def wandb_lines(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(OPENRLHF, "_step")))
    return OPENRLHF


def wandb_table(path):
    pl.DataFrame(list(rows(OPENRLHF, "train/global_step"))).write_csv(path)
    return OPENRLHF


def parquet(path):
    pl.DataFrame(list(rows(VERL))).write_parquet(path)
    return VERL


def ours(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(OURS)) + '{"step": 101, "re')
    return OURS


def printed(path):
    path.write_text("\n".join(f"{row}" for row in rows(TRL_GRPO)) + "\n100%|####| done\n")
    return TRL_GRPO


FORMS = {
    "trainer_state.json": trainer_state,
    "history.json": log_history,
    "verl.jsonl": verl_lines,
    "verl.log": verl_console,
    "wandb.jsonl": wandb_lines,
    "wandb.csv": wandb_table,
    "run.parquet": parquet,
    "log.jsonl": ours,
    "slurm.out": printed,
}


@pytest.mark.parametrize("name", FORMS)
def test_one_collapse_in_many_forms(name, tmp_path):
    columns = FORMS[name](tmp_path / name)
    log = read_training_log(tmp_path / name)
    assert log.columns == columns
    assert len(log.steps) == STEPS
    assert log.steps[0] == 1
    found = watch_log(log)
    said = {alarm.signal: alarm.step for alarm in found.alarms}
    expected = {"entropy"} | ({"length"} & set(columns))
    assert set(said) == expected
    assert all(COLLAPSE + 1 <= step <= COLLAPSE + 10 for step in said.values())
    assert set(found.missing) == set(CollapseMonitor().signals) - set(columns)
    assert set(found.quiet) == set(columns) - expected - {"reward"}
    told = found.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["findings"][0]["verdict"] == "concern"


def test_what_was_left_out_is_said(tmp_path):
    ours(tmp_path / "log.jsonl")
    assert any("no JSON" in note for note in read_training_log(tmp_path / "log.jsonl").notes)
    trainer_state(tmp_path / "state.json")
    assert any("1 rows hold none" in n for n in read_training_log(tmp_path / "state.json").notes)


def test_a_run_that_went_on_counts_last(tmp_path):
    table = [{"step": k, "kl": 0.1} for k in range(5)] + [{"step": k, "kl": 0.2} for k in (3, 4, 5)]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    log = read_training_log(path)
    assert log.steps == tuple(range(6))
    assert log.values["kl"] == (0.1, 0.1, 0.1, 0.2, 0.2, 0.2)
    assert any("2 steps were logged again" in note for note in log.notes)


def test_lines_of_one_step_are_one(tmp_path):
    """Trackers log parts of a step in rows of their own."""
    path = tmp_path / "log.csv"
    path.write_text("step,kl,entropy\n1,0.1,\n1,,2.0\n2,0.2,\n2,,1.9\n")
    log = read_training_log(path)
    assert log.values == {"kl": (0.1, 0.2), "entropy": (2.0, 1.9)}
    assert log.notes == ()


def test_rows_without_a_step_are_said(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"kl": 0.3}\n{"step": 4, "kl": 0.1}\n{"entropy": 2.0}\n{"step": 5, "kl": 0.2}')
    log = read_training_log(path)
    assert log.steps == (0, 4, 5)
    assert log.values == {"kl": (0.3, 0.1, 0.2), "entropy": (None, 2.0, None)}
    assert any("2 rows name no step" in note for note in log.notes)


def test_charts_of_wandb(tmp_path):
    path = tmp_path / "chart.csv"
    path.write_text(
        '"Step","a - train/kl","a - train/kl__MIN","b - train/kl"\n1,0.1,0.0,0.5\n2,0.2,0.0,0.6\n'
    )
    with pytest.raises(EvidenceError, match="2 runs"):
        read_training_log(path)
    log = read_training_log(path, run="b")
    assert log.values == {"kl": (0.5, 0.6)}
    assert log.steps == (1, 2)
    with pytest.raises(EvidenceError, match="no run 'c'"):
        read_training_log(path, run="c")


def test_columns_are_read_as_told(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("tick,my kl,reward,reward_std,top\n10,1,0,2,4\n20,3,1,2,9\n")
    log = read_training_log(path, columns={"kl": "my kl", "reward_max": "top"}, step="tick")
    assert log.steps == (10, 20)
    assert log.values["kl"] == (1, 3)
    assert log.values["reward_tail"] == (2, 4)
    counted = read_training_log(path, columns={"kl": "my kl"})
    assert counted.steps == (0, 1)
    assert any("rows are counted" in note for note in counted.notes)
    assert "top" in counted.others
    for wrong in ({"columns": {"kl": "no"}}, {"step": "no"}, {"run": "a"}):
        with pytest.raises(EvidenceError):
            read_training_log(path, **wrong)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(EvidenceError, match="--column"):
        read_training_log(path)
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(EvidenceError):
        read_training_log(tmp_path / "empty.json")


def test_nan_in_a_log_is_said(tmp_path):
    path = tmp_path / "state.json"
    history = [{"step": k, "grad_norm": 1.0 if k < 7 else math.nan, "kl": 0.1} for k in range(9)]
    path.write_text(json.dumps({"log_history": history}))
    found = watch_log(read_training_log(path))
    assert [(alarm.signal, alarm.step) for alarm in found.alarms] == [("gradient", 7)]
    assert found.to_dict()["alarms"][0]["value"] is None


def test_a_log_too_short_is_not_called_fine(tmp_path):
    """Of twelve values: those of entropy are too few, and a share that is cut needs fifteen."""
    path = tmp_path / "log.jsonl"
    rows = [{"step": 10 * k, "entropy": 2.0, "cut": 0.9} for k in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = watch_log(read_training_log(path))
    assert found.waiting == {"entropy": (12, 35), "cut": (12, 15)}
    assert found.quiet == found.alarms == ()
    told = {row["check"]: row for row in found.to_dict()["findings"]}
    assert told["entropy"]["verdict"] == "unchecked"
    assert "too few to tell: 12 values, and it takes 35" in told["entropy"]["what"]
    assert "--log-every" in told["entropy"]["remedy"]


def test_a_plot_has_a_panel_a_signal(tmp_path):
    trainer_state(tmp_path / "state.json")
    found = watch_log(read_training_log(tmp_path / "state.json"))
    figure = found.plot(tmp_path / "signals.png", title="mine")
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert len(titles) == len(found.log.values)
    assert any(title.startswith("entropy: said at") for title in titles)
    assert (tmp_path / "signals.png").stat().st_size > 1000


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_any_trainer_carries_it(action):
    said = []
    callback = CollapseCallback(said.append, action=action)
    state, control = transformers.TrainerState(), transformers.TrainerControl()
    stopped = None
    for row in rows(TRL_GRPO):
        state.global_step = row.pop("step")
        callback.on_log(None, state, control, logs=row)
        if control.should_training_stop and stopped is None:
            stopped = state.global_step
    assert [alarm.signal for alarm in callback.monitor.alarms] == ["entropy", "length"]
    assert len(said) == 2
    assert said[0].startswith("! step ")
    assert (stopped is not None) == (action == "stop")
    if stopped:
        assert COLLAPSE < stopped < COLLAPSE + 10


@pytest.mark.parametrize("cut", [5, 40])
def test_a_run_that_goes_on_is_watched_from_its_beginning(cut):
    """Said after a stop is what would have been said without one; nothing is said twice."""
    records, whole, parts = list(rows(TRL_GRPO)), [], []
    for said, ends in ((whole, [len(records)]), (parts, [cut, len(records)])):
        history, start = [], 0
        for end in ends:
            callback = CollapseCallback(said.append)
            state, control = transformers.TrainerState(), transformers.TrainerControl()
            state.log_history = list(history)
            callback.on_train_begin(None, state, control)
            for record in records[start:end]:
                state.global_step = record["step"]
                logs = {name: own for name, own in record.items() if name != "step"}
                callback.on_log(None, state, control, logs=logs)
                history.append(record)
            start = end
    assert parts == whole
    assert len(whole) == 2
