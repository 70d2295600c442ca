"""Short sequences whose true reward is known, and small policies that write them.

Where objectives of alignment can be tried with many seeds in minutes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SequenceWorld:
    """Prompts and answers of few tokens with a fixed random reward.

    Its standard deviation is 1 over random answers: r(x, y) = [sum_t A[t mod P, x_(t mod P), y_t] +
    sum_t B[y_t, y_(t+1)]] / sqrt(2 T - 1), A and B standard normal, P and T the lengths of prompt
    and answer.

    Parameters
    ----------
    seed
        of A and B
    tokens, prompt, answer
        size of the vocabulary, lengths

    Examples
    --------
    >>> world = SequenceWorld(0)
    >>> x = world.prompts(3, seed=1)
    >>> world.reward(x, world.random_answers(x, 5, seed=2)).shape
    torch.Size([3, 5])
    """

    def __init__(self, seed: int, tokens: int = 12, prompt: int = 4, answer: int = 6) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tokens, self.prompt, self.answer = tokens, prompt, answer
        self.place = torch.randn(prompt, tokens, tokens, generator=generator)
        self.follow = torch.randn(tokens, tokens, generator=generator)

    def prompts(self, n: int, seed: int) -> Tensor:
        """(n, prompt)"""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.tokens, (n, self.prompt), generator=generator)

    def random_answers(self, prompts: Tensor, n: int, seed: int) -> Tensor:
        """Uniform answers, (prompts, n, answer)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.tokens, (len(prompts), n, self.answer), generator=generator)

    def reward(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """(prompts, answers of each)"""
        place = torch.arange(self.answer) % self.prompt
        asked = prompts[:, None, place].expand(-1, answers.shape[1], -1)
        own = self.place[place, asked, answers].sum(dim=-1)
        pairs = self.follow[answers[..., :-1], answers[..., 1:]].sum(dim=-1)
        return (own + pairs) / math.sqrt(2 * self.answer - 1)


class SequencePolicy(nn.Module):
    """A GRU that reads the prompt as its initial state and writes the answer token by token."""

    def __init__(self, world: SequenceWorld, width: int = 64, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.length = world.answer
            self.embed = nn.Embedding(world.tokens + 1, width)  # the last one starts an answer
            self.place = nn.Parameter(0.1 * torch.randn(world.prompt, width))
            self.start = nn.Linear(world.prompt * width, width)
            self.cell = nn.GRU(width, width, batch_first=True)
            self.head = nn.Linear(width, world.tokens)

    def states(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """State after the start and after each token: (prompts, n, answer + 1, width)."""
        n = answers.shape[1]
        first = torch.full_like(answers[..., :1], self.embed.num_embeddings - 1)
        seen = torch.cat([first, answers], dim=-1).flatten(0, 1)
        start = self._start(prompts).repeat_interleave(n, dim=0)[None]
        found, _ = self.cell(self.embed(seen), start)
        return found.unflatten(0, (len(prompts), n))

    def _start(self, prompts: Tensor) -> Tensor:
        return torch.tanh(self.start((self.embed(prompts) + self.place).flatten(-2)))

    def forward(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """Log-probabilities of the tokens: (prompts, n, answer)."""
        return self._next(prompts, answers).gather(-1, answers[..., None]).squeeze(-1)

    def _next(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """Log-probabilities of all tokens at each place: (prompts, n, answer, tokens)."""
        before = self.states(prompts, answers)[..., :-1, :]
        return torch.log_softmax(self.head(before), dim=-1)

    @torch.no_grad()
    def sample(
        self,
        prompts: Tensor,
        n: int,
        seed: int,
        prefix: Tensor | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """``n`` answers of each prompt, (prompts, n, answer).

        They go on after the tokens of ``prefix`` (prompts, n, tokens).
        """
        generator = torch.Generator().manual_seed(seed)
        state = self._start(prompts).repeat_interleave(n, dim=0)[None]
        token = torch.full((len(prompts) * n, 1), self.embed.num_embeddings - 1)
        given = token[:, :0]
        if prefix is not None:
            given = prefix.flatten(0, 1)
        out: list[Tensor] = []
        for place in range(self.length):
            found, state = self.cell(self.embed(token), state)
            if place < given.shape[1]:
                token = given[:, place : place + 1]
            else:
                chances = torch.softmax(self.head(found[:, 0]) / temperature, dim=-1)
                token = torch.multinomial(chances, 1, generator=generator)
            out.append(token)
        return torch.cat(out, dim=1).unflatten(0, (len(prompts), n))

    @torch.no_grad()
    def kl(self, other: SequencePolicy, prompts: Tensor, answers: Tensor) -> float:
        """KL of whole answers from another policy, nats, over answers that this one sampled.

        Exact in each step given what came before.
        """
        own, theirs = self._next(prompts, answers), other._next(prompts, answers)
        return float((own.exp() * (own - theirs)).sum(dim=-1).sum(dim=-1).mean())
