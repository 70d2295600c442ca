"""Train a reward model on ranked lists of answers, and score answers with one. Policy
discriminators (POLAR) are reward models that read a reference answer first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, TrainingArguments

from policyrank.errors import EvidenceError
from policyrank.evidence import RankedAnswers
from policyrank.evidence.answers import Prompt, text_of
from policyrank.learn.rewards import REWARD_LOSSES, RewardLoss
from policyrank.models.language import encode, load_causal_lm
from policyrank.train.answers import LongPrompts
from policyrank.train.judges import Scorer
from policyrank.train.preference import AnswerTrainer

SEPARATOR = "<|reward|>"


class RewardModelTrainer(AnswerTrainer):
    """A transformers ``Trainer`` of reward models on lists of ranked answers.

    Parameters
    ----------
    model
        sequence classifier of transformers or peft with one label, as ``reward_model`` makes it
    args, train_dataset, eval_dataset, processing_class, max_length, long_prompts, chat
        as in ``ListwisePreferenceTrainer``
    loss
        a name in ``learn.REWARD_LOSSES``, or a function
    loss_options
        passed to it: margin, centre, ...
    imitation
        weight of the best answer's negative log-likelihood per token under the input embeddings as
        language head (tied models): the body does not forget language

    Raises
    ------
    EvidenceError
        For data that cannot be used, or an unknown loss; before training starts.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        processing_class: Any = None,
        loss: str | RewardLoss = "bradley-terry",
        loss_options: Mapping[str, Any] | None = None,
        imitation: float = 0.0,
        max_length: int = 1024,
        long_prompts: LongPrompts = "leave out",
        chat: bool | None = None,
        peft_config: Any = None,
        **options: Any,
    ) -> None:
        if isinstance(loss, str) and loss not in REWARD_LOSSES:
            raise EvidenceError(
                f"no loss of reward models is called {loss!r}. There are:"
                f" {', '.join(REWARD_LOSSES)}."
            )
        if peft_config is not None:
            from peft import get_peft_model

            model = get_peft_model(model, peft_config)
        self.objective: RewardLoss = REWARD_LOSSES[loss] if isinstance(loss, str) else loss
        self.loss_options, self.imitation = dict(loss_options or {}), imitation
        super().__init__(
            model,
            args or TrainingArguments("reward"),
            train_dataset,
            eval_dataset,
            processing_class=processing_class,
            layout="rows",
            max_length=max_length,
            long_prompts=long_prompts,
            chat=chat,
            **options,
        )
        if model.config.pad_token_id is None:
            model.config.pad_token_id = self.collate.pad
        if model.config.num_labels != 1:
            raise EvidenceError(
                f"a classifier of {model.config.num_labels} labels: a reward model has one."
            )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of one batch of lists."""
        labels, where, lengths = inputs["labels"], inputs["where"], inputs["lengths"]
        found = model(
            input_ids=inputs["input_ids"],
            attention_mask=(inputs["owner"] >= 0).long(),
            use_cache=False,
            output_hidden_states=bool(self.imitation),
        )
        answer = torch.zeros(len(inputs["input_ids"]), dtype=torch.long, device=labels.device)
        answer[inputs["row"]] = inputs["answer"]
        flat = torch.zeros(labels.numel(), dtype=torch.float32, device=labels.device)
        rewards = flat.index_put((answer,), found.logits.squeeze(-1).float()).reshape(labels.shape)
        options = dict(self.loss_options)
        if self.imitation:
            options |= {
                "imitation": self.imitation,
                "log_probs": self._language(model, found.hidden_states[-1], inputs),
            }
        loss = self.objective(rewards, labels, where=where, **options)
        self._check(loss)
        if model.training:
            self._note(rewards, inputs, mean_reward=float(rewards.detach()[where].mean()))
        if return_outputs:
            return loss, {
                "scores": rewards,
                "log_probs": rewards * lengths.clamp(min=1),
                "lengths": lengths.float(),
                "where": where.float(),
            }
        return loss

    def _language(self, model: Any, hidden: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Mean log-probability of the tokens of each list's best answer under the tied head; 0 for
        the others.
        """
        labels = inputs["labels"].masked_fill(~inputs["where"], -torch.inf)
        best = torch.arange(len(labels), device=labels.device) * labels.shape[1] + labels.argmax(
            dim=-1
        )
        own = torch.isin(inputs["answer"], best)
        row, place, target, answer = (inputs[k][own] for k in ("row", "place", "target", "answer"))
        head = self.accelerator.unwrap_model(model).get_input_embeddings().weight
        token = (
            torch.log_softmax(hidden[row, place] @ head.T, dim=-1)
            .float()
            .gather(-1, target[:, None])
            .squeeze(-1)
        )
        total = torch.zeros(labels.numel(), device=labels.device).index_add(0, answer, token)
        return total.reshape(labels.shape) / inputs["lengths"].clamp(min=1)


def reward_model(
    name: str, *, layers: int | None = None, seed: int = 0, device: str | None = None
) -> tuple[Any, Any]:
    """A reward model and its tokenizer: a saved one, or a causal language model's body with a new
    head of one score.

    Parameters
    ----------
    name
        folder or hub name of a sequence classifier or of a causal language model, ``*.gguf``, or
        ``smollm2``
    layers
        train only so many last layers and the head (None: all)
    seed
        of the new head

    Raises
    ------
    EvidenceError
        When the model cannot be loaded.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        known = AutoConfig.from_pretrained(name).architectures or []
    except (OSError, ValueError):
        known = []
    if any(a.endswith("ForSequenceClassification") for a in known):
        model: Any = AutoModelForSequenceClassification.from_pretrained(name)
        tokenizer: Any = AutoTokenizer.from_pretrained(name)
    else:
        body, tokenizer = load_causal_lm(name, device="cpu")
        config = body.config
        config.num_labels = 1
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, dtype=body.dtype)
        model.base_model.load_state_dict(body.base_model.state_dict())
    if model.config.pad_token_id is None:
        model.config.pad_token_id = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
    if layers is not None:
        from policyrank.train.texts import train_last

        train_last(model.base_model, layers)
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), tokenizer


def reward_scorer(
    model: Any, tokenizer: Any, *, max_length: int = 1024, batch: int = 16, chat: bool | None = None
) -> Scorer:
    """Scores of a reward model, the longest answers first."""

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        coded, place = [], []
        for i, (prompt, answers) in enumerate(zip(prompts, completions, strict=True)):
            for j, answer in enumerate(answers):
                head, tail, _ = encode(tokenizer, prompt, answer, max_length, chat=chat)
                coded.append([*head, *tail])
                place.append((i, j))
        order = sorted(range(len(coded)), key=lambda k: -len(coded[k]))
        out = [[0.0] * len(a) for a in completions]
        device, was = next(model.parameters()).device, model.training
        model.eval()
        for start in range(0, len(order), batch):
            group = order[start : start + batch]
            width = len(coded[group[0]])
            ids = torch.full((len(group), width), model.config.pad_token_id)
            mask = torch.zeros_like(ids)
            for row, k in enumerate(group):
                ids[row, : len(coded[k])], mask[row, : len(coded[k])] = torch.tensor(coded[k]), 1
            with torch.inference_mode():
                found = (
                    model(input_ids=ids.to(device), attention_mask=mask.to(device))
                    .logits.squeeze(-1)
                    .float()
                    .cpu()
                    .tolist()
                )
            for k, value in zip(group, found, strict=True):
                out[place[k][0]][place[k][1]] = value
        model.train(was)
        return out

    return score


def reference_prompt(prompt: Prompt, reference: str, separator: str = SEPARATOR) -> str:
    """What a policy discriminator reads before a candidate: prompt and reference, separator, and
    the prompt again (POLAR's input).
    """
    text = text_of(prompt)
    return f"{text}\n{reference}{separator}{text}\n"


def with_reference(
    answers: Sequence[RankedAnswers], separator: str = SEPARATOR
) -> list[RankedAnswers]:
    """POLAR's fine-tuning lists: the best answer becomes the reference, the others the candidates.
    Lists of two have nothing left to rank and are left out.
    """
    out = []
    for found in answers:
        rest = [k for k in range(len(found.labels)) if k != found.best]
        if len(rest) > 1:
            out.append(
                RankedAnswers(
                    reference_prompt(found.prompt, found.completions[found.best], separator),
                    tuple(found.completions[k] for k in rest),
                    tuple(found.labels[k] for k in rest),
                )
            )
    return out


def policy_lists(
    outputs: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    lists: int,
    others: int = 1,
    across_prompts: bool = False,
    separator: str = SEPARATOR,
    seed: int = 0,
) -> list[RankedAnswers]:
    """POLAR's pre-training lists: a reference of one policy, another answer of the same (label 1),
    and answers of other policies to the same prompt (label 0).

    Parameters
    ----------
    outputs
        policy -> prompt -> its answers
    lists, others
        how many lists, and answers of other policies in each
    across_prompts
        the reference is the policy's answer to another prompt, for policies with one answer a
        prompt

    Raises
    ------
    EvidenceError
        When no prompt has what a list needs.
    """
    rng = np.random.default_rng(seed)
    names = sorted(outputs)
    need = 1 if across_prompts else 2
    usable = [
        (a, x)
        for a in names
        for x, found in outputs[a].items()
        if len(found) >= need
        and sum(bool(outputs[b].get(x)) for b in names if b != a) >= others
        and (not across_prompts or len(outputs[a]) > 1)
    ]
    if not usable:
        raise EvidenceError(
            f"no prompt has {need} answers of one policy and answers of {others} others."
        )
    out = []
    for k in rng.integers(len(usable), size=lists):
        own, prompt = usable[k]
        if across_prompts:
            other_prompt = rng.choice([x for x in outputs[own] if x != prompt])
            reference, same = (
                rng.choice(outputs[own][other_prompt]),
                rng.choice(outputs[own][prompt]),
            )
            asked = f"{other_prompt}\n{reference}{separator}{prompt}\n"
        else:
            reference, same = rng.choice(outputs[own][prompt], size=2, replace=False)
            asked = reference_prompt(prompt, str(reference), separator)
        rivals = rng.choice(
            [b for b in names if b != own and outputs[b].get(prompt)], size=others, replace=False
        )
        texts = [str(same), *(str(rng.choice(outputs[b][prompt])) for b in rivals)]
        out.append(RankedAnswers(asked, tuple(texts), (1.0, *[0.0] * others)))
    return out


def reference_scorer(
    model: Any,
    tokenizer: Any,
    references: Mapping[str, str],
    separator: str = SEPARATOR,
    **options: Any,
) -> Scorer:
    """Rewards of a policy discriminator: prompts have their reference answers by text. Compare only
    candidates of one prompt.
    """
    scorer = reward_scorer(model, tokenizer, **({"chat": False} | options))

    def score(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> list[list[float]]:
        texts = [text_of(p) for p in prompts]
        if missing := [t for t in texts if t not in references]:
            raise EvidenceError(f"no reference answer for the prompt {missing[0][:60]!r}.")
        return scorer([reference_prompt(t, references[t], separator) for t in texts], completions)

    return score
