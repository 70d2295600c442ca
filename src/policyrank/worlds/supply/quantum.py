"""The published quantum pipeline on qiskit, always beside the exact answer: VQE, ADAPT-VQE,
screening of interventions, density of states by phase estimation; needs the extra ``quantum``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize

from policyrank.errors import EvidenceError
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
    raise ImportError(
        "the quantum pipeline needs qiskit: pip install 'policyrank[quantum]'"
    ) from error

Optimizer = Literal["L-BFGS-B", "COBYLA"]
MOST_QUBITS = 24


def hamiltonian(network: SupplyNetwork) -> SparsePauliOp:
    """H as a sum of Paulis; qubit i is node i."""
    n = len(network)
    terms: list[tuple[str, list[int], float]] = [
        ("Z", [i], float(f)) for i, f in enumerate(network.field) if f
    ]
    terms += [
        ("ZZ", [a, b], -float(j))
        for (a, b), j in zip(network.edges.tolist(), network.coupling, strict=True)
    ]
    terms += [("X", [i], -float(s)) for i, s in enumerate(network.shock) if s]
    return SparsePauliOp.from_sparse_list(terms, num_qubits=n)


def operator(network: SupplyNetwork, intervention: Intervention) -> SparsePauliOp:
    """dH of an intervention."""
    terms: list[tuple[str, list[int], float]] = [
        ("Z", [network.number(i)], v) for i, v in intervention.z.items()
    ]
    terms += [("X", [network.number(i)], v) for i, v in intervention.x.items()]
    terms += [
        ("ZZ", [network.number(a), network.number(b)], v) for (a, b), v in intervention.zz.items()
    ]
    return SparsePauliOp.from_sparse_list(terms or [("", [], 0.0)], num_qubits=len(network))


def layered(n: int, depth: int) -> QuantumCircuit:
    """Hardware-efficient ansatz: depth + 1 layers of RY on every qubit, between them CNOT(q, q + 1)
    for even q, then for odd q; n (depth + 1) parameters.
    """
    theta = ParameterVector("theta", n * (depth + 1))
    circuit = QuantumCircuit(n)
    for layer in range(depth + 1):
        for q in range(n):
            circuit.ry(theta[layer * n + q], q)
        if layer < depth:
            for start in (0, 1):
                for q in range(start, n - 1, 2):
                    circuit.cx(q, q + 1)
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
        found = float(
            np.real(self.estimator.run([(self.circuit, self.h, theta)]).result()[0].data.evs)
        )
        self.history.append(min(found, self.history[-1] if self.history else np.inf))
        return found

    def gradient(self, theta: Float) -> Float:
        k = len(theta)
        self.calls += 2 * k
        points = np.concatenate([theta + np.pi / 2 * np.eye(k), theta - np.pi / 2 * np.eye(k)])
        e = np.real(self.estimator.run([(self.circuit, self.h, points)]).result()[0].data.evs)
        return np.asarray((e[:k] - e[k:]) / 2)


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
    n = _check(network)
    circuit, h = layered(n, depth), hamiltonian(network)
    best: tuple[float, Float, list[float]] | None = None
    calls = 0
    for k in range(restarts):
        energy = _Energy(circuit, h, estimator or StatevectorEstimator())
        start = np.random.default_rng([seed, k]).uniform(-np.pi, np.pi, circuit.num_parameters)
        if optimizer == "COBYLA":
            found = minimize(
                energy, start, method="COBYLA", options={"maxiter": maxiter, "rhobeg": 0.5}
            )
        elif optimizer == "L-BFGS-B":
            found = minimize(
                energy, start, jac=energy.gradient, method="L-BFGS-B", options={"maxiter": maxiter}
            )
        else:
            raise EvidenceError(f"optimizer={optimizer!r}: use L-BFGS-B or COBYLA.")
        calls += energy.calls
        if report is not None:
            report(f"restart {k + 1} of {restarts}: energy {found.fun:.6f}")
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
    """ADAPT-VQE: the ansatz grows by the operator of the pool with the largest gradient |<[H, A]>|,
    all angles are optimised anew.

    The pool is Y_i, and Y_i Z_j of coupled nodes in both orders; the start is the better of all
    stable and all stressed.

    Parameters
    ----------
    most
        operators
    tolerance
        ends when no gradient is larger
    """
    n = _check(network)
    h, estimate = hamiltonian(network), estimator or StatevectorEstimator()
    pool = [("Y", [i]) for i in range(n)] + [
        ("YZ", pair) for a, b in network.edges.tolist() for pair in ([a, b], [b, a])
    ]
    operators = [SparsePauliOp.from_sparse_list([(p, q, 1.0)], num_qubits=n) for p, q in pool]
    slopes = [(1j * (h @ a - a @ h)).simplify() for a in operators]
    circuit = QuantumCircuit(n)
    if network.energy(np.ones(n)) < network.energy(np.zeros(n)):
        circuit.x(range(n))
    theta = np.zeros(0)
    value = float(np.real(estimate.run([(circuit, h)]).result()[0].data.evs))
    history, calls = [value], 1
    while len(theta) < most:
        bound = circuit.assign_parameters(theta) if len(theta) else circuit
        gradient = np.abs(
            np.real([r.data.evs for r in estimate.run([(bound, s) for s in slopes]).result()])
        )
        calls += len(slopes)
        k = int(gradient.argmax())
        if gradient[k] <= tolerance:
            break
        if report is not None:
            report(
                f"operator {len(theta) + 1}: {pool[k][0]} on {pool[k][1]}, gradient"
                f" {gradient[k]:.2g}"
            )
        angle = ParameterVector(f"a{len(theta)}", 1)[0]
        paulis, qubits = pool[k]
        if paulis == "Y":
            circuit.ry(angle, qubits[0])
        else:  # Y Z: Z Z between quarter turns
            circuit.rx(np.pi / 2, qubits[0])
            circuit.rzz(angle, *qubits)
            circuit.rx(-np.pi / 2, qubits[0])
        energy = _Energy(circuit, h, estimate)
        found = minimize(energy, np.r_[theta, 0.0], jac=energy.gradient, method="L-BFGS-B")
        theta, value = found.x, float(found.fun)
        calls += energy.calls
        history.append(value)
    return _result(
        network, circuit.assign_parameters(theta) if len(theta) else circuit, value, history, calls
    )


def screen(
    network: SupplyNetwork,
    interventions: Sequence[Intervention],
    state: QuantumCircuit,
    rule: Literal["expectation", "difference", "commutator"] = "expectation",
    *,
    step: float = 0.1,
) -> Float:
    """Published scores of interventions in a state, (k,).

    ``"difference"``: |E(H + step dH) - E(H - step dH)| / (2 step) in the fixed state, the published
    code; it equals ``"expectation"``, |<dH>|. ``"commutator"``: |<[H, dH]>|, the printed equation,
    which is 0 in every eigenstate of H and so ranks nothing there.
    """
    psi, h = Statevector(state), hamiltonian(network)
    found = []
    for i in interventions:
        d = operator(network, i)
        if rule == "expectation":
            found.append(abs(psi.expectation_value(d)))
        elif rule == "difference":
            ends = [np.real(psi.expectation_value((h + s * d).simplify())) for s in (step, -step)]
            found.append(abs(ends[0] - ends[1]) / (2 * step))
        elif rule == "commutator":
            found.append(abs(psi.expectation_value((h @ d - d @ h).simplify())))
        else:
            raise EvidenceError(f"rule={rule!r}: use expectation, difference or commutator.")
    return np.array(found, dtype=float)


def phase_estimation(
    network: SupplyNetwork,
    *,
    start: QuantumCircuit | None = None,
    steps: int = 64,
    t_max: float = 15.0,
    slices: int = 1,
) -> tuple[Float, Float]:
    """DOS-QPE: |FFT(A(t) hann(t))| of A(t) = <psi| exp(-iHt) |psi>, by first-order Trotter steps:
    (steps,) energies ascending, (steps,) density that sums to 1.

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
    now, a = psi, np.ones(steps, dtype=complex)
    for k in range(1, steps):
        now = now.evolve(move)
        a[k] = np.vdot(psi.data, now.data)
    # exp(-iEt): the energy is minus the frequency.
    density = np.abs(np.fft.fft(a * np.hanning(steps)))
    energies = -2 * np.pi * np.fft.fftfreq(steps, dt)
    order = np.argsort(energies)
    return np.asarray(energies[order]), np.asarray(density[order] / density.sum())
