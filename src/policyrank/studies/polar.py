"""POLAR: a reward model that tells whether an answer comes from the policy that wrote the
reference.

Dou et al. (2025), "Pre-Trained Policy Discriminators are General Reward Models", arXiv 2507.05197.

**The claim**: trained without labels on "same policy or another", the more policies the better,
then on few rankings, a reward model that reads a reference beats one trained from scratch; as a
reward for reinforcement fine-tuning it beats imitation of the same references.

**What is done here**: policies over short sequences are points z in R^6 (logits linear in z); the
discriminator reads prompt, reference and candidate (embeddings of prompt and answer tokens, and of
neighbours, width 64, and an MLP on both and their product); Adam 1e-3, batches of 256 fresh
triples, 3,000 steps. *Unseen policies*: accuracy on triples of policies never seen, by the size of
the pool. *Few labels*: B from a policy near the reference's (z + .3 e) is to rank above C from a
far one (z + e'); n labelled triples, 600 steps of batches of 128, pre-trained or from scratch.
*Another criterion*: B and C are to be ranked by a random reward that has nothing to do with
policies: there pre-training should not help. *Fine-tuning*: a GRU that imitates policy z learns to
be policy z' from one reference answer of it to each of 300 prompts: by imitation, or by a clipped
policy gradient on the discriminator's rewards (60 rounds, each of 100 prompts with 8 samples),
which converge to log-ratios of policies, so that less the log-ratio to the start they would be
greatest at z' itself (this form was added after the plain one had failed, and tried on two of the
seeds); KL of the result from z'. A replicate is a seed of everything. *Real answers*: AlpacaEval's
lists, the best answer as the reference, heads on MiniLM's embeddings, five folds of prompts: share
of pairs in order among the other nine. "pre-trained" saw only which of the ten models wrote what,
across prompts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policyrank.evidence import Scores, datasets
from policyrank.learn.rewards import bradley_terry_reward
from policyrank.studies.frame import Claim, Report, Scale, quiet
from policyrank.studies.sequences import RankedSequences, align, best_only
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "POLAR"
PAPER = "arXiv 2507.05197"
ABOUT = "policy discriminators as reward models"
POOLS = (2, 8, 32, 512)
SHOTS = (50, 200, 1000, 4000)
ACCURACY, REAL, KL = "accuracy", "pair accuracy, real answers", "KL from the target"
CLAIMS = (
    Claim(
        "Pre-trained on 512 policies it knows unseen ones better than likeness of tokens does",
        "pool of 512",
        "likeness of tokens",
        ACCURACY,
        tasks=("unseen policies",),
    ),
    *(
        Claim(
            f"A pool of {b} beats a pool of {a}",
            f"pool of {b}",
            f"pool of {a}",
            ACCURACY,
            tasks=("unseen policies",),
        )
        for a, b in pairwise(POOLS)
    ),
    *(
        Claim(
            f"With {n} labels, pre-trained beats from scratch",
            "pre-trained",
            "from scratch",
            ACCURACY,
            tasks=(f"{n} labels",),
        )
        for n in SHOTS
    ),
    Claim(
        "Pre-trained with 50 labels beats from scratch with 4,000",
        "pre-trained",
        "from scratch",
        ACCURACY,
        tasks=("50 labels",),
        than_tasks=("4000 labels",),
    ),
    *(
        Claim(
            f"By another criterion, with {n} labels pre-trained beats from scratch (a negative"
            " control)",
            "pre-trained",
            "from scratch",
            ACCURACY,
            tasks=(f"another criterion, {n} labels",),
        )
        for n in (1000, 4000)
    ),
    Claim(
        "Fine-tuning on its rewards gets nearer to the target than imitation of the references",
        "policy gradient on rewards",
        "imitation of references",
        KL,
    ),
    Claim(
        "With the log-ratio to the start taken from the rewards too",
        "rewards less log-ratio",
        "imitation of references",
        KL,
    ),
    Claim("That gets nearer than the policy before", "rewards less log-ratio", "before", KL),
    Claim(
        "Imitation, then that, gets nearer than imitation",
        "imitation, then rewards less log-ratio",
        "imitation of references",
        KL,
    ),
    *(
        Claim(f"Real answers: fine-tuned beats {m}", "fine-tuned", m, REAL)
        for m in (
            "cosine to the reference",
            "longest first",
            "same head without reference",
            "pre-trained",
        )
    ),
    Claim(
        "Real answers: pre-training helps fine-tuning",
        "pre-trained and fine-tuned",
        "fine-tuned",
        REAL,
    ),
)


class Policies:
    """Policies over a world's sequences: logits_t = z . A[:, x_(t mod P)] + z . B[:, previous
    token].
    """

    def __init__(self, world: SequenceWorld, seed: int, latent: int = 6) -> None:
        self.world, self.latent = world, latent
        self.rng = torch.Generator().manual_seed(seed)
        self.place = torch.randn(latent, world.tokens, world.tokens, generator=self.rng)
        self.follow = torch.randn(latent, world.tokens + 1, world.tokens, generator=self.rng)

    def points(self, n: int) -> Tensor:
        """(n, latent), standard deviation 1 / sqrt(latent)"""
        return torch.randn(n, self.latent, generator=self.rng) / self.latent**0.5

    def log_probs(self, z: Tensor, x: Tensor, before: Tensor, t: int) -> Tensor:
        """Of the next token, (n, tokens)."""
        logits = torch.einsum(
            "nd,dnk->nk", z, self.place[:, x[:, t % self.world.prompt]] + self.follow[:, before]
        )
        return torch.log_softmax(logits, dim=-1)

    def write(self, z: Tensor, x: Tensor) -> Tensor:
        """One answer of each policy to its prompt, (n, answer)."""
        before, out = torch.full((len(x),), self.world.tokens), []
        for t in range(self.world.answer):
            before = torch.multinomial(
                self.log_probs(z, x, before, t).exp(), 1, generator=self.rng
            )[:, 0]
            out.append(before)
        return torch.stack(out, dim=1)

    def prompts(self, n: int) -> Tensor:
        """(n, prompt)"""
        return torch.randint(self.world.tokens, (n, self.world.prompt), generator=self.rng)

    def triples(self, n: int, pool: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Prompts, references, and candidates (n, 2, answer), the first of the reference's policy;
        policies of the pool, or new ones.
        """
        x = self.prompts(n)
        if pool is None:
            a, b = self.points(n), self.points(n)
        else:
            i = torch.randint(len(pool), (n,), generator=self.rng)
            j = (i + torch.randint(1, len(pool), (n,), generator=self.rng)) % len(pool)
            a, b = pool[i], pool[j]
        return x, self.write(a, x), torch.stack([self.write(a, x), self.write(b, x)], dim=1)

    def graded(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """As triples, the first candidate of a policy near the reference's, the second of a far
        one.
        """
        x, z = self.prompts(n), self.points(n)
        near, far = z + 0.3 * self.points(n), z + self.points(n)
        return x, self.write(z, x), torch.stack([self.write(near, x), self.write(far, x)], dim=1)


class Discriminator(nn.Module):
    """Rewards of candidates (n, list, answer) beside references (n, answer): (n, list)."""

    def __init__(self, world: SequenceWorld, width: int = 64) -> None:
        super().__init__()
        self.world = world
        self.own = nn.Embedding(world.tokens**2 * world.prompt, width)
        self.pair = nn.Embedding(world.tokens**2, width)
        self.head = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def read(self, x: Tensor, y: Tensor) -> Tensor:
        """Features of answers (n, list, answer): (n, list, width)."""
        t, k = torch.arange(y.shape[-1]) % self.world.prompt, self.world.tokens
        own = self.own((t * k + x[:, None, t]) * k + y).mean(dim=-2)
        return own + self.pair(y[..., :-1] * k + y[..., 1:]).mean(dim=-2)

    def forward(self, x: Tensor, reference: Tensor, candidates: Tensor) -> Tensor:
        ref = self.read(x, reference[:, None]).expand(-1, candidates.shape[1], -1)
        own = self.read(x, candidates)
        return self.head(torch.cat([ref, own, ref * own], dim=-1)).squeeze(-1)


def learn(
    model: Any, batches: Callable[[], tuple[Tensor, ...]], steps: int, lr: float = 1e-3
) -> Any:
    """Train so that the first candidate outranks the others."""
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        rewards = model(*batches())
        labels = torch.zeros_like(rewards)
        labels[:, 0] = 1
        loss = bradley_terry_reward(rewards, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def accuracy(scores: Tensor) -> float:
    """Share of lists whose first candidate beats the second, ties half."""
    return float((0.5 + 0.5 * torch.sign(scores[:, 0] - scores[:, 1])).mean())


def likeness(x: Tensor, reference: Tensor, candidates: Tensor) -> Tensor:
    return (candidates == reference[:, None]).float().mean(dim=-1)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a seed, of the real answers a fold."""
    seeds, steps, tune, folds = {
        "smoke": (2, 5, 5, 0),
        "small": (5, 3000, 600, 5),
        "full": (20, 20_000, 2500, 5),
    }[scale]
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str, int, float]] = []
    for r in range(seeds):
        world = SequenceWorld(seed * 1000 + r)
        policies = Policies(world, seed * 1000 + r)
        torch.manual_seed(seed * 1000 + r)
        test, graded = policies.triples(4000), policies.graded(4000)
        rows.append(
            ("likeness of tokens", "unseen policies", ACCURACY, r, accuracy(likeness(*test)))
        )
        for size in POOLS:
            report(f"seed {r + 1} of {seeds}: pool of {size}")
            pool = policies.points(size)
            model = learn(
                Discriminator(world),
                lambda pool=pool, policies=policies: policies.triples(256, pool),  # type: ignore[misc]
                steps,
            )
            with torch.no_grad():
                rows.append(
                    (f"pool of {size}", "unseen policies", ACCURACY, r, accuracy(model(*test)))
                )
        with torch.no_grad():
            rows.append(
                ("likeness of tokens", "no labels", ACCURACY, r, accuracy(likeness(*graded)))
            )
            rows.append(("pre-trained", "no labels", ACCURACY, r, accuracy(model(*graded))))
        other = SequenceWorld(seed * 1000 + r + 500)
        by_reward = reordered(other, policies.graded(4000))
        for n in SHOTS:
            report(f"seed {r + 1} of {seeds}: {n} labels")
            known = policies.graded(n)
            for task, data, held in (
                (f"{n} labels", known, graded),
                (f"another criterion, {n} labels", reordered(other, known), by_reward),
            ):
                for method, start in (
                    ("pre-trained", copy.deepcopy(model)),
                    ("from scratch", Discriminator(world)),
                ):
                    tuned = learn(
                        start,
                        lambda data=data, n=n: tuple(d[torch.randint(n, (128,))] for d in data),  # type: ignore[misc]
                        tune,
                    )
                    with torch.no_grad():
                        rows.append((method, task, ACCURACY, r, accuracy(tuned(*held))))
        report(f"seed {r + 1} of {seeds}: fine-tuning on rewards")
        rows += [
            (m, "fine-tuning", KL, r, v)
            for m, v in fine_tuned(
                policies, model, r, **({"rounds": 2, "steps": 5} if scale == "smoke" else {})
            ).items()
        ]
    if folds:
        rows += real_answers(folds, seed, report)
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods, tasks, values, metric=metrics, replicate=replicates, lower_is_better=[KL]
    )


def reordered(
    world: SequenceWorld, data: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The same triples, the candidate of higher reward first."""
    x, reference, y = data
    order = world.reward(x, y).argsort(dim=1, descending=True)
    return x, reference, y[torch.arange(len(y))[:, None], order]


def fine_tuned(
    policies: Policies, model: Discriminator, seed: int, rounds: int = 60, steps: int = 600
) -> dict[str, float]:
    """KL from the target policy of what imitation and the discriminator's rewards make of another
    one.
    """
    world = policies.world
    z, target = policies.points(1), policies.points(1)
    base = SequencePolicy(world, seed=seed)
    optimiser = torch.optim.Adam(base.parameters(), lr=3e-3)
    for _ in range(steps):
        x = policies.prompts(128)
        loss = -base(x, policies.write(z.expand(128, -1), x)[:, None]).sum(dim=-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = policies.prompts(300)
    reference = policies.write(target.expand(300, -1), x)
    taught = align(
        base,
        RankedSequences(x, reference[:, None], torch.zeros(300, 1)),
        best_only,
        epochs=20 if rounds > 2 else 1,
        lr=5e-4,
        seed=seed,
    )
    held = policies.prompts(400)

    def rewarded(start: SequencePolicy, kl: float = 0.0) -> SequencePolicy:
        student = start
        for number in range(rounds):
            group = torch.randperm(300)[:100]
            y = student.sample(x[group], 8, seed=seed * 7919 + number)
            with torch.no_grad():
                far = (student(x[group], y) - start(x[group], y)).sum(dim=-1)
                scores = model(x[group], reference[group], y) - kl * far
            student = align(
                student,
                RankedSequences(x[group], y, scores),
                "grpo",
                epochs=2,
                lr=5e-4,
                seed=number,
                advantage="centred",
            )
        return student

    def distance(policy: SequencePolicy) -> float:
        y = policy.sample(held, 4, seed=seed)
        with torch.no_grad():
            own = torch.log_softmax(
                policy.head(policy.states(held, y)[..., :-1, :]), dim=-1
            ).flatten(0, 1)
            flat, long = y.flatten(0, 1), held.repeat_interleave(4, dim=0)
            total = torch.zeros(len(flat))
            for t in range(world.answer):
                before = flat[:, t - 1] if t else torch.full((len(flat),), world.tokens)
                theirs = policies.log_probs(target.expand(len(flat), -1), long, before, t)
                total += (own[:, t].exp() * (own[:, t] - theirs)).sum(dim=-1)
        return float(total.mean())

    students = {
        "before": base,
        "imitation of references": taught,
        "policy gradient on rewards": rewarded(base),
        "rewards less log-ratio": rewarded(base, 1.0),
        "imitation, then rewards less log-ratio": rewarded(taught, 1.0),
    }
    return {name: distance(policy) for name, policy in students.items()}


class Head(nn.Module):
    """Rewards of embedded candidates (n, list, d) beside embedded references (n, d)."""

    def __init__(self, width: int, reference: bool = True) -> None:
        super().__init__()
        self.reference = reference
        self.net = nn.Sequential(
            nn.Linear((3 if reference else 1) * width, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, reference: Tensor, candidates: Tensor) -> Tensor:
        ref = reference[:, None].expand_as(candidates)
        return self.net(
            torch.cat([ref, candidates, ref * candidates], dim=-1) if self.reference else candidates
        ).squeeze(-1)


def real_answers(folds: int, seed: int, report: Report) -> list[tuple[str, str, str, int, float]]:
    """Pair accuracy on AlpacaEval's lists, the best answer as the reference."""
    from policyrank.models.encoders import encode_texts, load_encoder

    lists = [
        x for x, models in datasets.load("alpacaeval") if len(models) == 10
    ]  # the same ten models in the same order
    report("encoding AlpacaEval's answers")
    texts = [a for x in lists for a in x.completions]
    e = torch.from_numpy(encode_texts(load_encoder("minilm"), texts, cache="minilm")).unflatten(
        0, (len(lists), 10)
    )
    psi = torch.tensor([x.labels for x in lists])
    length = torch.tensor([[float(len(a)) for a in x.completions] for x in lists])
    best = psi.argmax(dim=1)
    at = torch.arange(len(lists))
    rest = torch.stack([torch.tensor([k for k in range(10) if k != b]) for b in best.tolist()])
    ref, cand, y, long = (
        e[at, best],
        e[at[:, None], rest],
        psi[at[:, None], rest],
        length[at[:, None], rest],
    )
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(lists)) % folds)
    rows = []
    for f in range(folds):
        report(f"fold {f + 1} of {folds}")
        train, held = torch.nonzero(fold != f)[:, 0], fold == f
        generator = torch.Generator().manual_seed(f)

        def batch(
            n: int = 256, train: Tensor = train, generator: torch.Generator = generator
        ) -> tuple[Tensor, Tensor]:
            i, j = (train[torch.randint(len(train), (n,), generator=generator)] for _ in range(2))
            a = torch.randint(10, (n,), generator=generator)
            b = (a + torch.randint(1, 10, (n,), generator=generator)) % 10
            return e[i, a], torch.stack([e[j, a], e[j, b]], dim=1)

        torch.manual_seed(f)
        pre = learn(Head(e.shape[-1]), batch, 2000)
        found = {
            "pre-trained": pre(ref[held], cand[held]),
            "fine-tuned": ranked(Head(e.shape[-1]), ref, cand, y, train)(ref[held], cand[held]),
            "pre-trained and fine-tuned": ranked(copy.deepcopy(pre), ref, cand, y, train)(
                ref[held], cand[held]
            ),
            "same head without reference": ranked(Head(e.shape[-1], False), ref, cand, y, train)(
                ref[held], cand[held]
            ),
            "cosine to the reference": (cand[held] * ref[held][:, None]).sum(dim=-1),
            "longest first": long[held],
        }
        rows += [
            (m, "AlpacaEval", REAL, f, in_order(y[held], s.detach())) for m, s in found.items()
        ]
    return rows


def ranked(
    model: Head, ref: Tensor, cand: Tensor, y: Tensor, train: Tensor, epochs: int = 20
) -> Head:
    """Bradley-Terry over all pairs of each list."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(epochs):
        for group in train[torch.randperm(len(train))].split(32):
            loss = bradley_terry_reward(model(ref[group], cand[group]), y[group])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def in_order(y: Tensor, s: Tensor) -> float:
    """Share of pairs with different labels in order, equal scores half."""
    better = y[:, :, None] > y[:, None, :]
    return float((0.5 + 0.5 * torch.sign(s[:, :, None] - s[:, None, :]))[better].mean())
