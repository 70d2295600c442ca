"""Rubric chains: the figure's example, citations as released, mixing with outcomes."""

import itertools

import networkx
import numpy as np
import pytest
import torch

from policyrank.errors import OptionError
from policyrank.learn import group_advantage
from policyrank.learn.rewards import (
    chain_reward,
    citations,
    cited_text,
    filled,
    length_bonus,
    mean_hit,
    mixed_outcome,
    placeholders,
    ranker_reward,
    reachable_rubrics,
)

FIGURE = ["12", "13", "34", "45", "56", "67", "68", "08"]
RUBRICS = [f"<E{pair[0]}> knows <E{pair[1]}>" for pair in FIGURE]
NAMED = {f"E{k}": None if k in (1, 2, 3) else f"name {k}" for k in range(9)}


@pytest.mark.parametrize(
    ("supported", "share"), [((5, 6, 7), 3 / 8), ((5, 6), 0.0), ((5, 7), 1 / 8)]
)
def test_the_figure(supported, share):
    verdicts = [k in supported for k in range(8)]
    found = chain_reward(RUBRICS, NAMED, verdicts)
    assert found.reward == share
    loose = chain_reward(RUBRICS, NAMED, verdicts, connect=False)
    assert loose.reward == len(supported) / 8
    assert found.named == (False, False, False, True, True, True, True, True)


def test_support_without_a_name_does_not_count():
    found = chain_reward(RUBRICS, NAMED, [True] * 8)
    assert found.supported[:3] == (False, False, False)
    assert found.reward == 5 / 8
    assert chain_reward(["All is well.", "<E0> is."], {"E0": "x"}, [True, True]).reward == 0.5


def test_reachable_as_networkx_has_it():
    draw = np.random.default_rng(0)
    for _ in range(200):
        entities = [set() for _ in range(7)]
        for own in entities:
            own |= {f"E{k}" for k in draw.integers(0, 8, size=draw.integers(0, 3))}
        supported = (draw.random(7) < 0.7).tolist()
        graph = networkx.Graph()
        graph.add_node("E0")
        for k, own in enumerate(entities):
            if supported[k]:
                graph.add_edges_from((("rubric", k), name) for name in own)
        expected = networkx.node_connected_component(graph, "E0")
        found = reachable_rubrics(entities, supported)
        assert found == tuple(("rubric", k) in expected for k in range(7))


def test_placeholders_and_names():
    assert placeholders("<E0> and <E12>, not <X1> or E3") == {"E0", "E12"}
    assert filled("<E0> or <E1>", {"E0": "a<E1>", "E1": "b"}) == "a<E1> or b"
    assert filled("<E0>", {}) is None
    assert filled("nothing", {}) == "nothing"
    for wrong in (
        lambda: chain_reward([], {}, []),
        lambda: chain_reward(RUBRICS, NAMED, [True]),
        lambda: reachable_rubrics([{"E0"}], []),
    ):
        with pytest.raises(OptionError):
            wrong()


def test_citations_as_released():
    text = (
        "One [[1](http://a.org)] two [2](https://b.org/x_(y)), three [3](http://c.org). bare"
        " http://d.org, again [[9](http://a.org)] and [[4](view-source:http://e.org)]\n"
        "## References\n[[5](http://f.org)]\n## References\n[[6](http://g.org)]"
    )
    assert citations(text) == ("http://a.org", "https://b.org/x_(y)", "http://f.org")
    loose = citations(text, strict=False)
    assert loose == (
        "http://a.org", "https://b.org/x_(y)", "http://c.org", "http://e.org", "http://f.org",
    )  # fmt: skip
    proxied = "[[1](https://r.jina.ai/http://a.org)]"
    assert citations(proxied) == ("http://a.org",)
    assert citations("[[1](http://a.org)") == ()


def test_cited_text_is_what_was_seen():
    pages = {f"http://p{k}.org": [f"text {k}", "shared"] for k in range(30)}
    text = "".join(f"[[{k}](http://p{k}.org)]" for k in range(40))
    found = cited_text(text, pages).split("\n")
    assert found == ["text 0", "shared", *(f"text {k}" for k in range(1, 20))]
    assert cited_text("[[1](http://none.org)]", pages) == ""
    assert cited_text("[[1](http://p1.org)]", {"view-source:http://p1.org": ["x"]}) == "x"


def test_outcomes_and_rubrics_of_the_card():
    outcomes, rubrics = torch.tensor([1.0, 1, 0]), torch.tensor([0.375, 0.625, 0.125])
    for options, expected in (
        ({}, [0.88, 1.0, 0.0]),
        ({"normalise": "none"}, [0.8125, 0.8875, 0.0]),
        ({"mix": "negative"}, [1.0, 1.0, 0.06]),
        ({"mix": "all"}, [0.88, 1.0, 0.06]),
        ({"mix": "all", "normalise": "none"}, [0.8125, 0.8875, 0.0375]),
        ({"alpha": 0.0}, [1.0, 1.0, 0.0]),
    ):
        found = mixed_outcome(outcomes, rubrics, ["q"] * 3, **options)
        assert found.tolist() == pytest.approx(expected)
    six_of_ten = [True] * 6 + [False] * 4
    ten = chain_reward([f"<E0> is {k}" for k in range(10)], {"E0": "x"}, six_of_ten)
    rewards = torch.tensor([ten.reward, 1.0])
    found = mixed_outcome(torch.ones(2), rewards, [0, 0], alpha=0.5, normalise="none")
    assert found.tolist() == pytest.approx([0.8, 1.0])


def test_whose_largest():
    outcomes, rubrics = torch.tensor([1.0, 0, 1, 0]), torch.tensor([0.2, 0.8, 0.0, 0.0])
    keys = torch.tensor([5, 5, 9, 9])
    whole = mixed_outcome(outcomes, rubrics, keys, alpha=0.5)
    assert whole.tolist() == pytest.approx([0.5 + 0.5 * 0.25, 0, 0.5, 0])
    right = mixed_outcome(outcomes, rubrics, keys, alpha=0.5, normalise="successes")
    assert right.tolist() == pytest.approx([1.0, 0, 0.5, 0])
    lost = mixed_outcome(outcomes, torch.tensor([torch.nan, torch.nan, 0.5, 0.5]), keys)
    assert lost.isnan().tolist() == [True, False, False, False]


def test_where_all_are_right_alpha_and_normaliser_do_nothing():
    rubrics = torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64)
    found = []
    for alpha, normalise in itertools.product((0.1, 0.3, 0.9), ("group", "none")):
        rewards = mixed_outcome(torch.ones(3), rubrics, [0] * 3, alpha=alpha, normalise=normalise)
        found.append(group_advantage(rewards, scale="sample", epsilon=0.0).tolist())
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-6)


def test_mixing_refuses():
    one = torch.ones(1)
    for wrong in ({"alpha": 2.0}, {"mix": "both"}, {"normalise": "mean"}):
        with pytest.raises(OptionError):
            mixed_outcome(one, one, [0], **wrong)
    with pytest.raises(OptionError):
        mixed_outcome(one, torch.ones(2), [0])
    with pytest.raises(OptionError):
        mixed_outcome(one, one, [0, 1])


def test_rankers_of_the_card():
    quality = torch.tensor([2 / 3, 1 / 3, 1.0, 0.0, 1.0])
    answerable = torch.tensor([1, 1, 1, 0, 1])
    valid = torch.tensor([1, 1, 1, 1, 0])
    main = torch.full((5,), 0.9)
    paper = ranker_reward(quality, main, answerable, valid)
    assert paper.tolist() == pytest.approx([1.5667, 0.3333, 1.9, 0.9, -0.2], abs=5e-5)
    released = {"gate": 0.8, "right_from": 0.8}
    code = ranker_reward(quality, main, answerable, valid, **released)
    assert code.tolist() == pytest.approx([0.6667, 0.3333, 2.0, 1.0, -0.2], abs=5e-5)
    malformed = ranker_reward(quality[2:4], torch.tensor([-0.2, -0.2]), answerable[2:4],
                              valid[2:4], **released)  # fmt: skip
    assert malformed.tolist() == [1, 0]
    dropped = ranker_reward(quality[:2], torch.tensor([torch.nan, 0.9]), valid[:2], valid[:2])
    assert dropped.isnan().tolist() == [True, False]
    gains = group_advantage(torch.tensor([5 / 3, 1 / 3, 0.0, 1.0]), scale="sample", epsilon=1e-6)
    assert gains.tolist() == pytest.approx([1.240, -0.564, -1.015, 0.338], abs=1e-3)
    with pytest.raises(OptionError):
        ranker_reward(quality, main[:1], answerable, valid)
    with pytest.raises(OptionError):
        ranker_reward(quality, main, answerable, valid, penalty=-1.0)


def test_hits_and_lengths():
    relevance = torch.eye(6)[:, :5]
    found = mean_hit(relevance)
    assert found.tolist() == pytest.approx([1, 2 / 3, 2 / 3, 1 / 3, 1 / 3, 0])
    assert mean_hit(relevance, (2,)).tolist() == [1, 1, 0, 0, 0, 0]
    with pytest.raises(OptionError):
        mean_hit(relevance, (0,))
    bonus = length_bonus(torch.tensor([1, 1, 0]), torch.tensor([8192, 40000, 8192]), 32768)
    assert (1 + bonus).tolist() == [1.75, 1, 1]
