"""Options of ``policyrank train search-agent``: what is searched, and how far an agent may go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.options import AtLeastOne, Flag
from policyrank.cli.output import say, working
from policyrank.cli.tuning import Positive
from policyrank.errors import OptionError

if TYPE_CHECKING:
    from policyrank.train import TurnLimits

SEARCH = Group("Search", sort_key=2)
TURNS = Group("Turns", sort_key=3)
ORACLE = "oracle"
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Finite = Annotated[float, Parameter(validator=Number(gt=-1e9, lt=1e9))]


@Parameter(name="*", group=SEARCH)
@dataclass(frozen=True)
class Searching:
    """What the agent searches, and how its answers are judged.

    Parameters
    ----------
    corpus
        Folder of texts, JSONL, TSV or parquet with documents, or the URL of a running search server
        as of Search-R1 (http://host:8000/retrieve).
    passage_words
        Cut documents into passages of so many words (None: each is one).
    first_stage
        Who finds candidates in a corpus that is no server.
    encoder
        Of --first-stage dense.
    ranker
        Reranks what was found: what `policyrank train ranker` wrote for texts, a
        sentence-transformers folder or hub name; or oracle, which puts passages that hold a right
        answer first (how good an agent could be).
    kind
        cross-encoder or bi-encoder, for rankers of others.
    train_ranker
        Let the ranker learn beside the agent, from the same trajectories; it is written to
        OUT/ranker.
    ranker_learning_rate
        Of a ranker that learns.
    freeze_agent
        Let only the ranker learn.
    gate
        How good a ranking must be for the agent's reward to be added to its own.
    like
        Least likeness of sub-queries that are compared with one another.
    depth
        Candidates that a ranker gets.
    passages
        That the agent is shown of each search.
    shown_words
        Of each passage that is shown (None: all).
    label
        Column with the right answer, or a list of them.
    metric
        Of the final answer.
    style
        How calls are written: template (the chat template's own), tags (<search>), json, xml, bare,
        python, marked (None: the template's own where it has one, else tags).
    instruction
        File with what stands before each question (None: a built-in one).
    """

    corpus: str
    passage_words: AtLeastOne | None = None
    first_stage: Literal["bm25", "dense"] = "bm25"
    encoder: str = "minilm"
    ranker: str | None = None
    kind: str | None = None
    train_ranker: Flag = False
    ranker_learning_rate: Positive = 1e-5
    freeze_agent: Flag = False
    gate: Share = 0.5
    like: Share = 0.8
    depth: AtLeastOne = 50
    passages: AtLeastOne = 3
    shown_words: AtLeastOne | None = None
    label: str = "answer"
    metric: Literal["f1", "exact"] = "f1"
    style: str | None = None
    instruction: Path | None = None

    def __post_init__(self) -> None:
        if self.train_ranker and self.ranker in (None, ORACLE):
            raise OptionError("--train-ranker: name the --ranker that is to learn.")
        if self.train_ranker and "://" in self.corpus:
            raise OptionError(
                "--train-ranker learns from a corpus that is read here, not a server."
            )
        if self.freeze_agent and not self.train_ranker:
            raise OptionError("--freeze-agent: nothing would learn. Give --train-ranker.")

    def learner(self, seed: int) -> Any:
        """What learns to rank beside the agent.

        Raises
        ------
        EvidenceError
            When the ranker cannot be read.
        """
        from policyrank.train import RankerLearner, RankerPolicy
        from policyrank.train.saved_rankers import kind_of
        from policyrank.train.text_rankers import TEXT_RANKERS

        ranker = str(self.ranker)
        module = TEXT_RANKERS[kind_of(ranker, self.kind)](ranker)
        first = self._first()
        policy = RankerPolicy(first, module, self.depth, seed=seed)
        return RankerLearner(
            policy,
            first.documents,
            self.label,
            learning_rate=self.ranker_learning_rate,
            gate=self.gate,
            threshold=self.like,
        )

    def engine(self) -> Any:
        """The engine that was asked for."""
        from policyrank.train import OracleEngine, RerankedEngine

        first = self._first()
        if self.ranker is None:
            if self.kind is not None:
                raise OptionError("--kind is of a --ranker: name one.")
            return first
        if self.ranker == ORACLE:
            return OracleEngine(first, self.label, self.depth)
        from policyrank.train.saved_rankers import kind_of, load_text_ranker
        from policyrank.train.served import ServedTexts

        module = load_text_ranker(self.ranker, kind=self.kind, report=say)
        kind = kind_of(self.ranker, self.kind)
        return RerankedEngine(first, ServedTexts(module, kind), self.depth)

    def _first(self) -> Any:
        from policyrank.evidence import read_corpus
        from policyrank.train import Bm25Engine, DenseEngine, ServerEngine

        if "://" in self.corpus:
            if self.passage_words is not None:
                raise OptionError("--passage-words is of a corpus that is read here, not a server.")
            return ServerEngine(self.corpus)
        with working("Reading the corpus ..."):
            documents = read_corpus(self.corpus, words=self.passage_words)
            if self.first_stage == "bm25":
                return Bm25Engine(documents)
            from policyrank.models import load_encoder

            return DenseEngine(documents, load_encoder(self.encoder))

    def settings(self) -> dict[str, Any]:
        """What was told, for the record."""
        return {name: value for name, value in vars(self).items() if value is not None}


@Parameter(name="*", group=TURNS)
@dataclass(frozen=True)
class Turns:
    """How far an agent may go.

    Parameters
    ----------
    turns
        Of the agent, the last one with its answer.
    turn_tokens
        Of a turn.
    read_tokens
        Read after a turn; longer ones are cut, and counted.
    keep
        What stays of what is cut: its head, its tail, or both ends.
    go_on_cut
        Let the world answer a turn that reaches --turn-tokens before its end, instead of stopping.
    environment_seconds
        That a search may take.
    round_seconds
        That all trajectories of a round may take together (None: as long as they take).
    failed
        Added to the reward of a turn that is neither call nor answer, or whose call is wrong.
    unfinished
        Added to the reward of a trajectory that a limit stopped.
    by_turn
        Compare each turn with the same turn of the others, by what is gained from it on.
    discount
        Of what is gained a turn later.
    """

    turns: AtLeastOne = 4
    turn_tokens: AtLeastOne = 256
    read_tokens: AtLeastOne = 512
    keep: Literal["head", "tail", "ends"] = "head"
    go_on_cut: Flag = False
    environment_seconds: Positive = 60.0
    round_seconds: Positive | None = None
    failed: Finite = 0.0
    unfinished: Finite = 0.0
    by_turn: Flag = False
    discount: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 1.0

    def limits(self, tokens: int) -> TurnLimits:
        """Of a trajectory of so many tokens."""
        from policyrank.train import TurnLimits

        return TurnLimits(
            turns=self.turns,
            turn_tokens=min(self.turn_tokens, tokens),
            tokens=tokens,
            read_tokens=self.read_tokens,
            keep=self.keep,
            stop_cut=not self.go_on_cut,
            environment_seconds=self.environment_seconds,
            seconds=self.round_seconds,
        )

    def reward(self) -> Any:
        """Of a trajectory, or of each of its turns."""
        from policyrank.train import turn_reward

        return turn_reward(
            by_turn=self.turns if self.by_turn else None,
            discount=self.discount,
            unfinished=self.unfinished or None,
        )
