"""POLAR: a reward model that tells whether an answer is of the policy that wrote the reference.

Dou et al. (2025), "Pre-Trained Policy Discriminators are General Reward Models", arXiv 2507.05197.

**The claim**: trained without labels on "same policy or another", the more policies the better,
then on few rankings, a reward model that reads a reference beats one trained from scratch; its loss
falls as a power of its size; as a reward for reinforcement fine-tuning it beats imitation of the
same references.

**What is done here**: policies over short sequences are points z in R^6 (logits linear in z); the
discriminator reads prompt, reference and candidate (embeddings of prompt and answer tokens, and of
neighbours, width 64, and an MLP on both and their product); Adam, batches of 256 fresh triples, 800
steps. *Unseen policies*: accuracy on triples of policies never seen, by the size of the pool.
*Power law*: widths of 4 to 64 learn from the same triples of 512 policies; loss on unseen ones, and
of each world the exponent and R^2 of a line through its logarithm by that of the number of
parameters, or of the policies in the pool. *Few labels*: B from a policy near the reference's (z +
.3 e) is to rank above C from a far one (z + e'); n labelled triples, 300 steps of batches of 128,
pre-trained or from scratch. *Another criterion*: B and C are to be ranked by a random reward that
has nothing to do with policies: there pre-training should not help. *Fine-tuning*: a GRU that
imitates policy z learns to be policy z' from one reference answer of it to each of 300 prompts: by
imitation, or by a clipped policy gradient on the discriminator's rewards (40 rounds, each of 100
prompts with 8 samples), which converge to log-ratios of policies, so that less the log-ratio to the
start they would be greatest at z' itself (this form was added after the plain one had failed); KL
of the result from z'. A replicate is a seed of everything. Each learner has its own learning rate:
that out of four which does best in five worlds apart from those judged, students at no more than 15
nats from where they started. *Real answers*: AlpacaEval's lists, the best answer as the reference,
heads on MiniLM's embeddings, their learning rates out of four by a sixth of the prompts, which
judges nothing; the others are judged by heads of four of five folds: share of pairs in order among
the other nine. A prompt is one observation. "pre-trained" saw only which of the ten models wrote
what, across prompts. Differences from the paper: no language models; its exponents (.0425 by
parameters) are of other data.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from scipy.stats import linregress
from torch import Tensor

from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.discriminators import (
    Answers,
    Discriminator,
    Head,
    Policies,
    Triples,
    in_order,
    learn,
    learn_together,
    likeness,
    ranked,
    right,
    wins,
)
from policyrank.studies.fairness import Health, Tuned, tune, typical
from policyrank.studies.frame import Measured, Report, Row, Scale, prefixed, quiet, scores_of
from policyrank.studies.sequences import (
    RATES,
    TUNING,
    RankedSequences,
    align,
    best_only,
)
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "POLAR"
PAPER = "arXiv 2507.05197"
ABOUT = "policy discriminators as reward models"
POOLS, WIDTHS = (2, 8, 32, 512), (4, 8, 16, 32, 64)
POLAR_RATES: tuple[dict[str, Any], ...] = tuple({"lr": rate} for rate in (1e-3, 3e-3, 1e-2, 3e-2))
LOW_RATES: tuple[dict[str, Any], ...] = tuple({"lr": rate} for rate in (1e-4, 3e-4, 1e-3, 3e-3))
COLLAPSED = 6 * np.log(12)
"""Nats of six of twelve tokens: a student so far off writes what its start hardly ever would."""
SHOTS = (50, 200, 1000, 4000)
ACCURACY, REAL, KL = "accuracy", "pair accuracy, real answers", "KL from the target"
LOSS, EXPONENT, FIT = "loss", "exponent by which the loss falls", "R^2 of the power law"
UNSEEN = "unseen policies"
OTHER = "another criterion, "
IMITATED, REWARDED, LESS, BOTH = (
    "imitation of references",
    "policy gradient on rewards",
    "rewards less log-ratio",
    "imitation, then rewards less log-ratio",
)
FINE_TUNED, PRE_TUNED, ALONE = (
    "fine-tuned",
    "pre-trained and fine-tuned",
    "same head without reference",
)
PRE, SCRATCH, LIKENESS = "pre-trained", "from scratch", "likeness of tokens"
PRE_TRAINED = (*(f"pool of {n}" for n in POOLS), *(f"width {w}" for w in WIDTHS if w != 64))
LARGEST = f"pool of {max(POOLS)}"
WITH_LABELS = tuple(
    f"{method}, {other}{n} labels"
    for n, other, method in product(SHOTS, ("", OTHER), (PRE, SCRATCH))
)
STUDENTS = (IMITATED, REWARDED, LESS, BOTH)
LN2 = np.log(2)


@dataclass(frozen=True)
class Size:
    """``steps``: of pre-training; ``tune``: on labels; ``folds``: of the real answers.

    ``tuning``: worlds in which learning rates are chosen.

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
    tuning: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, steps=5, tune=5, start=5, epochs=1, rounds=2, folds=0, tuning=1),
    "small": Size(15, 800, tune=300, start=600, epochs=20, rounds=40, folds=5, tuning=5),
    "full": Size(20, 20_000, tune=2500, start=600, epochs=20, rounds=60, folds=5, tuning=10),
}
UNIT, PROMPT = Unit("world"), Unit("prompt", "task")
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
        pairwise(WIDTHS),
        Claim(
            "Width {1} has less loss than width {0}",
            "width {1}",
            "width {0}",
            LOSS,
            tasks=(UNSEEN,),
            seen=(5,),
        ),
    ),
    *for_each(
        ("parameters", "policies"),
        Claim("The loss falls with the number of {}", "by {}", 0.0, EXPONENT, seen=(5,)),
    ),
    *for_each(
        ("parameters", "policies"),
        Claim("A power law by {} fits (R^2 above .9)", "by {}", 0.9, FIT, seen=(5,)),
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
            tasks=(OTHER + "{} labels",),
        ),
    ),
    Claim(
        "Fine-tuning on its rewards gets nearer to the target than imitation of the references",
        REWARDED,
        IMITATED,
        KL,
    ),
    Claim(
        "With the log-ratio to the start taken from the rewards too",
        LESS,
        IMITATED,
        KL,
        seen=(0,),
    ),
    Claim("That gets nearer than the policy before", LESS, "before", KL, seen=(0,)),
    Claim(
        "Imitation, then that, gets nearer than imitation",
        BOTH,
        IMITATED,
        KL,
        seen=(0,),
    ),
    *for_each(
        ("cosine to the reference", "longest first", ALONE, PRE),
        Claim("Real answers: fine-tuned beats {}", FINE_TUNED, "{}", REAL, unit=PROMPT),
    ),
    Claim(
        "Real answers: pre-training helps fine-tuning",
        PRE_TUNED,
        FINE_TUNED,
        REAL,
        unit=PROMPT,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a seed of everything, of the real answers a prompt is a task."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    tuned = _tuned(size, seed, report)
    found: list[Health] = []
    rows = list(_sequences(size, seed, tuned, found, report))
    if size.folds:
        report("encoding AlpacaEval's answers")
        heads = Heads.read(seed, size.folds)
        tuned |= heads.tuned(report)
        rows += heads.rows(tuned, report)
    scores = scores_of(rows, lower_is_better=[KL, LOSS])
    return Measured(scores, tuple(tuned.values()), typical(found))


@dataclass(frozen=True)
class Place:
    """A world with policies, what is learned there, and what that is judged by.

    Every draw is made from the number, which is that of no other place.
    """

    number: int
    policies: Policies
    unseen: Triples
    graded: Triples
    labelled: dict[int, Triples]
    pools: dict[int, Tensor]
    other: SequenceWorld

    @classmethod
    def of(cls, seed: int, replicate: int) -> Place:
        """Triples of policies never learned from, pools to learn from, few labels."""
        number = 1000 * seed + replicate
        world = SequenceWorld(number)
        policies = Policies(world, number)
        unseen, graded = policies.triples(4000), policies.graded(4000)
        labelled = {n: policies.graded(n) for n in SHOTS}
        pools = {n: policies.points(n) for n in POOLS}
        other = SequenceWorld(number * 7919)
        return cls(number, policies, unseen, graded, labelled, pools, other)

    def pre_trained(self, steps: int, rates: Mapping[str, Sequence[float]]) -> dict[str, Learned]:
        """Discriminators named "pool of n" and "width n", at each of their rates."""
        torch.manual_seed(self.number)
        found = {}
        for pool in POOLS:
            models = {}
            for name in PRE_TRAINED:
                if pool == pool_of(name):
                    for lr in rates[name]:
                        width = int(name.removeprefix("width ")) if "width" in name else 64
                        models[f"{name}, {lr}"] = Discriminator(self.policies.world, width), lr
            draw = partial(self.policies.triples, 256, self.pools[pool])
            last = learn_together(models, draw, steps)
            for name, (model, _) in models.items():
                found[name] = Learned(model, last[name])
        return found

    def few_labels(self, size: Size, model: Discriminator, name: str, lr: float) -> float:
        """Accuracy after learning from few labels, pre-trained or from scratch."""
        method, task = name.split(", ", 1)
        n = int(task.removeprefix(OTHER).removesuffix(" labels"))
        known, held = self.labelled[n], self.graded
        if task.startswith(OTHER):
            known, held = reordered(self.other, known), reordered(self.other, held)
        torch.manual_seed(self.number * 7919 + n)
        untuned = Discriminator(self.policies.world)
        if method == PRE:
            untuned = copy.deepcopy(model)
        return right(learn(untuned, partial(drawn, known), size.tune, lr), held)

    @torch.no_grad()
    def loss(self, model: Discriminator) -> float:
        """Of a discriminator on policies never seen."""
        return float(wins(model(*self.unseen)))


@dataclass(frozen=True)
class Learned:
    """A discriminator, and its loss at the end of training."""

    model: Discriminator
    loss: float


def pool_of(name: str) -> int:
    """How many policies a discriminator of this name learns from."""
    return int(name.removeprefix("pool of ")) if "pool" in name else max(POOLS)


def _tuned(size: Size, seed: int, report: Report) -> dict[str, Tuned]:
    """The learning rates of discriminators, then of those with few labels, then of students."""
    places = [Place.of(seed, TUNING + k) for k in range(size.tuning)]
    report("tuning discriminators")
    rates = {name: [own["lr"] for own in POLAR_RATES] for name in PRE_TRAINED}
    learned = [place.pre_trained(size.steps, rates) for place in places]

    def less_loss(name: str, settings: Mapping[str, Any], k: int) -> float:
        return -places[k].loss(learned[k][f"{name}, {settings['lr']}"].model)

    where = range(len(places))
    tuned = tune(dict.fromkeys(PRE_TRAINED, POLAR_RATES), less_loss, where, metric="- loss")
    models = [own[f"{LARGEST}, {tuned[LARGEST].chosen['lr']}"].model for own in learned]

    def accuracy(name: str, settings: Mapping[str, Any], k: int) -> float:
        report(f"tuning: {name}")
        return places[k].few_labels(size, models[k], name, **settings)

    tuned |= tune(dict.fromkeys(WITH_LABELS, LOW_RATES), accuracy, where, metric=ACCURACY)
    targets = [Target.of(place, size) for place in places]

    def nearer(name: str, settings: Mapping[str, Any], k: int) -> float:
        report(f"tuning: {name}")
        student = targets[k].student(size, models[k], name, **settings)
        far = targets[k].moved(student) > COLLAPSED
        return float("nan") if far else -targets[k].distance(student)

    return tuned | tune(dict.fromkeys(STUDENTS, LOW_RATES), nearer, where, metric=f"- {KL}")


def _sequences(
    size: Size, seed: int, tuned: Mapping[str, Tuned], found: list[Health], report: Report
) -> Iterator[Row]:
    for r in range(size.seeds):
        say = prefixed(report, f"seed {r + 1} of {size.seeds}: ")
        place = Place.of(seed, r)
        say("discriminators")
        rates = {name: [tuned[name].chosen["lr"]] for name in PRE_TRAINED}
        learned = place.pre_trained(size.steps, rates)
        yield LIKENESS, UNSEEN, ACCURACY, r, right(likeness, place.unseen)
        losses = {}
        for name in PRE_TRAINED:
            own = learned[f"{name}, {rates[name][0]}"]
            found.append(Health(name, "loss at the end of training", own.loss, most=float(LN2)))
            losses[name] = place.loss(own.model)
            yield name, UNSEEN, ACCURACY, r, right(own.model, place.unseen)
        model = learned[f"{LARGEST}, {rates[LARGEST][0]}"].model
        yield from power_laws(losses, r, place.policies.world)
        yield LIKENESS, "no labels", ACCURACY, r, right(likeness, place.graded)
        yield PRE, "no labels", ACCURACY, r, right(model, place.graded)
        for name in WITH_LABELS:
            say(name)
            method, task = name.split(", ", 1)
            value = place.few_labels(size, model, name, **tuned[name].chosen)
            yield method, task, ACCURACY, r, value
        target = Target.of(place, size)
        yield "before", "fine-tuning", KL, r, target.distance(target.base)
        for method in STUDENTS:
            say(method)
            student = target.student(size, model, method, **tuned[method].chosen)
            moved = target.moved(student)
            found.append(Health(method, "KL from the start", moved, 0.0, COLLAPSED))
            yield method, "fine-tuning", KL, r, target.distance(student)


def power_laws(losses: Mapping[str, float], r: int, world: SequenceWorld) -> Iterator[Row]:
    """Loss on unseen policies, and its power law by parameters and by policies learned from."""
    losses = {**losses, "width 64": losses[LARGEST]}
    for name, loss in losses.items():
        yield name, UNSEEN, LOSS, r, loss
    sizes = [sum(own.numel() for own in Discriminator(world, w).parameters()) for w in WIDTHS]
    for method, numbers, names in (
        ("by parameters", sizes, [f"width {w}" for w in WIDTHS]),
        ("by policies", list(POOLS), [f"pool of {n}" for n in POOLS]),
    ):
        exponent, fit = power_law(numbers, [losses[name] for name in names])
        yield method, UNSEEN, EXPONENT, r, exponent
        yield method, UNSEEN, FIT, r, fit


def power_law(sizes: Sequence[float], losses: Sequence[float]) -> tuple[float, float]:
    """Exponent a of loss = c size^-a by least squares of logarithms, and R^2.

    Examples
    --------
    >>> exponent, fit = power_law([1, 10, 100], [0.8, 0.4, 0.2])
    >>> round(exponent, 4), round(fit, 4)
    (0.301, 1.0)
    """
    found = linregress(np.log(sizes), np.log(losses))
    return -float(found.slope), float(found.rvalue**2)


def drawn(data: Triples, number: int = 128) -> tuple[Tensor, ...]:
    """A batch; prompts, references and candidates are each drawn for themselves."""
    return tuple(part[torch.randint(len(part), (number,))] for part in data)


def reordered(world: SequenceWorld, data: Triples) -> Triples:
    """The same triples, the candidate of higher reward first."""
    x, reference, y = data
    order = world.reward(x, y).argsort(dim=1, descending=True)
    return x, reference, y[torch.arange(len(y))[:, None], order]


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


@dataclass(frozen=True)
class Target:
    """A network that writes as one policy does, and is to write as another, from its answers."""

    place: Place
    point: Tensor
    base: SequencePolicy
    prompts: Tensor
    references: Tensor
    held: Tensor

    @classmethod
    def of(cls, place: Place, size: Size) -> Target:
        """One reference answer of the target to each of 300 prompts; 400 others to judge on."""
        policies = place.policies
        z, point = policies.points(1), policies.points(1)
        base = _imitated(policies, z, size.start, place.number)
        x = policies.prompts(300)
        return cls(
            place, point, base, x, policies.write(point.expand(300, -1), x), policies.prompts(400)
        )

    def student(self, size: Size, model: Discriminator, method: str, lr: float) -> SequencePolicy:
        """The base after learning by this method."""
        start = self.base
        if method in (IMITATED, BOTH):
            shown = RankedSequences(self.prompts, self.references[:, None], torch.zeros(300, 1))
            fit: dict[str, Any] = {"epochs": size.epochs, "lr": lr, "seed": self.place.number}
            start = align(start, shown, best_only, **fit)
        if method == IMITATED:
            return start
        return self._rewarded(model, start, size.rounds, lr, kl=0.0 if method == REWARDED else 1.0)

    def _rewarded(
        self, model: Discriminator, start: SequencePolicy, rounds: int, lr: float, kl: float
    ) -> SequencePolicy:
        """Policy gradient on rewards less ``kl`` times the log-ratio to ``start``."""
        draw = self.place.number * 7919
        student, generator = start, torch.Generator().manual_seed(draw)
        for number in range(rounds):
            group = torch.randperm(300, generator=generator)[:100]
            x = self.prompts[group]
            y = student.sample(x, 8, seed=draw + number)
            with torch.no_grad():
                far = (student(x, y) - start(x, y)).sum(dim=-1)
                scores = model(x, self.references[group], y) - kl * far
            fit: dict[str, Any] = {"epochs": 2, "lr": lr, "seed": draw + number}
            data = RankedSequences(x, y, scores)
            student = align(student, data, "grpo", advantage="centred", **fit)
        return student

    def distance(self, policy: SequencePolicy) -> float:
        """KL from the target."""
        return _distance(self.place.policies, self.point, policy, self.held, self.place.number)

    def moved(self, policy: SequencePolicy) -> float:
        """KL from the base."""
        y = policy.sample(self.held, 4, seed=self.place.number)
        return policy.kl(self.base, self.held, y)


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


@dataclass(frozen=True)
class Heads:
    """AlpacaEval's answers beside the best of each prompt, and heads that rank them.

    ``fold``: of each prompt; those of fold -1 are for tuning and judge nothing.
    """

    answers: Answers
    reference: Tensor
    candidates: Tensor
    labels: Tensor
    length: Tensor
    fold: Tensor
    seed: int

    @classmethod
    def read(cls, seed: int, folds: int) -> Heads:
        """In folds by lot."""
        answers = Answers.read()
        number = len(answers.vectors)
        at, best = torch.arange(number), answers.labels.argmax(dim=1)
        models = torch.arange(10).expand(number, 10)
        rest = models[models != best[:, None]].view(number, 9)
        fold = np.random.default_rng([seed, 2]).permutation(number) % (folds + 1) - 1
        return cls(
            answers,
            answers.vectors[at, best],
            answers.vectors[at[:, None], rest],
            answers.labels[at[:, None], rest],
            answers.length[at[:, None], rest],
            torch.from_numpy(fold),
            seed,
        )

    def learned(self, train: Tensor, name: str, seed: int, lr: float, pre: Head | None) -> Head:
        """A head of this name after learning from these prompts."""
        width = self.reference.shape[-1]
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        if name == PRE:
            draw = partial(self.answers.draw, train, generator)
            return learn(Head(width), draw, 1000, lr)
        start = Head(width, reference=name != ALONE)
        if name == PRE_TUNED:
            assert pre is not None
            start = copy.deepcopy(pre)
        return ranked(start, self.reference, self.candidates, self.labels, train, lr=lr)

    def judged(self, head: Head, held: Tensor) -> Tensor:
        """Share of pairs in order, of each of these prompts."""
        with torch.no_grad():
            scores = head(self.reference[held], self.candidates[held])
        return in_order(self.labels[held], scores)

    def tuned(self, report: Report) -> dict[str, Tuned]:
        """The learning rate of each head, on halves of the prompts that judge nothing."""
        apart = torch.nonzero(self.fold == -1)[:, 0]
        pre: list[Head] = []

        def measure(name: str, settings: Mapping[str, Any], half: int) -> float:
            report(f"tuning on real answers: {name}")
            held, others = apart[half::2], apart[1 - half :: 2]
            own = pre[half] if pre else None
            head = self.learned(others, name, self.seed, pre=own, **settings)
            return float(self.judged(head, held).mean())

        found = tune({PRE: RATES}, measure, (0, 1), metric=REAL)
        for half in (0, 1):
            others, chosen = apart[1 - half :: 2], found[PRE].chosen
            pre.append(self.learned(others, PRE, self.seed, pre=None, **chosen))
        heads = (FINE_TUNED, PRE_TUNED, ALONE)
        return found | tune(dict.fromkeys(heads, RATES), measure, (0, 1), metric=REAL)

    def rows(self, tuned: Mapping[str, Tuned], report: Report) -> Iterator[Row]:
        """Pair accuracy of each prompt under heads that learned from other folds."""
        for f in range(int(self.fold.max()) + 1):
            report(f"real answers, fold {f + 1}")
            held = torch.nonzero(self.fold == f)[:, 0]
            train = torch.nonzero((self.fold >= 0) & (self.fold != f))[:, 0]
            y, cand, ref = self.labels[held], self.candidates[held], self.reference[held]
            found = {
                "cosine to the reference": in_order(y, (cand * ref[:, None]).sum(dim=-1)),
                "longest first": in_order(y, self.length[held]),
            }
            pre: Head | None = None
            for name in (PRE, FINE_TUNED, PRE_TUNED, ALONE):
                number = 1000 * self.seed + f
                head = self.learned(train, name, number, pre=pre, **tuned[name].chosen)
                pre = pre or head
                found[name] = self.judged(head, held)
            for name, values in found.items():
                for k, value in zip(held.tolist(), values.tolist(), strict=True):
                    yield name, f"prompt {k}", REAL, 0, value
