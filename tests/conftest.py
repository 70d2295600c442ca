"""Shared by the suite: where the data of others lies, and small random evidence."""

import os

# The workers share the cores: more threads of a library only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest

from policyrank.evidence import Comparisons


@pytest.fixture(autouse=True, scope="session")
def _data_folder():
    """Use the data folder beside the checkout where POLICYRANK_DATA names none."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    if "POLICYRANK_DATA" not in os.environ and beside.is_dir():
        os.environ["POLICYRANK_DATA"] = str(beside)


@pytest.fixture(scope="session")
def data():
    """Load a named data set; the test is skipped, loudly, where its files are missing."""
    from policyrank.evidence import datasets

    def load(name):
        if "POLICYRANK_DATA" not in os.environ:
            pytest.skip(f"data set {name!r} not tested: POLICYRANK_DATA is not set")
        return datasets.load(name)

    return load


@pytest.fixture
def battles():
    """Random battles with ties between ``n`` policies."""

    def make(n=6, size=400, seed=0, ties=0.2):
        rng = np.random.default_rng(seed)
        i = rng.integers(n, size=size)
        j = (i + rng.integers(1, n, size=size)) % n
        theta = np.linspace(1, -1, n)
        win = rng.random(size) < 1 / (1 + np.exp(theta[j] - theta[i]))
        outcome = np.where(rng.random(size) < ties, 0.5, win.astype(float))
        names = np.array([f"p{k:02d}" for k in range(n)])
        return Comparisons.of(names[i], names[j], outcome, policies=names.tolist())

    return make


@pytest.fixture
def command(capsys, monkeypatch):
    """Run the command line here: exit code, and what it printed."""
    from policyrank.cli import main

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["policyrank", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, capsys.readouterr()

    return call


@pytest.fixture
def ran(command):
    """Run the command line here: what it printed, where it ended as it should."""

    def call(*arguments, code=0):
        found, said = command(*arguments)
        assert found == code, said.err
        return said

    return call


@pytest.fixture(scope="session")
def lm(tmp_path_factory):
    """A random Llama of two layers over characters, saved and loaded as a user's would be."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    vocabulary = {
        c: i
        for i, c in enumerate(["<s>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz 123456789AB"])
    }
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def masked_lm(tmp_path_factory):
    """A random BERT of two layers over characters, saved and loaded as a user's would be."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("masked")
    special = {"pad_token": "[P]", "unk_token": "[U]", "mask_token": "[M]", "eos_token": "[E]"}
    words = [*special.values(), *"abcdefghijklmnopqrstuvwxyz 1234"]
    core = Tokenizer(models.WordLevel({c: i for i, c in enumerate(words)}, unk_token="[U]"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        pad_token_id=0,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder
