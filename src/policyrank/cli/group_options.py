"""Options of ``policyrank train group``: how groups are sampled, by whom, and compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.answer_options import Samples, Tokens, objective_options
from policyrank.cli.options import METHOD, AtLeastOne, Count, Flag, Names
from policyrank.cli.reward_options import imported_function
from policyrank.cli.tuning import Lora, Positive
from policyrank.errors import OptionError

if TYPE_CHECKING:
    pass

SAMPLING = Group("Sampling", sort_key=3)


@Parameter(name="*", group=METHOD)
@dataclass(frozen=True)
class Compared:
    """How outputs of a group are compared and learned from, as wholes.

    Parameters
    ----------
    advantage
        How much better each output did than its group.
    advantage_option
        NAME=VALUE of the advantage, such as epsilon=1e-6; repeatable.
    objective
        ppo, grpo, dr-grpo, dapo, gspo, gmpo, cispo; segment-grpo where outputs have segments; or an
        objective of `train preference`, such as dpo or lipo-lambda, on groups that their rewards
        rank.
    option
        NAME=VALUE of the objective, such as beta=0.04; repeatable.
    reference
        Model that KL, or an objective of preferences, is to (None: KL to the one that training
        starts from, where it has a weight; preferences to the one that a round starts from).
    passes
        Over the groups of a round.
    steps_per_round
        Optimizer steps of one pass.
    keep_agreeing
        Let groups count whose outputs are rewarded alike: they hold to the reference.
    mask_cut
        Compare outputs that were cut, but do not learn from them.
    """

    advantage: Literal["grpo", "dr-grpo", "rloo", "ranks", "batch", "none"] = "grpo"
    advantage_option: Names = None
    objective: str = "dapo"
    option: Names = None
    reference: str | None = None
    passes: AtLeastOne = 1
    steps_per_round: AtLeastOne = 1
    keep_agreeing: Flag = False
    mask_cut: Flag = False

    def settings(self) -> dict[str, Any]:
        """As ``GroupConfig`` has them."""
        return {
            "advantage": self.advantage,
            "advantage_options": objective_options(self.advantage_option),
            "objective": self.objective,
            "objective_options": objective_options(self.option),
            "passes": self.passes,
            "steps_per_round": self.steps_per_round,
            "keep_agreeing": self.keep_agreeing,
            "mask_cut": self.mask_cut,
        }


@Parameter(name="*", group=METHOD)
@dataclass(frozen=True)
class Comparing(Compared):
    """How outputs of a group, or parts of them, are compared and learned from.

    Parameters
    ----------
    labels
        Of an objective of `train preference`: rewards as they are, refused where it cannot take
        them; or of each output the share of its group that it is above.
    segments
        What parts of an output rewards and ratios are of: policyrank.train.phases:by_lines(most=20)
        (the items of a list), policyrank.train.phases:by_markers(markers=['</SLATE>']), or your
        function of a tokenizer that gives one of rollouts, as FILE.py:NAME or module:NAME.
    """

    labels: Literal["as-given", "win-shares"] = "as-given"
    segments: str | None = None

    def settings(self) -> dict[str, Any]:
        """As ``GroupConfig`` has them."""
        return super().settings() | {"labels": self.labels}

    def parts(self, tokenizer: Any) -> Any:
        """The segments of outputs, as ``GroupTrainer`` takes them; None: each is whole."""
        if self.segments is None:
            return None
        made = imported_function(self.segments, "--segments")
        try:
            found = made(tokenizer)
        except Exception as error:  # whatever a user's function raises
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise OptionError(f"--segments {self.segments}: {why}.") from error
        if not callable(found):
            raise OptionError(
                f"--segments {self.segments}: called with a tokenizer it gives no function of"
                " rollouts."
            )
        return found


@Parameter(name="*", group=SAMPLING)
@dataclass(frozen=True)
class Sampling:
    """How groups are sampled, and by whom.

    Parameters
    ----------
    temperature
        Of sampling, at which log-probabilities are learned too.
    top_k
        Draw among so many likeliest tokens (0: all).
    top_p
        Draw among the likeliest tokens that together have this probability.
    sampled_rows
        Outputs that are sampled at once.
    server
        URL of an OpenAI-compatible server of completions, such as vLLM's, that samples instead.
    served_model
        The model's name there.
    key
        Environment variable that holds the server's key.
    server_adapters
        Folder that the server reads too: adapters (--lora) are written there and loaded anew before
        each round.
    retokenise
        Learn from a server's texts where it gives no token ids.
    correction
        Largest weight of a token by how likely it is here over how likely it was to the server.
    """

    samples: Samples = 8
    tokens: Tokens = 128
    temperature: Positive = 1.0
    top_k: Count = 0
    top_p: Annotated[float, Parameter(validator=Number(gt=0, lte=1))] = 1.0
    sampled_rows: AtLeastOne = 64
    server: str | None = None
    served_model: str | None = None
    key: str | None = None
    server_adapters: Path | None = None
    retokenise: Flag = False
    correction: Positive = 2.0

    def __post_init__(self) -> None:
        of_server = ("served_model", "key", "server_adapters", "retokenise")
        for name in of_server:
            if self.server is None and getattr(self, name):
                option = name.replace("_", "-")
                raise OptionError(f"--{option} is of a server: give its URL (--server).")
        if self.server is not None and self.served_model is None:
            raise OptionError("--served-model: which model is it at the server?")

    def check(self, lora: Lora) -> None:
        """Refuse adapters for a server where none are trained.

        Raises
        ------
        OptionError
            Naming the option.
        """
        if self.server_adapters is not None and not lora.lora:
            raise OptionError(
                "--server-adapters are trained adapters: give their rank too (--lora 16)."
            )

    def settings(self) -> dict[str, Any]:
        """As ``GroupConfig`` has them."""
        names = ("samples", "tokens", "temperature", "top_k", "top_p", "sampled_rows", "correction")
        return {name: getattr(self, name) for name in names}

    def sampler(self, args: Any, tokenizer: Any, report: Any, decoding: Any = None) -> Any:
        """The server, by ``decoding`` (None: as ``args`` have it); None: the model itself."""
        if self.server is None or self.served_model is None:
            return None
        from policyrank.train import ServerSampler

        return ServerSampler(
            self.server,
            self.served_model,
            tokenizer,
            decoding or args.decoding(),
            key=self.key,
            chat=args.chat,
            adapters=self.server_adapters,
            retokenise=self.retokenise,
            report=partial(_remark, report),
        )


@Parameter(name="*", group=SAMPLING)
@dataclass(frozen=True)
class TurnSampling(Sampling):
    """How trajectories of turns are sampled, and by whom; ``tokens`` are of a whole one."""

    tokens: Tokens = 1024


@Parameter(name="*", group=SAMPLING)
@dataclass(frozen=True)
class OneSampled(Sampling):
    """How outputs are sampled, and by whom: one of each prompt, unless told."""

    samples: Samples = 1


def _remark(report: Any, text: str) -> None:
    report(f"! {text}")
