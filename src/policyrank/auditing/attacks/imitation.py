"""Imitation of a black-box ranker from the order of its lists.

Liu et al. (2022), arXiv 2209.06506.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policyrank.auditing.attacks.language import Corpus
from policyrank.errors import EvidenceError

Victim = Callable[[str, Sequence[str]], NDArray[np.float64]]
"""(query, documents) -> scores (documents,), higher is better. The attacks look at their order
only.
"""


def pairs_from_ranking(
    length: int, *, top: int = 25, tail: int = 4, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Pairs of places (better, worse) from a ranked list: (pairs, 2).

    All within the ``top``, and of each of these ``tail`` drawn from the rest.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> len(pairs_from_ranking(100, rng=rng)), len(pairs_from_ranking(10, rng=rng))
    (400, 45)
    """
    best = min(top, length)
    head = np.stack(np.triu_indices(best, 1), axis=1)
    take = min(tail, length - best)
    if take <= 0:
        return head
    others = np.arange(best, length)
    rest = np.concatenate([rng.choice(others, take, replace=False) for _ in range(best)])
    better = np.repeat(np.arange(best), take)
    return np.concatenate([head, np.stack([better, rest], axis=1)])


def smoothed_pair_loss(better: Tensor, worse: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy of 'better wins' with label smoothing. (...) -> ()

    The target of the better one is 1 - smoothing / 2.

    Examples
    --------
    >>> round(float(smoothed_pair_loss(torch.tensor([2.0]), torch.tensor([0.0]))), 4)
    0.2269
    """
    gap = better - worse
    return -(
        (1 - smoothing / 2) * nn.functional.logsigmoid(gap)
        + smoothing / 2 * nn.functional.logsigmoid(-gap)
    ).mean()


class Imitation(nn.Module):
    """A small ranker of words.

    It sees vectors of words learned from the lists, their best matches, exact matches, and the
    length.

    Parameters
    ----------
    corpus
        vocabulary and first vectors
    reads
        words of a document that count; the victim's own limit is not known to an attacker
    """

    idf: Tensor

    def __init__(self, corpus: Corpus, size: int = 64, hidden: int = 16, reads: int = 256) -> None:
        super().__init__()
        self.corpus, self.reads = corpus, reads
        self.vectors = nn.Parameter(torch.from_numpy(corpus.vectors(size)))
        self.register_buffer("idf", torch.from_numpy(corpus.idf).float())
        self.head = nn.Sequential(nn.Linear(5, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def pad(self, documents: Sequence[NDArray[np.int64]]) -> Tensor:
        """(documents, words), -1 where a document has ended."""
        width = max(1, min(self.reads, max(map(len, documents), default=1)))
        out = np.full((len(documents), width), -1, dtype=np.int64)
        for row, document in enumerate(documents):
            out[row, : min(len(document), width)] = document[:width]
        return torch.from_numpy(out)

    def forward(self, query: Tensor, documents: Tensor, embedded: Tensor | None = None) -> Tensor:
        """Scores (documents,) of one query (words,) for padded documents (documents, words).

        ``embedded`` replaces their vectors.
        """
        known = query[query > 0].unique()
        if not len(known):
            return self.head(torch.zeros(len(documents), 5)).squeeze(-1)
        shown, places = (documents > 0).float(), documents.clamp(min=0)
        if embedded is None:
            embedded = self.vectors[places]
        weight = self.idf[places] * shown
        asked, idf = self.vectors[known], self.idf[known]
        total = weight.sum(dim=1, keepdim=True).clamp(min=1e-6)
        mean = (embedded * weight[..., None]).sum(dim=1) / total
        topic = (asked * idf[:, None]).sum(dim=0)[None]
        cosine = nn.functional.cosine_similarity(mean, topic, dim=-1)
        unit = nn.functional.normalize(embedded, dim=-1)
        near = unit @ nn.functional.normalize(asked, dim=-1).T
        best = near.masked_fill(shown[..., None] == 0, -1.0).amax(dim=1)
        tf = (documents[:, :, None] == known).sum(dim=1).float()
        share = idf / idf.sum()
        length = shown.sum(dim=1)
        matched = (tf / (tf + 0.5 + length[:, None] / 150)) @ share
        features = torch.stack(
            [
                4 * cosine,
                4 * best @ share,
                2 * (tf > 0).float() @ share,
                4 * matched,
                torch.log1p(length) - 5,
            ],
            dim=1,
        )
        return self.head(features).squeeze(-1)

    @torch.no_grad()
    def scores(
        self, query: str, documents: Sequence[NDArray[np.int64]], batch: int = 512
    ) -> NDArray[np.float64]:
        """Scores (documents,) of documents given as places in the vocabulary."""
        self.eval()
        asked = torch.from_numpy(self.corpus.encode(query))
        parts = []
        for start in range(0, len(documents), batch):
            parts.append(self(asked, self.pad(documents[start : start + batch])))
        return torch.cat(parts).double().numpy()


class ImitationOptions(TypedDict, total=False):
    """Options of ``Imitation``."""

    size: int
    hidden: int
    reads: int


def imitate(
    lists: Mapping[str, Sequence[int]],
    corpus: Corpus,
    *,
    epochs: int = 4,
    learning_rate: float = 3e-3,
    top: int = 25,
    tail: int = 4,
    smoothing: float = 0.1,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
    **options: Unpack[ImitationOptions],
) -> Imitation:
    """Train an imitation on a victim's ranked lists.

    Parameters
    ----------
    lists
        query -> places of documents in the corpus, best first, as the victim ranked them
    top, tail
        see ``pairs_from_ranking``
    options
        of ``Imitation``

    Raises
    ------
    EvidenceError
        When no list has two documents.
    """
    usable = {query: list(found) for query, found in lists.items() if len(found) > 1}
    if not usable:
        raise EvidenceError(
            "no list of the victim has two documents: there is no order to imitate."
        )
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Imitation(corpus, **options)
    steps, asked = epochs * len(usable), list(usable)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for epoch in range(epochs):
        if report is not None:
            report(f"imitating: epoch {epoch + 1} of {epochs}")
        for place in rng.permutation(len(asked)):
            text = asked[place]
            found = usable[text]
            pairs = torch.from_numpy(pairs_from_ranking(len(found), top=top, tail=tail, rng=rng))
            used, back = torch.unique(pairs, return_inverse=True)
            query = torch.from_numpy(corpus.encode(text))
            scores = model(query, model.pad([corpus.tokens[found[int(one)]] for one in used]))
            loss = smoothed_pair_loss(scores[back[:, 0]], scores[back[:, 1]], smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()
