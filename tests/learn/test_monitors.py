"""Monitors of collapse: what is said and when, what is not, and going on from a checkpoint."""

import json
import math

import numpy as np
import pytest

from policyrank.errors import OptionError
from policyrank.learn import SIGNALS, CollapseMonitor, reward_signals

HEALTHY = {
    "kl": lambda t: 0.05 * math.sqrt(t + 1),
    "entropy": lambda t: 2.0 * math.exp(-t / 400),
    "perplexity": lambda t: 6.0 * math.exp(-t / 600),
    "length": lambda t: 300 + 0.3 * t,
    "cut": lambda t: 0.05,
    "reward_tail": lambda t: 2.5,
    "reward_spread": lambda t: 0.4,
    "silent": lambda t: 0.3,
    "clip_share": lambda t: 0.05,
    "step_kl": lambda t: 1e-3,
    "value_loss": lambda t: 0.2,
    "explained": lambda t: 0.5,
    "gradient": lambda t: 1.0,
    "reward": lambda t: t / 100,
}
TURNED = {
    "kl": lambda value, t: value * 1.3 ** min(t, 30),
    "entropy": lambda value, t: value * 0.1,
    "perplexity": lambda value, t: value * 0.1,
    "length": lambda value, t: value * 3,
    "cut": lambda value, t: 0.8,
    "reward_tail": lambda value, t: value * 4,
    "reward_spread": lambda value, t: value * 0.01,
    "silent": lambda value, t: 0.97,
    "clip_share": lambda value, t: 0.6,
    "step_kl": lambda value, t: value * 20,
    "value_loss": lambda value, t: value * 30,
    "explained": lambda value, t: -2.0,
    "gradient": lambda value, t: value * 50,
}


def run(monitor, turned=(), at=100, until=200, noise=0.0, seed=0):
    draw = np.random.default_rng(seed)
    for t in range(until):
        values = {}
        for name, rule in HEALTHY.items():
            value = rule(t) * math.exp(noise * draw.normal())
            if name in turned and t >= at:
                value = TURNED[name](value, t - at)
            values[name] = value
        monitor.update(t, values)
    return monitor


def test_a_healthy_run_is_quiet():
    for seed in range(5):
        assert run(CollapseMonitor(), noise=0.1, seed=seed).alarms == []


@pytest.mark.parametrize("name", SIGNALS)
def test_each_signal_is_said_once_and_soon(name):
    found = run(CollapseMonitor(), [name]).alarms
    alarm = next(own for own in found if own.signal == name)
    assert [own.signal for own in found].count(name) == 1
    assert 100 + 4 <= alarm.step <= 100 + 15
    assert SIGNALS[name].about in alarm.why
    assert alarm.remedy == SIGNALS[name].remedy
    assert {own.signal for own in found} <= {name, "pattern"}


def test_the_other_side_of_signals_with_two():
    for name, factor in (("entropy", 4.0), ("perplexity", 8.0), ("length", 0.2)):
        monitor = CollapseMonitor()
        for t in range(60):
            monitor.update(t, {name: 2.0 if t < 30 else 2.0 * factor})
        assert [alarm.signal for alarm in monitor.alarms] == [name]
        assert ("rose" if factor > 1 else "fell") in monitor.alarms[0].why


def test_one_outlier_is_nobodys_collapse():
    monitor = CollapseMonitor()
    for t in range(80):
        monitor.update(t, {"gradient": 500.0 if t in (20, 40, 60) else 1.0})
    assert monitor.alarms == []


def test_reward_alone_is_never_said():
    monitor = CollapseMonitor()
    for t in range(80):
        monitor.update(t, {"reward": -5.0 if t > 40 else 5.0})
    assert monitor.alarms == []


def test_a_gamed_reward_has_a_pattern():
    """Each signal is within its own limits; together they say it."""
    monitor = CollapseMonitor()
    for t in range(100):
        late = t >= 60
        monitor.update(
            t,
            {
                "kl": 0.05 * (2.0 if late else 1.0),
                "length": 100 * (1.6 if late else 1.0),
                "perplexity": 6.0 * (0.6 if late else 1.0),
                "reward": t / 10,
            },
        )
    assert [alarm.signal for alarm in monitor.alarms] == ["pattern"]
    assert 60 <= monitor.alarms[0].step <= 70
    assert "perplexity falls" in monitor.alarms[0].why
    for still in ("kl", "length", "perplexity"):
        other = CollapseMonitor()
        for t in range(100):
            values = {"kl": 0.05, "length": 100.0, "perplexity": 6.0}
            if t >= 60:
                values |= {"kl": 0.1, "length": 160.0, "perplexity": 3.6, still: values[still]}
            other.update(t, values)
        assert other.alarms == []


def test_what_is_not_finite_is_said_at_once():
    monitor = CollapseMonitor()
    assert monitor.update(0, {"kl": math.nan, "entropy": 1.0}) == []
    assert [alarm.signal for alarm in monitor.update(1, {"entropy": math.nan})] == ["entropy"]
    assert monitor.update(2, {"entropy": math.inf}) == []


def test_limits_of_ones_own():
    monitor = CollapseMonitor(
        {"entropy": {"falls": 0.9}, "length": None, "loss": {"over": 3.0, "about": "the loss"}},
        baseline=5,
        patience=2,
    )
    for t in range(40):
        late = t >= 20
        monitor.update(
            t,
            {"entropy": 1.7 if late else 2.0, "length": 900 if late else 9, "loss": 9 * late},
        )
    assert {alarm.signal for alarm in monitor.alarms} == {"entropy", "loss"}
    assert "length" not in monitor.seen
    assert "kl" in monitor.missing
    assert SIGNALS["entropy"].drops == 0.5
    for wrong in ({"entropy": {"fals": 1}},):
        with pytest.raises(OptionError, match="falls"):
            CollapseMonitor(wrong)
    for wrong in ({"patience": 0}, {"baseline": 0}, {"baseline": 4, "patience": 5}):
        with pytest.raises(OptionError):
            CollapseMonitor(**wrong)
    assert CollapseMonitor(baseline=1, patience=1).update(0, {"cut": 0.9}) == []


def test_a_slow_decline_is_no_alarm_and_a_sudden_one_is():
    """Entropy that halves in 40 steps, down to a 30th; and in 5."""
    for steps, said in ((40, False), (5, True)):
        monitor = CollapseMonitor()
        for t in range(200):
            monitor.update(t, {"entropy": 3 * 0.5 ** (max(t - 40, 0) / steps)})
        assert bool(monitor.alarms) == said
    alarm = monitor.alarms[0]
    assert alarm.signal == "entropy"
    assert 40 < alarm.step < 60
    assert alarm.value < 0.5 * alarm.baseline


def test_noise_near_zero_does_not_grow():
    """KL that is ten times what it was says nothing while it is within the noise of the start."""
    said = []
    for level in (0.01, 0.2):
        monitor = CollapseMonitor()
        for t in range(80):
            noisy = 0.01 * (1 + 0.9 * (-1) ** t)
            monitor.update(t, {"kl": noisy if t < 10 else level if t < 50 else 10 * level})
        said.append([alarm.signal for alarm in monitor.alarms])
    assert said == [[], ["kl"]]


def test_what_is_below_zero_has_no_shares():
    """An entropy of densities, which may be negative and stays as it is."""
    monitor = CollapseMonitor()
    for _ in range(60):
        monitor.update(0, {"entropy": -1.0})
    assert monitor.alarms == []


def test_how_many_values_each_signal_takes():
    """Three windows, where it is compared with what it was a window ago."""
    monitor = CollapseMonitor(baseline=4, patience=2)
    needed = {name: monitor.needed(name) for name in ("kl", "entropy", "length", "cut")}
    assert needed == {"kl": 14, "entropy": 14, "length": 6, "cut": 6}
    for t in range(6):
        monitor.update(t, {"kl": 1.0, "length": 1.0})
    assert (monitor.waiting, monitor.count("kl")) == (("kl",), 6)
    assert monitor.count("entropy") == 0


def test_what_was_too_short_is_waiting():
    monitor = CollapseMonitor()
    for t in range(8):
        monitor.update(t, {"entropy": 1.0})
    assert monitor.waiting == ("entropy",)
    assert monitor.start_of("entropy") == 1.0
    assert math.isnan(monitor.start_of("kl"))


def test_goes_on_from_a_checkpoint():
    whole = run(CollapseMonitor(), ["entropy", "length"], until=150)
    first = run(CollapseMonitor(), ["entropy", "length"], until=104)
    again = CollapseMonitor()
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for t in range(104, 150):
        values = {name: rule(t) for name, rule in HEALTHY.items()}
        for name in ("entropy", "length"):
            values[name] = TURNED[name](values[name], t - 100)
        again.update(t, values)
    assert [(a.signal, a.step) for a in again.alarms] == [(a.signal, a.step) for a in whole.alarms]


def test_rewards_of_a_round():
    found = reward_signals([1.0, math.nan, 1.0, 1.0, 5.0])
    assert found == pytest.approx({"reward": 2, "reward_spread": 3**0.5, "reward_tail": 3**0.5})
    assert reward_signals([2.0, 2.0]) == {"reward": 2.0, "reward_spread": 0.0}
    assert reward_signals([math.nan]) == {}
