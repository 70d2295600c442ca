"""All objectives of preferences on the same ranked lists.

Not one paper's claim but the question its users have: which objective? Those of
`policyrank.learn.PREFERENCE_LOSSES` that learn from lists made beforehand.

**The claims**: objectives that use the whole order beat DPO on best and worst; LiPO-lambda is the
best of all.

**What is done here**: *Short sequences* with a known true reward: lists of 4 samples of a policy,
300 prompts, labels by the true reward with noise of 1, standardised in each list; 8 epochs, and for
each objective its own learning rate: that out of four which wins most in eight worlds apart from
those judged; win rate over the policy before on 400 fresh prompts. A replicate is a world. Where
they go differently far the KL is beside: for equal KL see LiPO. *SmolLM2-135M-Instruct*, eight of
the objectives: lists of 4 of the ten answers of AlpacaEval, cut at 64 tokens, labels the place in
the judge's order (0 to 1); the last two layers learn from 32 lists, once, two at a step, at a
learning rate that falls from 5e-5, 2e-4 or 8e-4, whichever ranks 32 lists best after learning from
32 others, none of them judged; pair accuracy of the implicit reward (of the mean
log-probability where an objective has no reference) on 32 other lists, equal scores half; a list is
a task. "longest first" and the model's own likelihood stand beside. One seed: the intervals are
over lists, not over training runs.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from policyrank.evidence import RankedAnswers, datasets
from policyrank.learn import PREFERENCE_LOSSES, label_domain, win_shares
from policyrank.learn.losses import REFERENCE_FREE
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.fairness import Health, Tuned, tune, typical
from policyrank.studies.frame import Measured, Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.sequences import (
    RATES,
    TUNING,
    Place,
    RankedSequences,
    align,
    ends,
    signs,
    tuned_by_wins,
)
from policyrank.worlds.sequences import SequencePolicy

TITLE = "Objectives of preferences"
PAPER = ""
ABOUT = "all objectives of preferences on the same ranked lists"
ON_POLICY = {"grpo", "label-distribution-grpo"}
NAMES = [name for name in PREFERENCE_LOSSES if name not in ON_POLICY]
ENDS, WIN, PAIRS = "dpo on best and worst", "win rate", "pair accuracy"
OF_SMOLLM2 = ("dpo", "dpo-pl", "lipo-lambda", "softmax", "slic", "simpo", "pro", ENDS)
SMOLLM2_RATES: tuple[dict[str, Any], ...] = tuple({"lr": rate} for rate in (5e-5, 2e-4, 8e-4))


@dataclass(frozen=True)
class Size:
    """``steps``: of imitation; ``tuning``: worlds; ``judged``: prompts in each.

    ``lists``: of the language model.
    """

    seeds: int
    prompts: int
    steps: int
    epochs: int
    lists: int
    tuning: int
    judged: int = 400
    rates: tuple[dict[str, Any], ...] = RATES


SCALES: dict[Scale, Size] = {
    "smoke": Size(2, 32, steps=50, epochs=2, lists=0, tuning=1, judged=50, rates=RATES[2:]),
    "small": Size(16, 300, steps=600, epochs=8, lists=32, tuning=8),
    "full": Size(100, 1500, steps=600, epochs=8, lists=150, tuning=10),
}
UNIT, PROMPT = Unit("world"), Unit("prompt", "task")
CLAIMS = (
    *for_each(
        ("dpo", "dpo-pl", "lipo-lambda", "softmax", "pro"),
        Claim("{} on the whole list beats DPO on best and worst", "{}", ENDS, WIN),
    ),
    *for_each(
        ("dpo", "dpo-pl", "slic", "softmax", "ipo"),
        Claim("lipo-lambda beats {}", "lipo-lambda", "{}", WIN),
    ),
    *for_each(
        ("dpo", "lipo-lambda"),
        Claim("SmolLM2: {} beats the model before", "{}", "likelihood before", PAIRS, unit=PROMPT),
    ),
    Claim("SmolLM2: lipo-lambda beats dpo", "lipo-lambda", "dpo", PAIRS, unit=PROMPT),
    Claim(
        "SmolLM2: dpo on the whole list beats DPO on best and worst",
        "dpo",
        ENDS,
        PAIRS,
        unit=PROMPT,
    ),
    Claim(
        "SmolLM2: lipo-lambda beats the longest answer first",
        "lipo-lambda",
        "longest first",
        PAIRS,
        unit=PROMPT,
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Measured:
    """Measure; a replicate is a world, a task of the language model a list."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    report("tuning")
    tuned = _tuned(size, seed)
    found: list[Health] = []
    rows = list(_sequences(size, seed, tuned, found, report))
    if size.lists:
        learner = Learner.read(size.lists, seed)
        of_model = learner.tuned(report)
        rows += learner.rows(of_model, report)
        tuned |= {f"SmolLM2: {name}": own for name, own in of_model.items()}
    scores = scores_of(rows, lower_is_better=["KL"])
    return Measured(scores, tuple(tuned.values()), typical(found))


def _tuned(size: Size, seed: int) -> dict[str, Tuned]:
    places = [Place.of(seed, TUNING + k, size.steps, size.judged) for k in range(size.tuning)]

    def reached(place: Place, name: str, settings: Mapping[str, Any]) -> float | None:
        policy = _trained(size, place, name, settings)
        return place.arena.won(policy, place.number)

    return tuned_by_wins((*NAMES, ENDS), places, reached, rates=size.rates)


def _sequences(
    size: Size, seed: int, tuned: Mapping[str, Tuned], found: list[Health], report: Report
) -> Iterator[Row]:
    for r in range(size.seeds):
        place = Place.of(seed, r, size.steps, size.judged)
        for name in (*NAMES, ENDS):
            report(f"world {r + 1} of {size.seeds}: {name}")
            losses: list[float] = []
            policy = _trained(size, place, name, tuned[name].chosen, losses)
            values = place.arena(policy, place.number)
            found += signs(name, values["KL"], losses)
            yield from by_metric(name, "short sequences", r, values)


def _trained(
    size: Size,
    place: Place,
    name: str,
    settings: Mapping[str, Any],
    losses: list[float] | None = None,
) -> SequencePolicy:
    loss, used = name, labelled(place, size.prompts)
    if name == ENDS:
        loss, used = "dpo", ends(used)
    if loss == "point-sigmoid":  # its labels are chances
        used = replace(used, labels=torch.sigmoid(used.labels))
    elif label_domain(loss) == "gains":  # which are not below 0
        used = replace(used, labels=win_shares(used.labels))
    options = {"seed": place.number, "losses": losses, **settings}
    return align(place.base, used, loss, epochs=size.epochs, **options)


def labelled(place: Place, prompts: int) -> RankedSequences:
    """Lists of four samples; labels are noisy rewards, standardised in each list."""
    number = place.number * 7919
    x = place.world.prompts(prompts, seed=number + 1)
    y = place.base.sample(x, 4, seed=number + 2)
    generator = torch.Generator().manual_seed(number + 3)
    noisy = place.world.reward(x, y) + torch.randn(y.shape[:2], generator=generator)
    centred = noisy - noisy.mean(1, keepdim=True)
    return RankedSequences(x, y, centred / noisy.std(1, keepdim=True))


@dataclass(eq=False)
class Learner:
    """SmolLM2 and its lists: each objective learns from as many, and is judged on others.

    ``lists``: to learn from and to be judged on, and two more parts for tuning.
    """

    model: Any
    tokenizer: Any
    start: Any
    lists: list[list[RankedAnswers]]
    seed: int

    @classmethod
    def read(cls, number: int, seed: int) -> Learner:
        """The model with its last two layers to learn, and four parts of so many lists."""
        from policyrank.models.language import load_causal_lm

        taken = _taken(4 * number, seed)
        model, tokenizer = load_causal_lm("smollm2", device="cpu")
        _last_layers_alone(model)
        parts = [taken[k * number : (k + 1) * number] for k in range(4)]
        return cls(model, tokenizer, copy.deepcopy(model.state_dict()), parts, seed)

    def tuned(self, report: Report) -> dict[str, Tuned]:
        """The learning rate of each objective, on lists that judge nothing."""
        train, test = (self._encoded(part) for part in self.lists[2:])
        known, held = self._referenced(train), self._referenced(test)

        def measure(name: str, settings: Mapping[str, Any], _: int) -> float:
            report(f"tuning SmolLM2: {name}")
            return float(np.mean(self._accuracies(name, settings, known, held)))

        grids = dict.fromkeys(OF_SMOLLM2, SMOLLM2_RATES)
        return tune(grids, measure, [self.seed], metric=PAIRS)

    def rows(self, tuned: Mapping[str, Tuned], report: Report) -> Iterator[Row]:
        """Pair accuracy on the lists judged."""
        train, test = (self._encoded(part) for part in self.lists[:2])
        known, held = self._referenced(train), self._referenced(test)
        long = [[float(len(text)) for text in x.completions] for x in self.lists[1]]
        before = [_per_token(x.reference or [], x.completions) for x in held.lists]
        found = {
            "longest first": _in_order(held, long),
            "likelihood before": _in_order(held, before),
        }
        for name in OF_SMOLLM2:
            report(f"SmolLM2: {name}")
            found[name] = self._accuracies(name, tuned[name].chosen, known, held)
        for name, values in found.items():
            for k, value in enumerate(values):
                yield name, f"list {k}", PAIRS, 0, value

    def _encoded(self, part: list[RankedAnswers]) -> Any:
        from policyrank.train import encode_answers

        short = [cut(x, self.tokenizer, 64) for x in part]
        return encode_answers(short, self.tokenizer, max_length=256)

    def _referenced(self, data: Any) -> Any:
        """With the log-probabilities of the model before."""
        self.model.load_state_dict(self.start)
        with TemporaryDirectory() as folder:
            trainer = self._trainer(data, data, "dpo", folder, 2e-4)
            return data.with_reference(trainer.step_log_probs(data))

    def _accuracies(
        self, name: str, settings: Mapping[str, Any], known: Any, held: Any
    ) -> list[float]:
        """Of each held list, after learning from the known ones."""
        loss = "dpo" if name == ENDS else name
        torch.manual_seed(self.seed)
        self.model.load_state_dict(self.start)
        with TemporaryDirectory() as folder:
            trainer = self._trainer(known, held, loss, folder, settings["lr"])
            trainer.train_dataset = two(known) if name == ENDS else known
            trainer.train()
            after = trainer.step_log_probs(held)
        rewards = []
        for own, x in zip(after, held.lists, strict=True):
            if loss in REFERENCE_FREE:
                rewards.append(_per_token(own, x.completions))
            else:
                rewards.append(_gained(own, x.reference or []))
        return _in_order(held, rewards)

    def _trainer(self, train: Any, test: Any, loss: str, folder: str, lr: float) -> Any:
        from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer

        arguments = ListwisePreferenceConfig(
            str(Path(folder)),
            per_device_train_batch_size=1,
            per_device_eval_batch_size=1,
            gradient_accumulation_steps=2,
            num_train_epochs=1,
            learning_rate=lr,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
            seed=self.seed,
            dataloader_pin_memory=False,
            loss=loss,
        )
        return ListwisePreferenceTrainer(
            self.model, arguments, train, test, processing_class=self.tokenizer
        )


def _taken(number: int, seed: int) -> list[RankedAnswers]:
    """Lists of four of AlpacaEval's ten answers, where the judge ordered all ten."""
    rng = np.random.default_rng(seed)
    taken = []
    for x, _ in datasets.load("alpacaeval"):
        if len(x.completions) == 10 and len(str(x.prompt)) < 300 and len(set(x.labels)) == 10:
            few = rng.choice(10, size=4, replace=False)
            place = np.argsort(np.argsort(np.array(x.labels)[few])) / 3
            texts = tuple(x.completions[k] for k in few)
            taken.append(RankedAnswers(x.prompt, texts, tuple(place.tolist())))
    return [taken[k] for k in rng.permutation(len(taken))[:number]]


def _last_layers_alone(model: Any) -> None:
    """Leave the last two layers to learn; those below read each input once."""
    from policyrank.train.freezing import train_last

    train_last(model, 2)
    layers = model.model.layers
    model.model.layers = nn.ModuleList([Below(layers[:-2]), *layers[-2:]])
    model.config.num_hidden_layers = 3


def _in_order(data: Any, scores: list[list[float]]) -> list[float]:
    return [in_order(x.labels, own) for x, own in zip(data.lists, scores, strict=True)]


def _per_token(log_probs: Any, completions: Any) -> list[float]:
    """Mean log-probability of each answer."""
    return [p[0] / len(tokens) for p, tokens in zip(log_probs, completions, strict=True)]


def _gained(log_probs: Any, reference: Any) -> list[float]:
    """Log-ratio to the reference of each answer."""
    return [p[0] - before[0] for p, before in zip(log_probs, reference, strict=True)]


class Below(nn.Module):
    """Frozen layers that read each input once, however many objectives and passes ask for it."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers
        self.kept: dict[bytes, torch.Tensor] = {}

    def forward(self, hidden: torch.Tensor, **options: Any) -> torch.Tensor:
        key = hashlib.sha1(hidden.detach().numpy().tobytes()).digest()
        if key not in self.kept:
            with torch.no_grad():
                for layer in self.layers:
                    hidden = layer(hidden, **options)
            self.kept[key] = hidden
        return self.kept[key]


def cut(x: RankedAnswers, tokenizer: Any, tokens: int) -> RankedAnswers:
    """Answers of at most so many tokens."""
    texts = []
    for text in x.completions:
        read = tokenizer(text, add_special_tokens=False)["input_ids"]
        texts.append(tokenizer.decode(read[:tokens]))
    return RankedAnswers(x.prompt, tuple(texts), x.labels)


def two(data: Any) -> Any:
    """Best and worst of each encoded list."""
    lists = []
    for x in data.lists:
        order = np.argsort(x.labels)
        pick = itemgetter(int(order[-1]), int(order[0]))
        lists.append(
            replace(
                x,
                completions=list(pick(x.completions)),
                steps=list(pick(x.steps)),
                labels=list(pick(x.labels)),
                reference=list(pick(x.reference)),
            )
        )
    return replace(data, lists=lists)


def in_order(labels: Any, scores: Any) -> float:
    """Share of pairs with different labels in order, equal scores half."""
    y, s = np.asarray(labels), np.asarray(scores)
    right = 0.5 + 0.5 * np.sign(s[:, None] - s[None, :])
    return float(right[y[:, None] > y[None, :]].mean())
