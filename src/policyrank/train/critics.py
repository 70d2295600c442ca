"""Critics of tokens: a sequence classifier of one output, read before each token."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from policyrank.errors import OptionError
from policyrank.models.tokens import refuse_fewer_tokens, refuse_other_tokens
from policyrank.train.adapters import is_adapted
from policyrank.train.answers import Layout
from policyrank.train.preparing import switch_checkpointing, without_dropout
from policyrank.train.reward import reward_model
from policyrank.train.rounds import Batch, by_output
from policyrank.train.token_likelihood import attention

HEADS = ("score", "classifier", "v_head")


def critic_of(given: Any, policy: Any, seed: int, tokenizer: Any = None) -> Any:
    """A critic: what was given, a reward model by name, or the policy's body with a new head.

    A critic that begins as a reward model keeps its head.

    Parameters
    ----------
    given
        a sequence classifier with one output; its name, or a causal language model's, whose body
        then gets a new head; None: the policy's own body does
    seed
        of a new head
    tokenizer
        of the policy, whose ids the critic reads

    Raises
    ------
    OptionError
        For another model, one of other tokens, and a policy of adapters whose critic was not given.
    """
    name = f"the critic {given}" if isinstance(given, str) else "the critic"
    if isinstance(given, str):
        given, theirs = reward_model(given, seed=seed, device="cpu")
        if tokenizer is not None:
            refuse_other_tokens(tokenizer, theirs, name)
    elif given is None:
        given = _of_policy(policy, seed)
    if is_adapted(given):
        raise OptionError("the critic is adapters: merge them first (policyrank merge).")
    head = head_of(given)
    outputs = getattr(head, "out_features", 1)
    if outputs != 1:
        raise OptionError(f"the critic has {outputs} outputs: give a reward model, which has one.")
    if tokenizer is not None:
        refuse_fewer_tokens(tokenizer, policy, given, name)
    return given.float()


def _of_policy(policy: Any, seed: int) -> Any:
    if is_adapted(policy):
        raise OptionError("the policy is adapters: name a model for its critic (critic=...).")
    config = deepcopy(policy.config)
    config.num_labels = 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            made = AutoModelForSequenceClassification.from_config(config)
        except ValueError:
            raise OptionError(
                f"no sequence classifier is known of {type(policy).__name__}: give a critic."
            ) from None
    made.base_model.load_state_dict(policy.base_model.state_dict())
    return made


def head_of(critic: Any) -> Any:
    """The layer that gives a value.

    Raises
    ------
    OptionError
        Where there is none.
    """
    for name in HEADS:
        if hasattr(critic, name):
            return getattr(critic, name)
    raise OptionError(f"{type(critic).__name__} has no head ({', '.join(HEADS)}): no reward model.")


def token_values(critic: Any, batch: Batch, *, layout: Layout) -> Tensor:
    """The value before each completion token, flat as the collator lists them."""
    body = critic.base_model
    if layout == "shared":
        seen = attention(batch["owner"], batch["part"], next(body.parameters()).dtype)
    else:
        seen = (batch["owner"] >= 0).long()
    hidden = body(
        input_ids=batch["input_ids"],
        attention_mask=seen,
        position_ids=batch["position_ids"],
        use_cache=False,
    ).last_hidden_state
    return head_of(critic)(hidden)[..., 0][batch["row"], batch["place"]].float()


class CriticReader:
    """A critic on the device of its trainer, whose gradients are those of all processes.

    Attributes
    ----------
    model
        the critic
    """

    def __init__(
        self, critic: Any, accelerator: Any, *, dropout: bool = False, checkpointing: bool = False
    ) -> None:
        self._accelerator = accelerator
        if checkpointing:
            switch_checkpointing(critic, "enable", {"use_reentrant": False})
        if not dropout:
            without_dropout(critic)
        self.model = critic.to(accelerator.device).train()

    @property
    def weights(self) -> list[Tensor]:
        """Those that are learned."""
        return [own for own in self.model.parameters() if own.requires_grad]

    def read(self, batch: Batch, layout: Layout) -> Tensor:
        """The value before each token of a batch on the device: (outputs, tokens)."""
        with self._accelerator.autocast():
            flat = token_values(self.model, batch, layout=layout)
        return by_output(flat, batch)

    @torch.no_grad()
    def fixed(self, batch: Batch, layout: Layout) -> Tensor:
        """The same of a batch that is anywhere, without a gradient."""
        moved = {name: own.to(self._accelerator.device) for name, own in batch.items()}
        self.model.eval()
        found = self.read(moved, layout).cpu()
        self.model.train()
        return found

    @torch.no_grad()
    def flat(self, batch: Batch, layout: Layout) -> Tensor:
        """The value before each token, as the collator lists them, without a gradient."""
        moved = {name: own.to(self._accelerator.device) for name, own in batch.items()}
        self.model.eval()
        try:
            return token_values(self.model, moved, layout=layout).cpu()
        finally:
            self.model.train()

    def settle(self, clip: float | None) -> float:
        """Gradients of all processes, clipped; their norm."""
        for own in self.weights:
            if own.grad is not None:
                own.grad = self._accelerator.reduce(own.grad, "mean")
        most = clip if clip else float("inf")
        return float(torch.nn.utils.clip_grad_norm_(self.weights, most))

    def forget(self) -> None:
        """Gradients are gone once the step is made."""
        for own in self.weights:
            own.grad = None
