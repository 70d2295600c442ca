"""Ranked answers, their layout, and the trainers: exact log-probabilities, resume, references,
notes and errors before training starts.
"""

import gzip
import json
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.errors import EvidenceError
from policyrank.evidence import RankedAnswers, read_answers
from policyrank.models.language import answer_logprobs, generate, load_causal_lm
from policyrank.train import (
    ListwisePreferenceTrainer,
    RewardModelTrainer,
    encode_answers,
    reward_model,
    reward_scorer,
)
from policyrank.train.answers import AnswerCollator, token_log_probs
from policyrank.train.reward import policy_lists, reference_scorer, with_reference

ROWS = [
    {"prompt": "say a", "completions": ["aaaa", "b", "ab"], "scores": [1, 0, 0.5]},
    {"prompt": "say c now", "completions": ["cccc", "dd"], "scores": [1, 0]},
    {"prompt": "say e", "completions": ["e", "ffffff", "efg", "gg"], "ranks": [1, 4, 2, 3]},
    {"prompt": "h", "chosen": "hh", "rejected": "kkk"},
]


@pytest.fixture
def pair(lm):
    return load_causal_lm(str(lm), device="cpu")


def arguments(folder, **options):
    from transformers import TrainingArguments

    return TrainingArguments(
        str(folder),
        **(
            {
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
            | options
        ),
    )


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
        assert found[2].labels == (-1, -4, -2, -3)
        assert found[2].best == 0
        assert (found[3].completions, found[3].labels) == (("hh", "kkk"), (1, 0))
        assert (found[4].prompt, found[4].completions) == (chat, ("x", "y"))
        assert found[5].completions == ("1+1 =2", "1+1 =3", "no")
        assert found[5].steps == (("1+1 ", "=2"), ("1+1 ", "=3"), ("no",))
        assert found[6].steps == (("a ", "b"), ("a ", "c"))
        assert (found[7].completions, found[7].labels) == (("b", "a"), (1, 2))
        assert found.notes == (
            "left out: 1 copies of a completion within its list",
            "left out: 1 lists of a single completion",
            "left out: 1 lists whose completions are all equally good",
        ) or set(found.notes) == {
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
            "row 1: completion 2 is empty",
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "scores": [1, math.nan]},
            "row 1: completion 2 has the score nan",
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "scores": [None, 1]},
            "row 1: completion 1 has the score None",
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
    with pytest.raises(EvidenceError, match="line 1: not an object"):
        read_answers(path)


def test_long_prompts_and_answers_are_counted(pair):
    _, tokenizer = pair
    rows = [
        *ROWS,
        {"prompt": "x" * 30, "completions": ["a", "b"], "scores": [1, 0]},
        {"prompt": "y", "completions": ["z" * 40, "z" * 41], "scores": [1, 0]},
    ]
    data = encode_answers(rows, tokenizer, max_length=24)
    assert len(data) == 5
    assert data.notes == (
        "left out: 1 prompts of more than 12 tokens (half of max_length)",
        "cut: 2 completions at 24 tokens, prompt included",
        "1 completions are the same as another of their list once they are tokens",
    )
    kept = encode_answers(rows, tokenizer, max_length=24, long_prompts="cut")
    assert len(kept) == 6
    assert len(kept[4].prompt) == 12
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
        model, arguments(tmp_path, max_steps=40), ROWS, ROWS, processing_class=tokenizer, loss=loss
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
        args = arguments(tmp_path / layout, max_steps=3, learning_rate=1e-3)
        ListwisePreferenceTrainer(
            model, args, ROWS, processing_class=tokenizer, loss="dpo-pl", layout=layout
        ).train()
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*found, atol=1e-4)


def test_interrupted_training_resumes_to_the_same_weights(lm, tmp_path):
    def trained(folder, stop):
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        args = arguments(folder, save_strategy="steps", save_steps=4, max_steps=8)
        trainer = ListwisePreferenceTrainer(
            model, args, ROWS, processing_class=tokenizer, loss="lipo-lambda"
        )
        if stop:
            from transformers import TrainerCallback

            class Stop(TrainerCallback):
                def on_step_end(self, args, state, control, **_):
                    control.should_training_stop = state.global_step == 4

            trainer.add_callback(Stop())
            trainer.train()
            model, tokenizer = load_causal_lm(str(lm), device="cpu")
            trainer = ListwisePreferenceTrainer(
                model, args, ROWS, processing_class=tokenizer, loss="lipo-lambda"
            )
            trainer.train(resume_from_checkpoint=True)
        else:
            trainer.train()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(trained(tmp_path / "a", False), trained(tmp_path / "b", True))


def test_adapters_and_a_model_are_references_too(lm, tmp_path):
    peft = pytest.importorskip("peft")
    losses = []
    for kind in ("precompute", "adapter", "model"):
        model, tokenizer = load_causal_lm(str(lm), device="cpu")
        torch.manual_seed(0)
        config = (
            peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=True)
            if kind != "model"
            else None
        )
        other = load_causal_lm(str(lm), device="cpu")[0] if kind == "model" else kind
        trainer = ListwisePreferenceTrainer(
            model,
            arguments(tmp_path / kind, max_steps=4),
            ROWS,
            ROWS,
            processing_class=tokenizer,
            reference=other,
            peft_config=config,
        )
        assert trainer.evaluate()["eval_loss"] == pytest.approx(math.log(2), abs=1e-5)
        trainer.train()
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[2] < math.log(2)
    with pytest.raises(EvidenceError, match="needs a peft model"):
        ListwisePreferenceTrainer(
            load_causal_lm(str(lm), device="cpu")[0],
            arguments(tmp_path),
            ROWS,
            processing_class=tokenizer,
            reference="adapter",
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
        arguments(tmp_path, max_steps=20),
        rows,
        rows,
        processing_class=tokenizer,
        loss="tpo",
        step_weights="similar",
    )
    first = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < first
    with pytest.raises(EvidenceError, match="not cut into steps"):
        ListwisePreferenceTrainer(
            model, arguments(tmp_path), ROWS, processing_class=tokenizer, loss="tpo"
        )
    # ones: lipo-lambda
    losses = [
        ListwisePreferenceTrainer(
            model,
            arguments(tmp_path),
            None,
            rows,
            processing_class=tokenizer,
            reference=load_causal_lm_like(model),
            **o,
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
        arguments(tmp_path),
        ROWS,
        ROWS,
        processing_class=tokenizer,
        judge=judge,
        judged=3,
        max_length=40,
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
    with pytest.raises(EvidenceError, match="no objective is called"):
        ListwisePreferenceTrainer(
            model, arguments(tmp_path), ROWS, processing_class=tokenizer, loss="x"
        )
    with pytest.raises(EvidenceError, match="no tokenizer"):
        ListwisePreferenceTrainer(model, arguments(tmp_path), ROWS)
    with pytest.raises(EvidenceError, match="use 'precompute'"):
        ListwisePreferenceTrainer(
            model, arguments(tmp_path), ROWS, processing_class=tokenizer, reference="none"
        )
    with pytest.raises(EvidenceError, match="loss is nan"):
        ListwisePreferenceTrainer(
            model,
            arguments(tmp_path),
            ROWS,
            processing_class=tokenizer,
            loss=lambda lp, y, **_: lp.sum() * math.nan,
        ).train()
    with pytest.raises(EvidenceError, match="no loss of reward models"):
        RewardModelTrainer(model, arguments(tmp_path), ROWS, processing_class=tokenizer, loss="x")


@pytest.mark.parametrize(
    "options", [{}, {"loss": "plackett-luce"}, {"imitation": 0.1, "loss_options": {"centre": 0.01}}]
)
def test_reward_models(lm, tmp_path, options):
    model, tokenizer = reward_model(str(lm), device="cpu")
    trainer = RewardModelTrainer(
        model,
        arguments(tmp_path / "run", max_steps=40),
        ROWS,
        ROWS,
        processing_class=tokenizer,
        **options,
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
    with pytest.raises(EvidenceError, match="the same answer"):
        generate(model, tokenizer, ["a"], n=2, temperature=0)
