"""The published quantum pipeline on qiskit, always beside the exact answer.

VQE, ADAPT-VQE, screening of interventions, density of states by phase estimation. Needs the extra
``quantum``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import minimize

from policyrank.errors import EvidenceError, MissingExtraError
from policyrank.worlds.supply.interventions import Intervention
from policyrank.worlds.supply.network import Float, SupplyNetwork

try:
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.circuit.library import PauliEvolutionGate
    from qiskit.primitives import StatevectorEstimator
    from qiskit.quantum_info import SparsePauliOp, Statevector
    from qiskit.synthesis import LieTrotter
except ImportError as error:  # pragma: no cover
    raise MissingExtraError(
        "the quantum pipeline needs qiskit: pip install 'policyrank[quantum]'"
    ) from error

Optimizer = Literal["L-BFGS-B", "COBYLA"]
Rule = Literal["expectation", "difference", "commutator"]
Term = tuple[str, list[int], float]
MOST_QUBITS = 24


def hamiltonian(network: SupplyNetwork) -> SparsePauliOp:
    """H as a sum of Paulis; qubit i is node i."""
    terms: list[Term] = []
    for node in np.flatnonzero(network.field).tolist():
        terms.append(("Z", [node], float(network.field[node])))
    for pair, strength in zip(network.edges.tolist(), network.coupling.tolist(), strict=True):
        terms.append(("ZZ", pair, -strength))
    for node in np.flatnonzero(network.shock).tolist():
        terms.append(("X", [node], -float(network.shock[node])))
    return SparsePauliOp.from_sparse_list(terms, num_qubits=len(network))


def operator(network: SupplyNetwork, intervention: Intervention) -> SparsePauliOp:
    """dH of an intervention."""
    terms: list[Term] = []
    for name, strength in intervention.z.items():
        terms.append(("Z", [network.number(name)], strength))
    for name, strength in intervention.x.items():
        terms.append(("X", [network.number(name)], strength))
    for (first, second), strength in intervention.zz.items():
        terms.append(("ZZ", [network.number(first), network.number(second)], strength))
    return SparsePauliOp.from_sparse_list(terms or [("", [], 0.0)], num_qubits=len(network))


def layered(n: int, depth: int) -> QuantumCircuit:
    """Hardware-efficient ansatz of n (depth + 1) parameters.

    depth + 1 layers of RY on every qubit, between them CNOT(q, q + 1) for even q, then for odd q.
    """
    theta = ParameterVector("theta", n * (depth + 1))
    circuit = QuantumCircuit(n)
    for layer in range(depth + 1):
        for qubit in range(n):
            circuit.ry(theta[layer * n + qubit], qubit)
        if layer < depth:
            for qubit in [*range(0, n - 1, 2), *range(1, n - 1, 2)]:
                circuit.cx(qubit, qubit + 1)
    return circuit


@dataclass(frozen=True, eq=False)
class Variational:
    """What a variational run found.

    Attributes
    ----------
    energy, exact
        lowest energy reached, and E0 by elimination
    stress
        (n,) <(1 - Z) / 2> in its state
    state
        the circuit with its parameters bound
    history
        lowest energy after each evaluation (VQE: of the best restart) or each operator (ADAPT)
    evaluations
        of the energy, gradients' included
    """

    energy: float
    exact: float
    stress: Float
    state: QuantumCircuit
    history: tuple[float, ...]
    evaluations: int

    @property
    def error(self) -> float:
        """energy - exact, at least 0 but for rounding."""
        return self.energy - self.exact


class _Energy:
    """E(theta) and its gradient by parameter shifts, counted."""

    def __init__(self, circuit: QuantumCircuit, h: SparsePauliOp, estimator: Any) -> None:
        self.circuit, self.h, self.estimator, self.calls = circuit, h, estimator, 0
        self.history: list[float] = []

    def __call__(self, theta: Float) -> float:
        self.calls += 1
        found = float(self._run(theta))
        lowest = min([found, *self.history[-1:]])
        self.history.append(lowest)
        return found

    def _run(self, theta: Float) -> Float:
        """Energies of one point, or of several."""
        done = self.estimator.run([(self.circuit, self.h, theta)]).result()
        return np.real(done[0].data.evs)

    def gradient(self, theta: Float) -> Float:
        size = len(theta)
        self.calls += 2 * size
        shift = np.pi / 2 * np.eye(size)
        energies = self._run(np.concatenate([theta + shift, theta - shift]))
        return np.asarray((energies[:size] - energies[size:]) / 2)


def _check(network: SupplyNetwork) -> int:
    n = len(network)
    if n > MOST_QUBITS:
        raise EvidenceError(
            f"{n} nodes are {n} qubits, 2^{n} amplitudes: at most {MOST_QUBITS} are simulated. The"
            " exact answer needs none: network.levels()."
        )
    return n


def _result(
    network: SupplyNetwork,
    circuit: QuantumCircuit,
    energy: float,
    history: Sequence[float],
    calls: int,
) -> Variational:
    exact = network.ground_energy
    if energy < exact - 1e-6 * max(1.0, abs(exact)):
        raise EvidenceError(
            f"a variational energy of {energy:.8g} below the exact {exact:.8g}: the estimator is"
            " noisy or wrong."
        )
    p = np.abs(Statevector(circuit).data) ** 2
    ones = (np.arange(len(p))[:, None] >> np.arange(len(network))) & 1
    return Variational(energy, exact, p @ ones, circuit, tuple(history), calls)


def vqe(
    network: SupplyNetwork,
    depth: int = 3,
    *,
    optimizer: Optimizer = "L-BFGS-B",
    restarts: int = 5,
    maxiter: int = 2000,
    seed: int = 0,
    estimator: Any = None,
    report: Callable[[str], None] | None = None,
) -> Variational:
    """Variational quantum eigensolver with the layered ansatz.

    Parameters
    ----------
    optimizer
        ``"COBYLA"`` as published (rhobeg .5), or ``"L-BFGS-B"`` on exact gradients by parameter
        shifts
    restarts
        from angles uniform in (-pi, pi); the best is kept
    estimator
        any qiskit estimator (V2 primitive); None: exact state vectors
    """
    if optimizer not in ("COBYLA", "L-BFGS-B"):
        raise EvidenceError(f"optimizer={optimizer!r}: use L-BFGS-B or COBYLA.")
    n = _check(network)
    circuit, h = layered(n, depth), hamiltonian(network)
    best: tuple[float, Float, list[float]] | None = None
    calls = 0
    for restart in range(restarts):
        energy = _Energy(circuit, h, estimator or StatevectorEstimator())
        rng = np.random.default_rng([seed, restart])
        start = rng.uniform(-np.pi, np.pi, circuit.num_parameters)
        options: dict[str, Any] = {"maxiter": maxiter}
        if optimizer == "COBYLA":
            options["rhobeg"] = 0.5
            found = minimize(energy, start, method="COBYLA", options=options)
        else:
            slope = energy.gradient
            found = minimize(energy, start, jac=slope, method="L-BFGS-B", options=options)
        calls += energy.calls
        if report is not None:
            report(f"restart {restart + 1} of {restarts}: energy {found.fun:.6f}")
        if best is None or found.fun < best[0]:
            best = (float(found.fun), found.x, energy.history)
    if best is None:
        raise EvidenceError(f"restarts={restarts}: at least one.")
    return _result(network, circuit.assign_parameters(best[1]), best[0], best[2], calls)


def adapt_vqe(
    network: SupplyNetwork,
    *,
    most: int = 30,
    tolerance: float = 1e-4,
    estimator: Any = None,
    report: Callable[[str], None] | None = None,
) -> Variational:
    """ADAPT-VQE: the ansatz grows by the operator of the pool with the largest gradient.

    The gradient is |<[H, A]>|; all angles are optimised anew at each step. The pool is Y_i, and Y_i
    Z_j of coupled nodes in both orders; the start is the better of all stable and all stressed.

    Parameters
    ----------
    most
        operators
    tolerance
        ends when no gradient is larger
    """
    n = _check(network)
    h, estimate = hamiltonian(network), estimator or StatevectorEstimator()
    pool = _pool(network)
    slopes = [_slope(h, term, n) for term in pool]
    circuit = QuantumCircuit(n)
    if network.energy(np.ones(n)) < network.energy(np.zeros(n)):
        circuit.x(range(n))
    theta = np.zeros(0)
    value = float(np.real(estimate.run([(circuit, h)]).result()[0].data.evs))
    history, calls = [value], 1
    while len(theta) < most:
        bound = _bound(circuit, theta)
        done = estimate.run([(bound, slope) for slope in slopes]).result()
        gradient = np.abs(np.real([one.data.evs for one in done]))
        calls += len(slopes)
        steepest = int(gradient.argmax())
        if gradient[steepest] <= tolerance:
            break
        paulis, qubits, _ = pool[steepest]
        if report is not None:
            report(
                f"operator {len(theta) + 1}: {paulis} on {qubits}, gradient"
                f" {gradient[steepest]:.2g}"
            )
        _append(circuit, paulis, qubits, ParameterVector(f"a{len(theta)}", 1)[0])
        energy = _Energy(circuit, h, estimate)
        found = minimize(energy, np.r_[theta, 0.0], jac=energy.gradient, method="L-BFGS-B")
        theta, value = found.x, float(found.fun)
        calls += energy.calls
        history.append(value)
    return _result(network, _bound(circuit, theta), value, history, calls)


def _pool(network: SupplyNetwork) -> list[Term]:
    """Y_i, and Y_i Z_j of coupled nodes in both orders."""
    found: list[Term] = [("Y", [node], 1.0) for node in range(len(network))]
    for a, b in network.edges.tolist():
        found += [("YZ", [a, b], 1.0), ("YZ", [b, a], 1.0)]
    return found


def _slope(h: SparsePauliOp, term: Term, n: int) -> SparsePauliOp:
    """i [H, A], whose expectation is the gradient by the angle of A."""
    own = SparsePauliOp.from_sparse_list([term], num_qubits=n)
    return (1j * (h @ own - own @ h)).simplify()


def _bound(circuit: QuantumCircuit, theta: Float) -> QuantumCircuit:
    if not len(theta):
        return circuit
    return circuit.assign_parameters(theta)


def _append(circuit: QuantumCircuit, paulis: str, qubits: list[int], angle: Any) -> None:
    if paulis == "Y":
        circuit.ry(angle, qubits[0])
        return
    # Y Z: Z Z between quarter turns.
    circuit.rx(np.pi / 2, qubits[0])
    circuit.rzz(angle, *qubits)
    circuit.rx(-np.pi / 2, qubits[0])


def screen(
    network: SupplyNetwork,
    interventions: Sequence[Intervention],
    state: QuantumCircuit,
    rule: Rule = "expectation",
    *,
    step: float = 0.1,
) -> Float:
    """Published scores of interventions in a state, (k,).

    ``"difference"``: |E(H + step dH) - E(H - step dH)| / (2 step) in the fixed state, the published
    code; it equals ``"expectation"``, |<dH>|. ``"commutator"``: |<[H, dH]>|, the printed equation,
    which is 0 in every eigenstate of H and so ranks nothing there.
    """
    if rule not in get_args(Rule):
        raise EvidenceError(f"rule={rule!r}: use expectation, difference or commutator.")
    psi, h = Statevector(state), hamiltonian(network)

    def energy(strength: float, change: SparsePauliOp) -> float:
        return float(np.real(psi.expectation_value((h + strength * change).simplify())))

    found = []
    for intervention in interventions:
        change = operator(network, intervention)
        if rule == "expectation":
            found.append(abs(psi.expectation_value(change)))
        elif rule == "difference":
            found.append(abs(energy(step, change) - energy(-step, change)) / (2 * step))
        else:
            found.append(abs(psi.expectation_value((h @ change - change @ h).simplify())))
    return np.array(found, dtype=float)


def phase_estimation(
    network: SupplyNetwork,
    *,
    start: QuantumCircuit | None = None,
    steps: int = 64,
    t_max: float = 15.0,
    slices: int = 1,
) -> tuple[Float, Float]:
    """DOS-QPE: |FFT(A(t) hann(t))| of A(t) = <psi| exp(-iHt) |psi>, by first-order Trotter steps.

    Returns (steps,) energies, ascending, and (steps,) density that sums to 1.

    Parameters
    ----------
    start
        circuit that makes psi; None: the uniform superposition, which meets every level. From the
        ground state only that one level is seen
    steps, t_max
        times; energies are known up to multiples of 2 pi (steps - 1) / t_max, so a spectrum that is
        wider folds onto itself
    slices
        Trotter steps for each time step
    """
    n = _check(network)
    first = QuantumCircuit(n)
    if start is None:
        first.h(range(n))
    else:
        first = start
    dt = t_max / (steps - 1)
    gate = PauliEvolutionGate(hamiltonian(network), dt, synthesis=LieTrotter(reps=slices))
    move = QuantumCircuit(n)
    move.append(gate, range(n))
    move = move.decompose(reps=3)
    psi = Statevector(first)
    now, overlap = psi, np.ones(steps, dtype=complex)
    for time in range(1, steps):
        now = now.evolve(move)
        overlap[time] = np.vdot(psi.data, now.data)
    # exp(-iEt): the energy is minus the frequency.
    density = np.abs(np.fft.fft(overlap * np.hanning(steps)))
    energies = -2 * np.pi * np.fft.fftfreq(steps, dt)
    order = np.argsort(energies)
    return np.asarray(energies[order]), np.asarray(density[order] / density.sum())
