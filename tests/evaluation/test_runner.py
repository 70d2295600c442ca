"""The runner, its store and workers, sampling rules, stopping rules, plans."""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from functools import partial

import numpy as np
import pytest
import sqlalchemy as sa

import policyrank as pr
from policyrank.errors import EvidenceError
from policyrank.evaluation import (
    RULES,
    STOPS,
    Ledger,
    State,
    Store,
    best_known,
    evaluate,
    log_evidence,
    matchmaking_with_credits,
    order_known,
    plan,
    top_k_known,
)
from policyrank.evaluation.loop import seed_of
from policyrank.evaluation.response_graph import SELECTIONS, ResponseGraph
from policyrank.evaluation.rules import (
    criterion,
    pair_worth,
    response_graph_ucb,
    shrink,
    unresolved,
)
from policyrank.evidence import Comparisons, Scores


def gaussian(mean):
    return lambda task, seed: mean + np.random.default_rng(seed).normal()


POLICIES = {f"p{k}": gaussian(1.0 - 0.5 * k) for k in range(4)}
TASKS = ["a", "b", "c"]


def test_scores_are_evaluated_and_ranked():
    found = evaluate(POLICIES, TASKS, budget=400, workers=0)
    assert isinstance(found.evidence, Scores)
    assert found.board.policies[0] == "p0"
    assert len(found.results) == 400
    assert "budget" in found.reason
    assert not found.failures
    again = evaluate(POLICIES, TASKS, budget=400, workers=0)
    assert [(r.policy, r.task, r.value) for r in again.results] == [
        (r.policy, r.task, r.value) for r in found.results
    ]


def test_common_random_numbers():
    seen = {}
    for shared in (True, False):
        found = evaluate(POLICIES, ["a"], budget=200, workers=0, common_random_numbers=shared)
        seeds = {}
        for r in found.results:
            seeds.setdefault((r.task, r.replicate), set()).add(r.seed)
        seen[shared] = max(len(s) for s in seeds.values())
    assert seen == {True: 1, False: 4}


@pytest.mark.parametrize("sampler", ["uniform", "rank-uncertainty", "matchmaking"])
def test_mates_of_a_proposal_share_their_replicate(sampler, tmp_path):
    """Also where the policies were evaluated unequally often, and after an interruption."""
    run = partial(evaluate, POLICIES, ["a", "b"], sampler=sampler, workers=0)
    run(budget=101, store=tmp_path / "store.db")
    found = run(budget=200, store=tmp_path / "store.db")
    mates = defaultdict(set)
    for result in found.results:
        mates[result.proposal].add((result.task, result.replicate, result.seed))
    assert all(len(shared) == 1 for shared in mates.values())
    kept = {(result.policy, result.task, result.replicate) for result in found.results}
    assert len(kept) == len(found.results) == 200
    whole = run(budget=200)
    assert [r.replicate for r in found.results] == [r.replicate for r in whole.results]


def test_a_run_whose_policies_counted_for_themselves_goes_on(tmp_path):
    """Its half of a pair may have a replicate that its mate has had in another proposal."""
    store = tmp_path / "store.db"
    run = partial(evaluate, POLICIES, ["a"], sampler="uniform", workers=0, store=store)
    results = run(budget=101).results
    half = results[-1]
    had = {name: {r.replicate for r in results if r.policy == name} for name in POLICIES}
    taken = min(had[half.mate] - had[half.policy])
    with sqlite3.connect(store) as database:
        change = "UPDATE policyrank_results SET replicate = ? WHERE proposal = ?"
        database.execute(change, (taken, half.proposal))
    assert len(run(budget=120).results) == 120


def test_outcomes_and_stopping():
    def play(a, b, task, seed):
        return float(np.random.default_rng(seed).random() < 1 / (1 + np.exp(b - a)))

    found = evaluate(
        {"x": 1.5, "y": 0.0, "z": -1.0},
        ["t"],
        play=play,
        sampler="top-two",
        budget=2000,
        stop=best_known(0.05),
        workers=0,
    )
    assert isinstance(found.evidence, Comparisons)
    assert "x is the best" in found.reason
    assert len(found.results) < 2000
    assert found.board.policies[0] == "x"


HANG, PATIENCE = 120, 10
"""Seconds: a hang is far longer than any stall of a busy machine that is waited for."""


def test_workers_failures_hangs_and_crashes():
    def fails(task, seed):
        raise RuntimeError("no luck")

    def hangs(task, seed):
        time.sleep(HANG)

    def dies(task, seed):
        os._exit(3)

    policies = {
        "good": lambda t, s: 1.0,
        "fine": lambda t, s: 0.5,
        "fails": fails,
        "nan": lambda t, s: float("nan"),
        "none": lambda t, s: None,
        "hangs": hangs,
        "dies": dies,
    }
    found = evaluate(
        policies, ["t"], sampler="round-robin", budget=14, workers=4, timeout=PATIENCE, retries=0
    )
    errors = {r.policy: r.error for r in found.failures}
    assert set(errors) == {"fails", "nan", "none", "hangs", "dies"}
    assert "no luck" in errors["fails"]
    assert "nan" in errors["nan"]
    assert "longer than" in errors["hangs"]
    assert "died" in errors["dies"]
    assert len(found.results) == 14  # each pair of the first policy with another, and one more
    assert set(found.evidence.policies) == {"good", "fine"}
    assert all(r.value is None for r in found.failures)


def test_policies_that_always_fail_are_set_aside():
    def fails(task, seed):
        raise RuntimeError("no luck")

    policies = {
        "good": lambda t, s: 1.0,
        "fine": lambda t, s: 0.5,
        "fails": fails,
        "dies": lambda t, s: os._exit(3),
    }
    found = evaluate(policies, ["t"], sampler="round-robin", budget=60, workers=2, retries=0)
    assert found.set_aside == ("dies", "fails")
    assert len(found.results) == 60
    assert set(found.evidence.policies) == {"good", "fine"}


def test_retries():
    calls = {"n": 0}

    def flaky(task, seed):
        calls["n"] += 1
        if calls["n"] % 2:
            raise OSError("try again")
        return 1.0

    found = evaluate(
        {"flaky": flaky, "ok": lambda t, s: 0.0}, ["t"], budget=20, workers=0, retries=1
    )
    assert not found.failures
    assert {r.attempts for r in found.results if r.policy == "flaky"} == {2}


SCRIPT = """
import sys, time
import numpy as np
from policyrank.evaluation import evaluate
def policy(mean):
    def run(task, seed):
        time.sleep(0.01)
        return mean + np.random.default_rng(seed).normal()
    return run
policies = {f"p{k}": policy(-k / 2) for k in range(4)}
store, workers, sampler = sys.argv[1:]
found = evaluate(
    policies, ["a", "b"], sampler=sampler, budget=300, workers=int(workers), store=store, seed=7
)
print(len(found.results), found.reason)
"""


@pytest.mark.parametrize(("workers", "sampler"), [(1, "rank-uncertainty"), (2, "uniform")])
@pytest.mark.slow
def test_kill_at_any_moment_loses_nothing_and_repeats_nothing(tmp_path, workers, sampler):
    """kill -9 many times at random moments, then to the end: every result once; one worker: the
    very same results.
    """
    rng = np.random.default_rng(0)
    path, whole = tmp_path / "store.db", tmp_path / "whole.db"
    kills, seen = 0, []
    for _ in range(100):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path), str(workers), sampler], start_new_session=True
        )
        target = len(seen) + int(rng.integers(1, 60))
        while process.poll() is None and len(rows(path)) < min(target, 290):
            time.sleep(0.005 * rng.random())
        if len(seen) >= 290 or process.poll() is not None:
            assert process.wait() == 0
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        now = rows(path)
        assert now[: len(seen)] == seen  # what was kept stays, in its order
        seen = now
    assert kills >= 3
    kept = rows(path)
    assert len(kept) == 300
    assert len({r[:4] for r in kept}) == 300
    if workers == 1:
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(whole), "1", sampler],
            check=True,
            capture_output=True,
        )
        assert rows(whole) == kept


def rows(path):
    if not path.exists():
        return []
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as db:
        if not sa.inspect(engine).has_table("policyrank_results"):
            return []
        return [
            tuple(r)
            for r in db.execute(
                sa.text(
                    "select policy, opponent, task, replicate, proposal, value, seed from"
                    " policyrank_results order by id"
                )
            )
        ]


def test_store_refuses_other_settings_and_second_runners(tmp_path):
    path = tmp_path / "s.db"
    evaluate(POLICIES, TASKS, budget=10, workers=0, store=path)
    more = evaluate(POLICIES, TASKS, budget=30, workers=0, store=path)
    assert len(more.results) == 30
    with pytest.raises(EvidenceError, match="other settings: seed 0, here 1"):
        evaluate(POLICIES, TASKS, budget=30, workers=0, store=path, seed=1)
    evaluate(POLICIES, TASKS, budget=10, workers=0, store=path, seed=1, run="another")
    with sa.create_engine(f"sqlite:///{path}").begin() as db:
        db.execute(
            sa.text("update policyrank_runs set pid = 1, born = null where run = 'run'")
        )  # a process that lives
    with pytest.raises(EvidenceError, match="process 1 on"):
        evaluate(POLICIES, TASKS, budget=40, workers=0, store=path)
    with pytest.raises(EvidenceError, match="cannot be used"):
        evaluate(POLICIES, TASKS, budget=10, workers=0, store=tmp_path / "no" / "folder" / "s.db")
    with pytest.raises(EvidenceError, match=r"cannot be used|driver"):
        evaluate(POLICIES, TASKS, budget=10, workers=0, store="nonsense://x")


def test_a_result_is_kept_once(tmp_path):
    found = evaluate(POLICIES, TASKS, budget=2, workers=0)
    store = Store(tmp_path / "s.db", "r")
    for _ in range(2):
        store.add(found.results[0])
    assert len(store.results()) == 1


def test_runner_overhead():
    """Not a timing contest: a thousand evaluations that cost nothing take seconds of this process.

    The store is included; what else the machine does is not.
    """
    start = time.process_time()
    evaluate({"a": lambda t, s: 1.0, "b": lambda t, s: 0.0}, ["t"], budget=1000, workers=0)
    assert time.process_time() - start < 10


def test_bad_arguments():
    with pytest.raises(EvidenceError, match="sampler"):
        evaluate(POLICIES, TASKS, sampler="magic")
    with pytest.raises(EvidenceError, match="two policies"):
        evaluate({"a": None}, TASKS)
    with pytest.raises(EvidenceError, match="one task"):
        evaluate(POLICIES, [])
    with pytest.raises(EvidenceError, match="budget"):
        evaluate(POLICIES, TASKS, budget=0)
    with pytest.raises(EvidenceError, match="delta"):
        best_known(5)
    assert seed_of(0, "a", 1) != seed_of(0, "a", 2)


def random_state(seed=0, n=6, games=200):
    rng = np.random.default_rng(seed)
    state = State(tuple(f"p{k}" for k in range(n)), ("s", "t"))
    theta = np.linspace(1, -1, n)
    for _ in range(games):
        i, j = rng.choice(n, 2, replace=False)
        state.observe_outcome(i, j, float(rng.random() < 1 / (1 + np.exp(theta[j] - theta[i]))))
        for k in (i, j):
            state.observe_score(int(rng.integers(2)), k, theta[k] + rng.normal())
    return state


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("state", [State(("a", "b", "c"), ("t", "u")), random_state()])
def test_every_rule_keeps_the_contract(name, state):
    n, tasks = len(state.policies), len(state.tasks)
    before = state.games.copy()
    out = RULES[name](state, 7, np.random.default_rng(1))
    assert out.shape == (7, 3)
    assert ((out[:, 0] >= 0) & (out[:, 0] < tasks)).all()
    assert (out[:, 1] != out[:, 2]).all()
    assert ((out[:, 1:] >= 0) & (out[:, 1:] < n)).all()
    assert np.array_equal(RULES[name](state, 7, np.random.default_rng(1)), out)
    assert np.array_equal(state.games, before)


def test_worth_of_a_comparison_by_hand():
    """Against the definition: update the covariance by one comparison and measure the gain."""
    state = random_state(n=5)
    theta, cov = state.posterior()
    for goal in ("d-optimal", "a-optimal"):
        worth, information = pair_worth(theta, cov, goal)
        for i, j in ((0, 1), (2, 4), (1, 3)):
            after = shrink(cov, i, j, information[i, j])
            exact = np.linalg.inv(
                np.linalg.inv(cov)
                + information[i, j]
                * np.outer(np.eye(5)[i] - np.eye(5)[j], np.eye(5)[i] - np.eye(5)[j])
            )
            assert after == pytest.approx(exact, abs=1e-10)
            if goal == "a-optimal":
                centre = np.eye(5) - 1 / 5
                assert worth[i, j] == pytest.approx(
                    np.trace(centre @ (cov - after) @ centre), rel=1e-9
                )
            else:
                gain = np.linalg.slogdet(cov)[1] - np.linalg.slogdet(after)[1]
                assert worth[i, j] == pytest.approx(1 - np.exp(-gain), rel=1e-9)
    assert (np.linalg.eigvalsh(criterion(theta, cov, "rank-uncertainty")) > -1e-9).all()


def test_unresolved_pairs_shrink_and_relaxation_gives_up_close_ones():
    state = State(("a", "b", "c"), ("t",))
    assert unresolved(state).sum() == 6
    state.wins[0, 1], state.wins[1, 0] = 95, 5
    state.wins[0, 2], state.wins[2, 0] = 52, 48
    left = unresolved(state)
    assert not left[0, 1]
    assert left[0, 2]
    state.wins[0, 2], state.wins[2, 0] = 520, 480
    assert unresolved(state)[0, 2]
    assert not unresolved(state, relaxed=0.1)[0, 2]
    for selection in ("uniform", "uniform-exhaustive", "valence-weighted", "count-weighted"):
        out = response_graph_ucb(state, 20, np.random.default_rng(0), selection=selection)
        assert all({i, j} != {0, 1} for _, i, j in out)


@pytest.mark.parametrize(
    ("rule", "policies", "rounds"),
    [
        (best_known, 3, 8),
        (partial(top_k_known, 2), 4, 9),
        (partial(top_k_known, 1), 4, 9),
        (order_known, 3, 9),
        (order_known, 4, 10),
    ],
)
def test_stopping_pays_for_every_hypothesis(rule, policies, rounds):
    """After n wins without a loss the evidence is (2^(n+1) - 1) / (n + 1), which must exceed
    hypotheses / .05: 2, 4, 3, 3 and 6 of them."""
    state, stop, told = State(tuple("wxyz"[:policies]), ("fold",)), rule(), []
    for _ in range(rounds):
        for i, j in itertools.combinations(range(policies), 2):
            state.observe_outcome(i, j, 1.0)
        told.append(stop(state) is not None)
    assert told == [False] * (rounds - 1) + [True]
    assert stop(state).endswith("with probability at least 0.95")


def test_evidence_is_a_supermartingale():
    """E[e-value] <= 1 at win rate 1/2, exactly, by summing over all sequences; ties too."""
    from math import comb

    for n in (1, 5, 20):
        mean = sum(
            comb(n, w) * 0.5**n * np.exp(log_evidence(np.array(float(w)), np.array(float(n - w))))
            for w in range(n + 1)
        )
        assert mean == pytest.approx(1.0, abs=1e-9)
    assert np.exp(log_evidence(np.array(5.0), np.array(5.0))) < 1


@pytest.mark.parametrize("kind", ["best", "top", "order"])
def test_stopping_rules_err_rarely(kind):
    """1,000 runs looked at after every game: wrong answers in at most 5%."""
    wrong = stopped = 0
    theta = {"best": [0.35, 0, -0.1, -0.2], "top": [0.4, 0.3, -0.1, -0.2], "order": [0.8, 0, -0.8]}[
        kind
    ]
    n = len(theta)
    rate = 1 / (1 + np.exp(np.array(theta)[None] - np.array(theta)[:, None]))
    stop = {"best": best_known(0.05), "top": top_k_known(2, 0.05), "order": order_known(0.05)}[kind]
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        state = State(tuple(f"p{k}" for k in range(n)), ("t",))
        i, j = np.triu_indices(n, 1)
        for _ in range(12):
            w = rng.binomial(25, rate[i, j])
            state.wins[i, j] += w
            state.wins[j, i] += 25 - w
            reason = stop(state)
            if reason:
                stopped += 1
                truth = {"best": "p0 is", "top": "p0, p1", "order": "every pair"}[kind]
                right = truth in reason
                if kind == "order":
                    right = bool((np.triu(state.wins) >= np.tril(state.wins).T)[i, j].all())
                wrong += not right
                break
    assert wrong / 1000 <= 0.05
    assert stopped > 100
    assert set(STOPS) == {"best", "top", "order"}


def test_plan_spends_where_the_order_is_open(battles):
    c = battles(n=6, size=300, ties=0.0)
    p = plan(c, 50)
    assert p.frame["comparisons"].sum() == 50
    assert p.misordered_after < p.misordered_now
    assert (p.frame["sd_after"] < p.frame["sd_now"]).all()
    best = plan(c, 30, goal="best")
    leader = pr.bradley_terry(c).policies[0]
    assert all(leader in (r["a"], r["b"]) for r in best.frame.iter_rows(named=True))
    assert leader in str(best)
    with pytest.raises(EvidenceError, match="budget"):
        plan(c, 0)


def test_information_gain_beats_uniform():
    """The same number of comparisons, the same estimator, a smaller error: D-optimal against
    uniform pairs.
    """
    from policyrank.metrics import kendall_distance

    errors = {"uniform": [], "d-optimal": []}
    theta = np.linspace(2, -0.8, 8)
    for name, out in errors.items():
        for seed in range(20):
            rng = np.random.default_rng(seed)
            state = State(tuple(f"p{k}" for k in range(8)), ("t",))
            for _ in range(400):
                _, i, j = RULES[name](state, 1, rng)[0]
                state.observe_outcome(
                    i, j, float(rng.random() < 1 / (1 + np.exp(theta[j] - theta[i])))
                )
            out.append(kendall_distance(state.ranking(), list(range(8))))
    assert np.mean(errors["d-optimal"]) < 0.8 * np.mean(errors["uniform"])


def test_credits():
    ledger = Ledger(increment=3)
    owners = {"a": "x", "b": "x", "c": "y"}
    for owner in "xy":
        ledger.join(owner)
    state = State(("a", "b", "c"), ("t",))
    out = matchmaking_with_credits(state, 6, np.random.default_rng(0), ledger=ledger, owners=owners)
    first = [owners[state.policies[i]] for i in out[:, 1]]
    assert first.count("x") == first.count("y") == 3
    with pytest.raises(EvidenceError, match="no owner has credit"):
        matchmaking_with_credits(state, 7, np.random.default_rng(0), ledger=ledger, owners=owners)
    for _ in range(3):
        ledger.settle(owner="x", evaluator="y")
    assert ledger.balance == {"x": 0, "y": 6}
    with pytest.raises(EvidenceError, match="no credit left"):
        ledger.settle(owner="x", evaluator="y")
    ledger.settle(owner="x", evaluator="y", valid=False)
    ledger.top_up()
    assert ledger.balance == {"x": 3, "y": 6}
    with pytest.raises(EvidenceError, match="increment"):
        Ledger(increment=0)


def test_a_full_disk_and_a_locked_store_lose_nothing(tmp_path):
    """A database that may not grow, and one that another process holds: one clear error, all
    results before it kept.
    """
    from dataclasses import replace

    results = evaluate(POLICIES, TASKS, budget=400, workers=0).results
    store = Store(tmp_path / "full.db", "r")
    with store.engine.connect() as db:
        pages = db.execute(sa.text("PRAGMA page_count")).scalar()
    sa.event.listen(
        store.engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count={pages + 8}")
    )
    store.engine.dispose()
    kept, said = 0, ""
    for r in results:
        try:
            store.add(replace(r, error="x" * 500))
        except EvidenceError as error:
            said = str(error)
            break
        kept += 1
    assert "could not be written" in said
    assert "full" in said
    assert 0 < kept < 400
    assert len(rows(tmp_path / "full.db")) == kept
    locked = Store(tmp_path / "locked.db", "r")
    locked.engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'locked.db'}", connect_args={"timeout": 0.1}
    )
    with sa.create_engine(f"sqlite:///{tmp_path / 'locked.db'}").connect() as other:
        other.exec_driver_sql("BEGIN EXCLUSIVE")
        with pytest.raises(EvidenceError, match="locked"):
            locked.add(results[0])
    locked.add(results[0])
    assert len(locked.results()) == 1


def test_proposals_under_way_are_planned_together():
    """Five workers get five different pairs, those that one greedy batch would have."""
    from policyrank.evaluation.rules import information_gain

    state = random_state()
    together = information_gain(state, 5, np.random.default_rng(0), goal="d-optimal")
    one_by_one = []
    for _ in range(5):
        task, i, j = information_gain(state, 1, np.random.default_rng(0), goal="d-optimal")[0]
        state.propose(task, i, j)
        one_by_one.append(tuple(sorted((i, j))))
    assert one_by_one == [tuple(sorted((i, j))) for _, i, j in together]
    assert len(set(one_by_one)) > 1
    for i, j in one_by_one:
        state.ended(i, j)
    assert not state.under_way.any()


# Not Hoeffding and relaxed: there open_spiel moves the lower bound the wrong way.
@pytest.mark.parametrize(
    ("interval", "relaxed"),
    [("hoeffding", 0.0), ("clopper-pearson", 0.0), ("clopper-pearson", 0.1)],
)
def test_response_graph_is_open_spiels(interval, relaxed):
    """The same outcomes, profile by profile: the same plays until all is settled, and the same
    graph.
    """
    pytest.importorskip("pyspiel")
    from open_spiel.python.algorithms.response_graph_ucb import ResponseGraphUCB

    rate = np.array([[[0.2, 0.9], [0.4, 0.1], [0.7, 0.5]], [[0.8, 0.3], [0.1, 0.6], [0.3, 0.9]]])
    draws = (
        np.random.default_rng(1).random((*rate.shape[1:], 5000, 2))
        < np.moveaxis(rate, 0, -1)[..., None, :]
    ).astype(float)

    class Game:
        n_players, strategy_spaces, means = 2, (3, 2), rate

        def observe_result(self, profile):
            out = draws[profile][self.seen[profile]]
            self.seen[profile] += 1
            return out

    method = ("ucb-standard" if interval == "hoeffding" else "clopper-pearson-ucb") + (
        "-relaxed" if relaxed else ""
    )
    game = Game()
    game.seen = np.zeros((3, 2), dtype=int)
    peer = ResponseGraphUCB(
        game, "count-weighted", method, delta=0.05, ucb_eps=relaxed, time_dependent_delta=True
    )
    found = peer.run(verbose=False, max_total_iterations=5000)
    graph = ResponseGraph((3, 2), interval=interval, relaxed=relaxed, anytime=True)
    rng, plays = np.random.default_rng(0), 0
    while not graph.settled:
        profile = graph.propose(rng)
        graph.observe(profile, draws[profile][graph.count[np.ravel_multi_index(profile, (3, 2))]])
        plays += 1
    assert plays == found["interactions"] < 5000
    edges = {
        (tuple(map(int, np.unravel_index(a, (3, 2)))), tuple(map(int, np.unravel_index(b, (3, 2)))))
        for a, b in (
            e if d > 0 else e[::-1]
            for *e, d in zip(graph.first, graph.second, graph.direction, strict=True)
        )
    }
    assert edges == set(peer.directed_edges)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_response_graph_errs_rarely(selection):
    """Valid at any time and together: a wrong direction anywhere in at most 5% of 200 runs, under
    every selection rule.
    """
    rate = np.array([[0.5, 0.65, 0.35], [0.35, 0.5, 0.7], [0.65, 0.3, 0.5]])
    truth, wrong = np.stack([rate, 1 - rate]), 0
    for seed in range(200):
        rng, graph = (
            np.random.default_rng(seed),
            ResponseGraph((3, 3), selection=selection, anytime=True, together=True),
        )
        while not graph.settled and graph.count.sum() < 300:
            i, j = graph.propose(rng)
            won = float(rng.random() < rate[i, j])
            graph.observe((i, j), (won, 1 - won))
        wrong += int((graph.direction * np.sign(graph._gains(truth.reshape(2, -1))) < 0).any())
    assert wrong <= 10


def test_response_graph_bounds_hold_the_truth():
    rate = np.random.default_rng(3).uniform(size=(3, 3))
    truth = np.stack([rate, 1 - rate])
    rng, graph = np.random.default_rng(0), ResponseGraph((3, 3), anytime=True, together=True)
    for _ in range(2000):
        i, j = graph.propose(rng)
        won = float(rng.random() < rate[i, j])
        graph.observe((i, j), (won, 1 - won))
    found, mass = (
        graph.bounds(enumerate_up_to=14, epsilon=0.01),
        pr.alpharank(list(truth), epsilon=0.01).mass,
    )
    assert found.exact
    assert found.lower.shape == (3, 3)
    assert (found.lower <= mass + 1e-9).all()
    assert (found.upper >= mass - 1e-9).all()
    assert graph.errors(truth) <= len(found.open_pairs)
    two = {"shape": (2, 2)}
    for bad in (
        {"shape": (1, 2)},
        two | {"selection": "no"},
        two | {"interval": "no"},
        two | {"delta": 0},
    ):
        with pytest.raises(EvidenceError):
            ResponseGraph(**bad)
    with pytest.raises(EvidenceError, match=r"in \[0, 1\]"):
        graph.observe((0, 0), (2.0, 0.0))
    with pytest.raises(EvidenceError, match="never played"):
        ResponseGraph((2, 2)).ranking()


@pytest.mark.parametrize("policies", [2, 5, 30])
@pytest.mark.parametrize("games", [0, 1, 3000])
@pytest.mark.parametrize("prior", [0.3, 2.0, 50.0])
def test_the_posterior_is_the_fits(policies, games, prior):
    """As ``newton`` finds it on the list of pairs, also where one side always wins."""
    from policyrank.ranking.cells import Cells
    from policyrank.ranking.likelihood import newton
    from policyrank.ranking.links import LINKS

    for seed in range(3):
        rng = np.random.default_rng([seed, policies, games])
        state = State(tuple(f"p{k}" for k in range(policies)), ("t",))
        for _ in range(games):
            i, j = rng.choice(policies, size=2, replace=False)
            outcome = float(i < j) if seed == 0 else rng.choice([0, 0.5, 1])
            state.observe_outcome(i, j, outcome)
        i, j = np.nonzero(np.triu(state.games, 1))
        mass = state.games[i, j]
        won = state.wins[i, j] / mass
        cells = Cells(policies, i, j, won, mass, np.ones(len(i)), np.zeros((len(i), 0)))
        fit = newton(cells, LINKS["half"], precision=np.full(policies, prior**-2))
        theta, covariance = state.posterior(prior)
        np.testing.assert_allclose(theta, fit.theta, atol=1e-6 * prior)
        inverse = fit.inverse[:policies, :policies]
        np.testing.assert_allclose(covariance, inverse, rtol=1e-4, atol=1e-9)
