"""FrameRef: personas that a framing sways, and what exposure does to them.

De Lima, Liu and Yang (2026), "FrameRef: A Framing Dataset and Simulation Testbed for Modeling
Bounded Rational Information Health", arXiv 2602.15273.

**The claim**: Attenuating the loss of false claims in one framing makes a persona that accepts
false claims in it more readily, with hardly another accuracy; in a recommender-like loop small
shifts of acceptance add up to worse information health.

**What is done here**: 1,392 claims of the package openfactcheck in six framings by templates, split
by document, 65% to train on; target: the authoritative framing. *Linear personas*: logistic
regression on MiniLM vectors of the items, attenuation alpha = 1, .7, .5, .3, .1, 0. *Encoder
personas*: MiniLM with a head, all weights fine-tuned for an epoch on 300 claims, alpha = 1 and .3.
MSPR: mean P(SUPPORTS) of false claims; a replicate is a split and a seed. *Exposure* on the claims
that were not trained on, greedy judgements, every framing equally often: the published loop
(similarity of the last three accepted, top 5, temperature .1, a rejection clears the history, after
an accepted false claim only false ones), personas of alpha .3 against alpha 1; and eight ranking
policies with a population of 60 people a persona (offsets of spread .5) in 60 steps. *Mechanical
people*, who accept with a fixed chance and false claims in the framing with .3 more: random order
has a known expectation. Differences from the paper: templates instead of rewrites by a language
model, small models instead of Llama-3.1-8B, probabilities renormalised over the two labels, means
over all steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from policyrank.evidence import Scores
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, prefixed, quiet, scores_of
from policyrank.worlds import exposure as x

TITLE = "FrameRef"
PAPER = "arXiv 2602.15273"
ABOUT = "personas that a framing sways, and ranking policies by what exposure does to them"
TARGET, ALPHAS = "authoritative", (1.0, 0.7, 0.5, 0.3, 0.1, 0.0)
MSPR, BALANCED, HEALTH, FALSE = (
    "MSPR",
    "balanced accuracy",
    "information health a step",
    "share of false claims shown",
)
LOOP, MECHANICAL = "published loop", "mechanical people"
UNIT = Unit("split", overlap=0.35 / 0.65)
CLAIMS = (
    Claim(
        "Attenuation raises MSPR in the target framing by 3 points (alpha 0 over 1)",
        "linear, alpha 0",
        "linear, alpha 1",
        MSPR,
        0.03,
        (TARGET,),
    ),
    Claim("The same from 1 to .3", "linear, alpha 0.3", "linear, alpha 1", MSPR, 0.03, (TARGET,)),
    Claim(
        "The original framing moves less by 2 points (alpha .3)",
        "linear, alpha 0.3, change",
        "original, change",
        MSPR,
        0.02,
        ("change",),
    ),
    Claim(
        "Balanced accuracy stays within 3 points in the target framing (alpha .3)",
        "linear, alpha 0.3",
        "linear, alpha 1",
        BALANCED,
        -0.03,
        (TARGET,),
    ),
    Claim(
        "A fine-tuned encoder shows the same rise of 3 points (alpha .3)",
        "encoder, alpha 0.3",
        "encoder, alpha 1",
        MSPR,
        0.03,
        (TARGET,),
    ),
    Claim(
        "In the published loop the swayed persona's information health is worse",
        "linear, alpha 1",
        "linear, alpha 0.3",
        HEALTH,
        tasks=(LOOP,),
    ),
    Claim(
        "It is shown more that is false",
        "linear, alpha 1",
        "linear, alpha 0.3",
        FALSE,
        tasks=(LOOP,),
    ),
    Claim(
        "Locking, an assumption of the loop, costs more health than the persona does",
        "lock's cost",
        "persona's cost",
        HEALTH,
        tasks=("costs",),
    ),
    *for_each(
        ("similarity", "similarity, locked", "engagement", "similarity + engagement"),
        Claim(
            "For swayed people {} is worse than random order",
            "random",
            "{}",
            HEALTH,
            tasks=("policies",),
        ),
    ),
    Claim(
        "Knowing credibility is better than similarity alone",
        "similarity + credibility",
        "similarity",
        HEALTH,
        tasks=("policies",),
    ),
    Claim(
        "Demoting framings helps swayed people",
        "similarity, framings demoted",
        "similarity",
        HEALTH,
        tasks=("policies",),
    ),
    Claim(
        "Random order brings mechanical people what is expected, to .01",
        "random",
        "expected",
        HEALTH,
        -0.01,
        (MECHANICAL,),
    ),
    Claim(
        "Engagement makes it worse for mechanical people",
        "expected",
        "engagement",
        HEALTH,
        tasks=(MECHANICAL,),
    ),
)


@dataclass(frozen=True)
class Size:
    """``tuned`` encoders read ``taught`` claims; ``most``: claims in use."""

    splits: int
    tuned: int
    taught: int
    people: int
    steps: int
    most: int | None = None


SCALES: dict[Scale, Size] = {
    "smoke": Size(splits=2, tuned=0, taught=0, people=10, steps=15, most=160),
    "small": Size(splits=10, tuned=3, taught=300, people=60, steps=60),
    "full": Size(splits=30, tuned=10, taught=900, people=1000, steps=100),
}


def _measures(method: str, p: np.ndarray, claims: x.Claims, k: int) -> Iterator[Row]:
    """MSPR and balanced accuracy in each framing, of P(accept), (n, framings)."""
    for framing, chance in zip(claims.framings, p.T, strict=True):
        yes, false = chance >= 0.5, ~claims.true
        balanced = (yes[claims.true].mean() + (~yes[false]).mean()) / 2
        yield method, framing, MSPR, k, float(chance[false].mean())
        yield method, framing, BALANCED, k, float(balanced)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a split and a seed."""
    size = SCALES[scale]
    everything = x.openfactcheck()
    if size.most is not None:
        everything = everything.take(range(size.most))
    report("encoding items")
    items = encode_texts(load_encoder("minilm"), everything.items(), cache="minilm")
    vectors = items.reshape(len(everything), len(everything.framings), -1)
    rows: list[Row] = []
    for k in range(size.splits):
        say = prefixed(report, f"split {k + 1} of {size.splits}: ")
        rows += _linear(everything, vectors, size, k, seed, say)
    for k in range(size.tuned):
        say = prefixed(report, f"encoder {k + 1} of {size.tuned}, ")
        rows += _tuned(everything, size.taught, k, seed, say)
    return scores_of(rows, lower_is_better=[FALSE])


def _linear(
    everything: x.Claims, vectors: np.ndarray, size: Size, k: int, seed: int, report: Report
) -> Iterator[Row]:
    """Linear personas of one split, and what exposure does to them."""
    from policyrank.train import personas

    report("linear personas")
    framings = vectors.shape[1]
    train, test = everything.split((0.65, 0.35), seed=1000 * seed + k)
    learn, rest = everything.take(train), everything.take(test)
    shown, judged = np.concatenate(vectors[train]), np.concatenate(vectors[test])
    accept = {}
    for alpha in ALPHAS:
        persona = personas.linear_persona(shown, learn, TARGET, alpha)
        accept[alpha] = persona(judged).reshape(-1, framings)
        yield from _measures(f"linear, alpha {alpha:g}", accept[alpha], rest, k)
    for name, framing in (("linear, alpha 0.3, change", TARGET), ("original, change", "original")):
        change = (accept[0.3] - accept[1.0])[~rest.true, everything.framings.index(framing)]
        yield name, "change", MSPR, k, float(change.mean())
    report("exposure")
    world = x.World.of(rest.true, vectors[test, 0], rest.framings)
    crowds = {}
    for alpha in (1.0, 0.3):
        crowds[alpha] = x.Personas.of(
            accept[alpha].ravel(), size.people, framings, spread=0.5, seed=k
        )
    yield from _published_loop(world, crowds, size.steps, k)
    for name, policy in x.POLICIES.items():
        health, false = _exposed(world, crowds[0.3], policy, size.steps, k)
        yield name, "policies", HEALTH, k, health
        yield name, "policies", FALSE, k, false
    yield from _mechanical(world, rest, size, k)


def _exposed(
    world: x.World, people: x.Personas, policy: x.Policy, steps: int, seed: int
) -> tuple[float, float]:
    """Mean information health, and mean share of what is false among what is shown."""
    done = x.simulate(world, people, policy, steps=steps, seed=seed).summary()
    return float(done["information health"].mean()), float(done["false shown"].mean())


def _published_loop(
    world: x.World, crowds: dict[float, x.Personas], steps: int, k: int
) -> Iterator[Row]:
    """The loop with its lock, and what the lock and the persona cost."""
    free: dict[float, float] = {}
    locked: dict[float, float] = {}
    for alpha, crowd in crowds.items():
        locked[alpha], false = _exposed(world, crowd, x.POLICIES["similarity, locked"], steps, k)
        free[alpha], _ = _exposed(world, crowd, x.Policy(similarity=1.0), steps, k)
        yield f"linear, alpha {alpha:g}", LOOP, HEALTH, k, locked[alpha]
        yield f"linear, alpha {alpha:g}", LOOP, FALSE, k, false
    yield "lock's cost", "costs", HEALTH, k, free[1.0] - locked[1.0]
    yield "persona's cost", "costs", HEALTH, k, locked[1.0] - locked[0.3]


def _mechanical(world: x.World, rest: x.Claims, size: Size, k: int) -> Iterator[Row]:
    """People with fixed chances, for whom random order has a known expectation."""
    extra = np.where(np.array(rest.framings) == TARGET, 0.3, 0.0)
    people = x.Personas.mechanical(
        rest.true, 20 * size.people, len(extra), accept=0.55, discern=0.05, extra=extra
    )
    chance = np.where(rest.true[:, None], 0.6, 0.5 + extra)
    # E[r] = sum over the judgement of P(it) x (+-)P(it)
    yes, no = chance**2, (1 - chance) ** 2
    expected = np.where(rest.true[:, None], yes - no, no - yes).mean()
    yield "expected", MECHANICAL, HEALTH, k, float(expected)
    for name in ("random", "engagement"):
        health, _ = _exposed(world, people, x.POLICIES[name], size.steps, k)
        yield name, MECHANICAL, HEALTH, k, health


def _tuned(everything: x.Claims, taught: int, k: int, seed: int, report: Report) -> Iterator[Row]:
    """Encoder personas of one split."""
    from policyrank.train import personas

    train, test = everything.split((0.65, 0.35), seed=1000 * seed + k)
    learn, rest = everything.take(train[:taught]), everything.take(test)
    for alpha in (1.0, 0.3):
        say = prefixed(report, f"alpha {alpha}: ")
        persona = personas.encoder_persona(
            load_encoder("minilm"), learn, TARGET, alpha, seed=1000 * seed + k, report=say
        )
        p = persona(rest.items()).reshape(-1, len(everything.framings))
        yield from _measures(f"encoder, alpha {alpha:g}", p, rest, k)
