"""POLAR: a reward model that tells whether an answer is of the policy that wrote the reference.

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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor

from policyrank.evidence import Scores
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.discriminators import (
    Answers,
    Discriminator,
    Head,
    Policies,
    Triples,
    in_order,
    learn,
    likeness,
    ranked,
    right,
)
from policyrank.studies.frame import Report, Row, Scale, by_method, prefixed, quiet, scores_of
from policyrank.studies.sequences import RankedSequences, align, best_only
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "POLAR"
PAPER = "arXiv 2507.05197"
ABOUT = "policy discriminators as reward models"
POOLS = (2, 8, 32, 512)
SHOTS = (50, 200, 1000, 4000)
ACCURACY, REAL, KL = "accuracy", "pair accuracy, real answers", "KL from the target"
UNSEEN = "unseen policies"
PRE, SCRATCH, LIKENESS = "pre-trained", "from scratch", "likeness of tokens"


@dataclass(frozen=True)
class Size:
    """``steps``: of pre-training; ``tune``: on labels; ``folds``: of the real answers.

    Fine-tuning imitates for ``start`` steps, then for ``epochs``, and asks for rewards in
    ``rounds``.
    """

    seeds: int
    steps: int
    tune: int
    start: int
    epochs: int
    rounds: int
    folds: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(seeds=2, steps=5, tune=5, start=5, epochs=1, rounds=2, folds=0),
    "small": Size(seeds=5, steps=3000, tune=600, start=600, epochs=20, rounds=60, folds=5),
    "full": Size(seeds=20, steps=20_000, tune=2500, start=600, epochs=20, rounds=60, folds=5),
}
UNIT = Unit("world")
CLAIMS = (
    Claim(
        "Pre-trained on 512 policies it knows unseen ones better than likeness of tokens does",
        "pool of 512",
        LIKENESS,
        ACCURACY,
        tasks=(UNSEEN,),
    ),
    *for_each(
        pairwise(POOLS),
        Claim(
            "A pool of {1} beats a pool of {0}",
            "pool of {1}",
            "pool of {0}",
            ACCURACY,
            tasks=(UNSEEN,),
        ),
    ),
    *for_each(
        SHOTS,
        Claim(
            "With {} labels, pre-trained beats from scratch",
            PRE,
            SCRATCH,
            ACCURACY,
            tasks=("{} labels",),
        ),
    ),
    Claim(
        "Pre-trained with 50 labels beats from scratch with 4,000",
        "pre-trained",
        "from scratch",
        ACCURACY,
        tasks=("50 labels",),
        than_tasks=("4000 labels",),
    ),
    *for_each(
        (1000, 4000),
        Claim(
            "By another criterion, with {} labels pre-trained beats from scratch (a negative"
            " control)",
            PRE,
            SCRATCH,
            ACCURACY,
            tasks=("another criterion, {} labels",),
        ),
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
    *for_each(
        ("cosine to the reference", "longest first", "same head without reference", PRE),
        Claim("Real answers: fine-tuned beats {}", "fine-tuned", "{}", REAL),
    ),
    Claim(
        "Real answers: pre-training helps fine-tuning",
        "pre-trained and fine-tuned",
        "fine-tuned",
        REAL,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a seed, of the real answers a fold."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    rows = chain(_sequences(size, seed, report), real_answers(size.folds, seed, report))
    return scores_of(rows, lower_is_better=[KL])


def _sequences(size: Size, seed: int, report: Report) -> Iterator[Row]:
    for r in range(size.seeds):
        say = prefixed(report, f"seed {r + 1} of {size.seeds}: ")
        world = SequenceWorld(seed * 1000 + r)
        policies = Policies(world, seed * 1000 + r)
        torch.manual_seed(seed * 1000 + r)
        test, graded = policies.triples(4000), policies.graded(4000)
        yield LIKENESS, UNSEEN, ACCURACY, r, right(likeness, test)
        for number in POOLS:
            say(f"pool of {number}")
            draw = partial(policies.triples, 256, policies.points(number))
            model = learn(Discriminator(world), draw, size.steps)
            yield f"pool of {number}", UNSEEN, ACCURACY, r, right(model, test)
        yield LIKENESS, "no labels", ACCURACY, r, right(likeness, graded)
        yield PRE, "no labels", ACCURACY, r, right(model, graded)
        yield from _labelled(
            policies, model, graded, SequenceWorld(seed * 1000 + r + 500), size, r, say
        )
        say("fine-tuning on rewards")
        yield from by_method("fine-tuning", KL, r, fine_tuned(policies, model, size, r))


def _labelled(
    policies: Policies,
    model: Discriminator,
    graded: Triples,
    other: SequenceWorld,
    size: Size,
    r: int,
    report: Report,
) -> Iterator[Row]:
    """Tuned on few labels, by likeness of policies or by the rewards of another world."""
    by_reward = reordered(other, policies.graded(4000))
    for n in SHOTS:
        report(f"{n} labels")
        known = policies.graded(n)
        for task, data, held in (
            (f"{n} labels", known, graded),
            (f"another criterion, {n} labels", reordered(other, known), by_reward),
        ):
            starts = {PRE: copy.deepcopy(model), SCRATCH: Discriminator(policies.world)}
            for method, untuned in starts.items():
                tuned = learn(untuned, partial(drawn, data), size.tune)
                yield method, task, ACCURACY, r, right(tuned, held)


def drawn(data: Triples, number: int = 128) -> tuple[Tensor, ...]:
    """A batch; prompts, references and candidates are each drawn for themselves."""
    return tuple(part[torch.randint(len(part), (number,))] for part in data)


def reordered(world: SequenceWorld, data: Triples) -> Triples:
    """The same triples, the candidate of higher reward first."""
    x, reference, y = data
    order = world.reward(x, y).argsort(dim=1, descending=True)
    return x, reference, y[torch.arange(len(y))[:, None], order]


def fine_tuned(policies: Policies, model: Discriminator, size: Size, seed: int) -> dict[str, float]:
    """KL from a target policy of what references and the discriminator make of another one."""
    z, target = policies.points(1), policies.points(1)
    base = _imitated(policies, z, size.start, seed)
    x = policies.prompts(300)
    reference = policies.write(target.expand(300, -1), x)
    shown = RankedSequences(x, reference[:, None], torch.zeros(300, 1))
    taught = align(base, shown, best_only, epochs=size.epochs, lr=5e-4, seed=seed)
    held = policies.prompts(400)
    rewarded = partial(_rewarded, model, x, reference, size.rounds, seed)
    students = {
        "before": base,
        "imitation of references": taught,
        "policy gradient on rewards": rewarded(base),
        "rewards less log-ratio": rewarded(base, kl=1.0),
        "imitation, then rewards less log-ratio": rewarded(taught, kl=1.0),
    }
    distances = {}
    for name, policy in students.items():
        distances[name] = _distance(policies, target, policy, held, seed)
    return distances


def _imitated(policies: Policies, z: Tensor, steps: int, seed: int) -> SequencePolicy:
    """A network that writes as the policy at ``z`` does."""
    network = SequencePolicy(policies.world, seed=seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        x = policies.prompts(128)
        y = policies.write(z.expand(128, -1), x)
        loss = -network(x, y[:, None]).sum(dim=-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def _rewarded(
    model: Discriminator,
    x: Tensor,
    reference: Tensor,
    rounds: int,
    seed: int,
    start: SequencePolicy,
    kl: float = 0.0,
) -> SequencePolicy:
    """Policy gradient on rewards less ``kl`` times the log-ratio to ``start``."""
    student = start
    for number in range(rounds):
        group = torch.randperm(300)[:100]
        y = student.sample(x[group], 8, seed=seed * 7919 + number)
        with torch.no_grad():
            far = (student(x[group], y) - start(x[group], y)).sum(dim=-1)
            scores = model(x[group], reference[group], y) - kl * far
        data = RankedSequences(x[group], y, scores)
        student = align(student, data, "grpo", epochs=2, lr=5e-4, seed=number, advantage="centred")
    return student


@torch.no_grad()
def _distance(
    policies: Policies, target: Tensor, policy: SequencePolicy, prompts: Tensor, seed: int
) -> float:
    """KL of a network's answers from the policy at ``target``, summed over tokens."""
    y = policy.sample(prompts, 4, seed=seed)
    logits = policy.head(policy.states(prompts, y)[..., :-1, :])
    own = torch.log_softmax(logits, dim=-1).flatten(0, 1)
    flat, long = y.flatten(0, 1), prompts.repeat_interleave(4, dim=0)
    first = torch.full((len(flat), 1), policies.world.tokens)
    before = torch.cat([first, flat], dim=1)
    z = target.expand(len(flat), -1)
    total = torch.zeros(len(flat))
    for t in range(policies.world.answer):
        theirs = policies.log_probs(z, long, before[:, t], t)
        total += (own[:, t].exp() * (own[:, t] - theirs)).sum(dim=-1)
    return float(total.mean())


def real_answers(folds: int, seed: int, report: Report) -> Iterator[Row]:
    """Pair accuracy on AlpacaEval's lists, the best answer as the reference."""
    if not folds:
        return
    report("encoding AlpacaEval's answers")
    answers = Answers.read()
    number, width = len(answers.vectors), answers.vectors.shape[-1]
    at, best = torch.arange(number), answers.labels.argmax(dim=1)
    models = torch.arange(10).expand(number, 10)
    rest = models[models != best[:, None]].view(number, 9)
    ref, cand = answers.vectors[at, best], answers.vectors[at[:, None], rest]
    y, long = answers.labels[at[:, None], rest], answers.length[at[:, None], rest]
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(number) % folds)
    for f in range(folds):
        report(f"fold {f + 1} of {folds}")
        train, held = torch.nonzero(fold != f)[:, 0], fold == f
        generator = torch.Generator().manual_seed(f)
        torch.manual_seed(f)
        pre = learn(Head(width), partial(answers.draw, train, generator), 2000)
        tuned = {"fine-tuned": ranked(Head(width), ref, cand, y, train)}
        tuned["pre-trained and fine-tuned"] = ranked(copy.deepcopy(pre), ref, cand, y, train)
        tuned["same head without reference"] = ranked(Head(width, False), ref, cand, y, train)
        for method, model in ({PRE: pre} | tuned).items():
            scores = model(ref[held], cand[held]).detach()
            yield method, "AlpacaEval", REAL, f, in_order(y[held], scores)
        cosine = (cand[held] * ref[held][:, None]).sum(dim=-1)
        yield "cosine to the reference", "AlpacaEval", REAL, f, in_order(y[held], cosine)
        yield "longest first", "AlpacaEval", REAL, f, in_order(y[held], long[held])
