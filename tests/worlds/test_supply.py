"""Supply network: against dense diagonalisation and enumeration, the numbers of the card,
interventions, the quantum pipeline.
"""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.linalg import expm

from generators import random_network
from policyrank.errors import EvidenceError
from policyrank.evidence import datasets
from policyrank.worlds import supply as s
from policyrank.worlds.supply.elimination import elimination_order
from twins import hamiltonian

Net = s.SupplyNetwork


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 8), st.floats(0.2, 4))
def test_equals_dense_diagonalisation(seed, n, temperature):
    rng = np.random.default_rng(seed)
    network = random_network(rng, n, int(rng.integers(0, n + 1)))
    h, states = hamiltonian(network)
    levels = np.linalg.eigvalsh(h)
    np.testing.assert_allclose(network.levels(4 if n > 1 else 2), levels[:4], atol=1e-9)
    assert network.spectral_width == pytest.approx(levels[-1] - levels[0])
    rho = expm(-(h - levels[0] * np.eye(len(h))) / temperature)
    assert network.log_partition(temperature) == pytest.approx(
        np.log(np.trace(rho)) - levels[0] / temperature, abs=1e-8
    )
    p = np.diag(rho) / np.trace(rho)
    np.testing.assert_allclose(network.stress(temperature), p @ states, atol=1e-9)
    np.testing.assert_allclose(
        network.failures(temperature), np.bincount(states.sum(1), p, n + 1), atol=1e-9
    )
    among = [0, n - 1]
    np.testing.assert_allclose(
        network.failures(temperature, among), np.bincount(states[:, among].sum(1), p, 3), atol=1e-9
    )
    if n > 2:
        joint = np.array(
            [[p[(states[:, 0] == a) & (states[:, -1] == b)].sum() for b in (0, 1)] for a in (0, 1)]
        )
        np.testing.assert_allclose(network.pair(0, n - 1, temperature), joint, atol=1e-9)
    e, log = network.energies(0.02)
    rounded = np.log((np.exp(-(e - levels[0]) / temperature + log)).sum()) - levels[0] / temperature
    assert np.logaddexp.reduce(log) == pytest.approx(n * np.log(2))
    assert rounded == pytest.approx(
        network.log_partition(temperature), abs=0.01 * 3 * n / temperature
    )


def test_two_nodes_by_hand():
    x = Net.of([0.1, 0.15], [(0, 1, 0.8)], {0: 1.5}, convention="paper")
    np.testing.assert_allclose(x.levels(4), [-1.899286, -1.505295, 1.599286, 1.805295], atol=1e-6)
    np.testing.assert_allclose(x.ground_stress(), [0.757248, 1], atol=1e-6)


def published(n, shock, convention="paper"):
    d = datasets.load("supply-network")
    field = {k: h for k, h in d["nodes"].select("node", "h").rows() if k < n}
    edges = [e for e in d["edges"].rows() if e[0] < n and e[1] < n]
    return Net.of(field, edges, {k: v for k, v in shock if k < n}, convention=convention)


def interventions(n):
    d = datasets.load("supply-network")
    tiers = [
        [k for k, t in d["nodes"].select("node", "tier").rows() if t == tier and k < n]
        for tier in range(4)
    ]
    return {
        i.name: i
        for i in (
            s.Intervention("rate hike", z=dict.fromkeys(tiers[3], 0.4), cost=2),
            s.Intervention("subsidy", x=dict.fromkeys(tiers[1], -0.6), cost=5),
            s.Intervention(
                "stockpile",
                z=dict.fromkeys(tiers[2], 0.5),
                zz={(9, 20): 0.2} if n > 20 else {},
                cost=3,
            ),
            s.Intervention("trade", zz={(0, 2): 0.5, (0, 3): 0.4}, x={1: -0.3}, cost=1.5),
            s.Intervention(
                "combined",
                z=dict.fromkeys(tiers[3][:4], 0.3),
                zz={(0, 2): 0.3},
                x={2: -0.4, 3: -0.4},
                cost=8,
            ),
        )
    }


def test_published_network(data):
    d = data("supply-network")
    a, b = d["shock_A"], d["shock_B"]
    twelve = published(12, a)
    np.testing.assert_allclose(
        twelve.levels(4), [-10.393075, -9.293075, -9.093075, -8.893075], atol=1e-6
    )
    np.testing.assert_allclose(
        [twelve.log_partition(t) for t in (0.5, 1, 2)], [21.108150, 12.062345, 9.259167], atol=1e-6
    )
    assert published(16, a).ground_energy == pytest.approx(-15.293075, abs=1e-6)
    for shock, log_z, stress in (
        ([], 42.468517, 0.90108),
        (a, 43.018528, 0.89723),
        (b, 44.211039, 0.89001),
    ):
        x = published(40, shock)
        assert x.log_partition(1) == pytest.approx(log_z, abs=1e-6)
        assert x.stress(1).mean() == pytest.approx(stress, abs=1e-5)
        assert x.width <= 4
    x = published(40, a)
    assert (x.ground_energy, x.gap, x.spectral_width) == pytest.approx(
        (-39.593075, 1.1, 73.036), abs=1e-3
    )
    assert x.ground_stress() == pytest.approx([0.884111] + [1.0] * 39, abs=1e-6)
    assert (published(40, b).ground_energy, published(40, b).gap) == pytest.approx(
        (-41.170035, 1.360147), abs=1e-6
    )


def test_correlation_fattens_the_tail(data):
    data("supply-network")
    x, stores = published(40, [], "stable"), list(range(20, 40))
    for network, t, joint, product in (
        (x, 1, 1.226e-3, 1.756e-4),
        (x.given({0: 1}), 1, 6.011e-3, 5.600e-4),
        (x, 2, 0.2239, 0.1988),
    ):
        assert network.tail(t, 10, stores) == pytest.approx(joint, rel=1e-3)
        assert s.independent(network.stress(t)[20:])[10:].sum() == pytest.approx(product, rel=1e-3)


def test_published_interventions(data):
    d = data("supply-network")
    x, own = published(40, d["shock_A"]), interventions(40)
    for name, energy, stress, first in (
        ("rate hike", -8.0, 0.05072, -8.0),
        ("subsidy", -0.6230, -0.00559, 0.0),
        ("stockpile", -5.3, 0.02289, -5.3),
        ("trade", 0.5816, -0.00687, 0.6914),
        ("combined", -1.0644, 0.00533, -0.9695),
    ):
        assert s.score(x, own[name], "ground energy") == pytest.approx(energy, abs=1e-4)
        assert s.score(x, own[name], "mean stress") == pytest.approx(stress, abs=1e-5)
        assert s.score(x, own[name], "first order") == pytest.approx(first, abs=1e-4)
    small, twelve = published(12, d["shock_A"]), interventions(12)
    assert s.score(small, twelve["subsidy"], "second order") == pytest.approx(-1.344, abs=1e-3)
    assert s.score(small, twelve["subsidy"], "ground energy") == pytest.approx(-1.18106, abs=1e-5)
    best = s.rank_interventions(x, list(own.values()), "mean stress")
    assert best["policy"].to_list()[:2] == ["trade", "subsidy"]
    assert (
        s.rank_interventions(x, list(own.values()), "mean stress", per_cost=True)["policy"][0]
        == "trade"
    )


def test_interventions_by_what_a_unit_of_cost_brings():
    """Fields alone: E0 falls by the strength that pulls towards stable."""
    network = Net.of({"n": 1.0}, [])
    pulls = {"dear": (-4.0, 8.0), "cheap": (-1.0, 1.0), "free": (-0.5, 0.0), "harm": (0.5, 0.0)}
    given = [s.Intervention(name, z={"n": z}, cost=c) for name, (z, c) in pulls.items()]
    found = s.rank_interventions(network, given, "ground energy")
    assert found["policy"].to_list() == ["dear", "cheap", "free", "harm"]
    assert found["change"].to_list() == pytest.approx([-4, -1, -0.5, 0.5])
    found = s.rank_interventions(network, given, "ground energy", per_cost=True)
    assert found["policy"].to_list() == ["free", "cheap", "dear", "harm"]
    assert found["per cost"].to_list() == [-np.inf, -1, -0.5, np.inf]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_first_order_is_the_derivative(seed):
    rng = np.random.default_rng(seed)
    x = random_network(rng, 6, 3)
    i = s.Intervention(
        "i",
        z={0: 0.3, 4: -0.2},
        zz={(0, 5): 0.4, (1, 2): -0.1},
        x={int(np.flatnonzero(x.shock)[0]): 0.5},
    )
    ends = [i.apply(x, e).free_energy(1.3) for e in (1e-4, -1e-4)]
    assert s.first_order(x, i, 1.3) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-5)


def test_known_states_and_uncertain_weights():
    x = Net.of([0.2] * 4, [(0, 1, 0.5), (1, 2, 0.5), (2, 3, 0.5)], {2: 0.7})
    held = x.given({0: 1, 2: 0})
    np.testing.assert_allclose(held.stress(1.0)[[0, 2]], [1, 0], atol=1e-9)
    # One with two neighbours held apart feels nothing but its field.
    assert held.stress(1.0)[1] == pytest.approx(1 / (1 + np.exp(0.4)))
    plans = [s.Intervention("none"), s.Intervention("help", z={0: -0.5})]
    scores = s.evidence({"now": x}, plans, runs=5)
    assert set(scores.policies) == {"none", "help"}
    help_, none = (scores.cube()[0, scores.policies.index(p)] for p in ("help", "none"))
    assert (help_ > none).all()  # lower stress is better: signs are turned
    assert s.perturbed(x, 0.0, 3).field.tolist() == x.field.tolist()


def test_cascade():
    x = Net.of([0.1] * 3, [(0, 1, 0.5), (1, 2, 0.5)])
    failed = s.cascade(x, {0: 1.0, 1: 0.0, 2: 0.0}, transmit=1.0, runs=40_000)
    np.testing.assert_allclose(failed.mean(0), [1, 0.5, 0.25], atol=0.01)
    again = s.cascade(x, {0: 1.0, 1: 0.0, 2: 0.0}, transmit=1.0, sweeps=True, runs=40_000)
    # A second sweep happens only after a first success, and gives node 2 another chance in half of
    # those runs.
    assert again.mean(0)[1] == pytest.approx(0.5, abs=0.01)
    assert again.mean(0)[2] > failed.mean(0)[2]


def test_a_thousand_nodes():
    x = s.tiered(1000, seed=1)
    count = x.failures(1.0)
    assert count.sum() == pytest.approx(1)
    assert (count * np.arange(1001)).sum() == pytest.approx(x.stress(1.0).sum(), rel=1e-9)


def test_width_of_a_grid():
    n = 5
    edges = [(i * n + j, i * n + j + 1) for i in range(n) for j in range(n - 1)]
    edges += [(i * n + j, i * n + j + n) for i in range(n - 1) for j in range(n)]
    order, width = elimination_order(n * n, edges)
    assert sorted(order) == list(range(n * n))
    assert width in (5, 6)  # treewidth 5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Net.of([0.1, 0.1, 0.1], [(0, 1, 1.0)]), "disconnected"),
        (lambda: Net.of([0.1, np.nan], [(0, 1, 1.0)]), "field 1"),
        (lambda: Net.of([0.1, 0.1], [(0, 7, 1.0)]), "no node"),
        (lambda: Net.of([0.1, 0.1], [(1, 1, 1.0)]), "own node"),
        (lambda: Net.of([0.1, 0.1], [(0, 1, 1.0)], {5: 1.0}), "no such node"),
        (lambda: Net.of([0.1, 0.1], [(0, 1, 1.0)]).log_partition(0), "temperature"),
        (
            lambda: Net.of([0.0] * 40, [(i, j, 1.0) for i in range(40) for j in range(i)]).width,
            "too dense",
        ),
        (
            lambda: (
                Net.of(
                    [0.0] * 12, [(i, i + 1, 1.0) for i in range(11)], dict.fromkeys(range(12), 1.0)
                ).ground_energy
            ),
            "hang together",
        ),
        (lambda: s.cascade(Net.of([0.1, 0.1], [(0, 1, 1.0)]), 1.2), "probability"),
        (lambda: s.Intervention("x", z={0: np.inf}), "not finite"),
        (lambda: s.Intervention("x", cost=-1), "at least 0"),
    ],
)
def test_bad_parameters_get_one_clear_error(build, message):
    with pytest.raises(EvidenceError, match=message):
        build()


def test_quantum_pipeline_beside_the_exact_answer(data):
    pytest.importorskip("qiskit")
    from policyrank.worlds.supply import quantum as q

    d = data("supply-network")
    x = published(6, d["shock_A"])
    np.testing.assert_allclose(
        np.linalg.eigvalsh(q.hamiltonian(x).to_matrix())[:3], x.levels(3), atol=1e-9
    )
    for depth, optimizer in ((0, "L-BFGS-B"), (1, "L-BFGS-B"), (0, "COBYLA")):
        found = q.vqe(x, depth, optimizer=optimizer, restarts=2)
        assert 0 <= found.error + 1e-9 < 1e-3
        assert found.history[-1] == pytest.approx(found.energy)
    np.testing.assert_allclose(found.stress, x.ground_stress(), atol=1e-2)
    grown = q.adapt_vqe(x)
    assert abs(grown.error) < 1e-8
    own = list(interventions(6).values())
    first = [abs(s.first_order(x, i)) for i in own]
    np.testing.assert_allclose(q.screen(x, own, grown.state), first, atol=1e-3)
    np.testing.assert_allclose(q.screen(x, own, grown.state, "difference"), first, atol=1e-3)
    np.testing.assert_allclose(q.screen(x, own, grown.state, "commutator"), 0, atol=1e-4)
    energies, density = q.phase_estimation(x, start=grown.state, t_max=15, steps=128, slices=4)
    assert abs(energies[density.argmax()] - x.ground_energy) < 2 * np.pi / 15
    with pytest.raises(EvidenceError, match="qubits"):
        q.vqe(s.tiered(40))


def test_any_estimator_will_do():
    pytest.importorskip("qiskit_aer")
    from qiskit_aer.primitives import EstimatorV2

    from policyrank.worlds.supply import quantum as q

    x = s.SupplyNetwork.of([0.1, 0.15, 0.2], [(0, 1, 0.8), (1, 2, 0.4)], {0: 1.5})
    found = q.vqe(x, 1, restarts=2, estimator=EstimatorV2())
    assert abs(found.error) < 1e-3


def test_frustrated_network_by_adapt():
    pytest.importorskip("qiskit")
    from policyrank.worlds.supply import quantum as q

    x = Net.of(
        [0.3, -0.2, 0.1, 0.2],
        [(0, 1, -0.8), (1, 2, 0.6), (2, 3, -0.7), (0, 3, 0.5)],
        {0: 0.9, 1: 1.1, 2: 0.4},
    )
    assert q.adapt_vqe(x).error < 1e-3
    assert q.vqe(x, 3, restarts=4).error < 1e-3
