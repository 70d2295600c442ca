"""Slow twins: the same as the library computes, written down as plainly as can be."""

import numpy as np


def hamiltonian(network):
    """H as a matrix; bit i of a state's number (most significant first) is node i, 1: stressed."""
    import itertools

    n = len(network)
    states = np.array(list(itertools.product((0, 1), repeat=n)))
    h = np.diag(network.energy(states))
    for i in np.flatnonzero(network.shock):
        other = np.arange(2**n) ^ (1 << (n - 1 - i))
        h[np.arange(2**n), other] -= network.shock[i]
    return h, states


def exposure_one_by_one(world, people, policy, steps, seed):
    """The same, one person at a time, as it would be written down."""
    n, f, p = len(world.true), len(world.framings), len(people)
    rng = np.random.default_rng(seed)
    presented = np.searchsorted(np.cumsum(world.mix)[:-1], rng.random((p, n)))
    u_choice, u_free, u_judge = rng.random((3, steps, p))
    claims = np.zeros((steps, p), int)
    for b in range(p):
        history, unseen, start, locked = [], list(range(n)), True, False
        for t in range(steps):
            if start or u_free[t, b] < policy.explore:
                c = unseen[min(int(u_choice[t, b] * len(unseen)), len(unseen) - 1)]
            else:
                pool = [
                    j for j in unseen if not (policy.lock and locked and world.true[j])
                ] or unseen
                score = {}
                for j in pool:
                    k = presented[b, j]
                    odds = people.accept[people.model[b], j * f + k] + people.offset[b]
                    odds += 0 if world.true[j] else people.susceptibility[b, k]
                    s = (
                        policy.engagement / (1 + np.exp(-odds))
                        + policy.truth * world.credibility[j]
                    )
                    s += policy.framing.get(world.framings[k], 0)
                    if history:
                        inner = world.similarity[np.ix_(history, history)].astype(float).sum()
                        s += (
                            policy.similarity
                            * world.similarity[history, j].astype(float).sum()
                            / np.sqrt(inner)
                        )
                    score[j] = s
                best = sorted(pool, key=lambda j: -score[j])[: policy.top]
                w = np.exp(
                    (np.array([score[j] for j in best]) - score[best[0]]) / policy.temperature
                )
                c = best[int(np.searchsorted(np.cumsum(w), u_choice[t, b] * w.sum()))]
            unseen.remove(c)
            claims[t, b] = c
            k = presented[b, c]
            odds = people.accept[people.model[b], c * f + k] + people.offset[b]
            odds += 0 if world.true[c] else people.susceptibility[b, k]
            chance = 1 / (1 + np.exp(-odds))
            yes = u_judge[t, b] < chance if people.sampled else chance >= 0.5
            history = [*history, c][-policy.history :] if yes or not policy.reset else []
            start = policy.similarity != 0 and policy.reset and not yes
            locked = yes and not world.true[c]
    return claims


def log_prob_by_hand(model, tokenizer, prompt, answer, end):
    """Log-probability of an answer, token by token."""
    import torch

    from policyrank.models.fitting import encode

    head, tail, _ = encode(tokenizer, prompt, answer, 64, end=end)
    with torch.no_grad():
        rows = torch.log_softmax(model(torch.tensor([[*head, *tail]])).logits[0].double(), dim=-1)
    return sum(float(rows[len(head) + k - 1, t]) for k, t in enumerate(tail))


def expected_utility(scores, labels, k):
    """By enumeration."""
    from itertools import permutations

    import torch

    from policyrank.learn.distributions import PlackettLuce
    from policyrank.learn.utilities import ndcg_gains

    orders = torch.tensor(list(permutations(range(len(scores)))))
    gains = ndcg_gains(labels, orders[:, :k], torch.ones_like(labels, dtype=torch.bool)).sum(dim=-1)
    return (PlackettLuce(scores).log_prob(orders).exp() * gains).sum()


def slow_rank_sets(x, cov, z, level):
    """Simultaneous sets without step-down, by loops."""
    n = len(x)
    sd = np.array(
        [
            [np.sqrt(cov[j, j] + cov[k, k] - 2 * cov[j, k]) if j != k else 1.0 for k in range(n)]
            for j in range(n)
        ]
    )
    top = [
        max(abs(d[j] - d[k]) / sd[j, k] for j in range(n) for k in range(n) if j != k) for d in z
    ]
    c = np.quantile(top, level)
    lower = [1 + sum((x[k] - x[j]) / sd[j, k] > c for k in range(n)) for j in range(n)]
    upper = [n - sum((x[j] - x[k]) / sd[j, k] > c for k in range(n)) for j in range(n)]
    return lower, upper


def slow_preferences(c):
    """Wins of row over column, a comparison at a time."""
    wins = np.zeros((len(c.policies),) * 2)
    for a, b, y, w in zip(c.a, c.b, c.outcome, c.mass, strict=True):
        wins[a, b] += w * y
        wins[b, a] += w * (1 - y)
    return wins
