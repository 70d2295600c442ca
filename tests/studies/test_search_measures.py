"""Studies of search agents measure what they say: citations, searches, rewards, groups."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("bm25s")

from policyrank.learn.rewards import mixed_outcome
from policyrank.studies import carr, cosearch, search_game
from policyrank.studies.hops import Hop, hops_of, statements
from policyrank.train.likeness import token_likeness


def chain(*needs):
    return tuple(Hop("asks" + "".join(f" #{k + 1}" for k in own), "x", own, n)
                 for n, own in enumerate(needs))  # fmt: skip


def numbered(cited):
    return sum(2**place for place in cited)


def test_hops_are_read_as_the_data_have_them():
    question = {
        "paragraphs": [{"idx": 7}, {"idx": 3}],
        "question_decomposition": [
            {"question": "Who?", "answer": "a", "paragraph_support_idx": 3},
            {"question": "Where is #1?", "answer": "b", "paragraph_support_idx": 7},
        ],
    }
    own = hops_of(question)
    assert [hop.passage for hop in own] == [1, 0]
    assert [hop.needs for hop in own] == [(), (0,)]
    assert statements(own) == ("Who? <E1>", "Where is <E1>? <E0>")


@pytest.mark.parametrize(
    ("cited", "connected", "loose"),
    [
        ((), 0, 0),
        ((0,), 1, 1),
        ((1,), 0, 1),
        ((0, 1), 2, 2),
        ((0, 2), 1, 2),
        ((1, 2), 0, 2),
        ((0, 1, 2), 3, 3),
    ],
)
def test_a_chain_of_three_is_connected_from_its_answer(cited, connected, loose):
    """Place 0 is the last hop, the answer's; by hand."""
    hops = chain((), (0,), (1,))
    assert carr.earned(hops, connect=True)[numbered(cited)] == pytest.approx(connected / 3)
    assert carr.earned(hops, connect=False)[numbered(cited)] == pytest.approx(loose / 3)


def test_a_hop_that_two_hops_feed_connects_both():
    """The last needs both of the others, which do not need each other."""
    hops = chain((), (), (0, 1))
    found = carr.earned(hops, connect=True)
    assert [found[numbered(own)] for own in ((0, 1), (0, 2), (1, 2))] == [2 / 3, 2 / 3, 0]


@pytest.fixture
def evidence():
    """Two questions with six passages: two hops at 0 and 1, three at 3, 4 and 5, the last first."""
    hops = (chain((), (0,)), chain((), (0,), (1,)))
    support = torch.zeros(2, carr.HOPS, 6, dtype=torch.bool)
    support[0, [0, 1], [0, 1]] = True
    support[1, [0, 1, 2], [3, 4, 5]] = True
    features = torch.zeros(2, 6, carr.FEATURES)
    features[..., : carr.HOPS] = support.float().transpose(1, 2)
    tables = [
        torch.tensor([carr.earned(own, connect=way) for own in hops]) for way in (True, False)
    ]
    return carr.Pool(features, support, *tables)


def test_what_is_cited_ends_with_the_stop(evidence):
    """In the order of scores that leave nothing to chance; the last column is the stop."""
    far = [[600.0, 500, 0, 100, 0, 0, 400], [0.0, 0, 500, 900, 0, 800, 700]]
    scores = torch.tensor(far)
    own = carr.cited(scores, evidence, 3, torch.Generator().manual_seed(0))
    assert own.number.tolist() == [[2] * 3] * 2
    assert own.written[0, 0].tolist() == [True, True, True, False, False]
    assert own.hops[0, 0].tolist() == [True, True, False, False]
    assert own.hops[1, 0].tolist() == [True, False, True, False]
    assert own.right.tolist() == [[1] * 3] * 2
    assert own.rubrics(evidence, connect=True)[:, 0].tolist() == pytest.approx([1, 1 / 3])
    assert own.rubrics(evidence, connect=False)[:, 0].tolist() == pytest.approx([1, 2 / 3])
    found = carr.reached(lambda _: scores, evidence, torch.Generator())
    said = {name: own.tolist() for name, own in found.items()}
    assert said[carr.WHOLE] == [1, 0]
    assert said[carr.SHORT] == [0, 1]
    assert said[carr.FIRST] == [1, 1]
    assert np.isnan(said[carr.MIDDLE][0])
    assert said[carr.MIDDLE][1] == 0
    assert said[carr.STRAY] == [0, 0]
    two = evidence.take(torch.tensor([[0, 1], [1, 0]]))  # of two runs
    both = carr.cited(torch.stack([scores, scores.flip(0)]), two, 3, torch.Generator())
    assert torch.equal(both.hops[0], own.hops)
    assert torch.equal(both.hops[1], own.hops.flip(0))


def test_citations_of_right_answers_cost(evidence):
    """Right with both hops, right with one, wrong with one of three."""
    hops = torch.zeros(1, 3, carr.HOPS, dtype=torch.bool)
    hops[0, 0, :2] = hops[0, 1, 0] = hops[0, 2, 1] = True
    nothing = torch.zeros(1, 3, carr.MOST)
    own = carr.Cited(nothing, nothing.bool(), hops, torch.tensor([[5, 1, 3]]))
    part = evidence.take(torch.tensor([0]))

    def paid(way):
        return carr.rewards_of(own, part, carr.WAYS[way], 0.02)[0].tolist()

    assert paid(carr.OUTCOME) == pytest.approx([0.9, 0.98, 0])
    assert paid(carr.GROUP) == pytest.approx([0.9, 0.85 - 0.02, 0])
    assert paid(carr.NEGATIVE) == pytest.approx([0.9, 0.98, 0.15])
    assert paid(carr.ALL) == pytest.approx([0.9, 0.83, 0.15])
    assert paid(carr.PAYING) == pytest.approx([0.9, 0.83, -0.06])
    assert paid(carr.RUBRICS) == pytest.approx([0.9, 0.48, 0])


def test_connected_rubrics_of_wrong_answers_are_nothing(evidence):
    """So that all and positive are one reward where wrong answers pay nothing."""
    rows = {method: value for method, *_, value in carr.of_wrong_answers(evidence)}
    assert rows[carr.GROUP] == 0 < rows[carr.LOOSE]
    rubrics = evidence.chain.flatten()
    right = (torch.arange(2**carr.HOPS) % 2).float().repeat(2)
    groups = [0] * len(right)
    every = [mixed_outcome(right, rubrics, groups, mix=mix) for mix in ("positive", "all")]
    assert torch.equal(*every)


def test_policies_learn_side_by_side_as_they_are_rewarded(evidence):
    """The chain by its rubrics, the last hop alone where it is dear and nothing else counts."""
    which = np.tile([0, 1], 20)
    ways = ((carr.GROUP, carr.FREE), (carr.OUTCOME, carr.DEAR))
    runs = [carr.Run(method, cost, which, 7) for method, cost in ways]
    found = carr.trained(runs, evidence, 2e-2, 80, torch.Generator().manual_seed(0))
    said = [carr.reached(own, evidence, torch.Generator().manual_seed(1)) for own in found]
    before = carr.reached(runs[0].policy(), evidence, torch.Generator().manual_seed(1))
    whole = [own[carr.WHOLE].mean() for own in (*said, before)]
    assert whole[0] > max(whole[1:]) + 0.3
    assert said[1][carr.RIGHT].mean() > 0.9
    number = [own[carr.CITED].mean() for own in said]
    assert number[1] < number[0] - 1


def test_a_run_learns_the_same_beside_another(evidence):
    """Nothing of one gets into the other's weights."""
    runs = [carr.Run(carr.GROUP, carr.FREE, np.array([0] * 16), start) for start in (1, 2)]
    one = carr.trained(runs, evidence, 1e-2, 0, torch.Generator())
    assert torch.equal(one[1].body[0].weight, runs[1].policy().body[0].weight)
    silent = [runs[0], carr.Run(carr.GROUP, carr.FREE, np.array([1] * 16), 2)]
    nothing = carr.Pool(evidence.features, evidence.support.clone(), evidence.chain, evidence.loose)
    nothing.support[1] = False  # nobody is right, so that nothing is learned
    after = carr.trained(silent, nothing, 1e-2, 3, torch.Generator().manual_seed(0))
    assert not torch.equal(after[0].body[0].weight, runs[0].policy().body[0].weight)
    assert torch.equal(after[1].body[0].weight, runs[1].policy().body[0].weight)


def paragraph(idx, title, text):
    return {"idx": idx, "title": title, "paragraph_text": text}


@pytest.fixture(scope="module")
def game():
    """A question of two hops over five paragraphs, one of them of another data set."""
    question = {
        "question": "Where was the maker of Heat born?",
        "answer": "Chicago",
        "answer_aliases": ["Windy City"],
        "paragraphs": [
            paragraph(0, "Heat", "Heat is a film made by Michael Mann."),
            paragraph(1, "Michael Mann", "Michael Mann was born in Chicago, Illinois."),
            paragraph(2, "Chicago", "A city on a lake where a heat wave passed."),
            paragraph(3, "Weather", "Heat and cold and rain."),
        ],
        "question_decomposition": [
            {
                "question": "Who made Heat film",
                "answer": "Michael Mann",
                "paragraph_support_idx": 0,
            },
            {"question": "Where was #1 born", "answer": "Chicago", "paragraph_support_idx": 1},
        ],
    }
    other = {"context": [["Ulm", ["A town.", " Einstein was born in it."]]]}
    return search_game.game_of([question], [other])


def text_of(game, known, action):
    row = torch.tensor([[number in known for number in range(search_game.HOPS)]])
    return game.texts[int(game.asked(torch.tensor([0]), row, torch.tensor([action]))[0])]


def test_what_is_asked_depends_on_what_is_known(game):
    assert text_of(game, (), 0) == "Who made Heat film"
    assert text_of(game, (), 3) == "Where was born"
    assert text_of(game, (0,), 0) == "Where was Michael Mann born"
    assert text_of(game, (0,), 2) == "Where was Michael Mann"
    assert text_of(game, (0, 1), 0) == "Where was Michael Mann born"
    assert text_of(game, (1,), 4) == "Where was the maker of Heat born?"


def test_passages_are_known_by_what_they_support_and_hold(game):
    query = int(game.gold[0, 1])
    assert game.texts[query] == "Where was Michael Mann born"
    first = game.supports[query][0].tolist()
    assert first == [False, True, False, False]
    assert game.holds[query][0]
    assert game.guess[query][0] == 0
    there = game.where[query]
    assert not there[5:].any()
    assert not game.holds[query][~there].any()


def test_a_hop_is_known_when_what_it_needs_is(game):
    seen = torch.tensor([[False, True, False, False], [True, True, False, False]])
    found = game.knows(torch.tensor([0, 0]), seen)
    assert found.tolist() == [[False] * 4, [True, True, False, False]]


class Plan(torch.nn.Module):
    """An agent that does the same at each turn."""

    def __init__(self, *actions):
        super().__init__()
        self.actions = actions

    def forward(self, turn, left, before):
        scores = torch.full((len(left), search_game.STOP + 1), -1e9)
        scores[:, self.actions[turn]] = 0.0
        return scores


def outcome_of(game, *actions):
    order = search_game.Orders(torch.arange(search_game.DEPTH).expand(game.where.shape))
    plan = Plan(*actions, *[search_game.STOP] * search_game.TURNS)
    return search_game.searched(game, torch.tensor([0]), plan, order, torch.Generator())


def test_searches_end_with_the_answer_or_a_guess(game):
    own = outcome_of(game, 0, 0)
    assert own.outcome.tolist() == [1]
    assert own.searched[0].tolist() == [True, True, False, False, False]
    assert own.acted[0].tolist() == [True, True, True, False, False]
    assert outcome_of(game).outcome.tolist() == [0]
    late = outcome_of(game, 3, 0)  # the passage was shown before its question could be asked
    assert late.known[0].tolist() == [True, True, False, False]
    assert late.outcome.tolist() == [1]


def test_oracles_put_what_counts_first():
    relevant = torch.tensor([[False, True, False, True, False]])
    assert search_game.by_oracle(relevant)[0, :3].tolist() == [1, 3, 0]


def test_hits_are_of_hops_asked_rightly(game):
    order = search_game.Orders(torch.arange(search_game.DEPTH).expand(game.where.shape))
    assert search_game.hits(game, order, np.array([0])).tolist() == [1]
    last = search_game.Orders(search_game.by_oracle(~game.supports.any(dim=-1)))
    assert search_game.hits(game, last, np.array([0])).tolist() == [0]


def test_likenesses_are_looked_up(game):
    world = cosearch.World(game, *search_game.likenesses(game))
    some = [game.texts[0], game.texts[2], game.texts[0]]
    assert np.array_equal(world.likeness(some), token_likeness(some))


def test_calls_are_grouped_and_rewarded_as_each_way_says(game):
    """Calls with and without an answer among what is found; by hand."""
    calls = cosearch.Calls(
        row=torch.arange(4),
        query=torch.full((4,), int(game.gold[0, 1])),
        question=torch.zeros(4, dtype=torch.long),
        quality=torch.tensor([2 / 3, 1 / 3, 0.0, 1.0]),
        answerable=torch.tensor([True, True, False, True]),
        outcome=torch.tensor([0.9, 0.9, 0.9, 0.3]),
    )

    def rewards(method):
        return cosearch.rewards_of(calls, cosearch.WAYS[method]).tolist()

    assert rewards(cosearch.JOINT) == pytest.approx([2 / 3 + 0.9, 1 / 3, 0.9, 1.3])
    assert rewards(cosearch.RELEASED) == pytest.approx([2 / 3, 1 / 3, 1, 1])
    assert rewards(cosearch.QUALITY) == pytest.approx([2 / 3, 1 / 3, 0, 1])
    assert rewards(cosearch.ANSWER) == pytest.approx([0.9, 0.9, 0.9, 0.3])
    world = cosearch.World(game, *search_game.likenesses(game))

    def groups(method):
        return cosearch.groups_of(world, calls, cosearch.WAYS[method]).tolist()

    assert groups(cosearch.JOINT) == [0, 0, -1, 0]
    assert groups(cosearch.RELEASED) == [-1] * 4
    assert groups(cosearch.WHOLE) == [0] * 4
    gains = cosearch.gains_of(torch.tensor([1.0, 0.0, 5.0, 0.5]), torch.tensor([0, 0, -1, 0]))
    assert gains.tolist() == pytest.approx([1, -1, 0, 0], abs=1e-5)


def test_agent_and_ranker_learn_from_the_same_trajectories(game):
    """What is asked in vain, and shown in vain, becomes rarer."""
    world = cosearch.World(game, *search_game.likenesses(game))
    which = np.zeros(16, dtype=np.int64)
    way = cosearch.WAYS[cosearch.JOINT]
    pair = cosearch.trained(world, cosearch.Training(40, 5e-2, way), which, None, (0, 0))
    nobody = search_game.Orders(ranker=search_game.Ranker())
    before = cosearch.Pair(search_game.Agent(), nobody, nobody)
    some = np.array([0])
    found = [cosearch.reached(world, own, some, (0, 0)) for own in (before, pair)]
    assert found[1][cosearch.F1] > found[0][cosearch.F1] + 0.1
    frozen = cosearch.trained(world, cosearch.Training(3, 5e-2, way, False), which, None, (0, 0))
    assert not any(bool(own.any()) for own in frozen.agent.parameters())
    assert bool(frozen.orders.ranker.head.weight.any())


def test_the_start_is_the_retrievers_order(game):
    ranker = search_game.Orders(ranker=search_game.Ranker())
    order, _ = ranker.of(game, torch.arange(len(game.texts)), torch.Generator())
    assert (order == torch.arange(search_game.SHOWN)).all()
