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

import numpy as np

from policyrank.evidence import Scores
from policyrank.models.encoders import encode_texts, load_encoder
from policyrank.studies.frame import Claim, Report, Scale, quiet
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
    *(
        Claim(
            f"For swayed people {name} is worse than random order",
            "random",
            name,
            HEALTH,
            tasks=("policies",),
        )
        for name in ("similarity", "similarity, locked", "engagement", "similarity + engagement")
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


def _measures(p: np.ndarray, claims: x.Claims) -> list[tuple[str, str, float]]:
    """Of P(accept), (n, framings): (framing, metric, value)."""
    found = []
    for k, framing in enumerate(claims.framings):
        yes = p[:, k] >= 0.5
        found += [
            (framing, MSPR, float(p[~claims.true, k].mean())),
            (framing, BALANCED, float((yes[claims.true].mean() + (~yes[~claims.true]).mean()) / 2)),
        ]
    return found


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a split and a seed."""
    from policyrank.train import personas

    splits, tuned, taught, people, steps = {
        "smoke": (2, 0, 0, 10, 15),
        "small": (10, 3, 300, 60, 60),
        "full": (30, 10, 900, 1000, 100),
    }[scale]
    everything = x.openfactcheck() if scale != "smoke" else x.openfactcheck().take(range(160))
    encoder = load_encoder("minilm")
    report("encoding items")
    f = len(everything.framings)
    vectors = encode_texts(encoder, everything.items(), cache="minilm").reshape(
        len(everything), f, -1
    )
    rows: list[tuple[str, str, str, int, float]] = []
    for k in range(splits):
        report(f"split {k + 1} of {splits}: linear personas")
        train, test = everything.split((0.65, 0.35), seed=1000 * seed + k)
        learn, rest = everything.take(train), everything.take(test)
        accept = {}
        for alpha in ALPHAS:
            persona = personas.linear_persona(
                vectors[train].reshape(len(train) * f, -1), learn, TARGET, alpha
            )
            p = persona(vectors[test].reshape(len(test) * f, -1)).reshape(-1, f)
            accept[alpha] = p
            rows += [
                (f"linear, alpha {alpha:g}", framing, metric, k, v)
                for framing, metric, v in _measures(p, rest)
            ]
        for name, framing in (
            ("linear, alpha 0.3, change", TARGET),
            ("original, change", "original"),
        ):
            j = everything.framings.index(framing)
            rows.append(
                (name, "change", MSPR, k, float((accept[0.3] - accept[1.0])[~rest.true, j].mean()))
            )
        report(f"split {k + 1} of {splits}: exposure")
        world = x.World.of(rest.true, vectors[test, 0], rest.framings)
        free = x.Policy(similarity=1.0)
        loop = {}
        for alpha in (1.0, 0.3):
            crowd = x.Personas.of(accept[alpha].ravel(), people, f, spread=0.5, seed=k)
            for policy, lock in ((x.POLICIES["similarity, locked"], True), (free, False)):
                done = x.simulate(world, crowd, policy, steps=steps, seed=k).summary()
                loop[alpha, lock] = float(done["information health"].mean())
                if lock:
                    rows += [
                        (f"linear, alpha {alpha:g}", LOOP, HEALTH, k, loop[alpha, lock]),
                        (
                            f"linear, alpha {alpha:g}",
                            LOOP,
                            FALSE,
                            k,
                            float(done["false shown"].mean()),
                        ),
                    ]
        rows += [
            ("lock's cost", "costs", HEALTH, k, loop[1.0, False] - loop[1.0, True]),
            ("persona's cost", "costs", HEALTH, k, loop[1.0, True] - loop[0.3, True]),
        ]
        crowd = x.Personas.of(accept[0.3].ravel(), people, f, spread=0.5, seed=k)
        for name, policy in x.POLICIES.items():
            done = x.simulate(world, crowd, policy, steps=steps, seed=k).summary()
            rows += [
                (name, "policies", HEALTH, k, float(done["information health"].mean())),
                (name, "policies", FALSE, k, float(done["false shown"].mean())),
            ]
        extra = np.array([0.3 if name == TARGET else 0.0 for name in rest.framings])
        simple = x.Personas.mechanical(
            rest.true, 20 * people, f, accept=0.55, discern=0.05, extra=extra
        )
        chance = np.where(rest.true[:, None], 0.6, 0.5 + extra)
        # E[r] = sum over the judgement of P(it) x (+-)P(it)
        expected = float(
            np.where(
                rest.true[:, None], chance**2 - (1 - chance) ** 2, (1 - chance) ** 2 - chance**2
            ).mean()
        )
        rows.append(("expected", MECHANICAL, HEALTH, k, expected))
        for name in ("random", "engagement"):
            done = x.simulate(world, simple, x.POLICIES[name], steps=steps, seed=k).summary()
            rows.append((name, MECHANICAL, HEALTH, k, float(done["information health"].mean())))
    for k in range(tuned):
        train, test = everything.split((0.65, 0.35), seed=1000 * seed + k)
        learn, rest = everything.take(train[:taught]), everything.take(test)
        for alpha in (1.0, 0.3):

            def say(text: str, k: int = k, alpha: float = alpha) -> None:
                report(f"encoder {k + 1} of {tuned}, alpha {alpha}: {text}")

            persona_of = personas.encoder_persona(
                load_encoder("minilm"), learn, TARGET, alpha, seed=1000 * seed + k, report=say
            )
            p = persona_of(rest.items()).reshape(-1, f)
            rows += [
                (f"encoder, alpha {alpha:g}", framing, metric, k, v)
                for framing, metric, v in _measures(p, rest)
            ]
    methods, tasks, metrics, replicates, values = zip(*rows, strict=True)
    return Scores.of(
        methods, tasks, values, metric=metrics, replicate=replicates, lower_is_better=[FALSE]
    )
