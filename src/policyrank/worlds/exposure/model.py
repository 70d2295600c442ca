"""People who judge claims, what can be shown to them, and the policies that choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from policyrank.errors import EvidenceError
from policyrank.worlds.exposure.claims import FRAMINGS, Float

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Personas:
    """P people who judge items.

    P(accept) = sigmoid(accept[model, item] + offset + susceptibility[framing] if the item is
    false).

    Attributes
    ----------
    accept
        (K, items) log-odds of K models (trained classifiers, language models)
    model
        (P,) which one each person is
    offset
        (P,) how much more readily they accept anything, in log-odds
    susceptibility
        (P, F) how much more readily they accept what is false in a framing
    sampled
        judgements are drawn with P(accept); otherwise they are the likelier one, as of a model that
        decodes greedily
    """

    accept: Float
    model: Int
    offset: Float
    susceptibility: Float
    sampled: bool = False

    @classmethod
    def of(
        cls,
        probability: ArrayLike,
        people: int,
        framings: int,
        *,
        spread: float = 0.0,
        susceptibility: ArrayLike = 0.0,
        sampled: bool = False,
        seed: int = 0,
    ) -> Personas:
        """People shared out evenly among models.

        Parameters
        ----------
        probability
            (K, items) or (items,): P(accept)
        spread
            standard deviation of the offsets
        susceptibility
            number, (F,) or (P, F)

        Raises
        ------
        EvidenceError
            For probabilities outside [0, 1], or items that are no multiple of the framings.
        """
        p = np.atleast_2d(np.asarray(probability, dtype=float))
        bad = np.argwhere(~((p >= 0) & (p <= 1)))
        if len(bad):
            who, item = bad[0]
            raise EvidenceError(
                f"P(accept) of item {item} by model {who} is {p[who, item]}: probabilities lie in"
                " [0, 1]."
            )
        if p.shape[1] % framings:
            raise EvidenceError(f"{p.shape[1]} items are no multiple of {framings} framings.")
        if people < 1 or spread < 0:
            raise EvidenceError(
                f"people={people}, spread={spread}: at least one person, and a spread of at"
                " least 0."
            )
        own = np.random.default_rng(seed).normal(size=people) * spread
        return cls(
            logit(np.clip(p, 1e-9, 1 - 1e-9)),
            np.arange(people) % len(p),
            own,
            np.broadcast_to(np.asarray(susceptibility, dtype=float), (people, framings)).copy(),
            sampled,
        )

    @classmethod
    def mechanical(
        cls,
        true: ArrayLike,
        people: int,
        framings: int,
        *,
        accept: float = 0.5,
        discern: float = 0.0,
        extra: ArrayLike = 0.0,
        sampled: bool = True,
    ) -> Personas:
        """People without a model: an exact testbed.

        P(accept) is ``accept`` + ``discern`` for what is true, ``accept`` - ``discern`` +
        ``extra`` of its framing for what is false.
        """
        more = np.broadcast_to(np.asarray(extra, dtype=float), (framings,))
        label = np.asarray(true, dtype=bool)[:, None]
        p = np.where(label, accept + discern, accept - discern + more)
        return cls.of(p.ravel(), people, framings, sampled=sampled)

    def __len__(self) -> int:
        return len(self.model)

    def probability(self, item: Int, framing: Int, true: Bool) -> Float:
        """P(accept) of one item for each person, (P,)."""
        odds = self.accept[self.model, item] + self.offset
        swayed = self.susceptibility[np.arange(len(self)), framing]
        return np.asarray(expit(odds + np.where(true, 0.0, swayed)))


@dataclass(frozen=True)
class Policy:
    """A ranking policy that is linear in what it knows.

    The score of a claim is similarity x cosine to what was last accepted + engagement x P(accept) +
    truth x credibility + framing's bonus. It shows one of the ``top`` best, drawn by
    softmax(score / temperature).

    Attributes
    ----------
    similarity, engagement, truth
        weights
    framing
        framing -> bonus; negative ones demote
    history
        claims that the similarity looks back on
    explore
        share of steps at which any unseen claim is shown
    lock
        after an accepted false claim only false ones follow, while there are any: the published
        environment's assumption
    reset
        a rejection clears the history, and the next claim is any: as published. False: the history
        is what was shown
    """

    similarity: float = 0.0
    engagement: float = 0.0
    truth: float = 0.0
    framing: Mapping[str, float] = field(default_factory=dict)
    top: int = 5
    temperature: float = 0.1
    history: int = 3
    explore: float = 0.0
    lock: bool = False
    reset: bool = True

    def __post_init__(self) -> None:
        counted = self.top >= 1 and self.history >= 1
        if not (counted and self.temperature > 0 and 0 <= self.explore <= 1):
            raise EvidenceError(
                f"{self}: top and history are at least 1, temperature is positive, explore lies in"
                " [0, 1]."
            )


REWRITTEN = tuple(framing for framing in FRAMINGS if framing != "original")

POLICIES: dict[str, Policy] = {
    "random": Policy(explore=1.0),
    "similarity": Policy(similarity=1.0),
    "similarity, locked": Policy(similarity=1.0, lock=True),
    "engagement": Policy(engagement=1.0),
    "similarity + engagement": Policy(similarity=1.0, engagement=1.0),
    "similarity + credibility": Policy(similarity=1.0, truth=1.0),
    "similarity, framings demoted": Policy(
        similarity=1.0,
        framing=dict.fromkeys(REWRITTEN, -1.0),
    ),
    "similarity, one in three explored": Policy(similarity=1.0, explore=1 / 3),
}


@dataclass(frozen=True, eq=False)
class World:
    """What can be shown.

    Attributes
    ----------
    true
        (n,) of the claims
    similarity
        (n, n) cosines of the claims
    framings
        (F,) names; items are claim * F + framing
    credibility
        (n,) in [0, 1]: what the platform believes of a claim; by default the truth
    mix
        (F,) how often a claim comes in each framing
    """

    true: Bool
    similarity: NDArray[np.float32]
    framings: tuple[str, ...]
    credibility: Float
    mix: Float

    @classmethod
    def of(
        cls,
        true: ArrayLike,
        embeddings: ArrayLike,
        framings: Sequence[str] = ("original",),
        *,
        credibility: ArrayLike | None = None,
        mix: ArrayLike | None = None,
    ) -> World:
        """Checked; embeddings (n, d) of the claims are normalised.

        Raises
        ------
        EvidenceError
            For shapes that do not fit, shares that are negative, credibilities outside [0, 1], or
            vectors of zero length.
        """
        label = np.asarray(true, dtype=bool)
        vectors = np.asarray(embeddings, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(label) or len(label) < 2:
            raise EvidenceError(
                f"embeddings of shape {vectors.shape} for {len(label)} claims: they are"
                " (claims, d), of at least two."
            )
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(length) & (length > 0)).all():
            raise EvidenceError(f"embedding {int((~(length > 0)).argmax())} has no direction.")
        believed = np.asarray(label if credibility is None else credibility, dtype=float)
        even = np.full(len(framings), 1 / len(framings))
        share = np.asarray(even if mix is None else mix, dtype=float)
        if believed.shape != label.shape or not ((believed >= 0) & (believed <= 1)).all():
            raise EvidenceError(
                f"credibility is one number in [0, 1] for each of {len(label)} claims."
            )
        if share.shape != (len(framings),) or (share < 0).any() or not share.sum() > 0:
            raise EvidenceError(
                f"mix is one share of at least 0 for each of {len(framings)} framings."
            )
        unit = vectors / length
        return cls(label, unit @ unit.T, tuple(framings), believed, share / share.sum())
