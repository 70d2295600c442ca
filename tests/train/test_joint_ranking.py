"""Agent and ranker from one set of rollouts: groups of like queries, rewards, what is learned."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("bm25s")

from hypothesis import given, settings, strategies as st

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import group_advantage
from policyrank.metrics.short_answers import query_words, token_f1
from policyrank.models.sampling import Sampled
from policyrank.train import (
    Bm25Engine,
    GroupConfig,
    GroupTrainer,
    RankerLearner,
    RankerPolicy,
    SearchTask,
    TurnLimits,
    semantic_groups,
    turn_reward,
)

WORDS = ["ulm", "bern", "town", "label", "the"]


def slow_groups(texts, main, strata, threshold, least):
    """Algorithm 2 of the paper, as it is written."""
    clusters, out = [], [-1] * len(texts)
    for place, key in enumerate(zip(main, strata, strict=True)):
        for cluster in clusters:
            leader = cluster["members"][0]
            alike = token_f1(query_words(texts[leader]), query_words(texts[place]))
            if cluster["key"] == key and alike >= threshold:
                cluster["members"].append(place)
                break
        else:
            clusters.append({"key": key, "members": [place]})
    for number, cluster in enumerate(own for own in clusters if len(own["members"]) >= least):
        for place in cluster["members"]:
            out[place] = number
    return out


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join),
            st.integers(0, 1),
            st.booleans(),
        ),
        max_size=14,
    ),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.integers(1, 3),
)
def test_groups_are_those_of_a_slow_twin(rows, threshold, least):
    texts, main, strata = ([row[k] for row in rows] for k in range(3))
    found = semantic_groups(texts, main, strata=strata, threshold=threshold, least=least)
    wanted = slow_groups(texts, main, strata, threshold, least)
    partition = {}
    for own, other in zip(found.tolist(), wanted, strict=True):
        assert (own == -1) == (other == -1)
        assert partition.setdefault(own, other) == other
    assert len(set(partition.values())) == len(partition)


def test_values_of_the_card():
    same = ["Jay-Z current record label", "Jay-Z record label"]
    assert semantic_groups(same, [0, 0], least=2).tolist() == [0, 0]
    apart = ["host nation of 2004 summer olympic games", "host nation of the 2004 Summer Olympics"]
    assert semantic_groups(apart, [0, 0], least=2).tolist() == [-1, -1]
    assert semantic_groups(same, [0, 0], least=2, likeness="exact").tolist() == [-1, -1]
    assert semantic_groups(apart, [0, 0], least=2, threshold=0).tolist() == [0, 0]
    assert semantic_groups(same, [0, 1], least=2).tolist() == [-1, -1]
    gains = group_advantage(torch.tensor([5 / 3, 1 / 3, 0, 1]), scale="sample", epsilon=1e-6)
    assert torch.allclose(gains, torch.tensor([1.240, -0.564, -1.015, 0.338]), atol=1e-3)
    with pytest.raises(OptionError, match="likeness='word'"):
        semantic_groups(same, [0, 0], likeness="word")
    with pytest.raises(OptionError, match="one each"):
        semantic_groups(same, [0])


DOCUMENTS = {f"d{k}": f"letter {'b' if k == 2 else 'c'} number {'a' * (k + 1)}" for k in range(5)}


class Words(torch.nn.Module):
    """A ranker whose scores are learned weights of the documents' own words."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(8))

    def forward(self, texts, where):
        scores = torch.zeros(where.shape)
        for row in range(len(where)):
            for column in range(where.shape[1]):
                if where[row, column]:
                    text = texts.collection[texts.documents[row, column]]
                    scores[row, column] = self.weights[len(text.split()[-1])]
        return scores


def policy_of(**options):
    return RankerPolicy(Bm25Engine(DOCUMENTS), Words(), depth=5, **options)


def test_rankings_are_drawn_by_their_scores_and_again_alike():
    policy = policy_of(seed=3)
    with torch.no_grad():
        policy.ranker.weights[:] = torch.tensor([0, 1.0, 0, 0.5, 0, -1, 0, 0])
    firsts = [policy.fresh()("letter number", 5) for _ in range(2000)]
    weights = policy.ranker.weights.detach()[1:6].softmax(0)
    names = [own.detail["candidates"][own.detail["order"][0]] for own in firsts]
    for k in range(5):
        assert abs(names.count(f"d{k}") / 2000 - float(weights[k])) < 0.04
    again = policy_of(seed=3)
    again.ranker.load_state_dict(policy.ranker.state_dict())
    assert [again.fresh()("letter number", 5).detail for _ in range(5)] == [
        own.detail for own in firsts[:5]
    ]
    frozen = policy_of(temperature=0.0)
    frozen.ranker.load_state_dict(policy.ranker.state_dict())
    assert frozen("letter number", 1)[0].name == "d0"
    with pytest.raises(OptionError, match="draws nothing"):
        RankerLearner(frozen, DOCUMENTS)
    with pytest.raises(OptionError, match="depth=1"):
        RankerPolicy(Bm25Engine(DOCUMENTS), Words(), depth=1)


class Searches:
    """A sampler of agents that search once, and answer what they read first, or c."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, heads, samples, *, seed):
        made = []
        for head in heads:
            group = []
            for _ in range(samples):
                text = self.tokenizer.decode(head)
                if "<information>" not in text:
                    said = "<search>letter number</search>"
                else:
                    first = text.rpartition("letter ")[2][0]
                    said = f"<answer>{first}</answer>"
                ids = tuple(self.tokenizer(said)["input_ids"])
                group.append(Sampled(said, ids, True, (-1.0,) * len(ids)))
            made.append(group)
        return made


@pytest.fixture(scope="module")
def bytewise():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={sign: k for k, sign in enumerate(signs)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>"
    )


def trainer_of(folder, tokenizer, learner, steps, **options):
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=2048,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    limits = TurnLimits(turns=2, turn_tokens=60, tokens=300, read_tokens=160)
    task = SearchTask(learner.policy, tokenizer, limits=limits, passages=1, instruction="find ")
    args = GroupConfig(
        str(folder), samples=8, tokens=300, max_length=400, max_steps=steps, use_cpu=True,
        per_device_train_batch_size=2, report_to=[], disable_tqdm=True, logging_steps=1,
        learning_rate=0.0, **options,
    )  # fmt: skip
    rows = task.rows([{"question": f"say {c}", "answer": "b"} for c in "xyzw"])
    return GroupTrainer(
        model, args, turn_reward(), rows, processing_class=tokenizer, companion=learner,
        sampler=task.sampler(sampler=Searches(tokenizer)),
    )  # fmt: skip


def test_a_ranker_learns_what_a_frozen_agent_can_use(tmp_path, bytewise):
    learner = RankerLearner(policy_of(), DOCUMENTS, learning_rate=0.3)
    trainer = trainer_of(tmp_path, bytewise, learner, 8, save_strategy="no")
    before = {name: own.clone() for name, own in trainer.model.state_dict().items()}
    trainer.train()
    for name, own in trainer.model.state_dict().items():
        assert torch.equal(own, before[name])  # the agent is frozen: its learning rate is 0
    logs = [record for record in trainer.state.log_history if "ranker/reward" in record]
    assert len(logs) == 8
    assert logs[0]["ranker/searches"] == 16
    assert logs[0]["ranker/grouped"] == logs[0]["ranker/held"] == 1
    assert logs[-1]["ranker/hit"] > logs[0]["ranker/hit"] + 0.3
    assert logs[-1]["reward"] > logs[0]["reward"] + 0.3
    assert int(learner.policy.ranker.weights.argmax()) == 3  # the passage that holds the answer


def test_a_ranker_goes_on_where_it_was_stopped(tmp_path, bytewise):
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = RankerLearner(policy_of(), DOCUMENTS, learning_rate=0.3)
    trainer_of(tmp_path / "one", bytewise, whole, 4, **options).train()
    other = RankerLearner(policy_of(), DOCUMENTS, learning_rate=0.3)
    trainer_of(tmp_path / "one", bytewise, other, 4, **options).train(
        resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-2")
    )
    assert torch.equal(whole.policy.ranker.weights, other.policy.ranker.weights)
    assert whole.policy.made == other.policy.made
    changed = RankerLearner(policy_of(), DOCUMENTS, learning_rate=0.1)
    with pytest.raises(EvidenceError, match="companion"):
        trainer_of(tmp_path / "one", bytewise, changed, 4, **options).train(
            resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-2")
        )
    with pytest.raises(EvidenceError, match="missing"):
        changed.load(tmp_path)


def test_the_gradient_is_that_of_the_rankings_by_hand():
    """Two searches of one group: A_1 grad log p_1 + A_2 grad log p_2, over 2."""
    from policyrank.train.joint_ranking import _Call

    learner = RankerLearner(policy_of(), DOCUMENTS, learning_rate=0.0)
    names = list(DOCUMENTS)
    calls = [_Call("q", names, [2, 0], 0, 1.0, []), _Call("q", names, [1], 0, 0.0, [])]
    gains = torch.tensor([0.7, -0.7])
    norm = learner._step(calls, gains)
    weights = torch.zeros(5, requires_grad=True)
    first = weights[2] - weights.logsumexp(0)
    rest = weights[[0, 1, 3, 4]]
    likely = first + rest[0] - rest.logsumexp(0)
    other = weights[1] - weights.logsumexp(0)
    (-(0.7 * likely - 0.7 * other) / 2).backward()
    assert norm == pytest.approx(float(weights.grad.norm()), abs=1e-6)
    assert np.allclose(
        learner.policy.ranker.weights.grad[1:6].numpy(), weights.grad.numpy(), atol=1e-6
    )
