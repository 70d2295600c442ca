"""Risk on a correlated network, solved exactly.

An Ising model of stressed and stable nodes, some in a transverse field.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from policyrank.errors import EvidenceError
from policyrank.worlds.supply.cores import Core, groups_of, reachable, solve_core
from policyrank.worlds.supply.elimination import (
    Beliefs,
    Factor,
    LogSum,
    Lowest,
    Polynomial,
    beliefs,
    eliminate,
    elimination_order,
)

Float = NDArray[np.float64]
Convention = Literal["stable", "paper"]
SIGN = {"stable": -1.0, "paper": 1.0}


@dataclass(frozen=True, eq=False)
class SupplyNetwork:
    """H = sum_i field_i Z_i - sum_(i,j) J_ij Z_i Z_j - sum_k shock_k X_k.

    Z is +1 for stable and -1 for stressed.

    Attributes
    ----------
    names
        (n,)
    field
        (n,): negative ones prefer stable
    edges, coupling
        (m, 2) node numbers, (m,) J: positive ones make both ends alike
    shock
        (n,): transverse fields, which mix the two states of a node; 0: the node is classical
    """

    names: tuple[Hashable, ...]
    field: Float
    edges: NDArray[np.int64]
    coupling: Float
    shock: Float

    @classmethod
    def of(
        cls,
        field: Mapping[Hashable, float] | ArrayLike,
        edges: Iterable[tuple[Hashable, Hashable, float]],
        shock: Mapping[Hashable, float] | None = None,
        *,
        convention: Convention = "stable",
    ) -> SupplyNetwork:
        """Checked.

        Parameters
        ----------
        field
            name -> strength h >= 0, or the strengths of nodes 0, 1, ...
        edges
            (source, target, J); the same pair twice adds up
        shock
            name -> strength of the transverse field
        convention
            ``"stable"``: -h Z, a node at rest prefers stable. ``"paper"``: +h Z as printed, every
            node prefers stressed

        Raises
        ------
        EvidenceError
            For unknown nodes, an edge from a node to itself, numbers that are not finite, an empty
            or disconnected network.
        """
        if convention not in SIGN:
            raise EvidenceError(f"convention={convention!r}: use stable or paper.")
        strengths = _named(field)
        if not strengths:
            raise EvidenceError("the network has no nodes.")
        shocks = dict(shock or {})
        for name in shocks:
            if name not in strengths:
                raise EvidenceError(f"shock of {name!r}: no such node.")
        coupling = _couplings(edges, list(strengths))
        found = cls(
            names=tuple(strengths),
            field=SIGN[convention] * np.array(list(strengths.values()), dtype=float),
            edges=np.array(list(coupling), dtype=np.int64).reshape(-1, 2),
            coupling=np.array(list(coupling.values())),
            shock=np.array([float(shocks.get(name, 0.0)) for name in strengths]),
        )
        found._check_finite()
        found._check_connected()
        return found

    def _check_finite(self) -> None:
        for what in ("field", "coupling", "shock"):
            bad = ~np.isfinite(getattr(self, what))
            if bad.any():
                raise EvidenceError(f"{what} {int(bad.argmax())} is not finite.")

    def _check_connected(self) -> None:
        everyone = range(len(self))
        reached = reachable(0, self._near, everyone)
        apart = [self.names[node] for node in everyone if node not in reached]
        if apart:
            raise EvidenceError(
                f"the network is disconnected: {apart[:5]} cannot be reached from"
                f" {self.names[0]!r}. Solve its parts apart."
            )

    def number(self, name: Hashable) -> int:
        """Of a node."""
        if name not in self.names:
            raise EvidenceError(f"no node is called {name!r}.")
        return self.names.index(name)

    def __len__(self) -> int:
        return len(self.names)

    def energy(self, states: ArrayLike) -> Float:
        """Diagonal part of H of states (..., n), 1: stressed."""
        z = 1.0 - 2.0 * np.asarray(states)
        both = z[..., self.edges[:, 0]] * z[..., self.edges[:, 1]]
        return z @ self.field - both @ self.coupling

    @cached_property
    def cores(self) -> tuple[tuple[int, ...], ...]:
        """Connected groups of shocked nodes."""
        return groups_of(set(np.flatnonzero(self.shock).tolist()), self._near)

    @cached_property
    def _near(self) -> list[dict[int, float]]:
        near: list[dict[int, float]] = [{} for _ in self.names]
        for (a, b), strength in zip(self.edges.tolist(), self.coupling.tolist(), strict=True):
            near[a][b] = near[b][a] = strength
        return near

    @cached_property
    def _solved(self) -> tuple[Core, ...]:
        return tuple(solve_core(core, self._near, self.field, self.shock) for core in self.cores)

    @cached_property
    def _inside(self) -> frozenset[int]:
        """Nodes of all cores."""
        return frozenset(chain.from_iterable(self.cores))

    def _classical(self) -> list[Factor]:
        """Energies of what touches no core's inside."""
        z = np.array([1.0, -1.0])
        found = []
        for node, strength in enumerate(self.field.tolist()):
            if node not in self._inside:
                found.append(Factor((node,), z * strength))
        for (a, b), strength in zip(self.edges.tolist(), self.coupling.tolist(), strict=True):
            if a not in self._inside and b not in self._inside:
                found.append(Factor((a, b), -strength * np.outer(z, z)))
        return found

    def _weights(self, temperature: float) -> list[Factor]:
        """Log weights of all n nodes.

        They are exp(-energy / T), and of a core the diagonal of exp(-H / T).
        """
        if not (np.isfinite(temperature) and temperature > 0):
            raise EvidenceError(f"temperature={temperature}: it is positive.")
        found = [Factor(factor.scope, -factor.table / temperature) for factor in self._classical()]
        for core in self._solved:
            with np.errstate(divide="ignore"):
                terms = np.log(core.weights) - core.energies[:, None, :] / temperature
            log = logsumexp(terms, axis=2)
            table = log[core.which].reshape((2,) * len(core.scope))
            found.append(Factor(core.scope, table))
        return found

    @cached_property
    def _order(self) -> tuple[list[int], int]:
        scopes = [factor.scope for factor in self._classical()]
        scopes += [core.scope for core in self._solved]
        return elimination_order(len(self), scopes)

    @property
    def _classical_order(self) -> list[int]:
        return [node for node in self._order[0] if node not in self._inside]

    @property
    def width(self) -> int:
        """Of the tree decomposition that is used: time and memory grow as 2^width."""
        return self._order[1]

    def log_partition(self, temperature: float) -> float:
        """log Z = log tr exp(-H / T)."""
        return float(eliminate(self._weights(temperature), self._order[0], LogSum()))

    def free_energy(self, temperature: float) -> float:
        """F = -T log Z."""
        return -temperature * self.log_partition(temperature)

    def levels(self, k: int = 2) -> Float:
        """(k,) lowest energies of H, equal ones repeated."""
        if k < 1:
            raise EvidenceError(f"k={k}: at least one level.")
        found = []
        for factor in self._classical():
            found.append(Factor(factor.scope, _lowest(factor.table[..., None], k)))
        for core in self._solved:
            found.append(Factor(core.edge, _lowest(core.energies, k)[core.which]))
        return np.asarray(eliminate(found, self._classical_order, Lowest(k)))

    @property
    def ground_energy(self) -> float:
        """E0"""
        return float(self.levels(1)[0])

    @property
    def gap(self) -> float:
        """E1 - E0; 0 when the ground state is degenerate."""
        low, high = self.levels(2)
        return float(high - low)

    @property
    def spectral_width(self) -> float:
        """Highest energy less lowest."""
        upside_down = replace(self, field=-self.field, coupling=-self.coupling, shock=-self.shock)
        return float(-upside_down.levels(1)[0] - self.levels(1)[0])

    def beliefs(self, temperature: float) -> Beliefs:
        """Joint probabilities table by table at a temperature."""
        return beliefs(self._weights(temperature), self._order[0])

    def stress(self, temperature: float) -> Float:
        """(n,) P(node is stressed) at a temperature."""
        joint = self.beliefs(temperature).joint
        found = []
        for node in sorted(joint):
            table = joint[node].table
            others = tuple(range(1, table.ndim))
            found.append(table.sum(axis=others)[1])
        return np.array(found)

    @cached_property
    def _scale(self) -> float:
        """Sum of all strengths."""
        parts = (self.field, self.coupling, self.shock)
        field, coupling, shock = (np.abs(part).sum() for part in parts)
        return float(field + coupling + shock)

    @property
    def coldest(self) -> float:
        """A temperature at which nothing but the ground state is left: a sixtieth of the gap."""
        gap = self.gap
        if gap <= 1e-9 * self._scale:
            gap = 1e-6 * self._scale
        return gap / 60

    def ground_stress(self) -> Float:
        """(n,) P(node is stressed) in the ground state, the limit of low temperature.

        Where it is degenerate: a mean over it.
        """
        return self.stress(self.coldest)

    def pair(self, a: Hashable, b: Hashable, temperature: float) -> Float:
        """(2, 2) joint probabilities of two nodes (0: stable, 1: stressed)."""
        first, second = self.number(a), self.number(b)
        if first == second:
            raise EvidenceError(f"{a!r} twice: a pair has two nodes.")
        weights = self._weights(temperature)
        totals, other = [], []
        for state in (0, 1):
            held = Factor((first,), np.where(np.arange(2) == state, 0.0, -1e6))
            known = beliefs([*weights, held], self._order[0])
            totals.append(known.log_total)
            other.append(known.marginal((second,)))
        share = np.exp(np.array(totals) - logsumexp(totals))
        return np.asarray(share[:, None] * np.array(other))

    def given(self, states: Mapping[Hashable, int]) -> SupplyNetwork:
        """The network in which some nodes are known to be stressed (1) or stable (0).

        They are held there by a field that outweighs all else.
        """
        hold = 4.0 * (self._scale + 1.0)
        field, shock = self.field.copy(), self.shock.copy()
        for name, state in states.items():
            if state not in (0, 1):
                raise EvidenceError(f"{name!r} is held at {state!r}: 1 is stressed, 0 stable.")
            node = self.number(name)
            field[node], shock[node] = (2 * state - 1) * hold, 0.0
        return replace(self, field=field, shock=shock)

    def failures(self, temperature: float, among: Iterable[Hashable] | None = None) -> Float:
        """P(k nodes are stressed), k = 0, 1, ..., to relative precision.

        Parameters
        ----------
        among
            nodes that are counted; None: all
        """
        chosen = set(range(len(self)))
        if among is not None:
            chosen = {self.number(name) for name in among}
        weights = []
        for factor in self._weights(temperature):
            scaled = np.exp(factor.table - factor.table.max())
            weights.append(Factor(factor.scope, scaled[..., None]))
        for node in range(len(self)):
            # One more where a counted node is stressed: x to the power of its state.
            counted = np.eye(2) if node in chosen else np.ones((2, 1))
            weights.append(Factor((node,), counted))
        found = eliminate(weights, self._order[0], Polynomial())
        return np.asarray(found / found.sum())

    def tail(
        self, temperature: float, at_least: int, among: Iterable[Hashable] | None = None
    ) -> float:
        """P(at least so many nodes are stressed)."""
        return float(self.failures(temperature, among)[at_least:].sum())

    def energies(self, step: float = 0.05) -> tuple[Float, Float]:
        """Density of states: energies on a grid, and how many of the 2^n levels lie at each.

        The latter as a logarithm (-inf: none). Exact where all energies are multiples of ``step``;
        otherwise each field, coupling and core level is rounded to it, so that a level is off by at
        most half a step for each of those.
        """
        if step <= 0:
            raise EvidenceError(f"step={step}: it is positive.")
        parts = [(factor.scope, factor.table[..., None]) for factor in self._classical()]
        parts += [(core.edge, core.energies[core.which]) for core in self._solved]
        low, factors = 0, []
        for scope, table in parts:
            place = np.round(table / step).astype(int)
            least = int(place.min())
            low += least
            histogram = np.zeros((*table.shape[:-1], int(place.max()) - least + 1))
            np.add.at(histogram, (*np.indices(table.shape)[:-1], place - least), 1.0)
            factors.append(Factor(scope, histogram))
        algebra = Polynomial()
        found = eliminate(factors, self._classical_order, algebra)
        with np.errstate(divide="ignore"):
            log = np.log(found) + algebra.log_scale
        return np.asarray(step * (low + np.arange(len(found)))), log


def _named(field: Mapping[Hashable, float] | ArrayLike) -> dict[Hashable, float]:
    """Strengths by name; those of a list by number."""
    if isinstance(field, Mapping):
        return {name: float(strength) for name, strength in field.items()}
    return dict(enumerate(np.asarray(field, dtype=float).tolist()))


def _couplings(
    edges: Iterable[tuple[Hashable, Hashable, float]], names: list[Hashable]
) -> dict[tuple[int, int], float]:
    """(lower, higher number) -> coupling, added up."""
    number = {name: place for place, name in enumerate(names)}
    found: dict[tuple[int, int], float] = {}
    for source, target, strength in edges:
        for end in (source, target):
            if end not in number:
                raise EvidenceError(f"edge {source!r} -> {target!r}: {end!r} is no node.")
        if source == target:
            raise EvidenceError(f"edge {source!r} -> {target!r} leads to its own node.")
        low, high = sorted((number[source], number[target]))
        found[low, high] = found.get((low, high), 0.0) + float(strength)
    return found


def _lowest(energies: Float, k: int) -> Float:
    """The first k energies of (..., levels); inf where there are fewer."""
    missing = max(0, k - energies.shape[-1])
    none = np.full((*energies.shape[:-1], missing), np.inf)
    return np.concatenate([energies, none], axis=-1)[..., :k]


def tail_probability(energies: Float, log_density: Float, temperature: float, cut: float) -> float:
    """P(energy >= cut) of the Boltzmann distribution over a density of states.

    Examples
    --------
    >>> round(tail_probability(np.array([0.0, 1.0]), np.zeros(2), 1.0, 0.5), 4)
    0.2689
    """
    weight = log_density - energies / temperature
    high = energies >= cut - 1e-9
    if not high.any():
        return 0.0
    return float(np.exp(logsumexp(weight[high]) - logsumexp(weight)))


def independent(stress: Float) -> Float:
    """P(k stressed) if nodes were independent with these probabilities (Poisson binomial).

    That is what marginals alone would say.

    Examples
    --------
    >>> independent(np.array([0.5, 0.5])).tolist()
    [0.25, 0.5, 0.25]
    """
    found = np.ones(1)
    for p in stress:
        found = np.convolve(found, [1 - p, p])
    return found
