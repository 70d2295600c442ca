"""A ranker that learns beside the agent that searches by it: two policies, one set of rollouts."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policyrank.errors import EvidenceError, OptionError
from policyrank.files import written
from policyrank.learn import PlackettLuce, group_advantage
from policyrank.learn.rewards import mean_hit, ranker_reward
from policyrank.metrics.short_answers import holds_answer
from policyrank.train.group_making import ComparedGroups
from policyrank.train.group_report import of_outputs
from policyrank.train.likeness import Likeness, semantic_groups
from policyrank.train.search_engines import Passage, SearchEngine
from policyrank.train.text_rankers import TextRanker
from policyrank.train.texts import Texts
from policyrank.train.turn_limits import FAILED
from policyrank.worlds.agents import right_answers

KEPT = "ranker.pt"


class Ranking(list[Passage]):
    """Passages as they were ranked, with what the learner needs of them."""

    detail: Mapping[str, Any]


@dataclass
class RankerPolicy:
    """A search engine that draws its rankings: Plackett-Luce over a text ranker's scores.

    Parameters
    ----------
    first
        whose ``depth`` best are ranked
    ranker
        cross- or bi-encoder
    temperature
        of the scores; 0: the ranking is not drawn but the likeliest (a frozen ranker)
    seed
        of the draws, which depend on how many engines were made before (``fresh``)
    """

    first: SearchEngine
    ranker: TextRanker
    depth: int = 20
    temperature: float = 1.0
    seed: int = 0
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.depth < 2 or self.temperature < 0:
            raise OptionError(
                f"depth={self.depth}, temperature={self.temperature}: 2 or more, 0 or more."
            )
        self._lock = threading.Lock()

    def fresh(self) -> SearchEngine:
        """An engine of one trajectory, with draws of its own."""
        with self._lock:
            rng = np.random.default_rng([self.seed, self.made])
            self.made += 1

        def search(query: str, k: int) -> Ranking:
            known = list(self.first(query, max(self.depth, k)))
            scores = self._scores_now(query, [own.text for own in known])
            keys = scores
            if self.temperature:
                keys = scores / self.temperature + rng.gumbel(size=len(scores))
            order = np.argsort(-keys, kind="stable")[:k]
            found = Ranking(
                Passage(known[place].name, known[place].text, float(scores[place]))
                for place in order
            )
            names = [own.name for own in known]
            found.detail = {"candidates": names, "order": [int(place) for place in order]}
            return found

        return search

    def __call__(self, query: str, k: int, /) -> Ranking:
        """As an engine of a trajectory of its own."""
        return self.fresh()(query, k)  # type: ignore[return-value]

    def _scores_now(self, query: str, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        if not texts:
            return np.zeros(0)
        with self._lock, torch.no_grad():
            was = self.ranker.training
            self.ranker.eval()
            found = self.scores([query], [texts])
            self.ranker.train(was)
        return found[0].double().cpu().numpy()

    def scores(self, queries: Sequence[str], texts: Sequence[Sequence[str]]) -> Tensor:
        """Scores of the candidates of each query, with gradients: (queries, most), padded by 0."""
        width = max(map(len, texts))
        places = np.zeros((len(queries), width), dtype=np.int64)
        where = torch.zeros(len(queries), width, dtype=torch.bool)
        collection: list[str] = []
        for row, own in enumerate(texts):
            places[row, : len(own)] = range(len(collection), len(collection) + len(own))
            where[row, : len(own)] = True
            collection += own
        device = next(self.ranker.parameters()).device
        return self.ranker(Texts(tuple(queries), places, collection), where.to(device))


@dataclass(frozen=True)
class _Call:
    """A search of a trajectory: what was ranked, and what is known of it."""

    query: str
    names: list[str]
    order: list[int]
    group: int
    main: float
    relevant: list[bool]


@dataclass
class RankerLearner:
    """Learns from the agent's rollouts how to rank, for ``GroupTrainer(companion=...)``.

    After each round the searches of the same question whose sub-queries are alike are a group; each
    ranking is rewarded by ``learn.rewards.ranker_reward`` and compared with its group, and the
    ranker takes one step of the policy gradient, without dropout. Searches of trajectories whose
    environment failed, and of those that were not rewarded, are left out.

    Parameters
    ----------
    policy
        whose rankings they are
    documents
        texts by name
    label
        column with the right answers
    learning_rate
        of AdamW
    gate, binarise
        see ``learn.rewards.ranker_reward``
    threshold, least, likeness
        see ``semantic_groups``
    places
        cut-offs of r_rel
    finished
        leave out searches of trajectories that a limit stopped (the paper); else their r_main
        counts
    batch
        searches that are read at once

    Raises
    ------
    OptionError
        For a policy that draws nothing.
    """

    policy: RankerPolicy
    documents: Mapping[str, str]
    label: str = "answer"
    learning_rate: float = 1e-5
    gate: float = 0.5
    binarise: float | None = None
    threshold: float = 0.8
    least: int = 3
    likeness: str | Likeness = "tokens"
    places: tuple[int, ...] = (1, 3, 5)
    finished: bool = True
    batch: int = 4

    def __post_init__(self) -> None:
        if not self.policy.temperature:
            raise OptionError("temperature=0: a ranker that draws nothing learns nothing.")
        own = [weights for weights in self.policy.ranker.parameters() if weights.requires_grad]
        self._optimizer = torch.optim.AdamW(own, lr=self.learning_rate, weight_decay=0.0)
        self._weights = own

    def facts(self) -> dict[str, Any]:
        """What a run depends on."""
        names = ("learning_rate", "gate", "binarise", "threshold", "least", "places", "finished")
        found = {name: getattr(self, name) for name in names}
        found |= {"likeness": str(self.likeness), "depth": self.policy.depth}
        return found | {"temperature": self.policy.temperature, "seed": self.policy.seed}

    def compared(self, found: ComparedGroups, step: int, process: int = 0) -> dict[str, float]:
        """Learn from a round; what it was like, for the log.

        Raises
        ------
        OptionError
            When the searches were not by ``policy``.
        """
        calls = self._calls(found)
        told = {"ranker/searches": float(len(calls))}
        if not calls:
            return told
        held = torch.tensor([any(call.relevant) for call in calls])
        width = max(len(call.order) for call in calls)
        relevance = torch.zeros(len(calls), max(width, 1))
        for row, call in enumerate(calls):
            for place, k in enumerate(call.order):
                relevance[row, place] = float(call.relevant[k])
        ranked = mean_hit(relevance, self.places).double()
        rewards = ranker_reward(
            ranked,
            torch.tensor([max(call.main, 0.0) for call in calls], dtype=torch.float64),
            held,
            torch.ones_like(held),
            gate=self.gate,
            right_from=self.binarise,
        )
        groups = semantic_groups(
            [call.query for call in calls],
            [call.group for call in calls],
            strata=held.tolist(),
            threshold=self.threshold,
            least=self.least,
            likeness=self.likeness,
        )
        inside = torch.from_numpy(groups >= 0)
        told |= {
            "ranker/reward": float(rewards.mean()),
            "ranker/held": float(held.double().mean()),
            "ranker/grouped": float(inside.double().mean()),
        }
        if bool(held.any()):
            told["ranker/hit"] = float(ranked[held].mean())
        gains = group_advantage(
            rewards.masked_fill(~inside, torch.nan), groups.tolist(), scale="sample", epsilon=1e-6
        )
        learned = [k for k in range(len(calls)) if gains[k].abs() > 0]
        told["ranker/learned"] = len(learned) / len(calls)
        if learned:
            told["ranker/gradient"] = self._step([calls[k] for k in learned], gains[learned])
        return told

    def _calls(self, found: ComparedGroups) -> list[_Call]:
        rollouts, rewards = found.rollouts, of_outputs(found.said.values)
        columns, calls = rollouts.columns, []
        for row, group in enumerate(rollouts.groups.tolist()):
            stopped = columns["stopped"][row]
            left_out = stopped in FAILED or (self.finished and stopped != "done")
            if left_out or np.isnan(rewards[row]):
                continue
            right = right_answers({self.label: columns[self.label][row]}, self.label)
            main = float(sum(columns["turn_rewards"][row]))
            for turn in columns["trajectory"][row]["turns"]:
                for call in turn["calls"]:
                    detail = call.get("detail", {})
                    if "order" not in detail or len(detail["order"]) < 1:
                        continue
                    names = list(detail["candidates"])
                    relevant = [holds_answer(self.documents[name], right) for name in names]
                    query = str(next(iter(call["arguments"].values()), ""))
                    calls.append(_Call(query, names, list(detail["order"]), group, main, relevant))
        return calls

    def _step(self, calls: Sequence[_Call], gains: Tensor) -> float:
        """One step of AdamW; the norm of the gradient."""
        ranker = self.policy.ranker
        ranker.eval()  # as rankings were drawn: without dropout
        self._optimizer.zero_grad()
        for first in range(0, len(calls), self.batch):
            own = calls[first : first + self.batch]
            likely = self._log_probs(own)
            loss = -(gains[first : first + self.batch].to(likely) * likely).sum() / len(calls)
            loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self._weights, 1.0))
        if not np.isfinite(norm):
            raise EvidenceError("the ranker's gradient is not finite. Lower its learning rate.")
        self._optimizer.step()
        return norm

    def _log_probs(self, calls: Sequence[_Call]) -> Tensor:
        """How likely each ranking is, as far as it was shown: (calls,)."""
        texts = [[self.documents[name] for name in call.names] for call in calls]
        scores = self.policy.scores([call.query for call in calls], texts)
        found = []
        for row, call in enumerate(calls):
            own = scores[row, : len(call.names)] / self.policy.temperature
            order = torch.tensor(call.order, device=own.device)
            found.append(PlackettLuce(own).log_prob(order))
        return torch.stack(found)

    def save(self, folder: Path) -> None:
        """Write what training goes on from."""
        state = {
            "ranker": self.policy.ranker.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "made": self.policy.made,
        }
        with written(folder / KEPT) as part:
            torch.save(state, part)

    def load(self, folder: Path) -> None:
        """Go on from what was written.

        Raises
        ------
        EvidenceError
            When it is not there.
        """
        path = folder / KEPT
        if not path.is_file():
            raise EvidenceError(f"{path}: the ranker of this checkpoint is missing.")
        state = torch.load(path, weights_only=True)
        self.policy.ranker.load_state_dict(state["ranker"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.policy.made = state["made"]
