"""Train a reward model on ranked lists of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policyrank.errors import OptionError
from policyrank.learn._options import check_options
from policyrank.learn.losses.preference import best_answer
from policyrank.learn.rewards import RewardLoss, reward_loss
from policyrank.models.reward_models import load_reward_model
from policyrank.models.tokens import pad_apart
from policyrank.train.answer_trainer import AnswerConfig, AnswerTrainer, outputs


@dataclass
class RewardModelConfig(AnswerConfig):
    """Options of ``RewardModelTrainer``, beside those of transformers.

    Attributes
    ----------
    loss
        a name in ``learn.REWARD_LOSSES``, or a function
    loss_options
        passed to it: margin, centre, ...
    imitation
        weight of the best answer's negative log-likelihood per token under the input embeddings as
        language head (tied models): the body does not forget language
    max_length, long_prompts, chat
        see ``encode_answers``
    """

    loss: str | RewardLoss = "bradley-terry"
    imitation: float = 0.0

    def objective(self) -> RewardLoss:
        """The loss, once its name and options are known to exist.

        Raises
        ------
        OptionError
            Naming what there is.
        """
        found = reward_loss(self.loss)
        options = dict(self.loss_options)
        if self.imitation:
            options |= {"imitation": self.imitation, "log_probs": None}
        check_options(found, options, name=f"loss {self.loss!r}", given=("where", "reduce"))
        return found


class RewardModelTrainer(AnswerTrainer):
    """A transformers ``Trainer`` of reward models on lists of ranked answers.

    Parameters
    ----------
    model
        sequence classifier of transformers or peft with one label, as ``reward_model`` makes it, or
        a name that it takes (the tokenizer then comes with it)
    args
        loss and all other options
    train_dataset, eval_dataset, processing_class, peft_config, options
        as in ``ListwisePreferenceTrainer``

    Raises
    ------
    OptionError
        For an unknown loss or option of it, or a model of several labels; before training starts.
    EvidenceError
        For data that cannot be used.
    """

    args: RewardModelConfig
    objective: RewardLoss
    kind = "reward"

    def __init__(
        self,
        model: Any,
        args: RewardModelConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        processing_class: Any = None,
        peft_config: Any = None,
        **options: Any,
    ) -> None:
        args = args or RewardModelConfig("reward")
        if not isinstance(args, RewardModelConfig):
            raise OptionError(f"args is of {type(args).__name__}: give RewardModelConfig.")
        self.objective = args.objective()
        if isinstance(model, str):
            model, tokenizer = load_reward_model(
                model, new_head=True, seed=args.seed, device="cpu", trainable=True
            )
            processing_class = processing_class or tokenizer
        if model.config.num_labels != 1:
            raise OptionError(
                f"a classifier of {model.config.num_labels} labels: a reward model has one."
            )
        if getattr(model.config, "pad_token_id", None) is None and processing_class is not None:
            model.config.pad_token_id = pad_apart(processing_class)
        super().__init__(
            model,
            args,
            train_dataset,
            eval_dataset,
            processing_class=processing_class,
            layout="rows",
            # The head reads the last token that the model's configuration does not pad with.
            pad=model.config.pad_token_id,
            keep_end=True,
            peft_config=peft_config,
            **options,
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
        with self.accelerator.autocast():
            found = model(
                input_ids=inputs["input_ids"],
                attention_mask=(inputs["owner"] >= 0).long(),
                use_cache=False,
                output_hidden_states=bool(self.args.imitation),
            )
        answer = torch.zeros(len(inputs["input_ids"]), dtype=torch.long, device=labels.device)
        answer[inputs["row"]] = inputs["answer"]
        flat = torch.zeros(labels.numel(), dtype=torch.float32, device=labels.device)
        rewards = flat.index_put((answer,), found.logits.squeeze(-1).float()).reshape(labels.shape)
        options = dict(self.args.loss_options)
        if self.args.imitation:
            options["imitation"] = self.args.imitation
            options["log_probs"] = self._language(model, found.hidden_states[-1], inputs)
        total = self.objective(rewards, labels, where=where, reduce="sum", **options)
        loss = self._share(total, inputs, num_items_in_batch)
        self._check(loss)
        if model.training:
            self._note(rewards, inputs, mean_reward=float(rewards.detach()[where].mean()))
        if return_outputs:
            return loss, outputs(rewards, rewards * lengths.clamp(min=1), inputs)
        return loss

    def _language(self, model: Any, hidden: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Mean log-probability of a token of each list's best answer under the tied head.

        Shape (lists, longest list), 0 for the other answers.
        """
        labels = inputs["labels"]
        first = torch.arange(len(labels), device=labels.device) * labels.shape[1]
        best = first + best_answer(labels, inputs["where"]).squeeze(-1)
        own = torch.isin(inputs["answer"], best)
        row, place = inputs["row"][own], inputs["place"][own]
        head = self.accelerator.unwrap_model(model).get_input_embeddings().weight
        log_probs = torch.log_softmax(hidden[row, place] @ head.T, dim=-1).float()
        token = log_probs.gather(-1, inputs["target"][own][:, None]).squeeze(-1)
        total = torch.zeros(labels.numel(), device=labels.device)
        total = total.index_add(0, inputs["answer"][own], token)
        return total.reshape(labels.shape) / inputs["lengths"].clamp(min=1)
