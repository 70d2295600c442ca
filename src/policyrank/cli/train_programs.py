"""``policyrank train programs``: rerankers of programs that train themselves in a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.answer_options import (
    LongerTuning,
    MaxLength,
    Model,
    Plain,
    Samples,
    Temperature,
    Tokens,
    Tuning,
)
from policyrank.cli.options import METHOD, AtLeastOne, Count, check_folder
from policyrank.cli.output import working, wrote
from policyrank.cli.train_answers import Out, load_model
from policyrank.cli.train_rounds import print_history, quiet_arguments, save
from policyrank.errors import EvidenceError

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
    tuning: LongerTuning = LongerTuning(),
    max_length: MaxLength = 1024,
    plain: Plain = False,
) -> None:
    """Train a reranker of programs in a sandbox.

    Sample solutions, test them, learn to rank them, improve the generator, and feed back what
    fooled it. Programs run without network, apart from your files, with limits on time, memory,
    disk and processes (Linux). Tested samples are kept in OUT.

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
    """
    check_folder(out)
    from policyrank.train.judges import sampler
    from policyrank.train.programs import read_problems, self_train
    from policyrank.worlds import sandbox

    found = read_problems(problems, sandbox.check_statements)
    if why := sandbox.unavailable():
        raise EvidenceError(f"programs cannot be run apart here: {why}.")
    out.mkdir(exist_ok=True)
    chat = False if plain else None
    drawn = {"max_new_tokens": tokens, "temperature": temperature, "chat": chat}
    reading = {"max_length": max_length, "chat": chat}
    generator, tokenizer = load_model(model, None)
    fit = _Fit(reranker, loss, out, tuning, reading)
    prompts = [problem.prompt for problem in found]
    improve = _Improve(model, prompts, out, tuning, reading, drawn, rounds, samples)
    with working("Self-training …") as update:
        done = self_train(
            found,
            sampler(generator, tokenizer, seed=tuning.seed, **drawn),
            fit,
            lambda asked, answers: _test(asked, answers, seconds),
            improve=improve if rounds else None,
            iterations=iterations,
            samples=samples,
            rule=keep,
            folder=out,
            report=update,
        )
    save(*fit.last, out)
    print_history(done.history)
    wrote(out)


def _test(asked: Any, answers: Any, seconds: float) -> list[list[float]]:
    """The share of tests that each answer passes."""
    from policyrank.worlds import sandbox

    runs = []
    for problem, own in zip(asked, answers, strict=True):
        imports = sandbox.imports_of(problem.prompt)
        for answer in own:
            code = sandbox.code_of(answer, problem.entry_point)
            runs.append((imports + code, problem.tests))
    results = iter(sandbox.run_all(runs, seconds=seconds))
    return [[next(results).share for _ in own] for own in answers]


@dataclass
class _Fit:
    """Trains the reranker anew on all lists, and keeps the last one."""

    reranker: str
    loss: Loss
    out: Path
    tuning: Tuning
    reading: dict[str, Any]
    last: tuple[Any, Any] = (None, None)

    def __call__(self, lists: Any) -> Any:
        from policyrank.train import (
            RewardModelConfig,
            RewardModelTrainer,
            reward_model,
            reward_scorer,
        )

        model, tokenizer = reward_model(
            self.reranker, layers=self.tuning.layers, seed=self.tuning.seed
        )
        args = RewardModelConfig(
            str(self.out / "checkpoints"),
            **{**self.tuning.settings(), "logging_strategy": "no"},
            disable_tqdm=True,
            loss=self.loss,
            **self.reading,
        )
        RewardModelTrainer(model, args, lists, processing_class=tokenizer).train()
        self.last = model, tokenizer
        return reward_scorer(model, tokenizer, **self.reading)


@dataclass(frozen=True)
class _Improve:
    """Trains the generator anew to please the reranker."""

    model: str
    prompts: list[Any]
    out: Path
    tuning: Tuning
    reading: dict[str, Any]
    drawn: dict[str, Any]
    rounds: int
    samples: int

    def __call__(self, scorer: Any, iteration: int) -> Any:
        from policyrank.train.judges import sampler
        from policyrank.train.reinforcement import reinforce

        seed = self.tuning.seed + iteration
        sample = {name: value for name, value in self.drawn.items() if name != "chat"}
        start, tokenizer = load_model(self.model, self.tuning.layers)
        better, _ = reinforce(
            start,
            tokenizer,
            self.prompts,
            scorer,
            arguments=lambda stage: quiet_arguments(
                self.out, "checkpoints", self.tuning, logging_strategy="no"
            ),
            sample=sample,
            seed=seed,
            rounds=self.rounds,
            samples=self.samples,
            **self.reading,
        )
        save(better, tokenizer, self.out / "generator")
        return sampler(better, tokenizer, seed=seed, **self.drawn)
