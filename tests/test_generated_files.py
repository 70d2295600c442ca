"""Damaged files of every kind that is no evidence: settings, worlds, kept states, models' files.

Each is read, or ends in one line of ours that names the file. ``POLICYRANK_GENERATED`` sets how
many are made of each.
"""

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from damages import damaged, generator
from policyrank.errors import PolicyrankError
from policyrank.fingerprints import Fingerprint
from seeds import Seed

EACH = int(os.environ.get("POLICYRANK_GENERATED", "60"))

NETWORK = """[nodes.shop]
stock = 60
holding = 0.1
[nodes.plant]
stock = 20
capacity = 50
yield = 0.9
[[edges]]
from = "raw"
to = "plant"
price = 0.5
[[edges]]
from = "plant"
to = "shop"
lead = 2
price = 1
[[edges]]
from = "shop"
to = "customers"
price = 3
backlog = 0.2
"""
PLANS = """["help a"]
cost = 1
[ "help a".z ]
a = -0.5
[dear]
cost = 2.5
zz = { "a b" = 0.25 }
x = { b = 0.1 }
"""
CONFIG = {"rank": {"level": 0.9, "method": "borda", "top": 2}, "audit": {"strict": True}}
RANKER = """[data]
train = "train.txt"
[model]
kind = "linear"
[train]
loss = "ranknet"
epochs = 3
learning_rate = 1e-3
[train.curriculum]
start = 0.5
"""
LETOR = "".join(f"{k % 3} qid:{k // 4} 1:{k / 7:.3f} 2:{-k} 4:1e-3 # d{k}\n" for k in range(1, 13))
ABOUT = {"kind": "policy", "base": "smollm2", "adapter": False, "chat": None, "max_length": 64}
ABOUT |= {"options": {"beta": 0.1}, "data": {"rows": 3}, "settings": {}, "versions": {"torch": "2"}}
KEPT_OF = {"settings": {"seed": 0}, "data": {"name": "x"}}
KEPT = [[1, 2.5], ["a"]]
SPEC = '[policies]\nant = "math:floor"\nbee = "math:ceil"\n'
SPEC += 'play = "math:pow"\n[tasks]\none = 1\n'
CLAIMS = "claim,label,credibility,group\nants fly,0,0.2,a\nbees fly,1,0.9,b\ncats fly,0,0.1,a\n"
INSTANCE = "offline,arrival,chance,weight\na,x,0.5,1\na,y,0.25,1\nb,y,0.75,2\n"
EDGES = "source,target,J\na,b,0.5\nb,c,-0.25\n"


def _network(path):
    from policyrank.worlds.inventory import Network

    found = Network.read(path)
    for amounts in (found.stock, found.holding, found.price, found.lead, found.share):
        assert np.isfinite(amounts).all()
        assert (amounts >= 0).all()
    assert found.lead.max() <= 10_000


def _plans(path):
    from policyrank.cli.world_supply import _interventions

    assert all(isinstance(plan.cost, float) for plan in _interventions(path))


def _claims(path):
    from policyrank.cli.world_exposure import _claims as read

    claims, credibility = read(path)
    assert credibility is None or ((credibility >= 0) & (credibility <= 1)).all()
    assert len(claims.texts) >= 2


def _instance(path):
    from policyrank.cli.world_matching import _instance as read

    assert np.isfinite(read(path).p).all()


def _edges(path):
    from policyrank.cli.world_supply import _weights

    assert all(np.isfinite(weight) for *_, weight in _weights(path, ("source", "target", "J")))


def _series(path):
    from policyrank.evidence.series import read_series

    assert len(read_series(path)[0])


def _owners(path):
    from policyrank.cli.audit import _owners as read

    assert all(read(path).values())


def _spec(path):
    from policyrank.cli.evaluate import _load

    assert _load(path).policies


def _config(path):
    from policyrank.cli import build

    assert build([], path)


def _ranker_config(path):
    from policyrank.cli.ranker_config import check_config, read_config

    pytest.importorskip("torch")
    check_config(read_config(path))


def _letor(path):
    from policyrank.train import read_letor

    data = read_letor(path)
    assert np.isfinite(np.asarray(data.features)).all()
    assert (np.asarray(data.labels) >= 0).all()


def _about(path):
    from policyrank.models.provenance import about

    path.rename(path.with_name("policyrank.json"))
    found = about(path.parent)
    assert found.base is None or isinstance(found.base, str)
    assert found.max_length is None or type(found.max_length) is int


def _adapter(path):
    from policyrank.models.loading import adapter_config, base_of

    path.rename(path.with_name("adapter_config.json"))
    assert isinstance(adapter_config(str(path.parent)), dict)
    assert isinstance(base_of(str(path.parent)), str)


def _kept(path):
    from policyrank.train.kept_files import read_kept

    said = []
    found = read_kept(path, Fingerprint(KEPT_OF, {}), said.append)
    assert found == KEPT or (found is None and len(said) == 1)


def kept_text():
    """A kept file as it is written."""
    from policyrank.train.kept_files import keep

    with TemporaryDirectory() as folder:
        keep(Path(folder, "kept.json"), Fingerprint(KEPT_OF, {}), KEPT)
        return Path(folder, "kept.json").read_text()


def _problems(path):
    from policyrank.train.programs import read_problems

    assert read_problems(path, lambda *_: None)


def _pairs(path):
    from policyrank.auditing.preferences import read_pairs

    assert read_pairs(path)


def _prompts(path):
    from policyrank.cli.answer_options import read_prompts

    assert read_prompts(path)[0]


def _references(path):
    from policyrank.cli.answer_options import read_references

    assert read_references(path)


def _groups(path):
    from policyrank.cli.attack import _groups as read

    read(path)


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


PAIRS = _lines({"prompt": f"p{k}", "chosen": "yes", "rejected": "no", "alpha": 0.8} for k in (1, 2))
PROBLEMS = _lines(
    {"prompt": f"def f{k}():", "tests": [f"assert f{k}() == {k}"], "entry_point": f"f{k}"}
    for k in (1, 2)
)
ANSWERS = _lines({"prompt": f"p{k}", "answer": "yes"} for k in (1, 2))

FILES = {
    "network.toml": (NETWORK, _network),
    "plans.toml": (PLANS, _plans),
    "claims.csv": (CLAIMS, _claims),
    "instance.csv": (INSTANCE, _instance),
    "edges.csv": (EDGES, _edges),
    "series.csv": ("week,demand\n1,20\n2,30.5\n3,25\n", _series),
    "owners.csv": ("policy,owner\nant,one\nbee,two\n", _owners),
    "spec.toml": (SPEC, _spec),
    "options.yaml": (json.dumps(CONFIG), _config),
    "options.toml": ('[rank]\nlevel = 0.9\nmethod = "borda"\n[audit]\nstrict = true\n', _config),
    "ranker.toml": (RANKER, _ranker_config),
    "train.txt": (LETOR, _letor),
    "about.json": (json.dumps(ABOUT), _about),
    "adapter.json": (json.dumps({"base_model_name_or_path": "smollm2", "r": 4}), _adapter),
    "kept.json": (kept_text(), _kept),
    "problems.jsonl": (PROBLEMS, _problems),
    "pairs.jsonl": (PAIRS, _pairs),
    "prompts.jsonl": (ANSWERS, _prompts),
    "references.jsonl": (ANSWERS, _references),
    "groups.tsv": ("one\tq1\none\tq2\ntwo\tq3\n", _groups),
}
TORCH = {"train.txt", "kept.json", "problems.jsonl", "pairs.jsonl", "about.json", "adapter.json"}


def fault_of(read, path):
    """What a reading does that none may; nothing: None."""
    try:
        read(path)
    except PolicyrankError as error:
        text = str(error)
        if len(text.splitlines()) != 1 or len(text) > 2000:
            return f"no line: {text[:300]!r}"
        shown = re.sub(r"[^!-~]|[?]", "", text)
        names = {re.sub(r"[^!-~]|[?]", "", name) for name in (path.name, path.parent.name)}
        return None if any(name in shown for name in names) else f"names no file: {text[:300]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def faults_of(name, root):
    """What is wrong with the readings of all that is made of one file."""
    content, read = FILES[name]
    seed = Seed(name, {name: content.encode()}, "read", 0, None)
    for number in range(EACH):
        made = damaged(generator(seed, number), seed)
        ((path, data),) = made.files.items()
        place = root / f"of-{number}" / Path(path).with_suffix(Path(name).suffix)
        place.parent.mkdir()
        place.write_bytes(data)
        fault = fault_of(read, place)
        if fault is not None:
            yield f"{number}, {made.what}: {fault}"


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_read(name, tmp_path):
    if name in TORCH:
        pytest.importorskip("torch")
    content, read = FILES[name]
    (tmp_path / name).write_text(content)
    read(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_read_or_refused_in_one_line(name, tmp_path):
    if name in TORCH:
        pytest.importorskip("torch")
    faults = list(faults_of(name, tmp_path))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_is_refused_in_one_line(name, tmp_path):
    if name in TORCH:
        pytest.importorskip("torch")
    place = tmp_path / f"of-{name}" / name
    place.mkdir(parents=True)
    if name in ("about.json", "adapter.json", "kept.json"):
        return  # a folder of that name stands for none
    assert fault_of(FILES[name][1], place) is None
