"""Rollouts of turns: ids as sampled, exact masks, and failures that harm nobody else."""

import dataclasses
import threading
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.learn import rewarded
from policyrank.models.group_sampling import Decoding, ModelSampler
from policyrank.models.language import load_causal_lm
from policyrank.models.sampling import Sampled
from policyrank.models.turns import PlainTurns
from policyrank.train.group import GroupTrainer
from policyrank.train.group_config import GroupConfig
from policyrank.train.group_data import PromptRow, encode_prompts
from policyrank.train.rounds import as_rollouts
from policyrank.train.turn_data import environment_rows, returns_to_go, turn_reward
from policyrank.train.turn_limits import FAILED, STOPS, TURN_COLUMNS, TurnLimits
from policyrank.train.turn_sampling import TurnSampler, call_style
from policyrank.worlds.agents import Step, ToolEnvironment

TURNS = (
    "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + '<e>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'a ' }}{% endif %}"
)
ROWS = [{"prompt": f"say {c}", "letter": c} for c in "abcdef"]


class Echo:
    """Says how often it was spoken to; pays for an even number of letters."""

    def __init__(self, turns=9):
        self.turns = turns

    def reset(self, row):
        self.spoken, self.row = 0, row
        return ""

    def step(self, action):
        self.spoken += 1
        told = "b1 " * self.spoken
        return Step(told, float(len(action.split()) % 2 == 0), self.spoken >= self.turns)


class Scripted:
    """A sampler whose turns are told: turn -> text of each trajectory, ended with the end token."""

    def __init__(self, tokenizer, script):
        self.tokenizer, self.script, self.asked = tokenizer, script, []

    def __call__(self, heads, samples, *, seed):
        texts = self.script[len(self.asked)]
        self.asked.append([list(head) for head in heads])
        flat = iter(texts)
        made = []
        for _ in heads:
            group = []
            for _ in range(samples):
                text = next(flat)
                ids = [*self.tokenizer(text)["input_ids"], self.tokenizer.eos_token_id]
                group.append(
                    Sampled(text, tuple(ids), True, tuple(-0.1 * k for k in range(len(ids))))
                )
            made.append(group)
        return made


@pytest.fixture
def tokenizer(lm):
    return transformers.AutoTokenizer.from_pretrained(lm)


def rows_of(tokenizer, rows=ROWS):
    return encode_prompts(rows, tokenizer, room=64, chat=False).rows


def sampler_of(tokenizer, environment, script=None, **limits):
    limits = TurnLimits(**{"turns": 3, "turn_tokens": 8, "tokens": 80, "read_tokens": 20} | limits)
    own = None if script is None else Scripted(tokenizer, script)
    return TurnSampler(environment, tokenizer, limits, sampler=own)


def of_model(lm, environment, turns=None, chat=None, **limits):
    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    if chat:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<e>"]})
        tokenizer.chat_template = TURNS
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    found = sampler_of(tokenizer, environment, **limits)
    found = dataclasses.replace(found, chat=chat, turns=turns)
    found.sampler = ModelSampler(model, tokenizer, found.decoding(Decoding(99)), chat)
    return found, model, tokenizer


@pytest.mark.parametrize("chat", [False, True])
def test_ids_are_those_that_were_sampled_and_as_likely(lm, chat):
    """A plain read of each whole trajectory: what was told of each id is what the model says."""
    sampler, model, tokenizer = of_model(lm, Echo, chat=chat, stop_cut=False)
    rows = encode_prompts(ROWS[:3], tokenizer, room=64, chat=chat).rows
    found = sampler.of_rows(rows, 4, seed=3)
    for group, again in zip(found, sampler.of_rows(rows, 4, seed=3), strict=True):
        assert [(own.ids, own.log_probs) for own in group] == [
            (own.ids, own.log_probs) for own in again
        ]
    assert [len(group) for group in found] == [4, 4, 4]
    for row, group in zip(rows, found, strict=True):
        for own in group:
            ids = torch.tensor([[*row.ids, *own.ids]])
            with torch.inference_mode():
                said = model(input_ids=ids).logits[0, len(row.ids) - 1 : -1].log_softmax(-1)
            likely = said.gather(-1, torch.tensor(own.ids)[:, None]).squeeze(-1)
            where = torch.tensor(own.where)
            told = torch.tensor(own.log_probs)
            assert torch.allclose(told[where], likely[where], atol=1e-4)
            assert not told[~where].any()
            segments = torch.tensor(own.segments)
            assert torch.equal(segments > 0, where)
            assert segments[where].tolist() == sorted(segments[where].tolist())
            assert set(segments[where].tolist()) == {1, 2, 3}
            turns = own.columns["trajectory"]["turns"]
            for number, turn in enumerate(turns, 1):
                assert turn["tokens"] == int((segments == number).sum())
            read = [turn["read"] for turn in turns]
            assert read[-1] == 0  # nothing is read after the last turn
            assert sum(read) == int((~where).sum())
            assert own.columns["stopped"] == "turn limit"
            assert own.columns["troubles"] == ("no answer",)


def test_what_is_read_stands_between_the_turns(lm):
    sampler, _, tokenizer = of_model(lm, Echo, chat=True, stop_cut=False)
    rows = encode_prompts(ROWS[:1], tokenizer, room=64, chat=True).rows
    ((own, *_),) = sampler.of_rows(rows, 2, seed=0)
    read = [token for token, wrote in zip(own.ids, own.where, strict=True) if not wrote]
    ended = tokenizer.convert_tokens_to_ids("<e>"), tokenizer.eos_token_id
    wanted = []
    for turn, written in ((1, "u b1 <e>a "), (2, "u b1 b1 <e>a ")):
        last = [i for i, s in zip(own.ids, own.segments, strict=True) if s == turn][-1]
        wanted += [] if last in ended else ["<e>"]
        wanted += tokenizer.tokenize(written)
    assert tokenizer.convert_ids_to_tokens(read) == wanted
    assert [own["role"] for own in own.messages] == ["assistant", "user"] * 2 + ["assistant"]


def trainer_of(lm, folder, sampler, rewards=None, rows=ROWS, **options):
    model, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    given = {
        "samples": 4, "tokens": 80, "max_length": 120, "optim": "sgd", "learning_rate": 1.0,
        "lr_scheduler_type": "constant", "max_grad_norm": 0, "per_device_train_batch_size": 2,
        "report_to": [], "disable_tqdm": True, "use_cpu": True, "max_steps": 1,
        "save_strategy": "no", "logging_steps": 1,
    }  # fmt: skip
    args = GroupConfig(str(folder), **given | options)
    rewards = rewards or turn_reward()
    return GroupTrainer(model, args, rewards, rows, processing_class=tokenizer, sampler=sampler)


def moved(trainer):
    before = {name: own.detach().clone() for name, own in trainer.model.named_parameters()}
    trainer.train()
    return {name: before[name] - own.detach() for name, own in trainer.model.named_parameters()}


@pytest.mark.parametrize("layout", ["shared", "rows"])
def test_a_trainer_learns_from_turns(lm, tmp_path, tokenizer, layout):
    sampler = sampler_of(tokenizer, Echo, stop_cut=False)
    trainer = trainer_of(lm, tmp_path, sampler, layout=layout)
    gradient = moved(trainer)
    assert max(float(own.abs().max()) for own in gradient.values()) > 1e-4
    (log,) = [record for record in trainer.state.log_history if "reward" in record]
    assert log["reward/turns"] == 3
    assert log["reward/unfinished"] == 1
    assert log["cut"] == 1
    # The sampler's log-probabilities are the trainer's: every id and place is the same.
    assert log["sampler_gap"] < 1e-4
    assert log["sampler_weight"] == pytest.approx(1, abs=1e-4)


class Fixed:
    """A sampler of the same turns, whatever the model: trajectories with chosen observations."""

    def __init__(self, tokenizer, read):
        self.tokenizer, self.read = tokenizer, read

    def of_rows(self, rows, samples, *, seed):
        rng = np.random.default_rng(0)
        script = [[_letters(rng) for _ in range(len(rows) * samples)] for _ in range(3)]
        read = self.read

        class Says(Echo):
            def step(self, action):
                step = super().step(action)
                return step._replace(observation=read[self.spoken])

        own = sampler_of(self.tokenizer, Says, script)
        return own.of_rows(rows, samples, seed=seed)


def _letters(rng):
    return "".join(rng.choice(list("abcdefgh"), size=rng.integers(1, 6)))


class FixedTurns(TurnSampler):
    """Its trajectories are those of ``Fixed``."""

    fixed = None

    def of_rows(self, rows, samples, /, *, seed):
        return self.fixed.of_rows(rows, samples, seed=seed)


def loss_and_gradient(lm, folder, tokenizer, read, layout, objective="dapo", perturb=None):
    """Of one step on fixed turns; ``perturb`` changes what is known of tokens that were read."""
    sampler = FixedTurns(Echo, tokenizer, TurnLimits(tokens=80), PlainTurns(tokenizer))
    sampler.sampler = sampler.fixed = Fixed(tokenizer, read)
    trainer = trainer_of(
        lm, folder, sampler, layout=layout, objective=objective, save_strategy="no"
    )
    if perturb is not None:
        laid_out = trainer.likely.laid_out

        def changed(*args, **options):
            batches = laid_out(*args, **options)
            for batch in batches:
                for name in ("sampled", "advantages"):
                    read_only = ~batch["learns"].bool()
                    batch[name] = batch[name].masked_fill(read_only, perturb)
            return batches

        trainer.likely.laid_out = changed
    return moved(trainer)


@pytest.mark.parametrize("layout", ["shared", "rows"])
@pytest.mark.parametrize("objective", ["dapo", "gspo", "segment-grpo"])
def test_what_is_known_of_read_tokens_does_not_matter(lm, tmp_path, tokenizer, layout, objective):
    """Log-probabilities of 1, as a server told them once, or NaN: no gradient moves."""
    read = {1: "b1 b1", 2: "c2", 3: "-"}
    plain = loss_and_gradient(lm, tmp_path, tokenizer, read, layout, objective)
    assert max(float(own.abs().max()) for own in plain.values()) > 1e-4
    for value in (1.0, -77.0, float("nan")):
        other = loss_and_gradient(lm, tmp_path, tokenizer, read, layout, objective, perturb=value)
        for name, own in plain.items():
            assert torch.equal(own, other[name])


def test_read_tokens_get_no_gradient_but_are_seen(lm, tmp_path, tokenizer):
    """By hand: the loss is that of written tokens alone, in the context of all."""
    for read in ({1: "b1 b1", 2: "c2", 3: "-"}, {1: "e3", 2: "h h h", 3: "-"}):
        found = loss_and_gradient(lm, tmp_path, tokenizer, read, "shared", "dapo")
        model, _ = load_causal_lm(str(lm), device="cpu", trainable=True)
        sampler = FixedTurns(Echo, tokenizer, TurnLimits(tokens=80), PlainTurns(tokenizer))
        sampler.sampler = sampler.fixed = Fixed(tokenizer, read)
        own = trainer_of(lm, tmp_path, sampler)
        chosen = list(iter(own._order()))[:2]
        rows = [own.train_dataset[k] for k in chosen]
        groups = Fixed(tokenizer, read).of_rows(rows, 4, seed=0)
        loss, count = 0.0, 0
        for row, group in zip(rows, groups, strict=True):
            gained = torch.tensor([sum(one.columns["turn_rewards"]) for one in group])
            if gained.std() == 0:
                continue
            gains = (gained - gained.mean()) / (gained.std() + 1e-4)
            for one, gain in zip(group, gains, strict=True):
                ids = torch.tensor([[*row.ids, *one.ids]])
                said = model(input_ids=ids).logits[0, len(row.ids) - 1 : -1].log_softmax(-1)
                likely = said.gather(-1, torch.tensor(one.ids)[:, None]).squeeze(-1)
                where = torch.tensor(one.where)
                # The sampler's own numbers weigh: how likely it is here, over what it told.
                told = torch.tensor(one.log_probs)[where]
                weight = (likely[where].detach() - told).exp().clamp(max=2.0)
                loss = loss - (gain * weight * likely[where]).sum()
                count += int(where.sum())
        (loss / count).backward()
        for name, weights in model.named_parameters():
            assert torch.allclose(found[name], weights.grad, atol=2e-5), name


def test_each_turn_is_compared_with_that_turn_of_others(lm, tmp_path, tokenizer):
    sampler = sampler_of(tokenizer, Echo, stop_cut=False)
    trainer = trainer_of(lm, tmp_path, sampler, turn_reward(by_turn=3, discount=0.5))
    rollouts = trainer._outputs([trainer.train_dataset[k] for k in (0, 1)], 5)
    said = rewarded(rollouts, trainer.groups.reward)
    assert said.values.shape == (8, 3)
    compared = trainer.groups.compared(rollouts)
    for turn in (1, 2, 3):
        here = rollouts.segments == turn
        for row in range(8):
            gains = compared.gains[row][here[row]]
            assert (gains == gains[0]).all() or gains.isnan().all()
        values = said.values[:4, turn - 1]
        if values.std() > 0:
            wanted = (values - values.mean()) / (values.std() + 1e-4)
            first = [compared.gains[row][here[row]][0] for row in range(4)]
            assert torch.allclose(torch.stack(first), wanted, atol=1e-5)
    assert compared.gains[rollouts.segments == 0].isnan().all()


def test_what_pays_is_learned(lm, tmp_path, tokenizer):
    class Likes(Echo):
        """Pays for the letter a, in the second turn twice."""

        def step(self, action):
            step = super().step(action)
            letters = action.split()
            share = letters.count("a") / max(len(letters), 1)
            return step._replace(reward=share * self.spoken, done=self.spoken == 2)

    sampler = sampler_of(tokenizer, Likes, turns=2, turn_tokens=4, stop_cut=False)
    trainer = trainer_of(
        lm, tmp_path, sampler, turn_reward(by_turn=2), samples=8, max_steps=25, optim="adamw_torch",
        learning_rate=0.01, per_device_train_batch_size=4,
    )  # fmt: skip
    trainer.train()
    rewards = [record["reward"] for record in trainer.state.log_history if "reward" in record]
    assert np.mean(rewards[:3]) < 0.5
    assert np.mean(rewards[-3:]) > 2


def test_returns_to_go():
    found = returns_to_go([[0.0, 0.0, 1.0], [1.0]], 0.95, 3)
    assert torch.allclose(found[0], torch.tensor([0.9025, 0.95, 1.0]))
    assert found[1, 0] == 1
    assert found[1, 1:].isnan().all()
    with pytest.raises(OptionError, match="has 3 turns"):
        returns_to_go([[0.0, 0.0, 1.0]], 1.0, 2)
    with pytest.raises(OptionError, match="discount"):
        turn_reward(discount=1.5)


# What goes wrong


def outcome(groups):
    return [own.columns["stopped"] for group in groups for own in group]


class Faulty(Echo):
    """What it does is what the row says, to the first of its trajectories."""

    made = 0

    def __init__(self):
        super().__init__(turns=2)
        self.number = Faulty.made
        Faulty.made += 1

    def reset(self, row):
        self.fault = row["fault"] if self.number % 2 == 0 else ""
        if self.fault == "reset raises":
            raise RuntimeError("no world")
        if self.fault == "reset hangs":
            time.sleep(60)
        return super().reset(row) if self.fault != "begins otherwise" else "you are in a cave"

    def step(self, action):
        if self.fault == "raises":
            raise KeyError("lamp")
        if self.fault == "hangs":
            time.sleep(60)
        if self.fault == "gives nothing":
            return None
        if self.fault == "exits":
            raise SystemExit(3)
        step = super().step(action)
        if self.fault == "floods":
            return step._replace(observation="b1" * 500_000)
        return step


FAULTS = {
    "reset raises": "environment raised",
    "reset hangs": "environment hung",
    "begins otherwise": "start differs",
    "raises": "environment raised",
    "hangs": "environment hung",
    "gives nothing": "environment raised",
    "exits": "environment raised",
    "floods": "done",
}


def test_an_environment_that_fails_harms_nobody_else(tokenizer):
    rows = rows_of(
        tokenizer, [{"prompt": f"say {k}", "fault": fault} for k, fault in enumerate(FAULTS)]
    )
    Faulty.made = 0
    alive = [fault for fault in FAULTS if not fault.startswith(("reset", "begins"))]
    goes_on = len(rows) + 1  # the second of each row, and the flooded one
    script = [["ab"] * 2 * len(rows), ["cd"] * goes_on]
    sampler = sampler_of(tokenizer, Faulty, script, environment_seconds=0.3, workers=4)
    begun = time.monotonic()
    found = sampler.of_rows(rows, 2, seed=0)
    assert time.monotonic() - begun < 20
    assert outcome(found)[::2] == list(FAULTS.values())
    assert outcome(found)[1::2] == ["done"] * len(rows)
    assert set(outcome(found)) <= set(STOPS)
    assert sampler.failed == len(FAULTS) - 1
    assert sampler.error
    ends = {fault: found[k][0] for k, fault in enumerate(FAULTS)}
    for fault in alive:
        assert ends[fault].columns["turns"] == (2 if fault == "floods" else 1)
        assert ends[fault].ids[:2] == tuple(tokenizer("ab")["input_ids"])
    for fault in FAULTS.keys() - set(alive):
        assert ends[fault].ids == ()
        assert ends[fault].columns["turns"] == 0
    assert ends["raises"].columns["trajectory"]["why"] == "KeyError: 'lamp'"
    assert "no answer within 0.3 s" in ends["hangs"].columns["trajectory"]["why"]
    flooded = ends["floods"].columns
    assert flooded["tokens_cut"] > 10_000
    assert flooded["trajectory"]["turns"][0]["read"] <= 20

    rollouts = as_rollouts(rows, found, pad=0, progress=0.0)
    assert set(TURN_COLUMNS) <= set(rollouts.columns)
    said = rewarded(rollouts, turn_reward())
    failed = [why in FAILED for why in rollouts.columns["stopped"]]
    assert said.values.isnan().tolist() == failed
    assert said.parts["failed"].tolist() == [float(own) for own in failed]
    assert rollouts.ended.tolist() == [not own for own in failed]


def test_where_nothing_can_begin_it_is_said(tokenizer):
    class Never:
        def __init__(self):
            raise RuntimeError("no key")

    sampler = TurnSampler(Never, tokenizer, turns=PlainTurns(tokenizer))
    sampler.sampler = Scripted(tokenizer, [])
    with pytest.raises(EvidenceError, match="RuntimeError: no key"):
        sampler.of_rows(rows_of(tokenizer), 2, seed=0)
    with pytest.raises(OptionError, match="no sampler of turns"):
        sampler_of(tokenizer, Echo).of_rows(rows_of(tokenizer), 2, seed=0)
    taken = rows_of(tokenizer, [{"prompt": "a", "stopped": 1}])
    with pytest.raises(OptionError, match="column stopped"):
        sampler_of(tokenizer, Echo, [["a"]]).of_rows(taken, 1, seed=0)


class Alone(Echo):
    """Not thread-safe: it raises when two of its kind are called at once."""

    thread_safe = False
    busy = threading.Lock()

    def step(self, action):
        if not Alone.busy.acquire(blocking=False):
            raise RuntimeError("two at once")
        try:
            time.sleep(0.01)
            return super().step(action)
        finally:
            Alone.busy.release()


def test_environments_that_are_not_thread_safe_are_called_one_by_one(tokenizer):
    rows = rows_of(tokenizer, ROWS[:2])
    script = [["ab"] * 8] * 3
    found = sampler_of(tokenizer, Alone, script).of_rows(rows, 4, seed=0)
    assert outcome(found) == ["turn limit"] * 8

    class Apart(Alone):
        thread_safe = True

    found = sampler_of(tokenizer, Apart, [["ab"] * 8, ["ab"] * 8, ["ab"] * 8])
    try:
        assert "environment raised" in outcome(found.of_rows(rows, 4, seed=0))
    except StopIteration:
        pytest.fail("the script is for all")


def test_limits(tokenizer):
    rows = rows_of(tokenizer, ROWS[:1])
    (own,) = sampler_of(tokenizer, Echo, [["abcdefghi"]]).of_rows(rows, 1, seed=0)[0]
    assert own.columns["stopped"] == "turn cut"
    assert len(own.ids) == 8
    assert not own.ended
    assert own.columns["trajectory"]["turns"][0]["action"].replace(" ", "") == "abcdefgh"
    assert own.messages[0]["content"].replace(" ", "") == "abcdefgh"
    (own,) = sampler_of(tokenizer, Echo, [["ab"]] * 3, tokens=7).of_rows(rows, 1, seed=0)[0]
    assert own.columns["stopped"] == "token limit"
    assert len(own.ids) <= 7
    sampler = sampler_of(tokenizer, Echo, [["ab"]] * 3)
    sampler.context = len(rows[0].ids) + 11
    (own,) = sampler.of_rows(rows, 1, seed=0)[0]
    assert own.columns["stopped"] == "token limit"
    assert len(own.ids) == 11

    class Slow(Echo):
        def step(self, action):
            time.sleep(0.2)
            return super().step(action)

    (own,) = sampler_of(tokenizer, Slow, [["ab"]] * 3, seconds=0.1).of_rows(rows, 1, seed=0)[0]
    assert own.columns["stopped"] == "time limit"
    assert own.columns["turns"] == 1
    for bad in ({"turns": 0}, {"seconds": 0.0}, {"keep": "middle"}):
        with pytest.raises(OptionError):
            TurnLimits(**bad)


def test_a_trainer_has_room_for_trajectories(lm, tmp_path, tokenizer):
    with pytest.raises(OptionError, match="tokens=40: trajectories have up to 80"):
        trainer_of(lm, tmp_path, sampler_of(tokenizer, Echo), tokens=40)


def test_only_who_goes_on_is_asked_again(tokenizer):
    """Contexts of the next turn are what was written and read, id for id."""

    class Ends(Echo):
        def step(self, action):
            step = super().step(action)
            return step._replace(done="z" in action, info={"answer": action})

    rows = rows_of(tokenizer, ROWS[:2])
    script = [["az", "ab", "ac", "z"], ["zz", "b"], ["c"]]
    sampler = sampler_of(tokenizer, Ends, script)
    found = sampler.of_rows(rows, 2, seed=0)
    assert outcome(found) == ["done", "done", "turn limit", "done"]
    first, second, third = sampler.sampler.asked
    assert first == [row.ids for row in rows]
    end = tokenizer.eos_token_id
    read = tokenizer("b1 ")["input_ids"]
    assert second[0] == [*rows[0].ids, *tokenizer("ab")["input_ids"], end, *read]
    assert second[1] == [*rows[1].ids, *tokenizer("ac")["input_ids"], end, *read]
    assert len(third) == 1
    assert third[0][: len(second[1])] == second[1]
    assert found[0][1].columns["final_answer"].replace(" ", "") == "zz"
    assert found[0][1].columns["turns"] == 2


def test_prompts_of_what_environments_say(tokenizer):
    class Room:
        tools = ()

        def reset(self, row):
            return f"room {row['number']}"

        def step(self, action):
            return "wall", 0.0, False, {}

    rows = environment_rows([{"number": 1}, {"number": 2}], Room, system="play", chat=False)
    assert [row["prompt"] for row in rows] == ["play\n\nroom 1", "play\n\nroom 2"]
    chats = environment_rows([{"number": 1, "prompt": "x"}], Room)
    assert chats[0]["prompt"] == [{"role": "user", "content": "room 1"}]
    assert chats[0]["given_prompt"] == "x"
    found = sampler_of(tokenizer, Room, [["a"] * 2] * 3).of_rows(
        rows_of(tokenizer, rows), 1, seed=0
    )
    assert outcome(found) == ["turn limit"] * 2
    with pytest.raises(EvidenceError, match="row 2"):
        environment_rows([{"number": 1}, {"x": 2}], Room)
    with pytest.raises(EvidenceError, match="says nothing first"):
        environment_rows([{}], Echo)


def test_a_tool_is_used_by_the_templates_own_calls(tokenizer):
    """From the schema in the prompt to the result behind the call, in one template."""

    def double(n: int) -> int:
        """Double a number."""
        return 2 * n

    tokenizer.chat_template = (
        "{% for t in tools or [] %}{{ t['function']['name'] }} {% endfor %}"
        "{% for m in messages %}{{ m['role'] + ' ' + m['content'] }}"
        "{% for c in m['tool_calls'] or [] %}{{ '[' + c['function']['name'] + '('"
        " + c['function']['arguments'].items() | map('join', '=') | join(',') + ')]' }}{% endfor %}"
        "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
    )
    with pytest.raises(EvidenceError, match="no style"):
        call_style(tokenizer)
    tokenizer.chat_template = TURNS
    with pytest.raises(EvidenceError, match="no place for calls"):
        call_style(tokenizer)

    def world():
        return ToolEnvironment([double], lambda answer, row: 1.0, style=lambda text, names: [])

    sampler = sampler_of(tokenizer, world, [["six"]])
    ((own,),) = sampler.of_rows(rows_of(tokenizer, ROWS[:1]), 1, seed=0)
    assert own.columns["turn_rewards"] == (1.0,)
    assert own.columns["final_answer"].replace(" ", "") == "six"
    assert own.ended


def test_prompts_of_which_no_data_are_known(tokenizer):
    """As any sampler of groups is called."""
    sampler = sampler_of(tokenizer, Echo, [["ab"] * 4] * 3)
    found = sampler([[5, 6], [7]], 2, seed=0)
    assert [len(group) for group in found] == [2, 2]
    assert isinstance(found[0][0], Sampled)
    assert PromptRow(0, "", [5], {}).columns == {}


@pytest.mark.parametrize(
    ("family", "style"),
    [
        ("qwen2_5", "json"),
        ("qwen3_5_think", "xml"),
        ("glm4moe", "xml"),
        ("llama3_1", "bare"),
        ("lfm2_2_5", "python"),
    ],
)
def test_the_style_of_calls_is_the_templates_own(tokenizer, family, style):
    """Templates of models, as TRL ships them: what they write of a call is read as that call."""
    from pathlib import Path

    folder = Path(pytest.importorskip("trl").__file__).parent / "chat_templates"
    tokenizer.chat_template = (folder / f"{family}.jinja").read_text(encoding="utf-8")
    assert call_style(tokenizer) == style


def test_all_trajectories_are_kept_and_come_once(lm, tmp_path, tokenizer):
    from policyrank.evidence import read_rollouts
    from policyrank.train.turn_logs import RolloutLog

    log = RolloutLog(tmp_path)
    for going in (None, str(tmp_path / "checkpoint-1")):
        trainer = trainer_of(
            lm, tmp_path, sampler_of(tokenizer, Echo, stop_cut=False), max_steps=3,
            save_strategy="steps", save_steps=1,
        )  # fmt: skip
        trainer.show = log
        trainer.add_callback(log.callback())
        trainer.train(resume_from_checkpoint=going)
    other = trainer_of(lm, tmp_path, sampler_of(tokenizer, Echo, turns=2), max_steps=3)
    with pytest.raises(EvidenceError, match="other turns"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    found = read_rollouts(tmp_path / "rollouts.jsonl")
    assert [own.step for own in found] == [0] * 8 + [1] * 8 + [2] * 8
    assert [(own.group, own.sample) for own in found[:8]] == [
        (g, k) for g in (0, 1) for k in range(4)
    ]
    assert all(len(own.turns) == 3 and own.stopped == "turn limit" for own in found)
    assert found[0].reward == sum(turn.reward for turn in found[0].turns)
    assert found[0].prompt.startswith("say ")
    assert found[0].parts["turns"] == 3


def test_the_page_on_agents_runs(lm, tmp_path):
    import re
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs/howto/agents.md"
    (code, *_) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    model, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    model.config.max_position_embeddings = 1024
    rows = [{"prompt": "2 times 3", "product": 6}] * 8
    given = {"model": model, "tokenizer": tokenizer, "rows": rows, "folder": str(tmp_path)}
    exec(code.replace("max_steps=1", "max_steps=1, use_cpu=True, report_to=[]"), given)
    assert given["trainer"].state.global_step == 1
    assert given["trainer"].groups.sampler.failed == 0
