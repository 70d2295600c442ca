"""Ranked answers, their layout, and the trainers: exact log-probabilities, resume, references,
notes and errors before training starts.
"""

import gzip
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from transformers import TrainingArguments

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence import RankedAnswers, read_answers
from policyrank.models import loading
from policyrank.models.language import answer_logprobs, generate, load_causal_lm
from policyrank.train import (
    ListwisePreferenceConfig,
    ListwisePreferenceTrainer,
    RewardModelConfig,
    RewardModelTrainer,
    encode_answers,
    reward_model,
    reward_scorer,
)
from policyrank.train.answers import AnswerCollator
from policyrank.train.reward import policy_lists, reference_scorer, with_reference
from policyrank.train.token_likelihood import token_log_probs

ROWS = [
    {"prompt": "say a", "completions": ["aaaa", "b", "ab"], "scores": [1, 0, 0.5]},
    {"prompt": "say c now", "completions": ["cccc", "dd"], "scores": [1, 0]},
    {"prompt": "say e", "completions": ["e", "ffffff", "efg", "gg"], "ranks": [1, 4, 2, 3]},
    {"prompt": "h", "chosen": "hh", "rejected": "kkk"},
]


@pytest.fixture
def pair(lm):
    return load_causal_lm(str(lm), device="cpu")


SHORT = {
    "per_device_train_batch_size": 2,
    "max_steps": 8,
    "learning_rate": 1e-2,
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_steps": 4,
    "lr_scheduler_type": "constant",
}


def config(folder, **options):
    return ListwisePreferenceConfig(str(folder), **(SHORT | options))


def reward_config(folder, **options):
    return RewardModelConfig(str(folder), **(SHORT | options))


def test_rows_of_every_kind(tmp_path):
    chat = [{"role": "user", "content": "hi"}]
    tree = {
        "children": [
            {"text": "1+1 ", "children": [{"text": "=2", "score": 1}, {"text": "=3", "score": 0}]},
            {"text": "no", "score": -1},
        ]
    }
    rows = [
        *ROWS,
        {
            "chosen": [*chat, {"role": "assistant", "content": "x"}],
            "rejected": [*chat, {"role": "assistant", "content": "y"}],
        },
        {"prompt": "sum", "tree": tree},
        {"prompt": "steps", "completions": [["a ", "b"], ["a ", "c"]], "scores": [1, 0]},
        {"prompt": "one", "completions": ["a"], "scores": [1]},
        {"prompt": "ties", "completions": ["a", "b"], "scores": [1, 1]},
        {"prompt": "copies", "completions": ["a", "b", "a"], "scores": [0, 1, 2]},
    ]
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(r) + "\n" for r in rows)
    for source in (rows, path):
        found = read_answers(source)
        assert len(found) == 8
        assert found[2].labels == (1, 0, 2 / 3, 1 / 3)
        assert found[2].best == 0
        assert (found[3].completions, found[3].labels) == (("hh", "kkk"), (1, 0))
        assert (list(found[4].prompt), found[4].completions) == (chat, ("x", "y"))
        assert found[5].completions == ("1+1 =2", "1+1 =3", "no")
        assert found[5].steps == (("1+1 ", "=2"), ("1+1 ", "=3"), ("no",))
        assert found[6].steps == (("a ", "b"), ("a ", "c"))
        assert (found[7].completions, found[7].labels) == (("b", "a"), (1, 2))
        assert set(found.notes) == {
            "1 rows: ranks became labels (the share of the others that an answer is above)",
            "left out: 1 copies of a completion within its list",
            "left out: 1 lists of a single completion",
            "left out: 1 lists whose completions are all equally good",
        }
    assert read_answers(list(found)).lists == found.lists


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "completions": ["a", " "], "scores": [1, 0]},
            "no list to learn from in 1 rows: left out: 1 empty completions",
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "scores": [1, math.nan]},
            "row 1: completion 2 has the score nan",
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "scores": [None, 1]},
            "no list to learn from in 1 rows: left out: 1 completions without a score",
        ),
        (
            {"prompt": "p", "completions": ["a", ["b"]], "scores": [10**400, 1]},
            "row 1: completion 1 has the score 1000",
        ),
        ({"prompt": "p", "completions": ["a", "b"]}, "neither scores"),
        ({"prompt": "p", "completions": ["a", "b"], "scores": [1]}, "2 completions, but 1 scores"),
        ({"completions": ["a", "b"], "scores": [1, 0]}, "no prompt"),
        ({"prompt": "p"}, "no completions"),
        ({"prompt": "p", "completions": ["a"], "scores": [1]}, "no list to learn from in 1 rows"),
        (
            {
                "prompt": "p",
                "tree": {"text": "a", "children": [{"text": "b", "score": 1}, {"text": "c"}]},
            },
            "completion 2 has the score None",
        ),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(EvidenceError, match=message):
        read_answers([row])


def test_files_that_are_no_rows(tmp_path):
    with pytest.raises(EvidenceError, match="no such file"):
        read_answers(tmp_path / "none.jsonl")
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "p"\n')
    with pytest.raises(EvidenceError, match="line 1: not JSON"):
        read_answers(path)
    path.write_text("[1]\n")
    with pytest.raises(EvidenceError, match="line 1: expected `object`"):
        read_answers(path)


def test_long_prompts_and_answers_are_counted(pair):
    _, tokenizer = pair
    rows = [
        *ROWS,
        {"prompt": "x" * 30, "completions": ["a", "b"], "scores": [1, 0]},
        {"prompt": "y", "completions": ["z" * 40, "z" * 41], "scores": [1, 0]},
    ]
    data = encode_answers(rows, tokenizer, max_length=24)
    assert len(data) == 4
    assert data.notes[1:] == (
        "left out: 1 prompts that leave an answer neither its own length nor half of 24 tokens",
        "cut: 2 completions at 24 tokens",
        "left out: 1 completions equal to another once they are tokens",
        "left out: 1 lists of which nothing else is left",
    )
    kept = encode_answers(rows, tokenizer, max_length=24, long_prompts="cut")
    assert len(kept) == 5
    assert len(kept[4].prompt) == 22  # the answers take two tokens
    fits = encode_answers(
        [{"prompt": "x" * 20, "completions": ["a", "b"], "scores": [1, 0]}],
        tokenizer,
        max_length=24,
    )
    assert len(fits[0].prompt) == 20
    with pytest.raises(EvidenceError, match="no list is left"):
        encode_answers(
            [{"prompt": "x" * 30, "completions": ["a", "b"], "scores": [1, 0]}],
            tokenizer,
            max_length=24,
        )


@pytest.mark.parametrize("layout", ["shared", "rows"])
@pytest.mark.parametrize("keep", [True, False])
def test_log_probs_of_both_layouts_are_those_of_answers_alone(pair, layout, keep):
    model, tokenizer = pair
    data = encode_answers(ROWS, tokenizer)
    texts = [(r.prompt, c) for r in data.answers for c in r.completions]
    alone = dict(x for b in answer_logprobs(model, tokenizer, texts) for x in b)
    batch = AnswerCollator(1, layout)(data.lists)
    flat, hidden = token_log_probs(model, batch, layout=layout, keep=keep, hidden=True)
    assert hidden.shape == (len(flat), 32)
    sums = (
        torch.zeros(batch["labels"].numel())
        .index_add_(0, batch["answer"], flat.detach())
        .reshape(batch["labels"].shape)
    )
    assert sums[batch["where"]].tolist() == pytest.approx(
        [alone[k].logprob for k in range(len(texts))], abs=1e-4
    )
    # the gradient of the one-pass log softmax is autograd's
    grads = torch.autograd.grad(flat.sum(), [p for p in model.parameters() if p.requires_grad])
    total = sum(
        model(torch.tensor([[*x.prompt, *c]]))
        .logits[0]
        .log_softmax(-1)[len(x.prompt) - 1 : -1]
        .gather(-1, torch.tensor(c)[:, None])
        .sum()
        for x in data.lists
        for c in x.completions
    )
    for a, b in zip(
        grads,
        torch.autograd.grad(total, [p for p in model.parameters() if p.requires_grad]),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-3)


def test_a_list_costs_one_pass_over_its_tokens(pair):
    _, tokenizer = pair
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    many = [
        {
            "prompt": "say it",
            "completions": [a + b for a in alphabet[:8] for b in alphabet[:8]],
            "scores": list(range(64)),
        }
    ]
    data = encode_answers(many, tokenizer)
    batch = AnswerCollator(1)(data.lists)
    assert batch["input_ids"].shape == (1, data[0].tokens)
    assert data[0].tokens == 6 + 64 * 3
    # ragged lists share rows: hardly any padding
    ragged = AnswerCollator(1)(encode_answers([*many, *ROWS], tokenizer).lists)
    assert ragged["input_ids"].shape[0] == 2
    assert AnswerCollator(1, "rows")(data.lists)["input_ids"].shape == (64, 9)


@pytest.mark.parametrize("loss", ["dpo", "lipo-lambda", "pro", "label-distribution", "listnet"])
def test_training_learns_the_order(pair, tmp_path, loss):
    model, tokenizer = pair
    trainer = ListwisePreferenceTrainer(
        model, config(tmp_path, max_steps=40, loss=loss), ROWS, ROWS, processing_class=tokenizer
    )
    before = trainer.evaluate()
    if loss != "pro":
        assert before["eval_accuracy"] == 0.5  # the model is its own reference
    trainer.train()
    after = trainer.evaluate()
    assert trainer.layout == "shared"
    assert after["eval_accuracy"] > 0.9
    assert after["eval_loss"] < before["eval_loss"]
    assert {"accuracy", "margin", "log_prob_best"} <= set(trainer.state.log_history[0]) | set(
        trainer.state.log_history[1]
    )


def test_layouts_train_to_the_same_weights(lm, tmp_path):
    found = []
    for layout in ("shared", "rows"):
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        short = {"max_steps": 3, "learning_rate": 1e-3}
        args = config(tmp_path / layout, loss="dpo-pl", layout=layout, **short)
        ListwisePreferenceTrainer(model, args, ROWS, processing_class=tokenizer).train()
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*found, atol=1e-4)


def test_interrupted_training_resumes_to_the_same_weights(lm, tmp_path):
    def trained(folder, stop):
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        saved = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}
        args = config(folder, loss="lipo-lambda", **saved)
        trainer = ListwisePreferenceTrainer(model, args, ROWS, processing_class=tokenizer)
        if stop:
            from transformers import TrainerCallback

            class Stop(TrainerCallback):
                def on_step_end(self, args, state, control, **_):
                    control.should_training_stop = state.global_step == 4

            trainer.add_callback(Stop())
            trainer.train()
            model, tokenizer = load_causal_lm(str(lm), device="cpu")
            trainer = ListwisePreferenceTrainer(model, args, ROWS, processing_class=tokenizer)
            trainer.train(resume_from_checkpoint=True)
        else:
            trainer.train()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(trained(tmp_path / "a", False), trained(tmp_path / "b", True))


@pytest.fixture
def stopped(lm, tmp_path):
    """A trainer that has saved steps 4 and 8, and one that is to go on."""

    def trainer(rows=ROWS, model=None, peft_config=None, **options):
        own, tokenizer = load_causal_lm(str(lm), device="cpu")
        saved = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8, "loss": "dpo"}
        args = config(tmp_path / "run", **saved | options)
        return ListwisePreferenceTrainer(
            model or own, args, rows, processing_class=tokenizer, peft_config=peft_config
        )

    trainer().train()
    return trainer


def test_another_run_does_not_go_on(stopped, lm):
    model, _ = load_causal_lm(str(lm), device="cpu")
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    for own, told in (
        (stopped(ROWS[:-1]), r"other training data: lists \d, here \d; texts and labels differ"),
        (stopped(loss="simpo"), "other settings: loss dpo, here simpo"),
        (stopped(loss_options={"beta": 0.3}), "other settings: beta None, here 0.3"),
        (stopped(learning_rate=0.5), "other settings: learning_rate .*, here 0.5"),
        (stopped(model=model), "other model: weights differ"),
    ):
        for place in (True, str(Path(own.args.output_dir, "checkpoint-8"))):
            with pytest.raises(EvidenceError, match=f"was made with {told}"):
                own.train(resume_from_checkpoint=place)
    stopped().train(resume_from_checkpoint=True)


def test_a_damaged_checkpoint_is_left_out_with_a_warning(stopped, caplog):
    own = stopped()
    folder = Path(own.args.output_dir)
    path = folder / "checkpoint-8" / "rng_state.pth"
    path.write_bytes(path.read_bytes()[:-3])
    own.train(resume_from_checkpoint=True)
    assert "checkpoint-8: written only in part or damaged, and left out" in caplog.text
    assert (folder / "checkpoint-8.left-out").is_dir()
    for number in (4, 8):
        (folder / f"checkpoint-{number}" / "whole.json").unlink()
    with pytest.raises(EvidenceError, match="no whole checkpoint to go on from"):
        stopped().train(resume_from_checkpoint=True)


def test_new_adapters_are_drawn_from_the_seed(stopped):
    peft = pytest.importorskip("peft")
    found = []
    for before, seed in ((1, 0), (2, 0), (1, 5)):
        torch.manual_seed(before)
        adapters = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        own = stopped(peft_config=adapters, seed=seed)
        found.append(torch.cat([p.flatten() for p in own.model.parameters() if p.requires_grad]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    with pytest.raises(EvidenceError, match="other model: adapters None, here"):
        own.train(resume_from_checkpoint=True)


def test_adapters_and_a_model_are_references_too(lm, tmp_path):
    peft = pytest.importorskip("peft")
    losses = []
    for kind in ("precompute", "adapter", "model"):
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        torch.manual_seed(0)
        if kind == "model":
            args = config(tmp_path / kind, max_steps=4)
            more = {"reference_model": load_causal_lm(str(lm), device="cpu")[0]}
        else:
            args = config(tmp_path / kind, max_steps=4, reference=kind)
            lora = {"r": 4, "target_modules": "all-linear", "init_lora_weights": True}
            more = {"peft_config": peft.LoraConfig(**lora)}
        trainer = ListwisePreferenceTrainer(
            model, args, ROWS, ROWS, processing_class=tokenizer, **more
        )
        assert trainer.evaluate()["eval_loss"] == pytest.approx(math.log(2), abs=1e-5)
        trainer.train()
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[2] < math.log(2)
    with pytest.raises(OptionError, match="needs a peft model"):
        ListwisePreferenceTrainer(
            load_causal_lm(str(lm), device="cpu")[0],
            config(tmp_path, reference="adapter"),
            ROWS,
            processing_class=tokenizer,
        )


def test_steps_of_trees(pair, tmp_path):
    model, tokenizer = pair
    rows = [
        {
            "prompt": p,
            "tree": {
                "children": [
                    {
                        "text": "ab",
                        "children": [{"text": "cd", "score": 1}, {"text": "e", "score": 0.2}],
                    },
                    {"text": "zz", "score": 0},
                ]
            },
        }
        for p in "xyz"
    ]
    trainer = ListwisePreferenceTrainer(
        model,
        config(tmp_path, max_steps=20, loss="tpo", step_weights="similar"),
        rows,
        rows,
        processing_class=tokenizer,
    )
    first = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < first
    with pytest.raises(EvidenceError, match="not cut into steps"):
        ListwisePreferenceTrainer(
            model, config(tmp_path, loss="tpo"), ROWS, processing_class=tokenizer
        )
    # ones: lipo-lambda
    losses = [
        ListwisePreferenceTrainer(
            model,
            config(tmp_path, **o),
            None,
            rows,
            processing_class=tokenizer,
            reference_model=load_causal_lm_like(model),
        ).evaluate()["eval_loss"]
        for o in ({"loss": "tpo", "step_weights": "ones"}, {"loss": "lipo-lambda"})
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def load_causal_lm_like(model):
    import copy

    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(0.9)
    return other


def test_a_judge_gives_the_win_rate(pair, tmp_path):
    model, tokenizer = pair
    asked = []

    def judge(prompts, answers, others):
        asked.append((prompts, answers, others))
        return [float(len(a) > len(b)) for a, b in zip(answers, others, strict=True)]

    trainer = ListwisePreferenceTrainer(
        model,
        config(tmp_path, judged=3, max_length=40),
        ROWS,
        ROWS,
        processing_class=tokenizer,
        judge=judge,
    )
    found = trainer.evaluate()
    assert asked[0][0] == ["say a", "say c now", "say e"]
    assert asked[0][2] == ["aaaa", "cccc", "e"]
    assert found["eval_win_rate"] == sum(judge(*asked[0])) / 3
    trainer.judge = lambda p, a, b: [2.0] * len(p)
    with pytest.raises(EvidenceError, match="not one in"):
        trainer.win_rate(["say a"], ["b"])


def test_settings_that_cannot_work(pair, tmp_path):
    model, tokenizer = pair

    def made(tokenizer=tokenizer, **options):
        args = config(tmp_path, **options)
        return ListwisePreferenceTrainer(model, args, ROWS, processing_class=tokenizer)

    for options, message in (
        ({"loss": "x"}, "no objective is called"),
        ({"tokenizer": None}, "no tokenizer"),
        ({"reference": "none"}, "use 'precompute'"),
        ({"layout": "columns"}, "use 'shared' or 'rows'"),
        ({"loss": "tpo", "step_weights": "odd"}, "use one of ones"),
    ):
        with pytest.raises(OptionError, match=message):
            made(**options)
    with pytest.raises(EvidenceError, match="loss is nan"):
        made(loss=lambda lp, y, **_: lp.sum() * math.nan).train()
    with pytest.raises(OptionError, match="TrainingArguments: give ListwisePreferenceConfig"):
        ListwisePreferenceTrainer(model, TrainingArguments(str(tmp_path)), ROWS)
    with pytest.raises(OptionError, match="no loss of reward models"):
        RewardModelTrainer(
            model, reward_config(tmp_path, loss="x"), ROWS, processing_class=tokenizer
        )


@pytest.mark.parametrize(
    ("loss", "there"),
    [
        ("dpo", "beta, k, lambda_weight, pairs, per_token, sigma, weights"),
        ("lipo-lambda", "beta, k, lambda_weight"),
        ("tpo", "beta, k, lambda_weight"),
        ("pro", "centre, gaps, sft_weight"),
        ("label-distribution-grpo", "clip, least_gap, standardise, temperature"),
        ("listnet", "beta, per_token, temperature"),
    ],
)
def test_a_misspelt_option_of_a_loss_is_refused_before_training(tmp_path, loss, there):
    args = config(tmp_path, loss=loss, loss_options={"betta": 0.1})
    with pytest.raises(OptionError, match=f"no option 'betta'.* It has: {there}"):
        ListwisePreferenceTrainer(torch.nn.Linear(1, 1), args, ROWS)
    with pytest.raises(OptionError, match="no option 'marginn'"):
        RewardModelTrainer(
            torch.nn.Linear(1, 1), reward_config(tmp_path, loss_options={"marginn": 1}), ROWS
        )


def test_a_loss_that_is_a_function_is_named_in_what_is_saved(pair, tmp_path):
    model, tokenizer = pair
    args = config(tmp_path, max_steps=1, loss=lambda log_probs, labels, **_: -log_probs.sum())
    trainer = ListwisePreferenceTrainer(model, args, ROWS, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    saved = torch.load(tmp_path / "saved" / "training_args.bin", weights_only=False)
    assert saved.loss == json.loads(args.to_json_string())["loss"] == "<lambda>"
    assert callable(args.loss)


def test_arguments_of_a_trainer_from_those_of_transformers(tmp_path):
    plain = TrainingArguments(str(tmp_path), **SHORT)
    args = ListwisePreferenceConfig.of(plain, loss="pro", max_length=9)
    assert (args.loss, args.max_length, args.judged, args.loss_options) == ("pro", 9, 32, {})
    assert args.learning_rate == plain.learning_rate
    assert ListwisePreferenceConfig.of(args, loss="dpo").max_length == 9
    with pytest.raises(OptionError, match="no option 'los'"):
        ListwisePreferenceConfig.of(plain, los="pro")


def test_a_model_that_mixes_answers_gets_rows_and_a_note(pair, tmp_path, caplog, monkeypatch):
    model, tokenizer = pair
    trainer = ListwisePreferenceTrainer(model, config(tmp_path), ROWS, processing_class=tokenizer)
    monkeypatch.setattr(trainer, "_answers_kept_apart", lambda first: False)
    trainer.train()
    assert trainer.layout == "rows"
    assert "does not keep answers in one row apart" in caplog.text


@pytest.mark.parametrize(
    "options", [{}, {"loss": "plackett-luce"}, {"imitation": 0.1, "loss_options": {"centre": 0.01}}]
)
def test_reward_models(lm, tmp_path, options):
    model, tokenizer = reward_model(str(lm), device="cpu")
    trainer = RewardModelTrainer(
        model,
        reward_config(tmp_path / "run", max_steps=40, **options),
        ROWS,
        ROWS,
        processing_class=tokenizer,
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] == 1
    score = reward_scorer(model, tokenizer, batch=3)
    found = score(["say a", "h"], [["aaaa", "b"], ["kkk", "hh", "hhh"]])
    assert [len(f) for f in found] == [2, 3]
    assert found[0][0] > found[0][1]
    assert found[1][1] > found[1][0]
    trainer.save_model(str(tmp_path / "saved"))
    tokenizer.save_pretrained(tmp_path / "saved")
    again = reward_scorer(*reward_model(str(tmp_path / "saved"), device="cpu"))(
        ["say a"], [["aaaa", "b"]]
    )
    assert again[0] == pytest.approx(found[0], abs=1e-5)


def test_policy_discriminators(lm):
    lists = [
        RankedAnswers("p", ("a", "b", "c"), (0.0, 2.0, 1.0)),
        RankedAnswers("q", ("a", "b"), (0.0, 1.0)),
    ]
    (one,) = with_reference(lists)
    assert one == RankedAnswers("p\nb<|reward|>p\n", ("a", "c"), (0.0, 1.0))
    outputs = {"x": {"p": ["x1", "x2"], "q": ["x3"]}, "y": {"p": ["y1"], "q": ["y2"]}}
    for found in policy_lists(outputs, lists=5):
        assert found.prompt in ("p\nx1<|reward|>p\n", "p\nx2<|reward|>p\n")
        assert set(found.completions) | {found.prompt[2:4]} == {"x1", "x2", "y1"}
        assert found.labels == (1, 0)
    for found in policy_lists(outputs, lists=5, across_prompts=True):
        same, other = found.completions
        assert same[0] == found.prompt[2] != other[0]
    with pytest.raises(EvidenceError, match="no prompt has"):
        policy_lists({"x": {"p": ["a"]}, "y": {"p": ["b"]}}, lists=1)
    scorer = reference_scorer(*reward_model(str(lm), device="cpu"), {"p": "a"})
    assert len(scorer(["p"], [["a", "b"]])[0]) == 2
    with pytest.raises(EvidenceError, match="no reference answer"):
        scorer(["q"], [["a"]])


def test_generate(pair):
    model, tokenizer = pair
    made = generate(model, tokenizer, ["say a", "b"], n=3, max_new_tokens=5, seed=0)
    assert [len(m) for m in made] == [3, 3]
    assert made == generate(model, tokenizer, ["say a", "b"], n=3, max_new_tokens=5, seed=0)
    # left padding changes nothing
    one = generate(model, tokenizer, ["say a", "b"], temperature=0, max_new_tokens=5)
    assert one[1] == generate(model, tokenizer, ["b"], temperature=0, max_new_tokens=5)[0]
    with pytest.raises(OptionError, match="the same answer"):
        generate(model, tokenizer, ["a"], n=2, temperature=0)


def test_smollm2_is_read_from_its_slow_file_once(lm, tmp_path, monkeypatch):
    package = SimpleNamespace(submodule_search_locations=["package"])
    real, read = loading._loaded, []

    def counted(model, gguf=None):
        read.append("file" if gguf else "copy")
        return real(str(lm) if gguf else model)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "find_spec", lambda name: package)
    monkeypatch.setattr(loading, "version", lambda name: "1.0")
    monkeypatch.setattr(loading, "_loaded", counted)
    first, again = (load_causal_lm("smollm2", device="cpu")[0].state_dict() for _ in range(2))
    assert read == ["file", "copy"]
    assert all(torch.equal(first[name], again[name]) for name in first)
    (copy,) = (own for own in (tmp_path / "cache/policyrank/models").iterdir() if own.is_dir())
    (copy / "model.safetensors").write_bytes(b"broken")
    load_causal_lm("smollm2", device="cpu")
    load_causal_lm("smollm2", device="cpu")
    assert read[2:] == ["copy", "copy", "file", "copy"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(copy / "config.json"))  # nothing can be kept there
    load_causal_lm("smollm2", device="cpu")
    assert read[6:] == ["file"]
