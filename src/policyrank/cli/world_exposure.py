"""``policyrank world exposure``: ranking policies by what they do to people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    MODEL,
    AtLeastOne,
    AtLeastTwo,
    Names,
    NotNegative,
    Printed,
    Scores,
    Share,
    Written,
    check_table,
)
from policyrank.cli.output import working
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    pass

from policyrank.cli.world import WorldSeed, board_of, finish


def rank_exposure(
    claims: Path | None = None,
    /,
    *,
    framing: Annotated[str, Parameter(group=MODEL)] = "authoritative",
    alpha: Annotated[Share, Parameter(group=MODEL)] = 0.3,
    people: Annotated[AtLeastTwo, Parameter(group=MODEL)] = 1000,
    spread: Annotated[NotNegative, Parameter(group=MODEL)] = 0.5,
    steps: Annotated[AtLeastOne, Parameter(group=MODEL)] = 100,
    encoder: Annotated[str, Parameter(group=MODEL)] = "minilm",
    policy: Annotated[Names, Parameter(group=METHOD)] = None,
    metric: Annotated[str, Parameter(group=METHOD)] = "information health",
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank ranking policies by what they do to people.

    People are shown claims for long. They are logistic regressions on sentence vectors, trained on
    half of the claims, once as they are and once swayed by a framing; they see the other half.

    Example:

      policyrank world exposure --framing sensationalist --alpha 0.1 --html exposure.html

    Parameters
    ----------
    claims
        CSV with claim, label (1: true, 0: false) and perhaps credibility in [0, 1], group.
        Default: those of the package openfactcheck.
    framing
        That sways the people: authoritative, consensus, emotional, prestige, sensationalist.
    alpha
        Weight of false claims in it when the people are trained; 1: not swayed.
    people
        How many.
    spread
        Of their readiness to accept, in log-odds.
    steps
        Claims that each is shown.
    encoder
        Sentence encoder: minilm, a folder or a hub name.
    policy
        Ranking policy; repeatable. Default: all.
    metric
        information health, accuracy, false shown, false accepted, longest false run.
    """
    check_table(out)
    from policyrank.models.encoders import encode_texts, load_encoder
    from policyrank.train.personas import linear_persona
    from policyrank.train.saving import weights_fingerprint
    from policyrank.worlds import exposure as x

    chosen = _chosen(policy, x.POLICIES)
    given, credibility = _claims(claims)
    framings = len(given.framings)
    with working("Encoding claims …") as update:
        name = f"{encoder} {weights_fingerprint(encoder)}"
        texts = encode_texts(load_encoder(encoder), given.items(), cache=name)
        vectors = texts.reshape(len(given), framings, -1)
        train, test = given.split((0.5, 0.5), seed)
        learn, rest = given.take(train), given.take(test)
        known, unseen = (vectors[part].reshape(len(part) * framings, -1) for part in (train, test))
        credible = None if credibility is None else credibility[test]
        shown = x.World.of(rest.true, vectors[test, 0], rest.framings, credibility=credible)
        worlds = {}
        for name, own in (("not swayed", 1.0), (f"swayed by the {framing} framing", alpha)):
            update(f"Training people who are {name} …")
            accept = linear_persona(known, learn, framing, own)(unseen)
            crowd = x.Personas.of(accept, people, framings, spread=spread, seed=seed)
            worlds[name] = (shown, crowd)
        scores = x.evidence(worlds, chosen, steps=steps, metrics=[metric], seed=seed, report=update)
        board = board_of(scores)
    title = f"Ranking policies by {metric}, {people} people, {steps} steps"
    finish(scores, board, title, out=out, written=written, printed=printed)


def _chosen(names: Names, known: dict[str, Any]) -> dict[str, Any]:
    for name in names or []:
        if name not in known:
            raise EvidenceError(f"--policy {name}: use {', '.join(known)}.")
    return {name: policy for name, policy in known.items() if not names or name in names}


def _claims(path: Path | None) -> tuple[Any, Any]:
    """Claims, and how credible each is where the file says so."""
    from policyrank.worlds import exposure as x

    if path is None:
        return x.openfactcheck(), None
    from policyrank.evidence.remarks import naming

    frame = x.read_claims(path)
    groups = credibility = None
    if "group" in frame.columns:
        groups = frame["group"].rank("dense").to_numpy()
    if "credibility" in frame.columns:
        credibility = frame["credibility"].to_numpy()
    true = frame["label"].to_numpy()
    with naming(str(path)):
        return x.Claims.of(frame["claim"].to_list(), true, groups=groups), credibility
