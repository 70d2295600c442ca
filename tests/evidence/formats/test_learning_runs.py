"""Runs of reinforcement learning."""

import io

import numpy as np
import pytest

from policyrank.errors import EvidenceError


def evaluations(results, steps=None, **more):
    data = io.BytesIO()
    steps = np.arange(1, len(results) + 1) * 1000 if steps is None else steps
    np.savez(data, timesteps=steps, results=np.array(results), **more)
    return data.getvalue()


def test_the_last_evaluation_counts_and_episodes_replicate(folder, values, noted):
    lengths = np.array([[5, 5], [7, 9]])
    ant = evaluations([[90.0, 90.0], [30.0, 28.0]], ep_lengths=lengths)
    folder.write("logs/eval_ant/evaluations.npz", ant)
    folder.write("logs/eval_bee/evaluations.npz", evaluations([[22.0, 24.0]]))
    folder.write("logs/eval_bee/0.monitor.csv", '#{"t_start": 1.5}\nr,l,t\n1.0,1,0.5\n')
    scores = folder.read("logs")
    assert values(scores) == {"eval_ant": {"final": 29}, "eval_bee": {"final": 23}}
    assert len(scores) == 4
    assert noted(scores, "the last evaluation of each run, not the best")
    assert noted(scores, "end at different numbers of steps")
    assert "monitor.csv" in noted(scores, "not read")
    with pytest.raises(EvidenceError, match="no 'ep_lengths'"):
        folder.read("logs", metric="ep_lengths")


def test_folders_of_rl_zoo_name_algorithm_and_environment(folder, values):
    for run, value in ((1, 10.0), (2, 20.0)):
        for algorithm in ("ppo", "sac"):
            place = f"logs/{algorithm}/CartPole-v1_{run}/evaluations.npz"
            folder.write(place, evaluations([[value]]))
    found = values(folder.read("logs"))
    assert found == {"ppo": {"CartPole-v1": 15}, "sac": {"CartPole-v1": 15}}


@pytest.mark.parametrize(
    "content",
    [
        evaluations([[1.0]], steps=np.array([1, 2])),
        evaluations([[1.0]], steps=np.array([np.nan])),
        evaluations([["x"]]),
        evaluations([[1.0, 2.0]])[:300],
    ],
)
def test_broken_arrays_are_refused(folder, content):
    folder.write("a/evaluations.npz", content)
    folder.write("b/evaluations.npz", evaluations([[1.0]]))
    with pytest.raises(EvidenceError, match=r"a/evaluations\.npz"):
        folder.read()


def test_monitor_files_are_refused(folder):
    text = '#{"t_start": 1700000001.5, "env_id": "CartPole-v1"}\nr,l,t\n12.0,12,0.75\n'
    folder.write("ant/0.monitor.csv", text)
    with pytest.raises(EvidenceError, match=r"Give evaluations\.npz"):
        folder.read("ant")


def record(run, iteration, value):
    return {"run_number": run, "iteration": iteration, "eval_average_return": value}


def test_last_iterations_of_rliable(folder, values, noted):
    ant = [record(0, 1, -20.5), record(0, 0, -15.0), record(1, 0, 0.0), record(1, 1, -18.0)]
    folder.write("atari/Ant/Pong.json", ant)
    folder.write("atari/Bee/Pong.json", [record(0, 0, 1.0), record(0, 1, -15.0)])
    scores = folder.read("atari")
    assert values(scores) == {"Ant": {"Pong": -19.25}, "Bee": {"Pong": -15}}
    assert len(scores) == 3
    assert "returns are raw" in noted(scores, "the last iteration of each run")


def step(iteration, value, agent):
    return {"Iteration": iteration, "Value": value, "Agent": agent}


def test_runs_of_dopamine_begin_where_iterations_start_again(folder, values, noted):
    steps = [step(0, -20, "Ant"), step(1, -18, "Ant"), step(0, -20, "Ant"), step(1, -17, "Ant")]
    folder.write("pong.json", [*steps, step(0, -19, "Bee"), step(1, -15, "Bee")])
    scores = folder.read("pong.json")
    assert values(scores) == {"Ant": {"pong": -17.5}, "Bee": {"pong": -15}}
    assert len(scores) == 3
    assert noted(scores, "returns during training")


def test_a_run_without_a_last_value_is_refused_or_counted(folder, values):
    folder.write("pong.json", [step(0, None, "Ant"), step(0, 1, "Ant"), step(0, 2, "Bee")])
    with pytest.raises(EvidenceError, match="Ant on pong, run 0: no value"):
        folder.read("pong.json")
    assert values(folder.read("pong.json", bad="skip")) == {"Ant": {"pong": 1}, "Bee": {"pong": 2}}


def test_equal_folders_are_told_by_those_above(folder, values):
    for name, value in (("ppo", 1.0), ("sac", 2.0)):
        folder.write(f"logs/{name}/eval/evaluations.npz", evaluations([[value]]))
    assert values(folder.read("logs")) == {"ppo": {"final": 1}, "sac": {"final": 2}}
