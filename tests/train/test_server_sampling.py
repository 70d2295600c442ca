"""Groups from a server: ids in, ids out, their log-probabilities, and what is refused."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from policyrank.errors import EvidenceError, OptionError
from policyrank.models.group_sampling import Decoding, ModelSampler
from policyrank.models.language import load_causal_lm
from policyrank.train.group import GroupTrainer
from policyrank.train.group_config import GroupConfig
from policyrank.train.server_sampling import ServerSampler

END = 1


@pytest.fixture
def server():
    """A server whose replies a test tells; it keeps what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body, self.headers.get("Authorization")))
            code, reply = server.reply(self.path, body)
            content = json.dumps(reply).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.url = asked, f"http://127.0.0.1:{server.server_port}/v1"
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def tokenizer(lm):
    return transformers.AutoTokenizer.from_pretrained(lm)


def choice(ids, reason="stop", logs=None, text="ab", **more):
    found = {"text": text, "finish_reason": reason, **more}
    if ids is not None:
        found["token_ids"] = ids
    return found | {"logprobs": {"token_logprobs": logs}}


def test_ids_and_their_log_probabilities_come_back(server, tokenizer, monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")

    def reply(path, body):  # fewer than asked for
        assert path == "/v1/completions"
        first = body["prompt"][0]
        return 200, {"choices": [choice([first, 4, END], logs=[-1, -2, -0.5])]}

    server.reply = reply
    decoding = Decoding(7, 0.5, top_k=3, top_p=0.9)
    sampler = ServerSampler(server.url, "name", tokenizer, decoding, key="A_KEY")
    found = sampler([[5, 6], [8]], 2, seed=3)
    assert [[own.ids for own in group] for group in found] == [[(5, 4, 1)] * 2, [(8, 4, 1)] * 2]
    assert found[0][0].log_probs == (-1, -2, -0.5)
    assert found[0][0].ended
    assert found[0][0].text == tokenizer.decode([5, 4])
    bodies = [body for _, body, _ in server.asked]
    assert len(bodies) == 4
    assert {key for _, _, key in server.asked} == {"Bearer secret"}
    assert sorted(body["n"] for body in bodies) == [1, 1, 2, 2]
    assert len({body["seed"] for body in bodies}) == 4
    own = {
        "model": "name", "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 3,
        "return_token_ids": True, "stop_token_ids": [END], "logprobs": 1,
    }  # fmt: skip
    assert all(body.items() >= own.items() for body in bodies)


def test_texts_are_not_tokenised_again_in_silence(server, tokenizer):
    server.reply = lambda path, body: (200, {"choices": [choice(None), choice(None, "length")]})
    sampler = ServerSampler(server.url, "name", tokenizer)
    with pytest.raises(EvidenceError, match="without token ids"):
        sampler([[5]], 2, seed=0)
    said = []
    again = ServerSampler(server.url, "name", tokenizer, retokenise=True, report=said.append)
    for _ in range(2):
        (group,) = again([[5]], 2, seed=0)
    a, b = tokenizer("ab")["input_ids"]
    assert [own.ids for own in group] == [(a, b, END), (a, b)]
    assert [own.log_probs for own in group] == [None, None]
    assert again.retokenised == 4
    assert said == ["samples are tokenised again from the server's texts"]


def test_what_is_missing_is_told_and_what_is_wrong_refused(server, tokenizer):
    server.reply = lambda path, body: (200, {"choices": [choice([5, 4], logs=None)]})
    said = []
    sampler = ServerSampler(server.url, "name", tokenizer, report=said.append, retries=0)
    (group,) = sampler([[5]], 1, seed=0)
    assert group[0].log_probs is None
    assert sampler.endless == 1
    assert said == ["samples come without their end token, which then is not learned"]
    server.reply = lambda path, body: (200, {"choices": [choice([5, 4], logs=[-1.0])]})
    with pytest.raises(EvidenceError, match="1 log-probabilities for 2 token ids"):
        sampler([[5]], 1, seed=0)
    server.reply = lambda path, body: (200, {"choices": []})
    with pytest.raises(EvidenceError, match="choices is empty"):
        sampler([[5]], 1, seed=0)
    server.reply = lambda path, body: (404, {"error": "no such model"})
    with pytest.raises(EvidenceError, match="no such model"):
        sampler([[5]], 1, seed=0)
    with pytest.raises(EvidenceError, match="A_MISSING_KEY"):
        ServerSampler(server.url, "name", tokenizer, key="A_MISSING_KEY")([[5]], 1, seed=0)
    with pytest.raises(OptionError, match="cannot be sent"):
        ServerSampler(server.url, "n", tokenizer, Decoding(processors=lambda ids, logits: logits))


def test_a_trainer_learns_from_a_server_whose_adapters_follow(server, lm, tmp_path):
    """The fake server samples by the model that it was given last: it is never far away."""
    peft = pytest.importorskip("peft")
    model, tokenizer = load_causal_lm(str(lm), device="cpu", trainable=True)
    loaded = []

    def reply(path, body):
        if path == "/v1/unload_lora_adapter":
            return (200, {}) if loaded else (404, {})
        if path == "/v1/load_lora_adapter":
            base, _ = load_causal_lm(str(lm), device="cpu")
            loaded.append(peft.PeftModel.from_pretrained(base, body["lora_path"]))
            return 200, {}
        by = ModelSampler(loaded[-1], tokenizer, Decoding(body["max_tokens"]))
        (group,) = by([body["prompt"]], body["n"], seed=body["seed"])
        reasons = {True: "stop", False: "length"}
        return 200, {"choices": [choice(list(o.ids), reasons[o.ended], o.log_probs) for o in group]}

    server.reply = reply
    sampler = ServerSampler(
        server.url, "tuned", tokenizer, Decoding(5), adapters=tmp_path / "adapters"
    )
    args = GroupConfig(
        str(tmp_path / "run"), samples=4, tokens=5, max_length=32, max_steps=3, report_to=[],
        use_cpu=True, per_device_train_batch_size=2, disable_tqdm=True, logging_steps=1,
        learning_rate=0.05, save_strategy="no",
    )  # fmt: skip
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    rows = [{"prompt": f"say {c}"} for c in "abcd"]

    def letters(completions, **columns):
        return [len(set(text)) for text in completions]

    own = GroupTrainer(
        model, args, letters, rows, processing_class=tokenizer, sampler=sampler, peft_config=config
    )
    own.train()
    assert len(loaded) == 3
    gaps = [record["sampler_gap"] for record in own.state.log_history if "reward" in record]
    assert len(gaps) == 3
    assert max(gaps) < 1e-4
    frozen = ServerSampler(server.url, "tuned", tokenizer, Decoding(5))
    own.groups = replace(own.groups, sampler=frozen)
    with torch.no_grad():
        for name, weights in own.model.named_parameters():
            weights.add_(0.3 * ("lora_B" in name))
    own.args.max_steps = 1
    own.train()
    assert len(loaded) == 3
    assert own.state.log_history[0]["sampler_gap"] > 1e-3
    plain, _ = load_causal_lm(str(lm), device="cpu")
    with pytest.raises(OptionError, match="adapters, not whole weights"):
        ServerSampler(server.url, "n", tokenizer, adapters=tmp_path).update(plain)
