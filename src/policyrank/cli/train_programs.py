"""``policyrank train programs``: rerankers of programs that train themselves in a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.answer_options import Model, Samples, Temperature, Texts, Tokens
from policyrank.cli.options import METHOD, AtLeastOne, Count, Names, check_folder
from policyrank.cli.output import say, working, wrote
from policyrank.cli.train_answers import Out, load_model
from policyrank.cli.train_rounds import made_from, print_history, save
from policyrank.cli.training_run import named_base, upload
from policyrank.cli.tuning import LongerTuning, Lora, Tuning, made
from policyrank.errors import EvidenceError, OptionError
from policyrank.files import written_folder
from policyrank.models.provenance import CHECKPOINTS

if TYPE_CHECKING:
    from policyrank.cli.answer_options import Read
    from policyrank.models.provenance import About

GENERATOR = "generator"
ASKED = 16
"""Problems of a round of improving the generator."""
NEAR = 0.05
"""Weight of the log-ratio to the generator as it was, taken from the reranker's scores."""
Loss = Literal["bradley-terry", "plackett-luce"]


def train_program_reranker(
    problems: Path,
    /,
    *,
    model: Model,
    reranker: Annotated[str, Parameter(group=METHOD)],
    out: Out = Path("reranker"),
    iterations: Annotated[AtLeastOne, Parameter(group=METHOD)] = 2,
    keep: Annotated[
        Literal["hard", "passed and hard", "all"], Parameter(group=METHOD)
    ] = "passed and hard",
    rounds: Annotated[Count, Parameter(group=METHOD)] = 10,
    samples: Samples = 8,
    tokens: Tokens = 256,
    temperature: Temperature = 0.8,
    loss: Annotated[Loss, Parameter(group=METHOD)] = "bradley-terry",
    seconds: Annotated[float, Parameter(group=METHOD, validator=Number(gte=0.1))] = 2.0,
    package: Annotated[Names, Parameter(group=METHOD)] = None,
    lora: Lora = Lora(),
    tuning: LongerTuning = LongerTuning(),
    texts: Texts = Texts(),
) -> None:
    """Train a reranker of programs in a sandbox.

    Sample solutions, test them, learn to rank them, improve the generator, and feed back what
    fooled it. Programs run without network, apart from your files, with limits on time, memory,
    disk and processes (Linux, bubblewrap). Tested samples are kept in OUT.

    Parameters
    ----------
    problems
        JSONL with prompt and tests (statements; HumanEval's and MBPP's forms too).
    reranker
        Model that becomes the reranker.
    iterations
        1 trains the reranker once; more improve the generator against it and feed back.
    keep
        What is fed back.
    rounds
        Of improving the generator; 0 samples the first one again.
    loss
        Of the reranker.
    seconds
        Time of each test.
    package
        Installed package that programs may import beside the standard library, such as numpy;
        repeatable.
    """
    check_folder(out)
    if rounds and iterations > 1 and not temperature:
        raise OptionError("--temperature 0: samples of a group would not differ; or --rounds 0.")
    from policyrank.models.language import load_causal_lm
    from policyrank.models.provenance import about
    from policyrank.train.judges import sampler
    from policyrank.train.program_tests import shares_passed
    from policyrank.train.programs import read_problems, self_train
    from policyrank.train.saving import refuse_overwriting
    from policyrank.worlds import problem_texts, sandbox

    named = {"--model": model, "--reranker": reranker}
    refuse_overwriting(out, named, below=(CHECKPOINTS, GENERATOR))
    tuning.check()

    found = read_problems(problems, problem_texts.check_statements)
    if why := sandbox.unavailable():
        raise EvidenceError(f"programs cannot be run apart here: {why}.")
    out.mkdir(exist_ok=True)
    read = texts.of(model, about(model))
    drawn = {"max_new_tokens": tokens, "temperature": temperature, "chat": read.chat}
    generator, tokenizer = load_causal_lm(model)
    fit = _Fit(reranker, loss, out, tuning, lora, texts.of(reranker, about(reranker)))
    prompts = [problem.prompt for problem in found]
    improve = _Improve(model, prompts, out, tuning, read, drawn, rounds, samples)
    depends = made_from(model, read, lora, tuning)
    depends["options"] |= {**drawn, "seconds": seconds, "rounds": rounds, "loss": loss}
    depends["reranker"] = made_from(reranker, fit.read, lora, tuning)["base"] | fit.read.options
    with working("Self-training …") as update:
        done = self_train(
            found,
            sampler(generator, tokenizer, seed=tuning.seed, **drawn),
            fit,
            partial(shares_passed, seconds=seconds, packages=package or ()),
            improve=improve if rounds else None,
            iterations=iterations,
            samples=samples,
            rule=keep,
            folder=out,
            depends=depends,
            report=update,
        )
    save(*fit.last, out, fit.about(problems))
    print_history(done.history)
    wrote(out)
    upload(out, tuning)


@dataclass
class _Fit:
    """Trains the reranker anew on all lists, and keeps the last one."""

    reranker: str
    loss: Loss
    out: Path
    tuning: Tuning
    lora: Lora
    read: Read
    last: tuple[Any, Any] = (None, None)
    lists: int = 0

    def __call__(self, lists: Any) -> Any:
        from policyrank.train import (
            RewardModelConfig,
            RewardModelTrainer,
            reward_model,
            reward_scorer,
        )

        model, tokenizer = reward_model(
            self.reranker,
            layers=None if self.lora.lora else self.tuning.layers,
            seed=self.tuning.seed,
            dtype=self.tuning.dtype,
        )
        args = made(
            RewardModelConfig,
            str(self.out / CHECKPOINTS),
            **self.tuning.settings(),
            **self.read.options,
            loss=self.loss,
            dropout=self.tuning.dropout,
            weights=self.tuning.weights,
        )
        config = self.lora.config(model, layers=self.tuning.layers, task="SEQ_CLS")
        trainer = RewardModelTrainer(
            model, args, lists, processing_class=tokenizer, peft_config=config
        )
        for note in trainer.notes:
            say(f"! {note}")
        trainer.train()
        self.last, self.lists = (trainer.model, tokenizer), len(lists)
        return reward_scorer(trainer.model, tokenizer, **self.read.options)

    def about(self, problems: Path) -> About:
        """What the reranker is, and what its training assumed."""
        from policyrank.fingerprints import known_versions
        from policyrank.models.provenance import About
        from policyrank.train.adapters import is_adapted

        adapter = is_adapted(self.last[0])
        return About(
            "reward",
            base=named_base(self.reranker, adapter=adapter),
            adapter=adapter,
            chat=self.read.chat,
            max_length=self.read.max_length,
            objective=self.loss,
            data={"problems": problems.name, "lists": self.lists},
            settings=self.tuning.kept(),
            versions=known_versions(),
        )


@dataclass(frozen=True)
class _Improve:
    """Trains the generator anew to please the reranker."""

    model: str
    prompts: list[Any]
    out: Path
    tuning: Tuning
    read: Read
    drawn: dict[str, Any]
    rounds: int
    samples: int

    def args(self) -> Any:
        """A round samples for ``ASKED`` prompts, and passes over them as often as told."""
        from policyrank.train import GroupConfig

        tuning, asked = self.tuning, min(ASKED, len(self.prompts))
        steps = max(round(asked / (tuning.batch * tuning.accumulate)), 1)
        passes = max(round(tuning.epochs), 1)
        if tuning.steps > 0:
            steps, passes = tuning.steps, 1
        told = tuning.settings(max_steps=self.rounds * steps * passes)
        return made(
            GroupConfig,
            str(self.out / CHECKPOINTS),
            **told,
            **self.read.options,
            dropout=tuning.dropout,
            weights=tuning.weights,
            samples=self.samples,
            tokens=self.drawn["max_new_tokens"],
            temperature=self.drawn["temperature"],
            objective="grpo",
            objective_options={"beta": 0.0},
            reward_kl=NEAR,
            steps_per_round=steps,
            passes=passes,
        )

    def __call__(self, scorer: Any, iteration: int) -> Any:
        from policyrank.models.quiet import quietly
        from policyrank.train import GroupTrainer
        from policyrank.train.judges import sampler
        from policyrank.train.named_rewards import of_scorer
        from policyrank.train.saving import weight_files

        seed = self.tuning.seed + iteration
        start, tokenizer = load_model(self.model, self.tuning)
        trainer = GroupTrainer(
            start,
            self.args(),
            of_scorer(scorer, "reranker"),
            [{"prompt": prompt} for prompt in self.prompts],
            processing_class=tokenizer,
        )
        for note in trainer.notes:
            say(f"! {note}")
        trainer.train()
        place = self.out / GENERATOR
        with written_folder(place, weight_files(place)) as part, quietly():
            trainer.save_model(str(part))
            tokenizer.save_pretrained(part)
        return sampler(trainer.model, tokenizer, seed=seed, **self.drawn)
