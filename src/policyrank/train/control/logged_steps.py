"""Logs of control as people have them: Minari, D4RL, robomimic, LeRobot, arrays and tables.

HDF5 needs the extra ``control`` (h5py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyrank.errors import EvidenceError, MissingExtraError
from policyrank.evidence import tables
from policyrank.train.control.transitions import Transitions

Array = NDArray[Any]

USUAL: dict[str, Sequence[str]] = {
    "observations": "observations observation obs state states observation.state".split(),
    "actions": "actions action act".split(),
    "rewards": "rewards reward next.reward".split(),
    "following": "next_observations next_observation next_obs next_state following".split(),
    "terminated": "terminals terminations terminated terminal is_terminal next.success".split(),
    "truncated": "timeouts truncations truncated timeout is_last".split(),
    "dones": "dones done next.done".split(),
    "episode": "episode episode_id episode_index trajectory traj_id trajectory_id".split(),
}
"""What a log holds -> the names that it usually has."""

WORDS = {True: "true t yes y 1 1.0".split(), False: "false f no n 0 0.0".split()}
"""What texts say yes, and no."""

SUFFIXES = (".hdf5", ".h5", ".npz", ".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, eq=False)
class LoggedSteps:
    """Steps as they were logged, before anything is believed of them.

    Attributes
    ----------
    observations, actions
        (rows, o) and (rows, d)
    rewards, following, terminated, truncated
        (rows,), (rows, o), (rows,) and (rows,); None where the log does not say
    episode
        int (rows,)
    read_as
        what was read from which name
    notes
        what was left out or guessed
    """

    observations: Array
    actions: Array
    rewards: Array | None
    following: Array | None
    terminated: Array | None
    truncated: Array | None
    episode: Array
    read_as: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def last(self) -> NDArray[np.bool_]:
        """The last row of each episode: (rows,)."""
        return np.append(self.episode[1:] != self.episode[:-1], True)

    def transitions(self) -> Transitions:
        """What a critic learns from; rows whose next observation nobody knows are left out.

        Raises
        ------
        EvidenceError
            When the log holds no rewards, or does not say where episodes end by themselves.
        """
        if self.rewards is None:
            raise EvidenceError("the log holds no rewards: a critic learns nothing from it.")
        if self.terminated is None:
            raise EvidenceError(
                "the log does not say where episodes end by themselves (terminals): time limits"
                " would be read as ends, or ends as time limits. Add a column terminated."
            )
        following, known = self.next_observations()
        ends = self.terminated.astype(bool)
        kept = known | ends
        following = np.where(known[:, None], following, self.observations)
        columns = (self.observations, self.actions, following, self.rewards, ends, self.episode)
        return Transitions.of(*(own[kept] for own in columns))

    def next_observations(self) -> tuple[Array, NDArray[np.bool_]]:
        """What was seen next, and in which rows that is known."""
        if self.following is not None:
            return self.following, np.ones(len(self.following), dtype=bool)
        return np.roll(self.observations, -1, axis=0), ~self.last


def read_logged_steps(path: Path | str) -> LoggedSteps:
    """Read a file, or all files of a folder, each an episode unless it says otherwise.

    Raises
    ------
    EvidenceError
        For a file that cannot be read, or that holds no observations or no actions.
    """
    place = Path(path)
    if not place.exists():
        raise EvidenceError(f"{place}: there is no such file or folder.")
    files = [place]
    if place.is_dir():
        files = sorted(own for own in place.rglob("*") if own.suffix in SUFFIXES)
        if not files:
            raise EvidenceError(f"{place} holds no {', '.join(SUFFIXES)}.")
    notes: list[str] = []
    parts = [part for file in files for part in _episodes(file, notes)]
    return _joined(parts, tuple(dict.fromkeys(notes)), str(place))


Raw = dict[str, Array]
"""What -> rows of some episodes, with what was read as what under ``names``."""


def _episodes(file: Path, notes: list[str]) -> Iterator[Raw]:
    if file.suffix in (".hdf5", ".h5"):
        yield from _of_hdf5(file, notes)
        return
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as kept:
            yield _named({name: kept[name] for name in kept.files}, file.name, notes)
        return
    frame = tables.collect(*tables.open_table(file))
    columns: dict[str, Array] = {}
    for name in frame.columns:
        values = frame[name].to_list()
        columns[name] = np.array(values) if _is_regular(values) else np.empty((0, 0))
        if columns[name].size == 0:
            notes.append(f"{file.name}: {name} differs in length from row to row, left out")
            del columns[name]
    yield _named(_gathered(columns), file.name, notes)


def _is_regular(values: Sequence[Any]) -> bool:
    """Whether all rows hold lists of one length, or none does."""
    lengths = {len(own) if isinstance(own, list) else -1 for own in values}
    return len(lengths) == 1


def _gathered(columns: dict[str, Array]) -> dict[str, Array]:
    """Columns such as obs_0, obs_1 or action.x, action.y as one of their stem."""
    out = dict(columns)
    stems: dict[str, list[str]] = {}
    for name in columns:
        found = re.fullmatch(r"(observations?|obs|state|actions?|next_obs)[._\[]([\w.]+)\]?", name)
        if found and columns[name].ndim == 1:
            stems.setdefault(found[1], []).append(name)
    for stem, names in stems.items():
        if stem not in columns:
            out[stem] = np.column_stack([columns[name] for name in names])
    return out


def _of_hdf5(file: Path, notes: list[str]) -> Iterator[Raw]:
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("HDF5 needs h5py: pip install 'policyrank[control]'") from None
    try:
        root = h5py.File(file, "r")
    except OSError as error:
        raise EvidenceError(f"{file} is no HDF5 file that can be read: {error}") from None
    with root:
        groups = root["data"] if "data" in root and hasattr(root["data"], "keys") else root
        names = [name for name in groups if re.fullmatch(r"(episode|demo|traj)_\d+", name)]
        names.sort(key=lambda name: int(name.rsplit("_", 1)[1]))
        for name in names:
            yield _named(_flat(groups[name], notes), f"{file.name}: {name}", notes)
        if not names:
            yield _named(_flat(root, notes), file.name, notes)


def _flat(group: Any, notes: list[str]) -> dict[str, Array]:
    """A group's arrays; dictionaries of observations side by side, pictures left out."""
    out: dict[str, Array] = {}
    for name, value in group.items():
        if not hasattr(value, "keys"):
            out[name] = np.asarray(value)
        elif tables.find([name], [*USUAL["observations"], *USUAL["following"]]):
            parts = []
            for key in sorted(value):
                own = value[key]
                if hasattr(own, "keys") or own.dtype.kind not in "fiub" or own.ndim > 2:
                    notes.append(f"{name}/{key} is no vector (a picture?): left out")
                    continue
                parts.append(np.asarray(own).reshape(len(own), -1))
            if parts:
                out[name] = np.concatenate(parts, axis=1)
                notes.append(f"{name} is {', '.join(sorted(value))} side by side")
    return out


def _named(found: dict[str, Array], where: str, notes: list[str]) -> Raw:
    """Arrays under the names that are used here."""
    out: Raw = {}
    names = {what: tables.find(list(found), usual) for what, usual in USUAL.items()}
    for what in ("observations", "actions"):
        if names[what] is None:
            raise EvidenceError(
                f"{where}: nothing is named as {what} usually are. There are"
                f" {tables.listing(list(found))}."
            )
    for what, name in names.items():
        if name is not None:
            out[what] = found[name]
    rows = len(out["actions"])
    if len(out["observations"]) == rows + 1:
        out.setdefault("following", out["observations"][1:])
        out["observations"] = out["observations"][:-1]
    for what, own in out.items():
        if len(own) != rows:
            raise EvidenceError(
                f"{where}: {names.get(what) or what} has {len(own):,} rows, actions {rows:,}."
            )
        if own.ndim > 2 and what in ("observations", "following"):
            raise EvidenceError(
                f"{where}: {names[what]} has shape {own.shape[1:]} a step, a picture: give features"
                " of it."
            )
    out["names"] = np.array([f"{what} from {name}" for what, name in names.items() if name])
    return out


def _joined(parts: list[Raw], notes: tuple[str, ...], where: str) -> LoggedSteps:
    known = set.intersection(*(set(part) for part in parts))
    lost = set.union(*(set(part) for part in parts)) - known
    more = [f"{what} is not in all parts: not read" for what in sorted(lost)]
    widths = {part["observations"].reshape(len(part["actions"]), -1).shape[1] for part in parts}
    if len(widths) > 1:
        raise EvidenceError(f"{where}: observations have {sorted(widths)} numbers in its parts.")
    columns = {what: np.concatenate([part[what] for part in parts]) for what in known - {"names"}}
    rows = len(columns["actions"])
    episode = _numbered(parts, columns, more)
    terminated, truncated = columns.get("terminated"), columns.get("truncated")
    if terminated is None and "dones" in columns:
        more.append("dones do not say whether an episode ended by itself: read as neither")
    for what in ("observations", "actions", "following", "rewards"):
        if what in columns:
            columns[what] = _numbers(columns[what], what, where)
    matrix = {
        what: columns[what].reshape(rows, -1)
        for what in ("observations", "actions", "following")
        if what in columns
    }
    rewards = columns.get("rewards")
    read_as = dict(own.split(" from ") for own in parts[0]["names"].tolist())
    return LoggedSteps(
        matrix["observations"],
        matrix["actions"],
        None if rewards is None else rewards.reshape(rows),
        matrix.get("following"),
        None if terminated is None else _flags(terminated, "terminated", where),
        None if truncated is None else _flags(truncated, "truncated", where),
        episode,
        read_as,
        (*notes, *more),
    )


def _numbers(values: Array, what: str, where: str) -> NDArray[np.float64]:
    try:
        return values.astype(float)
    except (TypeError, ValueError) as error:
        raise EvidenceError(f"{where}: {what} are not all numbers: {error}.") from None


def _flags(values: Array, what: str, where: str) -> NDArray[np.bool_]:
    """Yes or no, of truth values, numbers, or words for them: (rows,)."""
    flat = values.reshape(-1)
    if flat.dtype.kind in "biuf":
        return flat != 0
    words = np.array([str(own).strip().lower() for own in flat])
    yes, no = (np.isin(words, own) for own in (WORDS[True], WORDS[False]))
    strange = ~(yes | no)
    if strange.any():
        row = int(strange.argmax())
        raise EvidenceError(
            f"{where}: {what} is {str(flat[row])!r} in row {row:,}, neither yes nor no."
        )
    return yes


def _numbered(parts: list[Raw], columns: Raw, notes: list[str]) -> Array:
    """Which episode each row is of: as told; by its part; or by where one ends."""
    if "episode" in columns:
        _, first, codes = np.unique(columns["episode"], return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[codes.reshape(-1)]  # in the order of the log
    lengths = [len(part["actions"]) for part in parts]
    if len(parts) > 1:
        return np.repeat(np.arange(len(parts)), lengths)
    ends = np.zeros(lengths[0], dtype=bool)
    for what in ("terminated", "truncated", "dones"):
        if what in columns:
            ends |= _flags(columns[what], what, "the log")
    notes.append(f"episodes are told by where they end: {int(ends[:-1].sum()) + 1:,}")
    return np.concatenate([[0], np.cumsum(ends[:-1])]).astype(int)
