"""Credits of a distributed arena: who evaluates for others may have its own policies evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from policyrank.errors import EvidenceError
from policyrank.evaluation.rules import Rows, matchmaking_weights
from policyrank.evaluation.state import State


@dataclass
class Ledger:
    """Balances by owner.

    A valid trial costs the owner of the policy that was drawn by weight one credit and pays its
    evaluator one. The top-up adds ``increment`` to everyone, and keeps at most one increment of
    what was left: balances stay within two.

    Attributes
    ----------
    increment
        credits a period, > 0
    balance
        credits by owner

    References
    ----------
    Atreya et al. (2025), "RoboArena", arXiv 2506.18123.

    Examples
    --------
    >>> ledger = Ledger(increment=5)
    >>> ledger.join("lab a"), ledger.join("lab b")
    (None, None)
    >>> ledger.settle(owner="lab a", evaluator="lab b")
    >>> ledger.balance
    {'lab a': 4, 'lab b': 6}
    >>> ledger.top_up(); ledger.top_up()
    >>> ledger.balance
    {'lab a': 10, 'lab b': 10}
    """

    increment: int = 100
    balance: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.increment < 1:
            raise EvidenceError(f"increment={self.increment}: give at least one credit a period.")

    def join(self, owner: str) -> None:
        """A new owner starts with one increment; known ones keep their balance."""
        self.balance.setdefault(owner, self.increment)

    def eligible(self, owner: str) -> bool:
        """Whether the owner's policies may be drawn."""
        return self.balance.get(owner, 0) > 0

    def settle(self, *, owner: str, evaluator: str, valid: bool = True) -> None:
        """Book a finished trial; invalid ones cost and pay nothing.

        Raises
        ------
        EvidenceError
            When the owner has no credit left.
        """
        if not valid:
            return
        if not self.eligible(owner):
            raise EvidenceError(f"{owner!r} has no credit left: it must not have been drawn.")
        self.join(evaluator)
        self.balance[owner] -= 1
        self.balance[evaluator] += 1

    def top_up(self) -> None:
        """A new period begins."""
        self.balance = {o: min(b, self.increment) + self.increment for o, b in self.balance.items()}


def matchmaking_with_credits(
    state: State,
    size: int,
    rng: np.random.Generator,
    *,
    ledger: Ledger,
    owners: dict[str, str],
    threshold: float = 10.0,
) -> Rows:
    """Arena matchmaking in which the first policy is drawn by weight among owners with credit, the
    second from all.

    Parameters
    ----------
    owners
        owner of each policy
    threshold
        of the weight, see ``matchmaking_weights``

    Examples
    --------
    >>> ledger = Ledger(balance={"lab a": 5, "lab b": 5, "lab c": 0})
    >>> owners = {"x": "lab a", "y": "lab b", "z": "lab c"}
    >>> state, rng = State(("x", "y", "z"), ("fold",)), np.random.default_rng(0)
    >>> rows = matchmaking_with_credits(state, 8, rng, ledger=ledger, owners=owners)
    >>> sorted(set(rows[:, 1].tolist())), sorted(set(rows[:, 2].tolist()))
    ([0, 1], [0, 1, 2])
    """
    seen, n, out = (state.games + state.under_way).sum(axis=1), len(state.policies), []
    credit = dict(ledger.balance)
    for task in rng.integers(len(state.tasks), size=size):
        able = np.array([credit.get(owners.get(p, ""), 0) > 0 for p in state.policies])
        if not able.any():
            raise EvidenceError(
                "no owner has credit left: top up the ledger, or wait for owners to evaluate."
            )
        weight = np.where(able, matchmaking_weights(seen, threshold=threshold), 0.0)
        i = int(rng.choice(n, p=weight / weight.sum()))
        j = int((i + rng.integers(1, n)) % n)
        credit[owners[state.policies[i]]] -= 1
        seen[[i, j]] += 1
        out.append((task, i, j))
    return np.array(out, dtype=np.int64)
