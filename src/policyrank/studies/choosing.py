"""SmolLM2 learns to name the relevant one of five titles, by groups of its own answers.

Not a paper's claim, but the whole of learning from groups on a real model: what a language model of
135 million parameters says before and after.

**The claim**: rewarded for naming the relevant title, by group-relative policy gradient, the model
names it more often for questions it has not seen.

**What is done here**: Cranfield's questions, two thirds to learn from; a set is the title of a
relevant document and those of four others that BM25 finds for the question, shuffled. SmolLM2-135M-
Instruct is asked which answers the question best, and for its number in brackets; LoRA of rank 8 on
all linear layers learns at 2e-4, falling, 60 steps of 8 sets with 8 answers each at temperature 1
(GRPO's advantage, DAPO's objective); the reward is 1 for the relevant one and .2 for an answer that
names one at all. Nothing was tuned. Judged are greedy answers to two sets of each other question; a
question is a unit. BM25 takes the title that it finds first by its document; "always the first"
says what a bias of position is worth. One training a master seed: the intervals are over questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from policyrank.evidence import datasets
from policyrank.learn.rewards import composed, parsing
from policyrank.models.language import load_causal_lm
from policyrank.models.sampling import generate
from policyrank.studies.claims import Claim, Unit
from policyrank.studies.frame import Measured, Report, Row, Scale, quiet, scores_of
from policyrank.train.first_stage import bm25_run

TITLE = "Choosing with SmolLM2"
PAPER = ""
ABOUT = "a real language model learns from groups to name the relevant title"
BEFORE, AFTER, BM25, FIRST = "before", "after", "BM25", "always the first"
RIGHT, NAMED = "named the relevant one", "named one at all"
CONSTANTS = (FIRST,)
TITLES = 5

UNIT = Unit("question", "task")
CLAIMS = (
    Claim("It names the relevant one more often than before", AFTER, BEFORE, RIGHT),
    Claim("By .1 and more", AFTER, BEFORE, RIGHT, 0.1),
    Claim("Oftener than by chance, by .05 and more", AFTER, 1 / TITLES, RIGHT, 0.05),
    Claim("As often as BM25", AFTER, BM25, RIGHT),
    Claim("It names one at all in at least as many answers", AFTER, BEFORE, NAMED, -0.01),
)


@dataclass(frozen=True)
class Size:
    """Steps of training, sets a step, and questions that judge (None: all)."""

    steps: int
    sets: int
    judged: int | None


SCALES: dict[Scale, Size] = {
    "smoke": Size(1, 2, 2),
    "small": Size(60, 8, None),
    "full": Size(600, 32, None),
}


@dataclass(frozen=True)
class Set:
    """A question with titles, of which one is relevant.

    Attributes
    ----------
    relevant, first
        its place, and that of BM25's first, from 0
    """

    question: str
    text: str
    titles: tuple[str, ...]
    relevant: int
    first: int

    @property
    def prompt(self) -> list[dict[str, str]]:
        """As it is asked."""
        listed = "\n".join(f"[{k}] {title}" for k, title in enumerate(self.titles, 1))
        asked = (
            f"Question: {self.text}\n\n{listed}\n\nWhich title answers the question best? Say only"
            " its number in brackets."
        )
        return [{"role": "user", "content": asked}]


def sets_of(seed: int, each: int) -> tuple[list[Set], list[Set]]:
    """To learn from, and ``each`` of every other question."""
    queries, documents, qrels = datasets.load("cranfield")
    found = bm25_run(queries, documents, depth=100)
    found = found.join(qrels, on=["query", "document"], how="left").fill_null(0.0)
    rng = np.random.default_rng([seed, 11])
    learn: list[Set] = []
    judge: list[Set] = []
    for (name,), part in found.group_by("query", maintain_order=True):
        relevant = part.filter(part["grade"] > 0)["document"].to_list()
        others = part.filter(part["grade"] <= 0)["document"].to_list()
        if not relevant or len(others) < TITLES - 1:
            continue
        place = {own: k for k, own in enumerate(part["document"])}
        own = judge if rng.random() < 1 / 3 else learn
        for _ in range(each):
            drawn = [str(rng.choice(relevant)), *rng.choice(others, TITLES - 1, replace=False)]
            order = rng.permutation(TITLES)
            shown = [str(drawn[k]) for k in order]
            best = min(range(TITLES), key=lambda k: place[shown[k]])
            titles = tuple(documents[one].split(" . ")[0][:160] for one in shown)
            answer = int(np.flatnonzero(order == 0)[0])
            own.append(Set(f"question {name}", queries[str(name)], titles, answer, best))
    return learn, judge


def named(text: str) -> int | None:
    """The title that an answer names, from 0."""
    return parsing.choice(text, TITLES, strict=False).value


def right(completions: Sequence[Any], relevant: Sequence[int], **_: Any) -> list[float]:
    """1 for the relevant one."""
    said = [named(message["content"]) for (message,) in completions]
    return [float(one == own) for one, own in zip(said, relevant, strict=True)]


def valid(completions: Sequence[Any], **_: Any) -> list[float]:
    """1 for an answer that names one."""
    return [float(named(message["content"]) is not None) for (message,) in completions]


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a task is a question, a replicate a set of it."""
    from peft import LoraConfig

    from policyrank.train import GroupConfig, GroupTrainer

    size = SCALES[scale]
    torch.set_num_threads(1)
    learn, judge = sets_of(seed, 2)
    judge = judge[: size.judged]
    model, tokenizer = load_causal_lm("smollm2", device="cpu", dtype="float32")
    report("asking before")
    rows = list(_asked(BEFORE, model, tokenizer, judge))
    for number, own in enumerate(judge):
        rows.append((BM25, own.question, RIGHT, number % 2, float(own.first == own.relevant)))
        rows.append((FIRST, own.question, RIGHT, number % 2, float(own.relevant == 0)))
    adapters = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    with TemporaryDirectory() as folder:
        config = GroupConfig(
            folder,
            samples=8,
            tokens=6,
            max_length=512,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=size.sets,
            max_steps=size.steps,
            learning_rate=2e-4,
            seed=seed,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = GroupTrainer(
            model,
            config,
            composed.weighted({"right": right, "valid": valid}, [1.0, 0.2]),
            [{"prompt": own.prompt, "relevant": own.relevant} for own in learn],
            processing_class=tokenizer,
            peft_config=adapters,
            show=lambda shown: report(f"step {shown[0]['step'] + 1} of {size.steps}"),
        )
        trainer.train()
        report("asking after")
        rows += _asked(AFTER, trainer.model, tokenizer, judge)
    return Measured(scores_of(rows))


def _asked(method: str, model: Any, tokenizer: Any, judge: Sequence[Set]) -> Iterator[Row]:
    prompts = [own.prompt for own in judge]
    answers = generate(model, tokenizer, prompts, temperature=0, max_new_tokens=6, batch=8)
    for number, (own, (text,)) in enumerate(zip(judge, answers, strict=True)):
        said = named(text)
        yield method, own.question, RIGHT, number % 2, float(said == own.relevant)
        yield method, own.question, NAMED, number % 2, float(said is not None)
