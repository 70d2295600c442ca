"""Distributions of rankings.

Leading axes are batch, the last one is the list; a ranking is item indices, best first.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._lists import (
    check_lists,
    descending,
    low,
    pairs_of,
    suffix_logsumexp,
    widen,
)
from policyrank.learn._subsets import LARGEST, prefix_log_probs

EXACT = 7


@cache
def _orders(n: int) -> Tensor:
    return torch.tensor(list(permutations(range(n))))


class PlackettLuce:
    """Plackett-Luce: the next item is drawn among those left, by exp(score / temperature).

    Parameters
    ----------
    scores
        (..., list), log-strengths; half precision is computed in float32
    where
        (..., list), False for padding, which is never drawn before a real item and has no
        probability
    temperature
        > 0

    Examples
    --------
    >>> policy = PlackettLuce(torch.tensor([3.0, 2.0, 1.0]).log())
    >>> policy.log_prob(torch.tensor([[0, 1, 2], [2, 1, 0]])).exp()
    tensor([0.3333, 0.0667])
    """

    def __init__(
        self, scores: Tensor, where: Tensor | None = None, temperature: float = 1.0
    ) -> None:
        check_lists(scores)
        if temperature <= 0:
            raise OptionError(f"temperature={temperature}: it is above 0.")
        if where is None:
            where = torch.ones_like(scores, dtype=torch.bool)
        self.where = where.bool()
        self.scores = widen(scores).masked_fill(~self.where, 0.0) / temperature

    @property
    def size(self) -> Tensor:
        """Items of each list: (...)."""
        return self.where.sum(dim=-1)

    def mode(self, k: int | None = None) -> Tensor:
        """The likeliest ranking, ties by position: (..., k)."""
        return descending(self.scores, self.where)[..., :k]

    def sample(
        self, n: int, k: int | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """n independent rankings, or their first k places: (n, ..., k).

        Drawn without replacement, by Gumbel top-k.
        """
        shape = (n, *self.scores.shape)
        wait = torch.empty(shape, device=self.scores.device, dtype=self.scores.dtype)
        wait.exponential_(generator=generator)
        gumbel = -torch.log(wait.clamp(min=torch.finfo(wait.dtype).tiny))
        keys = (self.scores.detach() + gumbel).masked_fill(~self.where, -torch.inf)
        if k is None or k >= shape[-1]:
            return keys.argsort(dim=-1, descending=True)
        return keys.topk(k, dim=-1).indices

    def step_log_prob(self, rankings: Tensor) -> Tensor:
        """Log-probability of each place's choice given those above, 0 for padding.

        Rankings (..., k) or (samples, ..., k), the shape of what is returned, may be prefixes:
        unplaced items stay in the denominators.
        """
        k, n = rankings.shape[-1], self.scores.shape[-1]
        scores = self.scores.expand(*rankings.shape[:-1], n)
        mask = self.where.expand(*rankings.shape[:-1], n)
        placed, real = scores.gather(-1, rankings), mask.gather(-1, rankings)
        if k == n:
            return (placed - suffix_logsumexp(placed, real)).masked_fill(~real, 0.0)
        # Denominators: the unplaced ones, then the placed ones from the last backwards.
        unplaced = mask.scatter(-1, rankings, False)
        tail = torch.logsumexp(scores.masked_fill(~unplaced, low(scores)), dim=-1, keepdim=True)
        every = torch.cat([placed, tail], dim=-1)
        shown = torch.cat([real, unplaced.any(dim=-1, keepdim=True)], dim=-1)
        rest = suffix_logsumexp(every, shown)[..., :-1]
        return (placed - rest).masked_fill(~real, 0.0)

    def log_prob(self, rankings: Tensor) -> Tensor:
        """Log-probability of rankings, or of their being the first k places.

        Shape (...) or (samples, ...).
        """
        return self.step_log_prob(rankings).sum(dim=-1)

    def set_log_prob(self, members: Tensor) -> Tensor:
        """Log-probability that these items come first, in any order among themselves: (...).

        Exact: the sum over their orders, by subsets. 0 where they are all items, or none.

        Parameters
        ----------
        members
            (..., list), which items; of each list another number, at most 10

        Raises
        ------
        OptionError
            For larger sets, and for members that are padding.

        Examples
        --------
        >>> policy = PlackettLuce(torch.tensor([1.0, 2.0, 3.0]).log())
        >>> policy.set_log_prob(torch.tensor([False, True, True])).exp()  # 7/12
        tensor(0.5833)
        """
        members = members.bool()
        if bool((members & ~self.where).any()):
            raise OptionError("members: padding is among them, which is never drawn.")
        members = members.expand(self.scores.shape)
        size = members.sum(dim=-1)
        most = int(size.max()) if size.numel() else 0
        if most > LARGEST:
            raise OptionError(
                f"a set of {most} items: at most {LARGEST}, of which 2^{LARGEST} subsets are"
                " summed. Take the probability of their order (log_prob)."
            )
        nothing = low(self.scores)
        first = members.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[..., :most]
        drawn = self.scores.gather(-1, first).masked_fill(~members.gather(-1, first), nothing)
        others = self.where & ~members
        tail = torch.logsumexp(self.scores.masked_fill(~others, nothing), dim=-1)
        found = prefix_log_probs(drawn, tail).gather(-1, size[..., None]).squeeze(-1)
        return found.masked_fill(~others.any(dim=-1), 0.0)

    def log_prob_labels(
        self, labels: Tensor, ties: Literal["efron", "breslow"] = "efron"
    ) -> Tensor:
        """Log-probability of the weak order by labels, higher first, equal labels tied: (...).

        Ties: Efron's approximation (the average over their orders, to first order) or Breslow's
        (all against the whole rest). Partial orders: mask what was not placed, or give all of it
        the lowest label.
        """
        order = descending(widen(labels), self.where)
        labels = widen(labels).gather(-1, order)
        scores, mask = self.scores.gather(-1, order), self.where.gather(-1, order)
        n = scores.shape[-1]
        same = (labels[..., :, None] == labels[..., None, :]) & pairs_of(mask)
        place = torch.arange(n, device=scores.device)
        start = torch.where(same, place, n).amin(dim=-1).clamp(max=n - 1)
        size = same.sum(dim=-1)
        rest = suffix_logsumexp(scores, mask).gather(-1, start)
        if ties == "efron":
            among = scores[..., None, :].masked_fill(~same, low(scores))
            tied = torch.logsumexp(among, dim=-1)
            share = (place - start) / size.clamp(min=1)
            rest = rest + torch.log1p(-(share * torch.exp(tied - rest)).clamp(max=1 - 1e-6))
        elif ties != "breslow":
            raise OptionError(f"ties={ties!r}: use 'efron' or 'breslow'.")
        last = (start + size >= mask.sum(dim=-1, keepdim=True)) & (size > 0)
        # The order within the last group is no choice.
        return (scores - rest).masked_fill(~mask | (last & (size > 1)), 0.0).sum(dim=-1)

    def entropy(self, samples: int = 256, generator: torch.Generator | None = None) -> Tensor:
        """Entropy in nats: (...).

        Exact up to 7 items, beyond by ``samples`` rankings (the mean of each step's exact entropy).
        """
        return -self._expected_step(self, samples, generator)

    def kl(
        self, other: PlackettLuce, samples: int = 256, generator: torch.Generator | None = None
    ) -> Tensor:
        """KL(self || other) in nats, same mask: (...).

        Exact up to 7 items, beyond estimated from self's rankings.
        """
        own = self._expected_step(self, samples, generator)
        return own - self._expected_step(other, samples, generator)

    def _expected_step(
        self, of: PlackettLuce, samples: int, generator: torch.Generator | None
    ) -> Tensor:
        """E_self[log p_of(ranking)]."""
        n = self.scores.shape[-1]
        if n <= EXACT:
            own, other = self._enumerate(self), self._enumerate(of)
            return (own.exp() * other).masked_fill(torch.isneginf(own), 0.0).sum(dim=0)
        if generator is None:
            generator = torch.Generator(device=self.scores.device).manual_seed(0)
        before = generator.get_state()
        with torch.no_grad():
            rankings = self.sample(samples, generator=generator)
        generator.set_state(before)  # both expectations of a KL over the same rankings
        # Rao-Blackwell: at each place, the exact expectation over the next choice.
        total = torch.zeros_like(self.scores[..., 0]).expand(samples, *self.scores.shape[:-1])
        left = self.where.expand(samples, *self.where.shape).clone()
        nothing = low(self.scores)
        for place in range(n):
            p = torch.log_softmax(self.scores.masked_fill(~left, nothing), dim=-1)
            q = torch.log_softmax(of.scores.masked_fill(~left, nothing), dim=-1)
            total = total + torch.where(left, p.exp() * q, 0.0).sum(dim=-1)
            left = left.scatter(-1, rankings[..., place : place + 1], False)
        return total.mean(dim=0)

    def _enumerate(self, of: PlackettLuce) -> Tensor:
        """Log-probability of every ranking (n!, ...), -inf for repeats that only move padding."""
        n = of.scores.shape[-1]
        orders = _orders(n).to(of.scores.device)
        rankings = orders.reshape(len(orders), *[1] * (of.scores.ndim - 1), n)
        rankings = rankings.expand(len(orders), *of.scores.shape)
        real = of.where.expand(rankings.shape).gather(-1, rankings)
        place = torch.arange(n, device=of.scores.device)
        # Real items first, padding in its own order.
        tidy = (real | (place >= of.size[..., None])).all(dim=-1)
        pads = torch.where(real, -1, rankings)
        tidy &= (pads == pads.cummax(dim=-1).values).all(dim=-1) | (of.size >= n - 1)
        return of.log_prob(rankings).masked_fill(~tidy, -torch.inf)

    def rank_probabilities(
        self, samples: int = 1000, generator: torch.Generator | None = None
    ) -> Tensor:
        """Probability of each item (row) at each place: (..., list, list).

        Exact up to 7 items, beyond by sampling.
        """
        n = self.scores.shape[-1]
        if n <= EXACT:
            chance = self._enumerate(self).exp()
            orders = _orders(n).to(self.scores.device)
            at = torch.nn.functional.one_hot(orders, n).transpose(-1, -2).to(chance.dtype)
            return torch.einsum("m...,mip->...ip", chance, at)
        rankings = self.sample(samples, generator=generator)
        at = torch.nn.functional.one_hot(rankings, n).to(self.scores.dtype)
        return at.mean(dim=0).transpose(-1, -2)


class Mallows:
    """Mallows: probability proportional to exp(-dispersion * Kendall distance to a centre).

    Parameters
    ----------
    centre
        (list,), the central ranking
    dispersion
        >= 0; 0 is uniform
    """

    def __init__(self, centre: Tensor, dispersion: float) -> None:
        if dispersion < 0:
            raise OptionError(f"dispersion={dispersion}: it is at least 0.")
        self.centre, self.dispersion = centre, float(dispersion)

    def log_partition(self) -> float:
        """log of the sum over rankings of exp(-dispersion * distance).

        The sum over places i of log(1 + q + ... + q^(i-1)), q = exp(-dispersion).
        """
        q = math.exp(-self.dispersion)
        total, powers = 0.0, 0.0
        for place in range(len(self.centre)):
            powers += q**place
            total += math.log(powers)
        return total

    def distance(self, rankings: Tensor) -> Tensor:
        """Kendall distance to the centre, discordant pairs: (...)."""
        place = self.centre.argsort()[rankings]
        return (place[..., :, None] > place[..., None, :]).triu(1).sum(dim=(-1, -2))

    def log_prob(self, rankings: Tensor) -> Tensor:
        """Log-probability of full rankings (..., list): (...)."""
        return -self.dispersion * self.distance(rankings) - self.log_partition()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n rankings by repeated insertion: (n, list)."""
        out = torch.empty(n, 0, dtype=torch.long)
        for i, item in enumerate(self.centre.tolist()):
            weight = torch.exp(-self.dispersion * torch.arange(i, -1, -1, dtype=torch.float64))
            at = torch.multinomial(weight, n, replacement=True, generator=generator)
            places = torch.arange(i).expand(n, i)
            key = places + (places >= at[:, None])
            grown = torch.empty(n, i + 1, dtype=torch.long).scatter(1, key, out)
            out = grown.scatter(1, at[:, None], item)
        return out


class BradleyTerry:
    """Bradley-Terry: i beats j with probability sigmoid(score_i - score_j).

    Plackett-Luce on two items.

    Parameters
    ----------
    scores
        (..., list), log-odds
    """

    def __init__(self, scores: Tensor) -> None:
        self.scores = widen(scores)

    def probabilities(self) -> Tensor:
        """P(row beats column): (..., list, list)."""
        return torch.sigmoid(self.scores[..., :, None] - self.scores[..., None, :])

    def log_prob(self, i: Tensor, j: Tensor, outcome: Tensor | float = 1.0) -> Tensor:
        """Log-likelihood of outcomes in [0, 1] of i against j: the shape of ``i``.

        A tie is half a win of each.
        """
        gap = self.scores.gather(-1, i) - self.scores.gather(-1, j)
        log = torch.nn.functional.logsigmoid
        return outcome * log(gap) + (1 - outcome) * log(-gap)

    def sample(self, i: Tensor, j: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Outcomes, 1 where i wins: the shape of ``i``."""
        chance = torch.sigmoid(self.scores.gather(-1, i) - self.scores.gather(-1, j))
        return torch.bernoulli(chance, generator=generator)
