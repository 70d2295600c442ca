"""Trees share their first steps with the right answer, and are scored as a whole."""

import numpy as np
import pytest

pytest.importorskip("torch")

from policyrank.errors import EvidenceError, OptionError
from policyrank.train.trees import preference_trees, split_steps

ROOT = ("Step 1: a\n", "Step 2: b\n", "Step 3: c")


class Writer:
    """Writes on in two steps, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, prompts, n):
        self.asked += prompts
        return [[f"Step 8: {k}\nStep 9: end"] for k in range(len(prompts))]


def by_length(prompts, lists):
    return [[float(len(text)) for text in own] for own in lists]


@pytest.mark.parametrize("chat", [False, True])
def test_branches_share_the_first_steps(chat):
    prompt = [{"role": "user", "content": "q"}] if chat else "q "
    write = Writer()
    (found,) = preference_trees([prompt], ["".join(ROOT)], write, by_length, branches=8, seed=1)
    assert found.steps[0] == ROOT
    cuts = []
    for steps, asked in zip(found.steps[1:], write.asked, strict=True):
        cut = len(steps) - 2
        cuts.append(cut)
        assert steps[:cut] == ROOT[:cut]
        assert steps[cut].startswith("Step 8")
        begun = "".join(ROOT[:cut])
        last = asked[-1]["content"] if chat else asked.removeprefix("q ")
        assert last == (begun or ("q" if chat else ""))
    assert set(cuts) == {0, 1, 2}  # the whole answer is never a beginning
    assert found.completions == tuple("".join(steps) for steps in found.steps)
    assert found.labels == tuple(float(len(text)) for text in found.completions)
    again = Writer()
    preference_trees([prompt], ["".join(ROOT)], again, by_length, branches=8, seed=1)
    assert again.asked == write.asked


def test_others_join_and_what_is_not_scored_is_left_out():
    def some(prompts, lists):
        return [[np.nan if "wrong" in text else 1.0 for text in own] for own in lists]

    told = (["p"], [ROOT], Writer(), by_length)
    (found,) = preference_trees(*told, branches=1, others=[["wrong\n1. x"]])
    assert found.steps[2] == ("wrong\n", "1. x")
    (found,) = preference_trees(*told[:3], some, branches=1, others=[["wrong"]])
    assert len(found.completions) == 2
    nothing = preference_trees(*told[:3], lambda p, x: [[np.nan] * len(x[0])], branches=1)
    assert nothing == []
    same = preference_trees(["p"], [ROOT], lambda p, n: [["".join(ROOT)]], by_length, branches=1)
    assert same == [] or len(set(same[0].completions)) == len(same[0].completions)


def test_refusals():
    with pytest.raises(EvidenceError, match="one answer"):
        preference_trees(["p"], [], Writer(), by_length)
    with pytest.raises(EvidenceError, match="answer 1 has no step"):
        preference_trees(["p"], [""], Writer(), by_length)
    with pytest.raises(OptionError, match="branches=0"):
        preference_trees(["p"], [ROOT], Writer(), by_length, branches=0)


def test_steps_are_the_text():
    for text in ("1. a\n2) b", "Step 1: x\n\nstep 2. y\n", "plain", "two\nlines\n", "at 1.5 m"):
        assert "".join(split_steps(text)) == text
    assert len(split_steps("at 1.5 m, 2. x")) == 1


def test_a_model_writes_on(lm):
    """The whole way: sampled from a language model, scored by its own likelihood."""
    from policyrank.models import load_causal_lm
    from policyrank.train.judges import sampler

    model, tokenizer = load_causal_lm(str(lm), device="cpu")
    write = sampler(model, tokenizer, max_new_tokens=4, chat=False, seed=0)
    found = preference_trees(["a b", "c"], ["a b.\nc d.", "e"], write, by_length, branches=2)
    assert len(found) == 2
    assert all(len(own.completions) >= 2 for own in found)
