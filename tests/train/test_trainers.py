"""Trainers on what people bring: micro-batches, precision, dropout, adapters, chats, labels."""

import json
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.models.language import answer_logprobs, load_causal_lm
from policyrank.train import (
    ListwisePreferenceConfig,
    ListwisePreferenceTrainer,
    RewardModelConfig,
    RewardModelTrainer,
    reward_model,
    reward_scorer,
)
from policyrank.train.distillation import imitation, imitation_data
from policyrank.train.personas import language_persona

TURNS = (
    "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + '<e>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'a ' }}{% endif %}"
)
LISTS = [
    {"prompt": "say a", "completions": ["aaaa", "b", "ab"], "scores": [1, 0, 0.5]},
    {"prompt": "say c now", "completions": ["cccc", "dd"], "scores": [1, 0]},
    {"prompt": "say e", "completions": ["e", "ffffff", "efg", "gg"], "ranks": [1, 4, 2, 3]},
    {"prompt": "h", "chosen": "hh", "rejected": "kkk"},
    {"prompt": "say b a b", "completions": ["bab", "c" * 30], "scores": [3, 1]},
]
ONE_STEP = {
    "max_steps": 1,
    "learning_rate": 1e-2,
    "optim": "sgd",
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_strategy": "no",
}


def flat(model):
    return torch.cat([weights.detach().float().flatten() for weights in model.parameters()])


def step_of(model, trainer):
    """What one step of plain gradient descent changes: the gradient, scaled."""
    before = flat(model).clone()
    trainer.train()
    return flat(trainer.model) - before


def likelihoods(model, tokenizer, texts):
    found = {}
    for batch in answer_logprobs(model, tokenizer, texts):
        found |= {k: value.logprob for k, value in batch}
    return [found[k] for k in range(len(texts))]


CUTS = [(5, 1), (1, 5), (2, 3)]
"""Lists of a batch, batches of a step: of five lists, the last batch is smaller."""


def preference_step(lm, folder, batch, accumulate, **options):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    reference, _ = load_causal_lm(str(lm), device="cpu")
    with torch.no_grad():  # a policy that has moved: ranks of equal scores would be those of noise
        for weights in model.parameters():
            weights.mul_(1.1)
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
    args = ListwisePreferenceConfig(str(folder), **(ONE_STEP | sizes | options))
    trainer = ListwisePreferenceTrainer(
        model, args, LISTS, processing_class=tokenizer, reference_model=reference
    )
    return step_of(model, trainer)


@pytest.mark.parametrize("loss", ["dpo", "lipo-lambda", "dpo-pl", "ipo", "grpo", "orpo", "cpo"])
@pytest.mark.parametrize("sft_weight", [0.0, 0.3])
def test_a_step_is_the_same_however_it_is_cut(lm, tmp_path, loss, sft_weight):
    whole, *cut = (
        preference_step(lm, tmp_path, *sizes, loss=loss, sft_weight=sft_weight) for sizes in CUTS
    )
    assert whole.abs().max() > 1e-5
    for other in cut:
        assert torch.allclose(whole, other, atol=1e-6 * (1 + whole.abs().max()), rtol=1e-3)


def test_a_step_of_unpaired_answers_is_the_same_however_it_is_cut(lm, tmp_path):
    rows = []
    for number, letter in enumerate("abcdefg"):
        rows.append({"prompt": f"say {letter}", "completion": letter * 3, "label": number % 2 == 0})
    found, zeros = [], []
    for batch, accumulate in ((7, 1), (1, 7), (3, 3)):
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        reference, _ = load_causal_lm(str(lm), device="cpu")
        with torch.no_grad():  # a policy that all answers are likelier under: z is above 0
            model.lm_head.weight[3:10] *= 1.5
            model.lm_head.weight[3:10] += 0.2 * model.model.norm.weight
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        args = ListwisePreferenceConfig(
            str(tmp_path), **(ONE_STEP | sizes), loss="kto-unpaired", loss_options={"beta": 0.5}
        )
        trainer = ListwisePreferenceTrainer(
            model, args, rows, processing_class=tokenizer, reference_model=reference
        )
        found.append(step_of(model, trainer))
        zeros.append(trainer._of_step.get("zero"))
    assert zeros[0] is None  # one batch: its own is that of the step
    assert float(zeros[1]) == pytest.approx(float(zeros[2]), abs=1e-4)
    assert zeros[1] > 1e-3
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-6, rtol=1e-3)


def test_a_step_of_imitation_is_a_mean_over_its_tokens(lm, tmp_path):
    prompts, answers = ["say a", "say b", "c", "d", "e"], ["a", "b" * 40, "cc", "d" * 20, "e"]
    found = []
    for batch, accumulate in CUTS:
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        args = ListwisePreferenceConfig(
            str(tmp_path), **(ONE_STEP | sizes), loss=imitation, reference=None, mean_over="tokens"
        )
        data = imitation_data(prompts, answers, tokenizer)
        trainer = ListwisePreferenceTrainer(model, args, data, processing_class=tokenizer)
        found.append(step_of(model, trainer))
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("loss", ["bradley-terry", "plackett-luce"])
def test_a_step_of_a_reward_model_is_the_same_however_it_is_cut(lm, tmp_path, loss):
    found = []
    for batch, accumulate in CUTS:
        model, tokenizer = reward_model(str(lm), device="cpu")
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        args = RewardModelConfig(str(tmp_path), **(ONE_STEP | sizes), loss=loss, imitation=0.1)
        trainer = RewardModelTrainer(model, args, LISTS, processing_class=tokenizer)
        found.append(step_of(model, trainer))
    assert found[0].abs().max() > 1e-5
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-7, rtol=1e-3)


def test_a_step_of_a_persona_is_the_same_however_it_is_cut(lm, tmp_path):
    from transformers import TrainingArguments

    from policyrank.worlds.exposure import Claims

    claims = Claims.of(["a b", "c", "d e f"], [True, False, True])
    found = []
    assert len(claims.items()) == 18
    for batch, accumulate in ((18, 1), (1, 18), (5, 4)):
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        args = TrainingArguments(str(tmp_path), **(ONE_STEP | sizes))
        trainer = language_persona(model, tokenizer, claims, claims.framings[0], 0.3, args=args)
        found.append(step_of(model, trainer))
    assert found[0].abs().max() > 1e-6
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-7, rtol=1e-3)


@pytest.fixture(scope="module")
def chat_lm(lm, tmp_path_factory):
    """The characters' model with a chat template whose turns end in a token of their own."""
    folder = tmp_path_factory.mktemp("chat")
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<e>"]})
    tokenizer.chat_template = TURNS
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


CHATS = [
    {
        "prompt": [{"role": "user", "content": asked}],
        "chosen": [{"role": "assistant", "content": good}],
        "rejected": [{"role": "assistant", "content": bad}],
    }
    for asked, good, bad in (("hi", "yes", "no no"), ("say a", "aaa", "b"), ("c d", "cd", "dcdcd"))
]


@pytest.mark.parametrize(
    ("bf16", "batch", "accumulate"), [(False, 3, 1), (False, 1, 3), (False, 2, 2), (True, 1, 3)]
)
def test_pairs_of_chats_equal_trl(chat_lm, tmp_path, bf16, batch, accumulate):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    sizes = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "bf16": bf16,
        "logging_strategy": "steps",
        "logging_steps": 1,
    }
    steps, losses = [], []
    for ours in (True, False):
        model, tokenizer = load_causal_lm(str(chat_lm), device="cpu")
        with torch.no_grad():  # a policy that has moved from its reference
            for weights in model.parameters():
                weights.mul_(1.02)
        reference, _ = load_causal_lm(str(chat_lm), device="cpu")
        if ours:
            args = ListwisePreferenceConfig(str(tmp_path / "ours"), **(ONE_STEP | sizes))
            trainer = ListwisePreferenceTrainer(
                model, args, CHATS, processing_class=tokenizer, reference_model=reference
            )
        else:
            tokenizer.pad_token = "<unk>"
            args = trl.DPOConfig(
                str(tmp_path / "trl"), **(ONE_STEP | sizes), gradient_checkpointing=False
            )
            trainer = trl.DPOTrainer(
                model,
                ref_model=reference,
                args=args,
                train_dataset=datasets.Dataset.from_list(CHATS),
                processing_class=tokenizer,
            )
        steps.append(step_of(model, trainer))
        losses.append(next(h["loss"] for h in trainer.state.log_history if "loss" in h))
    close = 2e-2 if bf16 else 1e-4
    if batch == 2:
        # TRL takes the mean of unequal batches' means: its gradient is another one here.
        return
    assert losses[0] == pytest.approx(losses[1], rel=close, abs=1e-4)
    assert torch.nn.functional.cosine_similarity(*steps, dim=0) > 1 - close
    assert float(steps[0].norm() / steps[1].norm()) == pytest.approx(1, rel=close)


def test_weights_train_in_float32_unless_told(lm, tmp_path):
    def moved(weights):
        model, tokenizer = load_causal_lm(str(lm), device="cpu", dtype="bfloat16")
        before = flat(model).clone()
        options = {"max_steps": 5, "learning_rate": 1e-6, "optim": "adamw_torch"}
        args = ListwisePreferenceConfig(str(tmp_path), **(ONE_STEP | options), weights=weights)
        trainer = ListwisePreferenceTrainer(model, args, LISTS, processing_class=tokenizer)
        trainer.train()
        return float((flat(trainer.model) != before).float().mean()), trainer.notes

    share, notes = moved("float32")
    assert share > 0.9
    assert any("half precision and are trained in float32" in note for note in notes)
    share, notes = moved("as given")
    assert share < 0.2
    assert not any("half precision" in note for note in notes)


@pytest.mark.parametrize("reference", ["precompute", "model", "adapter"])
def test_an_untrained_policy_is_its_reference_in_bfloat16(lm, tmp_path, reference):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    options = {"bf16": True, "reference": "adapter" if reference == "adapter" else "precompute"}
    more = {}
    if reference == "model":
        more["reference_model"] = load_causal_lm(str(lm), device="cpu")[0]
    if reference == "adapter":
        peft = pytest.importorskip("peft")
        more["peft_config"] = peft.LoraConfig(r=2, target_modules="all-linear")
    args = ListwisePreferenceConfig(str(tmp_path), **(ONE_STEP | options))
    trainer = ListwisePreferenceTrainer(
        model, args, LISTS, LISTS, processing_class=tokenizer, **more
    )
    found = trainer.evaluate()
    assert found["eval_accuracy"] == 0.5
    assert found["eval_margin"] == 0
    assert found["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("kept", [False, True])
def test_dropout_is_off_unless_told(lm, tmp_path, kept):
    from transformers import GPT2Config, GPT2LMHeadModel

    _, tokenizer = load_causal_lm(str(lm), device="cpu")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64)
    )
    options = {"learning_rate": 1e-12, "max_steps": 2, "logging_strategy": "steps"}
    options |= {"logging_steps": 1, "dropout": kept}
    args = ListwisePreferenceConfig(str(tmp_path), **(ONE_STEP | options))
    trainer = ListwisePreferenceTrainer(model, args, LISTS, processing_class=tokenizer)
    trainer.train()
    margins = [record["margin"] for record in trainer.state.log_history if "margin" in record]
    assert all(margin == 0 for margin in margins) != kept


def test_a_window_that_answers_outgrow_is_seen(lm, tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    _, tokenizer = load_causal_lm(str(lm), device="cpu")
    torch.manual_seed(0)
    for window, layout in ((8, "rows"), (64, "shared")):
        model = MistralForCausalLM(
            MistralConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                sliding_window=window,
            )
        ).eval()
        args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP)
        trainer = ListwisePreferenceTrainer(model, args, LISTS, processing_class=tokenizer)
        trainer._prepare()
        assert trainer.layout == layout
        own = trainer.train_dataset.lists[0]
        for ids, known in zip(own.completions, own.reference, strict=True):
            logits = model(torch.tensor([[*own.prompt, *ids]])).logits[0].detach().log_softmax(-1)
            start = len(own.prompt) - 1
            alone = sum(float(logits[start + k, token]) for k, token in enumerate(ids))
            assert sum(known) == pytest.approx(alone, abs=1e-3)


TEXTS = [("say a", "aaaa"), ("h", "hh")]


def lora_policy(lm, folder, **options):
    peft = pytest.importorskip("peft")
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    args = ListwisePreferenceConfig(
        str(folder / "run"), **(ONE_STEP | {"max_steps": 10, "learning_rate": 0.5} | options)
    )
    lora = peft.LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = ListwisePreferenceTrainer(
        model, args, LISTS, processing_class=tokenizer, peft_config=lora
    )
    trainer.train()
    trainer.save_model(str(folder))
    return tokenizer


def test_adapters_are_trained_further_and_stacked(lm, tmp_path):
    peft = pytest.importorskip("peft")
    tokenizer = lora_policy(lm, tmp_path / "first")
    base, _ = load_causal_lm(str(lm), device="cpu")
    first, _ = load_causal_lm(str(tmp_path / "first"), device="cpu", trainable=True)
    as_saved = likelihoods(first, tokenizer, TEXTS)
    assert as_saved != pytest.approx(likelihoods(base, tokenizer, TEXTS), abs=1e-2)

    options = ONE_STEP | {"max_steps": 5, "learning_rate": 0.5}
    args = ListwisePreferenceConfig(str(tmp_path / "run"), **options, reference="adapter")
    further = ListwisePreferenceTrainer(first, args, LISTS, LISTS, processing_class=tokenizer)
    # Its reference is the adapter as it was, not the base below it.
    assert further.evaluate()["eval_loss"] == pytest.approx(math.log(2), abs=1e-5)
    further.train()
    assert further.evaluate()["eval_loss"] < math.log(2)
    further.save_model(str(tmp_path / "further"))
    again, _ = load_causal_lm(str(tmp_path / "further"), device="cpu")
    now = likelihoods(further.model, tokenizer, TEXTS)
    assert likelihoods(again, tokenizer, TEXTS) == pytest.approx(now, abs=1e-4)
    assert now != pytest.approx(as_saved, abs=1e-3)

    first, _ = load_causal_lm(str(tmp_path / "first"), device="cpu")
    lora = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    stacked = ListwisePreferenceTrainer(
        first, args, LISTS, processing_class=tokenizer, peft_config=lora
    )
    assert likelihoods(stacked.model, tokenizer, TEXTS) == pytest.approx(as_saved, abs=1e-4)
    stacked.train()
    now = likelihoods(stacked.model, tokenizer, TEXTS)
    assert now != pytest.approx(as_saved, abs=1e-3)
    stacked.save_model(str(tmp_path / "stacked"))
    for found in (
        load_causal_lm(str(tmp_path / "stacked"), device="cpu")[0],
        peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "stacked"),
    ):
        assert likelihoods(found, tokenizer, TEXTS) == pytest.approx(now, abs=1e-4)
    known = json.loads((tmp_path / "stacked" / "adapter_config.json").read_text())
    assert known["r"] == 5


def test_adapters_that_transformers_put_in_are_not_lost(lm, tmp_path):
    pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    tokenizer = lora_policy(lm, tmp_path / "first")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    args = ListwisePreferenceConfig(str(tmp_path / "run"), **ONE_STEP)
    with pytest.raises(OptionError, match="adapters that transformers put in"):
        ListwisePreferenceTrainer(model, args, LISTS, processing_class=tokenizer)


def test_a_reward_model_of_adapters(lm, tmp_path):
    peft = pytest.importorskip("peft")
    from policyrank.models.reward_models import load_reward_model

    model, tokenizer = reward_model(str(lm), device="cpu")
    args = RewardModelConfig(str(tmp_path / "run"), **(ONE_STEP | {"max_steps": 20}))
    lora = peft.LoraConfig(
        r=3, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"]
    )
    trainer = RewardModelTrainer(model, args, LISTS, processing_class=tokenizer, peft_config=lora)
    trainer.train()
    trainer.save_model(str(tmp_path / "reward"))
    prompts, answers = ["say a", "h"], [["aaaa", "b"], ["hh", "kkk", "h" * 20]]
    now = reward_scorer(trainer.model, tokenizer)(prompts, answers)
    found, own = load_reward_model(str(tmp_path / "reward"), device="cpu")
    for one, other in zip(reward_scorer(found, own)(prompts, answers), now, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("pad", ["unset", "another", "end"])
def test_the_reward_is_read_at_the_end(lm, tmp_path, pad):
    model, tokenizer = reward_model(str(lm), device="cpu")
    if pad == "another":
        tokenizer.pad_token = "b"
    if pad == "end":
        tokenizer.pad_token = "</s>"
    args = RewardModelConfig(str(tmp_path), **ONE_STEP)
    trainer = RewardModelTrainer(model, args, LISTS, processing_class=tokenizer)
    model.eval()
    lists = trainer.train_dataset.lists
    alone, beside = lists[3], [lists[3], lists[2]]

    def rewards(group):
        batch = trainer.collate(group)
        return trainer.compute_loss(model, batch, return_outputs=True)[1]["scores"][0, :2].tolist()

    assert rewards([alone]) == pytest.approx(rewards(beside), abs=1e-5)
    scored = reward_scorer(model, tokenizer)(["h"], [["hh", "kkk"]])[0]
    assert scored == pytest.approx(rewards([alone]), abs=1e-5)
    ids = (
        tokenizer("h", add_special_tokens=True)["input_ids"]
        + tokenizer("hh", add_special_tokens=False)["input_ids"]
    )
    with torch.no_grad():
        ended = float(model(torch.tensor([[*ids, 1]])).logits)
        open_ = float(model(torch.tensor([ids])).logits)
    assert scored[0] == pytest.approx(ended, abs=1e-5)
    assert ended != pytest.approx(open_, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "scores", "message"),
    [
        ("lipo-lambda", [-1.0, -3.0], "gains, which are at least 0 and at most 100: list 0 has"),
        ("softmax", [2.0, -0.5], "gains, which are at least 0"),
        ("point-sigmoid", [2.0, 0.5], "shares, which are in .0, 1."),
    ],
)
def test_labels_that_a_loss_cannot_take_are_refused(lm, tmp_path, loss, scores, message):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    rows = [{"prompt": "a", "completions": ["bb", "c"], "scores": scores}]
    args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP, loss=loss)
    with pytest.raises(OptionError, match=message) as told:
        ListwisePreferenceTrainer(model, args, rows, processing_class=tokenizer)
    assert "labels='win-shares'" in str(told.value)
    args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP, loss=loss, labels="win-shares")
    trainer = ListwisePreferenceTrainer(model, args, rows, processing_class=tokenizer)
    assert trainer.train_dataset[0].labels == [1.0, 0.0]


def test_unpaired_answers_learn_what_is_desirable(lm, tmp_path):
    rows = []
    for letter in "abcdefgh":
        rows.append({"prompt": f"say {letter}", "completion": letter * 3, "label": True})
        rows.append({"prompt": f"say {letter}", "completion": "zz", "label": False})
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    options = ONE_STEP | {"max_steps": 60, "optim": "adamw_torch", "learning_rate": 5e-3}
    options |= {"per_device_train_batch_size": 8}
    args = ListwisePreferenceConfig(str(tmp_path), **options, loss="kto-unpaired")
    trainer = ListwisePreferenceTrainer(model, args, rows, rows, processing_class=tokenizer)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(0.5, abs=1e-5)
    before = likelihoods(model, tokenizer, [("say a", "aaa"), ("say a", "zz")])
    trainer.train()
    after = likelihoods(model, tokenizer, [("say a", "aaa"), ("say a", "zz")])
    assert after[0] - before[0] > after[1] - before[1] + 1
    assert trainer.evaluate()["eval_loss"] < 0.45
    wrong = ListwisePreferenceConfig(str(tmp_path), **options, loss="dpo")
    with pytest.raises(OptionError, match=r"unpaired .* take kto-unpaired"):
        ListwisePreferenceTrainer(model, wrong, rows, processing_class=tokenizer)
    with pytest.raises(OptionError, match="these are lists: take another"):
        ListwisePreferenceTrainer(model, args, LISTS, processing_class=tokenizer)


def test_several_sets_of_evaluation_and_batches_by_length(lm, tmp_path):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    options = ONE_STEP | {"train_sampling_strategy": "group_by_length", "max_steps": 2}
    args = ListwisePreferenceConfig(str(tmp_path), **options)
    sets = {"easy": LISTS[:2], "hard": LISTS[2:]}
    trainer = ListwisePreferenceTrainer(model, args, LISTS, sets, processing_class=tokenizer)
    trainer.train()
    found = trainer.evaluate()
    assert {"eval_easy_loss", "eval_hard_accuracy"} <= set(found)
    assert trainer.evaluate(LISTS[:1])["eval_loss"] > 0


def test_conversations_that_a_template_cannot_write_name_their_row(chat_lm, tmp_path):
    model, tokenizer = load_causal_lm(str(chat_lm), device="cpu")
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    rows = [*CHATS, {**CHATS[0], "chosen": [call]}]
    args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP)
    with pytest.raises(EvidenceError, match="row 4: the chat template"):
        ListwisePreferenceTrainer(model, args, rows, processing_class=tokenizer)


def test_unpaired_answers_are_compared_with_each_other(lm, tmp_path):
    import numpy as np
    from transformers import EvalPrediction

    from policyrank.train.answer_trainer import preference_metrics

    score = np.array([[2.0, 9.0], [1.0, -9.0], [3.0, 0.0], [1.0, 5.0]])
    labels = np.array([[1.0, -1.0], [0.0, -1.0], [0.0, -1.0], [1.0, -1.0]])
    ones = np.ones_like(score)
    found = preference_metrics(EvalPrediction((score, score, ones, ones), labels), unpaired=True)
    # Of the four pairs (2, 1), (2, 3), (1, 1), (1, 3): right, wrong, half, wrong.
    assert found["accuracy"] == 1.5 / 4
    assert found["margin"] == 1.5 - 2
    assert "top1" not in found


def test_texts_stay_within_the_models_context(lm, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    _, tokenizer = load_causal_lm(str(lm), device="cpu")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=32)
    )
    rows = [*LISTS, {"prompt": "a" * 8, "completions": ["b" * 60, "c" * 50], "scores": [1, 0]}]
    args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP)
    trainer = ListwisePreferenceTrainer(model, args, rows, processing_class=tokenizer)
    assert any("max_length is 32 tokens, the model's context" in note for note in trainer.notes)
    trainer.train()
    unpaired = [
        {"prompt": "a" * 20, "completion": "b", "label": True},
        {"prompt": "c", "completion": "d" * 28, "label": False},
    ]
    args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP, loss="kto-unpaired")
    ListwisePreferenceTrainer(model, args, unpaired, processing_class=tokenizer).train()
    ((_, lost),) = next(answer_logprobs(model, tokenizer, [("a" * 40, "b")]))
    assert math.isnan(lost.logprob)


def test_an_answer_that_cannot_be_read_ends_nothing(chat_lm):
    from policyrank.models.fitting import Seen
    from policyrank.train.judges import likelihood_scorer

    model, tokenizer = load_causal_lm(str(chat_lm), device="cpu")
    call = [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]
    seen = Seen()
    (scores,) = likelihood_scorer(model, tokenizer, seen=seen)(["hi"], [["yes", call]])
    assert math.isfinite(scores[0])
    assert math.isnan(scores[1])
    assert seen.unread == 1
    assert "the chat template" in seen.notes(64, "leave out")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "winshares"}, "labels='winshares': use 'as-given' or 'win-shares'"),
        ({"weights": "bf16"}, "weights='bf16'"),
        ({"mean_over": "answers"}, "mean_over='answers'"),
        ({"long_prompts": "keep"}, "long_prompts='keep'"),
    ],
)
def test_words_that_are_no_choice_are_refused(lm, tmp_path, options, message):
    args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP, **options)
    with pytest.raises(OptionError, match=message):
        ListwisePreferenceTrainer(str(lm), args, LISTS)


def test_names_of_models_and_several_sets(lm, tmp_path):
    args = ListwisePreferenceConfig(str(tmp_path), **ONE_STEP)
    trainer = ListwisePreferenceTrainer(str(lm), args, LISTS, reference_model=str(lm))
    trainer.train()
    RewardModelTrainer(str(lm), RewardModelConfig(str(tmp_path), **ONE_STEP), LISTS).train()
    with pytest.raises(OptionError, match="training data are several sets"):
        ListwisePreferenceTrainer(str(lm), args, {"a": LISTS, "b": LISTS})
    peft = pytest.importorskip("peft")
    wrong = peft.LoraConfig(r=2, target_modules=["nope"], task_type="CAUSAL_LM")
    with pytest.raises(OptionError, match="adapters do not fit the model"):
        ListwisePreferenceTrainer(str(lm), args, LISTS, peft_config=wrong)
