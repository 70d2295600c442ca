"""Risk on a correlated network: an Ising model of stressed and stable nodes, some in a transverse
field, solved exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from policyrank.errors import EvidenceError
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
LARGEST_CORE = 10


@dataclass(frozen=True, eq=False)
class SupplyNetwork:
    """H = sum_i field_i Z_i - sum_(i,j) J_ij Z_i Z_j - sum_k shock_k X_k, with Z = +1 for stable
    and -1 for stressed.

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
        convention: Literal["stable", "paper"] = "stable",
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
        if convention not in ("stable", "paper"):
            raise EvidenceError(f"convention={convention!r}: use stable or paper.")
        table = (
            dict(field)
            if isinstance(field, Mapping)
            else dict(enumerate(np.asarray(field, dtype=float).tolist()))
        )
        names = tuple(table)
        number = {name: k for k, name in enumerate(names)}
        if not names:
            raise EvidenceError("the network has no nodes.")
        coupling: dict[tuple[int, int], float] = {}
        for a, b, j in edges:
            for x in (a, b):
                if x not in number:
                    raise EvidenceError(f"edge {a!r} -> {b!r}: {x!r} is no node.")
            if a == b:
                raise EvidenceError(f"edge {a!r} -> {b!r} leads to its own node.")
            pair = (min(number[a], number[b]), max(number[a], number[b]))
            coupling[pair] = coupling.get(pair, 0.0) + float(j)
        for x in shock or {}:
            if x not in number:
                raise EvidenceError(f"shock of {x!r}: no such node.")
        sign = -1.0 if convention == "stable" else 1.0
        found = cls(
            names,
            sign * np.array([float(v) for v in table.values()]),
            np.array(list(coupling), dtype=np.int64).reshape(-1, 2),
            np.array(list(coupling.values())),
            np.array([float((shock or {}).get(x, 0.0)) for x in names]),
        )
        for what, values in (
            ("field", found.field),
            ("coupling", found.coupling),
            ("shock", found.shock),
        ):
            if not np.isfinite(values).all():
                raise EvidenceError(f"{what} {int((~np.isfinite(values)).argmax())} is not finite.")
        found._check_connected()
        return found

    def _check_connected(self) -> None:
        group = list(range(len(self.names)))
        for a, b in self.edges.tolist():
            old, new = group[b], group[a]
            group = [new if g == old else g for g in group]
        if len(set(group)) > 1:
            apart = [self.names[k] for k, g in enumerate(group) if g != group[0]]
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
        return (
            z @ self.field - (z[..., self.edges[:, 0]] * z[..., self.edges[:, 1]]) @ self.coupling
        )

    # H commutes with Z of every node without shock: given those, each connected group of shocked
    # nodes ("core") is a small quantum system of its own.

    @cached_property
    def cores(self) -> tuple[tuple[int, ...], ...]:
        """Connected groups of shocked nodes."""
        shocked = set(np.flatnonzero(self.shock).tolist())
        near = self._near
        found = []
        while shocked:
            group, front = set(), [min(shocked)]
            while front:
                x = front.pop()
                group.add(x)
                front += [y for y in near[x] if y in shocked and y not in group]
            shocked -= group
            if len(group) > LARGEST_CORE:
                raise EvidenceError(
                    f"{len(group)} shocked nodes hang together: 2^{len(group)} quantum states. At"
                    f" most {LARGEST_CORE} can be solved exactly."
                )
            found.append(tuple(sorted(group)))
        return tuple(found)

    @cached_property
    def _near(self) -> list[dict[int, float]]:
        near: list[dict[int, float]] = [{} for _ in self.names]
        for (a, b), j in zip(self.edges.tolist(), self.coupling.tolist(), strict=True):
            near[a][b] = near[b][a] = j
        return near

    def _core(self, core: tuple[int, ...]) -> tuple[tuple[int, ...], Float, NDArray[np.int64]]:
        """Classical neighbours; distinct field vectors (u, k) that their states cause; which one
        each state causes (2, ..., 2).
        """
        edge = sorted({y for x in core for y in self._near[x]} - set(core))
        states = (
            np.indices((2,) * len(edge)).reshape(len(edge), -1).T
            if edge
            else np.zeros((1, 0), dtype=int)
        )
        pull = np.array([[self._near[x].get(y, 0.0) for y in edge] for x in core]).reshape(
            len(core), len(edge)
        )
        fields = self.field[list(core)] - (1.0 - 2.0 * states) @ pull.T
        rows, which = np.unique(fields.round(12), axis=0, return_inverse=True)
        return tuple(edge), rows, which.reshape((2,) * len(edge))

    def _spectra(self, core: tuple[int, ...], fields: Float) -> tuple[Float, Float]:
        """Energies (u, 2^k) and weights |<z|level>|^2 (u, 2^k states, 2^k levels) of a core in each
        field.
        """
        k = len(core)
        z = 1.0 - 2.0 * np.indices((2,) * k).reshape(k, -1)
        inner = np.array([[self._near[a].get(b, 0.0) for b in core] for a in core])
        diagonal = fields @ z - np.einsum("as,bs,ab->s", z, z, inner) / 2
        flip = np.zeros((1 << k, 1 << k))
        for a in range(k):
            other = np.arange(1 << k) ^ (1 << (k - 1 - a))
            flip[np.arange(1 << k), other] -= self.shock[core[a]]
        energies, vectors = [], []
        for d in diagonal:
            e, v = np.linalg.eigh(np.diag(d) + flip)
            energies.append(e)
            vectors.append(v**2)
        return np.array(energies), np.array(vectors)

    @cached_property
    def _solved(
        self,
    ) -> dict[tuple[int, ...], tuple[tuple[int, ...], Float, Float, NDArray[np.int64]]]:
        found = {}
        for core in self.cores:
            edge, fields, which = self._core(core)
            found[core] = (edge, *self._spectra(core, fields), which)
        return found

    def _classical(self) -> list[Factor]:
        """Energies of what touches no core's inside."""
        inside = {i for core in self.cores for i in core}
        z = np.array([1.0, -1.0])
        found = [Factor((i,), z * f) for i, f in enumerate(self.field.tolist()) if i not in inside]
        pairs = zip(self.edges.tolist(), self.coupling.tolist(), strict=True)
        return found + [
            Factor((a, b), -j * np.outer(z, z))
            for (a, b), j in pairs
            if a not in inside and b not in inside
        ]

    def _weights(self, temperature: float) -> list[Factor]:
        """Log weights of all n nodes: exp(-energy / T), and of a core the diagonal of exp(-H / T)."""
        if not (np.isfinite(temperature) and temperature > 0):
            raise EvidenceError(f"temperature={temperature}: it is positive.")
        found = [Factor(f.scope, -f.table / temperature) for f in self._classical()]
        for core, (edge, energies, weight, which) in self._solved.items():
            with np.errstate(divide="ignore"):
                log = logsumexp(np.log(weight) - energies[:, None, :] / temperature, axis=2)
            table = log[which].reshape((2,) * (len(edge) + len(core)))
            found.append(Factor((*edge, *core), table))
        return found

    @cached_property
    def _order(self) -> tuple[list[int], int]:
        scopes = [f.scope for f in self._classical()]
        return elimination_order(
            len(self), [*scopes, *((*edge, *core) for core, (edge, *_) in self._solved.items())]
        )

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
        inside = {i for core in self.cores for i in core}
        order = [i for i in self._order[0] if i not in inside]
        pad = np.full(k - 1, np.inf)
        found = [
            Factor(
                f.scope,
                np.concatenate(
                    [f.table[..., None], np.broadcast_to(pad, (*f.table.shape, k - 1))], axis=-1
                ),
            )
            for f in self._classical()
        ]
        for edge, energies, _, which in self._solved.values():
            own = np.concatenate(
                [energies, np.full((len(energies), max(0, k - energies.shape[1])), np.inf)], axis=1
            )[:, :k]
            found.append(Factor(edge, own[which]))
        return np.asarray(eliminate(found, order, Lowest(k)))

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
        found = self.beliefs(temperature)
        return np.array(
            [
                f.table.sum(axis=tuple(range(1, f.table.ndim)))[1]
                for _, f in sorted(found.joint.items())
            ]
        )

    def ground_stress(self) -> Float:
        """(n,) P(node is stressed) in the ground state, a mean over it where it is degenerate: the
        limit of low temperature.
        """
        scale = float(
            np.abs(self.field).sum() + np.abs(self.coupling).sum() + np.abs(self.shock).sum()
        )
        distinct = self.levels(2)
        gap = float(distinct[1] - distinct[0])
        return self.stress((gap if gap > 1e-9 * scale else 1e-6 * scale) / 60)

    def pair(self, a: Hashable, b: Hashable, temperature: float) -> Float:
        """(2, 2) joint probabilities of two nodes (0: stable, 1: stressed)."""
        i, j = self.number(a), self.number(b)
        if i == j:
            raise EvidenceError(f"{a!r} twice: a pair has two nodes.")
        weights = self._weights(temperature)
        known = [
            beliefs(
                [*weights, Factor((i,), np.where(np.arange(2) == s, 0.0, -1e6))], self._order[0]
            )
            for s in (0, 1)
        ]
        logs = np.array([b.log_total for b in known])
        return np.asarray(
            np.exp(logs - logsumexp(logs))[:, None] * np.array([b.marginal((j,)) for b in known])
        )

    def given(self, states: Mapping[Hashable, int]) -> SupplyNetwork:
        """The network in which some nodes are known to be stressed (1) or stable (0): held there by
        a field that outweighs all else.
        """
        hold = 4.0 * (
            np.abs(self.field).sum() + np.abs(self.coupling).sum() + np.abs(self.shock).sum() + 1.0
        )
        field, shock = self.field.copy(), self.shock.copy()
        for name, s in states.items():
            if s not in (0, 1):
                raise EvidenceError(f"{name!r} is held at {s!r}: 1 is stressed, 0 stable.")
            i = self.number(name)
            field[i], shock[i] = (hold if s else -hold), 0.0
        return replace(self, field=field, shock=shock)

    def failures(self, temperature: float, among: Iterable[Hashable] | None = None) -> Float:
        """P(k nodes are stressed), k = 0, 1, ..., among some nodes (None: all), to relative
        precision.
        """
        chosen = set(range(len(self))) if among is None else {self.number(x) for x in among}
        counted = [
            Factor((i,), np.eye(2)) if i in chosen else Factor((i,), np.ones((2, 1)))
            for i in range(len(self))
        ]
        weights = []
        for f in self._weights(temperature):
            weights.append(Factor(f.scope, np.exp(f.table - f.table.max())[..., None]))
        found = eliminate([*weights, *counted], self._order[0], Polynomial())
        return np.asarray(found / found.sum())

    def tail(
        self, temperature: float, at_least: int, among: Iterable[Hashable] | None = None
    ) -> float:
        """P(at least so many nodes are stressed)."""
        return float(self.failures(temperature, among)[at_least:].sum())

    def energies(self, step: float = 0.05) -> tuple[Float, Float]:
        """Density of states: energies on a grid, and the logarithm of how many of the 2^n levels
        lie at each (-inf: none).

        Exact where all energies are multiples of ``step``; otherwise each field, coupling and core
        level is rounded to it, so that a level is off by at most half a step for each of those.
        """
        if step <= 0:
            raise EvidenceError(f"step={step}: it is positive.")
        inside = {i for core in self.cores for i in core}
        order = [i for i in self._order[0] if i not in inside]
        parts = [(f.scope, f.table[..., None]) for f in self._classical()]
        parts += [(edge, energies[which]) for edge, energies, _, which in self._solved.values()]
        low, factors = 0, []
        for scope, table in parts:
            place = np.round(table / step).astype(int)
            least = int(place.min())
            low += least
            histogram = np.zeros((*table.shape[:-1], int(place.max()) - least + 1))
            np.add.at(histogram, (*np.indices(table.shape)[:-1], place - least), 1.0)
            factors.append(Factor(scope, histogram))
        algebra = Polynomial()
        found = eliminate(factors, order, algebra)
        with np.errstate(divide="ignore"):
            log = np.log(found) + algebra.log_scale
        return np.asarray(step * (low + np.arange(len(found)))), log


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
    """P(k stressed) if nodes were independent with these probabilities (Poisson binomial): what
    marginals alone would say.
    """
    found = np.ones(1)
    for p in stress:
        found = np.convolve(found, [1 - p, p])
    return found
