"""Formats of reinforcement learning and robots: how their files are told."""

from __future__ import annotations

from policyrank.evidence.formats.form import Format
from policyrank.evidence.formats.peek import Peek


def _simpler(peek: Peek) -> bool:
    name = peek.source.parts[-1]
    return name.endswith(".mp4") and ("success" in name or "failure" in name)


def _evaluations(peek: Peek) -> bool:
    if peek.source.ending == ".npz" and b"timesteps.npy" in peek.source.first_bytes:
        return True  # perhaps cut off
    return {"timesteps.npy", "results.npy"} <= peek.zipped


def _roboarena(peek: Peek) -> bool:
    keys = {line.partition(":")[0] for line in peek.lines if not line.startswith((" ", "-", "#"))}
    return {"preference", "policies", "language_instruction"} <= keys


LEARNING: tuple[Format, ...] = (
    Format("SimplerEnv videos", "scores", "simpler-env", _simpler, "robots:read_simpler"),
    Format(
        "evaluations of stable-baselines3",
        "scores",
        "sb3",
        _evaluations,
        "learning_runs:read_evaluations",
    ),
    Format(
        "monitor files of stable-baselines3",
        "nothing",
        "sb3",
        lambda peek: peek.starts("#{") and "t_start" in peek.lines[0],
        "learning_runs:refuse_monitor",
    ),
    Format(
        "rliable's data",
        "scores",
        "rliable",
        lambda peek: peek.has("run_number", "iteration", "eval_average_return"),
        "learning_runs:read_rliable",
    ),
    Format(
        "Dopamine's baselines",
        "scores",
        "dopamine",
        lambda peek: {"Iteration", "Value", "Agent"} <= set(peek.columns),
        "learning_runs:read_dopamine",
    ),
    Format("RoboArena sessions", "comparisons", "roboarena", _roboarena, "robots:read_roboarena"),
    Format(
        "robot rollouts",
        "scores",
        "robot-rollouts",
        lambda peek: peek.has("Task", "Method", "Success/Failure"),
        "robots:read_rollouts",
    ),
)
