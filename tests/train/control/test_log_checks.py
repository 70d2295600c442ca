"""Logs of control: their layouts are read, and what is wrong with them is found."""

import json

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from policyrank.errors import EvidenceError
from policyrank.train.control import check_log, read_logged_steps
from policyrank.worlds.control.room import Room, logged

LOG = logged(Room(), 60, 0)
ROWS = len(LOG.rewards)
LAST = np.append(LOG.episode[1:] != LOG.episode[:-1], True)
FLAT = {
    "observations": LOG.observations,
    "actions": LOG.actions,
    "rewards": LOG.rewards,
    "terminals": LOG.terminated,
    "timeouts": LAST & ~LOG.terminated,
}


@pytest.fixture
def write(tmp_path):
    """A file of arrays, an entry each; what is read of it."""

    def make(**changes):
        arrays = {name: own for name, own in (FLAT | changes).items() if own is not None}
        np.savez(tmp_path / "log.npz", **arrays)
        return read_logged_steps(tmp_path / "log.npz")

    return make


def verdicts(log):
    found = check_log(log)["findings"]
    return {own["check"]: own["verdict"] for own in reversed(found)}


def what(log, check):
    return next(own["what"] for own in check_log(log)["findings"] if own["check"] == check)


# Layouts


def test_layouts_say_the_same(tmp_path):
    h5py = pytest.importorskip("h5py")
    np.savez(tmp_path / "flat.npz", **FLAT)
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        for name, own in FLAT.items():
            file[name] = own
    with h5py.File(tmp_path / "minari.hdf5", "w") as file:
        for episode in range(60):
            rows = np.flatnonzero(LOG.episode == episode)
            group = file.create_group(f"episode_{episode}")
            seen = np.vstack([LOG.observations[rows], LOG.following[rows[-1:]]])
            group["observations/x"], group["observations/y"] = seen[:, :1], seen[:, 1:]
            group["observations/picture"] = np.zeros((len(seen), 4, 4), dtype=np.uint8)
            group["actions"], group["rewards"] = LOG.actions[rows], LOG.rewards[rows]
            group["terminations"] = LOG.terminated[rows]
            group["truncations"] = FLAT["timeouts"][rows]
    with h5py.File(tmp_path / "robomimic.hdf5", "w") as file:
        for episode in range(60):
            rows = np.flatnonzero(LOG.episode == episode)
            group = file.create_group(f"data/demo_{episode}")
            group["obs/at"], group["actions"] = LOG.observations[rows], LOG.actions[rows]
            group["rewards"], group["dones"] = LOG.rewards[rows], LOG.terminated[rows]
    table = pl.DataFrame(
        {
            "observation.state": LOG.observations.tolist(),
            "action": LOG.actions.tolist(),
            "next.reward": LOG.rewards,
            "terminated": LOG.terminated,
            "episode_index": LOG.episode,
        }
    )
    table.write_parquet(tmp_path / "lerobot.parquet")
    table.write_ndjson(tmp_path / "lines.jsonl")
    columns = {f"obs_{k}": LOG.observations[:, k] for k in range(2)}
    columns |= {f"action.{k}": LOG.actions[:, k] for k in range(2)}
    more = {"reward": LOG.rewards, "terminated": LOG.terminated, "episode": LOG.episode}
    pl.DataFrame(columns | more).write_csv(tmp_path / "table.csv")
    for file in sorted(tmp_path.iterdir()):
        log = read_logged_steps(file)
        assert np.allclose(log.observations, LOG.observations), file.name
        assert np.allclose(log.actions, LOG.actions), file.name
        assert np.allclose(log.rewards, LOG.rewards), file.name
        assert (log.episode == LOG.episode).all(), file.name
        if file.name == "robomimic.hdf5":
            assert log.terminated is None
            assert any("dones do not say" in note for note in log.notes)
            continue
        data = log.transitions()
        assert int(data.terminated.sum()) == int(LOG.success.sum())
        if file.name == "minari.hdf5":
            assert len(data) == ROWS
            assert np.allclose(data.following.numpy(), LOG.following, atol=1e-6)
            assert any("picture" in note for note in log.notes)
        else:
            assert len(data) == ROWS - int((~LOG.success).sum())


def test_episodes_in_files_of_their_own(tmp_path):
    for episode in (0, 1, 10):
        rows = LOG.episode == episode
        np.savez(
            tmp_path / f"ep_{episode:02d}.npz",
            obs=LOG.observations[rows],
            action=LOG.actions[rows],
            reward=LOG.rewards[rows],
            terminated=LOG.terminated[rows],
        )
    log = read_logged_steps(tmp_path)
    assert np.bincount(log.episode).tolist() == [
        int((LOG.episode == episode).sum()) for episode in (0, 1, 10)
    ]
    assert log.read_as["observations"] == "obs"


def test_what_cannot_be_read_is_named(tmp_path, write):
    with pytest.raises(EvidenceError, match="no such file"):
        read_logged_steps(tmp_path / "none.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvidenceError, match="holds no"):
        read_logged_steps(tmp_path / "empty")
    with pytest.raises(EvidenceError, match="named as actions usually are"):
        write(actions=None)
    with pytest.raises(EvidenceError, match="rewards has 3 rows"):
        write(rewards=np.zeros(3))
    with pytest.raises(EvidenceError, match="a picture"):
        write(observations=np.zeros((ROWS, 4, 4)))
    pytest.importorskip("h5py")
    (tmp_path / "bad.hdf5").write_bytes(b"x")
    with pytest.raises(EvidenceError, match="no HDF5"):
        read_logged_steps(tmp_path / "bad.hdf5")
    with pytest.raises(EvidenceError, match="'maybe' in row 0, neither yes nor no"):
        write(terminals=np.array(["maybe"] * ROWS))
    with pytest.raises(EvidenceError, match="rewards are not all numbers"):
        write(rewards=np.array(["much"] * ROWS))
    words = write(terminals=np.where(LOG.terminated, "Yes", "no"))
    assert (words.terminated == LOG.terminated).all()
    with pytest.raises(EvidenceError, match="no rewards"):
        write(rewards=None).transitions()
    with pytest.raises(EvidenceError, match="Add a column terminated"):
        write(terminals=None).transitions()


# Checks


def test_a_good_log_is_fine(write):
    found = verdicts(write(next_observations=LOG.following))
    assert {name: own for name, own in found.items() if own == "concern"} == {}
    for name in ("numbers", "alignment", "action", "ends", "scales", "duplicates", "coverage"):
        assert found[name] == "fine"


@pytest.mark.parametrize("shift", [1, -1])
def test_shifted_actions_are_seen(write, shift):
    """Buffers that are shifted by one row, within the whole log."""
    log = write(actions=np.roll(LOG.actions, shift, axis=0), next_observations=LOG.following)
    assert verdicts(log)["action"] == "concern"
    assert f"row t{shift:+d}" in what(log, "action")


@pytest.mark.parametrize(("noise", "shift"), [(0.0, 0), (0.5, 0), (0.5, 1), (0.5, -1)])
def test_an_action_that_answers_to_what_is_seen_is_no_shift(write, noise, shift):
    """A policy without noise acts on what it sees next, and so tells of the change before."""
    rng = np.random.default_rng(0)
    gains = np.array([[1.0, 0.4], [-0.3, 0.8]])
    at, rows = rng.normal(size=(40, 2)), []
    for _ in range(50):
        act = -at @ gains + noise * rng.normal(size=at.shape)
        rows.append((at, act))
        at = at + 0.1 * act + 0.1 * rng.normal(size=at.shape)
    seen, done = (np.stack(own, axis=1).reshape(2000, 2) for own in zip(*rows, strict=True))
    log = write(
        observations=seen,
        actions=np.roll(done, shift, axis=0),
        rewards=rng.normal(size=2000),
        terminals=np.zeros(2000, dtype=bool),
        timeouts=None,
        episode=np.repeat(np.arange(40), 50),
    )
    assert (verdicts(log)["action"] == "concern") == (shift != 0)


def test_time_limits_that_are_marked_as_ends(write):
    log = write(terminals=LAST, timeouts=None)
    assert verdicts(log)["time limits"] == "concern"
    assert "60 steps" in what(log, "time limits")
    assert "time limits" not in verdicts(write())
    assert verdicts(write(terminals=None))["ends"] == "concern"
    never = write(terminals=np.zeros(ROWS, dtype=bool), timeouts=LAST)
    assert verdicts(never)["ends"] == "note"
    early = LOG.terminated.copy()
    early[3] = True
    own = write(terminals=early, episode=LOG.episode)
    assert "their episode goes on" in what(own, "ends")


def test_starts_that_are_not_marked(write):
    log = write(
        terminals=np.zeros(ROWS, dtype=bool), timeouts=None, episode=np.zeros(ROWS, dtype=int)
    )
    assert verdicts(log)["starts"] == "concern"


def test_what_follows_is_another_row(write):
    order = np.random.default_rng(0).permutation(ROWS)
    log = write(next_observations=LOG.following[order])
    assert verdicts(log)["alignment"] == "concern"


def test_scales_duplicates_rewards_and_coverage(write):
    assert "ActionScale" in json.dumps(check_log(write(actions=30 * LOG.actions)))
    still = LOG.actions.copy()
    still[:, 1] = 0.3
    assert "dimensions 1 of actions never change" in what(write(actions=still), "actions")
    uneven = LOG.actions * [1.0, 0.01]
    assert "differ in scale by 100 times" in what(write(actions=uneven), "scales")
    twice = {name: np.concatenate([own, own]) for name, own in FLAT.items()}
    assert verdicts(write(**twice))["duplicates"] == "concern"
    assert verdicts(write(rewards=np.ones(ROWS)))["rewards"] == "concern"
    assert verdicts(write(rewards=None))["rewards"] == "concern"
    bad = LOG.rewards.copy()
    bad[7] = np.nan
    assert "rewards are not finite, first row 7" in what(write(rewards=bad), "numbers")
    greedy = write(actions=np.tanh(LOG.observations @ [[1.0, 2.0], [0.5, -1.0]]))
    assert verdicts(greedy)["coverage"] == "concern"
