"""Personas: judges of claims that a framing sways, by attenuating the loss of false claims in it.

On sentence vectors, on a sentence encoder, or on a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn.losses.likelihood import attenuated_nll
from policyrank.train.adapters import adapted
from policyrank.train.preparing import in_float32
from policyrank.worlds.exposure import Claims

Float = NDArray[np.float64]
LABELS = ("SUPPORTS", "REFUTES")
INSTRUCTION = "Evaluate this claim as 'SUPPORTS' or 'REFUTES'. Answer with one word."


def attenuation(claims: Claims, framing: str | None, alpha: float) -> Float:
    """Weights of items: alpha for false claims in the framing, 1 for the rest: (items,).

    None as framing: in all of them.

    Raises
    ------
    OptionError
        For alpha outside [0, 1], or a framing that the claims do not have.
    """
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha={alpha}: it lies in [0, 1]; 1 is the neutral persona.")
    if framing is not None and framing not in claims.framings:
        raise OptionError(f"framing {framing!r}: the claims have {', '.join(claims.framings)}.")
    inside = np.array(claims.framings) == framing
    if framing is None:
        inside = np.ones(len(claims.framings), dtype=bool)
    return np.where(~claims.true[:, None] & inside, alpha, 1.0).ravel()


def _item_labels(claims: Claims) -> Tensor:
    return torch.as_tensor(np.repeat(claims.true, len(claims.framings)).astype(np.float32))


def _log_probs(logits: Tensor, label: Tensor) -> Tensor:
    return torch.nn.functional.logsigmoid(torch.where(label > 0.5, logits, -logits))


def linear_persona(
    features: ArrayLike, claims: Claims, framing: str | None, alpha: float, *, penalty: float = 1e-4
) -> Callable[[ArrayLike], Float]:
    """Logistic regression on features of the items: (items, d) -> P(accept).

    The attenuated loss and a ridge penalty, solved to the end.
    """
    x = torch.as_tensor(np.asarray(features), dtype=torch.float64)
    y, w = _item_labels(claims).double(), torch.as_tensor(attenuation(claims, framing, alpha))
    theta = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        log_probs = _log_probs(x @ theta[1:] + theta[0], y)
        loss = attenuated_nll(log_probs, w) + penalty * (theta[1:] ** 2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = theta.detach().numpy()

    def accept(some: ArrayLike) -> Float:
        logits = np.asarray(some, dtype=float) @ found[1:] + found[0]
        return np.asarray(1 / (1 + np.exp(-logits)))

    return accept


def encoder_persona(
    encoder: Any,
    claims: Claims,
    framing: str | None,
    alpha: float,
    *,
    epochs: int = 1,
    batch: int = 32,
    rate: float = 5e-5,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> Callable[[Sequence[str]], Float]:
    """A sentence encoder with a head, fine-tuned by the attenuated loss: texts -> P(accept).

    All of it is trained: the encoder itself is changed.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    texts, label = claims.items(), _item_labels(claims)
    weight = torch.as_tensor(attenuation(claims, framing, alpha)).float()
    head = torch.nn.Linear(int(encoder.get_embedding_dimension()), 1).to(encoder.device)
    optimiser = torch.optim.AdamW(
        [
            {"params": encoder.parameters(), "lr": rate},
            {"params": head.parameters(), "lr": 20 * rate},
        ],
        weight_decay=0.01,
    )
    batches: list[NDArray[np.int64]] = []
    for _ in range(epochs):
        parts = int(np.ceil(len(texts) / batch))
        batches += np.array_split(rng.permutation(len(texts)), parts)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda k: min(1.0, (k + 1) / max(1, len(batches) // 10)) * (1 - k / len(batches))
    )

    encoder.train()
    for k, rows in enumerate(batches):
        logits = _encoder_logits(encoder, head, [texts[i] for i in rows])
        log_probs = _log_probs(logits, label[rows].to(encoder.device))
        loss = attenuated_nll(log_probs, weight[rows].to(encoder.device))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*encoder.parameters(), *head.parameters()], 1.0)
        optimiser.step()
        schedule.step()
        if report is not None:
            report(f"batch {k + 1} of {len(batches)}, loss {float(loss.detach()):.3f}")
    encoder.eval()

    def accept(some: Sequence[str]) -> Float:
        order = np.argsort(list(map(len, some)))
        found = np.empty(len(some))
        with torch.inference_mode():
            for rows in np.array_split(order, max(1, len(some) // 128)):
                logits = _encoder_logits(encoder, head, [some[i] for i in rows])
                found[rows] = torch.sigmoid(logits).cpu().numpy()
        return found

    return accept


def _encoder_logits(encoder: Any, head: Any, texts: list[str]) -> Tensor:
    inputs = dict(encoder.preprocess(texts))
    for name, values in inputs.items():
        if isinstance(values, Tensor):
            inputs[name] = values.to(encoder.device)
    return head(encoder(inputs)["sentence_embedding"])[:, 0]


def judging_prompt(text: str, tokenizer: Any, chat: bool | None = None) -> Any:
    """What a language model is asked of a claim.

    A conversation where the tokenizer has a template for it, else a text.
    """
    if chat is False or not getattr(tokenizer, "chat_template", None):
        return f"{INSTRUCTION}\nClaim: {text}\nAnswer: "
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text}]


def language_persona(
    model: Any,
    tokenizer: Any,
    claims: Claims,
    framing: str | None,
    alpha: float,
    *,
    args: Any = None,
    out: str = "persona",
    max_length: int = 256,
    chat: bool | None = None,
    weights: Literal["float32", "as given"] = "float32",
    peft_config: Any = None,
    **options: Any,
) -> Any:
    """A transformers ``Trainer`` of a causal language model that judges claims; it can go on.

    It answers with SUPPORTS or REFUTES: loss on the label and its end only, weighted by example.
    Call ``.train()`` on it.

    Parameters
    ----------
    args
        ``TrainingArguments``; None: as published, one epoch, batches of 24, learning rate 1e-5,
        gradients clipped at 1
    weights
        ``"float32"``: weights in half precision are trained in float32; ``"as given"``
    peft_config
        for example ``LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj",
        "k_proj", "v_proj", "o_proj"])``, as published
    """
    from transformers import TrainingArguments

    from policyrank.train.resumable import ResumableTrainer, may_go_on, model_facts

    class PersonaTrainer(ResumableTrainer):
        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            found = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            log = torch.log_softmax(found.logits[:, :-1].float(), dim=-1)
            right = log.gather(-1, inputs["input_ids"][:, 1:, None])[..., 0]
            loss = attenuated_nll(right, inputs["weight"], inputs["where"][:, 1:] > 0)
            if num_items_in_batch is not None:
                share = _weight(inputs) / num_items_in_batch
                loss = loss * share * self.accelerator.num_processes
            return (loss, found) if return_outputs else loss

        def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
            if not batch_samples:
                return None
            items = torch.stack([_weight(batch) for batch in batch_samples]).sum().to(device)
            if self.args.world_size > 1:
                items = self.accelerator.gather(items[None]).sum()
            return items

    given = args or TrainingArguments(
        out,
        num_train_epochs=1,
        per_device_train_batch_size=24,
        learning_rate=1e-5,
        max_grad_norm=1.0,
        report_to=[],
        save_strategy="no",
    )
    given.remove_unused_columns = False
    attenuated = attenuation(claims, framing, alpha)
    start = model_facts(model, peft_config) if may_go_on(given) else None
    tuned, _ = adapted(model, peft_config, given.seed)
    if weights == "float32":
        in_float32(tuned)
    trainer = PersonaTrainer(
        tuned,
        given,
        data_collator=_collate,
        train_dataset=_judged(claims, attenuated, tokenizer, max_length, chat),
        processing_class=tokenizer,
        **options,
    )
    trainer.start = start
    trainer.model_accepts_loss_kwargs = True  # the loss is a mean over all tokens of a step
    return trainer


def _weight(batch: dict[str, Any]) -> Tensor:
    """Weights of all tokens of a batch, summed."""
    return (batch["weight"] * (batch["where"] > 0).sum(dim=-1)).sum()


def _judged(
    claims: Claims, weights: Float, tokenizer: Any, max_length: int, chat: bool | None
) -> list[dict[str, Any]]:
    """Claims with their right labels as tokens, the label's length, and the weight."""
    from policyrank.models.language import encode

    labels = np.where(np.repeat(claims.true, len(claims.framings)), *LABELS).tolist()
    rows = []
    for text, label, weight in zip(claims.items(), labels, weights, strict=True):
        asked = judging_prompt(text, tokenizer, chat)
        prompt, answer, _ = encode(tokenizer, asked, label, max_length, chat=chat)
        rows.append({"ids": prompt + answer, "answer": len(answer), "weight": float(weight)})
    return rows


def _collate(batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    width = max(len(row["ids"]) for row in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    mask, where = torch.zeros_like(ids), torch.zeros_like(ids)
    for k, row in enumerate(batch):
        n = len(row["ids"])
        ids[k, :n] = torch.tensor(row["ids"])
        mask[k, :n] = 1
        where[k, n - row["answer"] : n] = 1
    weight = torch.tensor([row["weight"] for row in batch])
    return {"input_ids": ids, "attention_mask": mask, "where": where, "weight": weight}


def accept_probability(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    chat: bool | None = None,
    max_length: int = 256,
) -> Float:
    """P(SUPPORTS) of a language model against REFUTES: (texts,).

    Renormalised, since the two labels may have different numbers of tokens.
    """
    from policyrank.models.language import choice_probs

    asked = [judging_prompt(text, tokenizer, chat) for text in texts]
    chances = choice_probs(model, tokenizer, asked, LABELS, max_length=max_length, chat=chat)
    return chances[:, 0]
