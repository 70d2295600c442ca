"""What a logging policy did and with which chances: read, checked, and every reading told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyrank.board.leaderboard import Note
from policyrank.errors import EvidenceError, OptionError

Float = NDArray[np.float64]
Whole = NDArray[np.int64]
Reading = Literal["taken", "treated"]

ROUNDING = 1e-6
"""By how much chances may miss their sum of 1."""


@dataclass(frozen=True, eq=False)
class Log:
    """Logged rows.

    Attributes
    ----------
    names
        of the actions, in the order of the columns of ``chances``
    actions, outcome, features
        (rows,) from 0 on, (rows,), (rows, d)
    chances
        (rows, actions) of the logging policy
    count
        (rows, actions), how much each cell counts in a mean over what might have been done: 1
        everywhere where all chances are known; where only that of the action taken is, 1 over it
        there and 0 elsewhere
    declared
        whether the chances were given, and not taken to be shares of the rows
    notes
        how the chances were read
    """

    names: tuple[Any, ...]
    actions: Whole
    outcome: Float
    features: Float
    chances: Float
    count: Float
    declared: bool
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def complete(self) -> bool:
        """Whether the chances of actions that were not taken are known too."""
        return bool((self.count == 1).all())

    def taken(self, table: Float) -> Float:
        """The cells (rows,) of a table (rows, actions) that were logged."""
        return table[np.arange(len(self)), self.actions]


def read_log(
    actions: ArrayLike,
    outcome: ArrayLike,
    features: ArrayLike,
    propensity: ArrayLike | Mapping[Any, ArrayLike] | None = None,
    *,
    action_names: Sequence[Any] | None = None,
    propensity_of: Reading | None = None,
) -> Log:
    """A log, checked.

    Parameters
    ----------
    actions, outcome, features
        see ``off_policy_value``
    propensity, action_names, propensity_of
        see ``off_policy_value``

    Raises
    ------
    EvidenceError
        Naming the row that cannot be used.

    Examples
    --------
    >>> log = read_log(
    ...     ["mail", "none"], [1, 0], [[0], [1]], [0.25, 0.5], propensity_of="taken"
    ... )
    >>> log.names, log.actions.tolist(), log.chances[0].tolist()
    (('mail', 'none'), [0, 1], [0.25, 0.75])
    """
    done, y, x = np.asarray(actions), _numbers(outcome, "outcome"), _numbers(features, "features")
    if y.ndim != 1 or not len(y):
        raise EvidenceError(f"outcome is one number a row, (rows,); this one is {y.shape}.")
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or len(x) != len(y) or not x.shape[1]:
        raise EvidenceError(
            f"features are (rows, columns) for {len(y)} rows; these are {np.shape(features)}."
        )
    if done.shape != y.shape:
        raise EvidenceError(f"actions are one for each of {len(y)} outcomes, not {done.shape}.")
    for name, values in (("outcome", y[:, None]), ("features", x)):
        strange = ~np.isfinite(values)
        _refuse_rows(strange.max(axis=1), f"{name} is not finite; leave the row out")
    names = _action_names(done, propensity, action_names)
    codes = coded(done, names, "actions")
    chances, count, notes = _logged_chances(codes, names, propensity, propensity_of)
    own = chances[np.arange(len(y)), codes]
    if not (own > 0).all():
        row = int(np.argmin(own > 0))
        raise EvidenceError(f"row {row + 1}: action {done[row]} was taken with a chance of 0.")
    return Log(names, codes, y, x, chances, count, propensity is not None, tuple(notes))


def _numbers(given: ArrayLike, what: str) -> Float:
    try:
        return np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise EvidenceError(f"{what}: numbers are needed, in rows of one length.") from None


def _refuse_rows(wrong: NDArray[np.bool_], why: str) -> None:
    if wrong.any():
        raise EvidenceError(f"row {int(np.argmax(wrong)) + 1}: {why}.")


def _whole(values: NDArray[Any]) -> bool:
    """Whether all are 0, 1, 2, ..., also as booleans or floats."""
    if values.dtype.kind not in "buif":
        return False
    return bool((np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all())


def _columns(given: Any) -> tuple[Any, ...] | None:
    """Names of the columns of a table by name; None: it has none."""
    if isinstance(given, Mapping):
        return tuple(given)
    if hasattr(given, "columns"):
        return tuple(given.columns)
    return None


def _action_names(
    done: NDArray[Any], propensity: Any, action_names: Sequence[Any] | None
) -> tuple[Any, ...]:
    """The actions in the order of columns."""
    if action_names is not None:
        return tuple(action_names)
    columns = _columns(propensity)
    if columns is not None and not _whole(done):
        return columns
    if _whole(done):
        number = int(done.max()) + 1
        if columns is not None:
            number = max(number, len(columns))
        elif propensity is not None and np.ndim(propensity) == 2:
            number = max(number, np.asarray(propensity).shape[1])
        return tuple(range(max(number, 2)))
    if done.dtype.kind in "buif":
        raise EvidenceError("actions are whole numbers, 0 or more, or names.")
    names = tuple(np.unique(done.astype(str)).tolist())
    if propensity is not None and np.ndim(propensity) == 2:
        raise OptionError(
            "action_names: say which action each column of propensity is, or give a table with"
            " named columns."
        )
    return names


def coded(done: NDArray[Any], names: Sequence[Any], what: str) -> Whole:
    """Actions as numbers of columns.

    Examples
    --------
    >>> coded(np.array(["b", "a"]), ("a", "b"), "actions").tolist()
    [1, 0]
    """
    if _whole(done) and tuple(names) == tuple(range(len(names))):
        codes = done.astype(np.int64)
        known = codes < len(names)
    else:
        place = {str(name): k for k, name in enumerate(names)}
        codes = np.array([place.get(str(action), -1) for action in done.tolist()], dtype=np.int64)
        known = codes >= 0
    if not known.all():
        row = int(np.argmin(known))
        listed = ", ".join(map(str, names[:10]))
        raise EvidenceError(f"{what}: row {row + 1} is {done[row]!s}; the actions are {listed}.")
    return codes


def chances_of(name: str, given: Any, names: Sequence[Any], rows: int) -> Float:
    """A policy's chances of each action, (rows, actions), also where it names one action a row.

    Examples
    --------
    >>> chances_of("rule", ["a", "b"], ("a", "b"), 2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if _columns(given) is None and np.ndim(given) == 1:
        done = np.asarray(given)
        named = done.dtype.kind in "OUS"
        if len(done) != rows or not (named or _whole(done)):
            raise EvidenceError(
                f"{name}: its actions are {rows} of {', '.join(map(str, names))}, one a row."
            )
        return np.eye(len(names))[coded(done, names, f"{name}: its actions")]
    pi = _by_action(given, names, rows, f"{name}: its chances")
    _check_chances(pi, f"{name}: its chances")
    return pi


def _by_action(given: Any, names: Sequence[Any], rows: int, what: str) -> Float:
    """A table (rows, actions) in the order of the actions, by name where its columns have names."""
    columns = _columns(given)
    if columns is None:
        table = _numbers(given, what)
    else:
        place = {str(name): k for k, name in enumerate(names)}
        table = np.zeros((rows, len(names)))
        for column in columns:
            if str(column) not in place:
                raise EvidenceError(f"{what}: there is no action {column!s}.")
            values = _numbers(given[column], what)
            if values.shape != (rows,):
                raise EvidenceError(f"{what} of {column!s} are {values.shape}, not ({rows},).")
            table[:, place[str(column)]] = values
    if table.shape != (rows, len(names)):
        raise EvidenceError(
            f"{what} are {table.shape}; one column an action, ({rows}, {len(names)}), is needed."
        )
    return table


def _check_chances(table: Float, what: str) -> None:
    """Each in [0, 1], and each row sums to 1."""
    outside = ~((table >= 0) & (table <= 1)).all(axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        wrong = table[row][~((table[row] >= 0) & (table[row] <= 1))][0]
        raise EvidenceError(f"{what}: row {row + 1} has {wrong:g}; they lie between 0 and 1.")
    off = np.abs(table.sum(axis=1) - 1) > ROUNDING
    if off.any():
        row = int(np.argmax(off))
        total = table[row].sum()
        raise EvidenceError(f"{what}: row {row + 1} sums to {total:g}; each row sums to 1.")


def _logged_chances(
    actions: Whole, names: Sequence[Any], propensity: Any, propensity_of: Reading | None
) -> tuple[Float, Float, list[Note]]:
    """The logging policy's chances of each action, how cells count, and how it was read."""
    shape = (len(actions), len(names))
    if propensity is None:
        shares = np.bincount(actions, minlength=len(names)) / len(actions)
        return np.broadcast_to(shares, shape), np.ones(shape), []
    if _columns(propensity) is None and np.ndim(propensity) == 1:
        return _from_one_column(actions, names, propensity, propensity_of)
    table = _by_action(propensity, names, len(actions), "propensity: the chances")
    _check_chances(table, "propensity")
    return table, np.ones(shape), []


def _from_one_column(
    actions: Whole, names: Sequence[Any], given: Any, propensity_of: Reading | None
) -> tuple[Float, Float, list[Note]]:
    """Chances of the action taken, or of treatment."""
    p = _numbers(given, "propensity")
    if len(p) != len(actions):
        raise EvidenceError(f"propensity has {len(p)} rows, the actions {len(actions)}.")
    _refuse_rows(~((p >= 0) & (p <= 1)), "its propensity does not lie between 0 and 1")
    if propensity_of not in (None, "taken", "treated"):
        raise OptionError(f"propensity_of={propensity_of!r}: it is 'taken' or 'treated'.")
    rows = np.arange(len(actions))
    if len(names) > 2:
        if propensity_of == "treated":
            raise OptionError("propensity_of='treated' needs two actions.")
        return _of_taken_alone(actions, len(names), p)
    reading = propensity_of or _likely_reading(actions, p)
    treated = p
    if reading == "taken":
        treated = np.where(actions == 1, p, 1 - p)
    table = np.column_stack([1 - treated, treated])
    own = table[rows, actions]
    _refuse_rows(own <= 0, f"read as the chance of the {_WORDS[reading]}, it was taken with 0")
    said = _WORDS[reading].replace("treatment", f"treatment ({names[1]})")
    note = Note("propensity", f"The one column of propensities is read as the chance of {said}.")
    return table, np.ones(table.shape), [note]


_WORDS = {"taken": "the action taken", "treated": "treatment"}


def _of_taken_alone(actions: Whole, number: int, p: Float) -> tuple[Float, Float, list[Note]]:
    """Only the chance of the action taken is known: what was never taken is not seen."""
    rows = np.arange(len(actions))
    _refuse_rows(p <= 0, "its action was taken with a chance of 0")
    table, count = np.ones((len(p), number)), np.zeros((len(p), number))
    table[rows, actions], count[rows, actions] = p, 1 / p
    text = (
        "Only chances of the actions taken are known: what the log could never have done is seen"
        " by missing weight alone. Give the chances of all actions."
    )
    return table, count, [Note("propensity", text, "warning")]


def _likely_reading(actions: Whole, p: Float) -> Reading:
    """Which reading the log bears out.

    Of the action taken: (2 A - 1) (1 - p) has mean 0; of treatment: (A - p) (p - 1/2) has. Of
    chances that vary, or are not 1/2, only one of them.
    """
    if np.allclose(p, 0.5):
        return "taken"
    means: dict[Reading, Float] = {
        "taken": (2 * actions - 1) * (1 - p),
        "treated": (actions - p) * (p - 0.5),
    }
    fits = [reading for reading, values in means.items() if _has_mean_zero(values)]
    if len(fits) != 1:
        either = "both readings fit" if fits else "neither reading fits"
        raise OptionError(
            f"propensity is one column and {either}: say propensity_of='taken' (the chance of the"
            " action taken) or 'treated' (of the second action), or give a column an action."
        )
    return fits[0]


def _has_mean_zero(values: Float) -> bool:
    """Within four standard errors."""
    return bool(abs(values.sum()) <= 4 * np.sqrt((values**2).sum()))
