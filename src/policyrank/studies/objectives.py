"""All objectives of preferences on the same ranked lists.

Not one paper's claim but the question its users have: which objective? Those of
`policyrank.learn.PREFERENCE_LOSSES` that learn from lists made beforehand.

**The claims**: objectives that use the whole order beat DPO on best and worst; LiPO-lambda is the
best of all.

**What is done here**: *Short sequences* with a known true reward: lists of 4 samples of a policy,
300 prompts, labels by the true reward with noise of 1, standardised in each list; each objective
gets its own learning rate out of 3e-4, 1e-3 and 3e-3, by the win rate on 100 prompts kept for that,
and 8 epochs; win rate over the policy before on 400 fresh prompts. A replicate is a world.
*SmolLM2-135M-Instruct*: lists of 4 of the ten answers of AlpacaEval, cut at 64 tokens, labels the
place in the judge's order (0 to 1); the last two layers learn from 32 lists, once, two at a step,
at a learning rate that falls from 2e-4; pair accuracy of the implicit reward (of the mean
log-probability where an objective has no reference) on 32 other lists, equal scores half; a list is
a task. "longest first" and the model's own likelihood stand beside. One seed: the intervals are
over lists, not over training runs.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from policyrank.evidence import RankedAnswers, Scores, datasets
from policyrank.learn import PREFERENCE_LOSSES, label_domain, win_shares
from policyrank.learn.losses import REFERENCE_FREE
from policyrank.studies.claims import Claim, Unit, for_each
from policyrank.studies.frame import Report, Row, Scale, by_metric, quiet, scores_of
from policyrank.studies.sequences import Arena, RankedSequences, align, ends, start
from policyrank.worlds.sequences import SequencePolicy, SequenceWorld

TITLE = "Objectives of preferences"
PAPER = ""
ABOUT = "all objectives of preferences on the same ranked lists"
ON_POLICY = {"grpo", "label-distribution-grpo"}
NAMES = [name for name in PREFERENCE_LOSSES if name not in ON_POLICY]
ENDS, WIN, PAIRS = "dpo on best and worst", "win rate", "pair accuracy"
RATES = (3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Size:
    """``steps``: of imitation; ``lists``: of the language model."""

    seeds: int
    prompts: int
    steps: int
    epochs: int
    rates: tuple[float, ...]
    lists: int


SCALES: dict[Scale, Size] = {
    "smoke": Size(seeds=2, prompts=32, steps=50, epochs=2, rates=RATES[:1], lists=0),
    "small": Size(seeds=10, prompts=300, steps=600, epochs=8, rates=RATES, lists=32),
    "full": Size(seeds=100, prompts=1500, steps=600, epochs=8, rates=RATES, lists=600),
}
UNIT = Unit("world")
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
        Claim("SmolLM2: {} beats the model before", "{}", "likelihood before", PAIRS),
    ),
    Claim("SmolLM2: lipo-lambda beats dpo", "lipo-lambda", "dpo", PAIRS),
    Claim("SmolLM2: dpo on the whole list beats DPO on best and worst", "dpo", ENDS, PAIRS),
    Claim(
        "SmolLM2: lipo-lambda beats the longest answer first", "lipo-lambda", "longest first", PAIRS
    ),
)


def run(scale: Scale, seed: int, report: Report = quiet) -> Scores:
    """Measure; a replicate is a world, a task of the language model a list."""
    torch.set_num_threads(1)
    size = SCALES[scale]
    rows = chain(_sequences(size, seed, report), language_model(size.lists, seed, report))
    return scores_of(rows, lower_is_better=["KL"])


def _sequences(size: Size, seed: int, report: Report) -> Iterator[Row]:
    for r in range(size.seeds):
        world, base = start(seed, r, size.steps)
        data = _labelled(world, base, size.prompts, r)
        chosen = Arena.of(world, base, r + 500, prompts=100)
        tested = Arena.of(world, base, r)
        for name in (*NAMES, ENDS):
            report(f"world {r + 1} of {size.seeds}: {name}")
            loss, used = name, data
            if name == ENDS:
                loss, used = "dpo", ends(data)
            if loss == "point-sigmoid":  # its labels are chances
                used = replace(used, labels=torch.sigmoid(used.labels))
            elif label_domain(loss) == "gains":  # which are not below 0
                used = replace(used, labels=win_shares(used.labels))
            found = []
            for rate in size.rates:
                policy = align(base, used, loss, epochs=size.epochs, lr=rate, seed=r)
                found.append((chosen(policy, r)[WIN], policy))
            _, best = max(found, key=itemgetter(0))
            yield from by_metric(name, "short sequences", r, tested(best, r))


def _labelled(
    world: SequenceWorld, policy: SequencePolicy, prompts: int, seed: int
) -> RankedSequences:
    """Lists of four samples; labels are noisy rewards, standardised in each list."""
    x = world.prompts(prompts, seed=seed * 7919 + 1)
    y = policy.sample(x, 4, seed=seed * 7919 + 2)
    generator = torch.Generator().manual_seed(seed)
    noisy = world.reward(x, y) + torch.randn(y.shape[:2], generator=generator)
    centred = noisy - noisy.mean(1, keepdim=True)
    return RankedSequences(x, y, centred / noisy.std(1, keepdim=True))


def language_model(lists: int, seed: int, report: Report) -> Iterator[Row]:
    """Pair accuracy on held-out lists of SmolLM2, trained by each objective."""
    if not lists:
        return
    from policyrank.models.language import load_causal_lm
    from policyrank.train import encode_answers

    taken = _taken(2 * lists, seed)
    model, tokenizer = load_causal_lm("smollm2", device="cpu")
    _last_layers_alone(model)
    start_state = copy.deepcopy(model.state_dict())
    short = [cut(x, tokenizer, 64) for x in taken]
    train = encode_answers(short[:lists], tokenizer, max_length=256)
    test = encode_answers(short[lists:], tokenizer, max_length=256)
    lengths = [[float(len(text)) for text in x.completions] for x in taken[lists:]]
    yield from _accuracies("longest first", test, lengths)
    known: Any = None
    held: Any = None
    for name in (*NAMES, ENDS):
        report(f"SmolLM2: {name}")
        loss = "dpo" if name == ENDS else name
        torch.manual_seed(seed)
        model.load_state_dict(start_state)
        with TemporaryDirectory() as folder:
            trainer = _trainer(model, tokenizer, train, test, loss, folder, seed)
            if known is None:
                known = trainer.train_dataset.with_reference(trainer.step_log_probs(train))
                held = test.with_reference(trainer.step_log_probs(test))
                before = [_per_token(x.reference or [], x.completions) for x in held.lists]
                yield from _accuracies("likelihood before", test, before)
            trainer.train_dataset = two(known) if name == ENDS else known
            trainer.train()
            after = trainer.step_log_probs(test)
        if loss in REFERENCE_FREE:
            rewards = [
                _per_token(own, x.completions) for own, x in zip(after, held.lists, strict=True)
            ]
        else:
            rewards = [
                _gained(own, x.reference or []) for own, x in zip(after, held.lists, strict=True)
            ]
        yield from _accuracies(name, test, rewards)


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


def _trainer(
    model: Any, tokenizer: Any, train: Any, test: Any, loss: str, folder: str, seed: int
) -> Any:
    from policyrank.train import ListwisePreferenceConfig, ListwisePreferenceTrainer

    arguments = ListwisePreferenceConfig(
        str(Path(folder)),
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=2,
        num_train_epochs=1,
        learning_rate=2e-4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        seed=seed,
        dataloader_pin_memory=False,
        loss=loss,
    )
    return ListwisePreferenceTrainer(model, arguments, train, test, processing_class=tokenizer)


def _accuracies(method: str, data: Any, scores: list[list[float]]) -> Iterator[Row]:
    for k, (x, own) in enumerate(zip(data.lists, scores, strict=True)):
        yield method, f"list {k}", PAIRS, 0, in_order(x.labels, own)


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
