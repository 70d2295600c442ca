"""What the study of learned orders measures, against what is known of its worlds."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from policyrank.models import Denoising
from policyrank.models.unmasking_policy import policy_of
from policyrank.studies import dcolt, sudoku


def test_grids_are_all_there():
    grids = sudoku.grids()
    assert len({tuple(own) for own in grids.tolist()}) == 288
    assert all(sudoku.solved(own) for own in grids.tolist())
    assert not sudoku.solved([*grids[0][:15], grids[0][14]])
    assert not sudoku.solved(np.tile([1, 2, 3, 4], 4))
    columns_only = [1, 2, 3, 4, 2, 3, 4, 1, 3, 4, 1, 2, 4, 1, 2, 3]
    assert not sudoku.solved(columns_only)  # quarters are not
    for clues, rest in sudoku.puzzles(np.random.default_rng(0), 50):
        assert sudoku.right(clues, rest)
        assert not sudoku.right(clues[::-1], rest) or clues == clues[::-1]
        assert not sudoku.right(clues, rest[:-1])
    assert sudoku.solves(["1234"] * 2, ["341221434321", "341221434312"]) == [1, 0]
    rows = {}
    for own in grids:
        rows.setdefault(tuple(own[:4]), []).append(own)
    assert {len(own) for own in rows.values()} == {12}


@pytest.mark.parametrize("tokens", [4, 8, 16])
def test_random_orders_are_right_as_often_as_they_should(tokens):
    """Sum over how many pairs are unmasked at once: each is right one time in five."""
    half, chance = tokens // 2, 0.0
    for split in range(0, half + 1):
        both = half - split
        if both % 2:
            continue
        ways = math.comb(half, split) * 2**split * math.comb(both, both // 2)
        chance += ways / math.comb(tokens, half) * 5.0**-both
    world = dcolt._World(tokens, 3, 0)
    found = float(world.pairs.right(world.written(20_000, "random")).mean())
    assert abs(found - chance) < 4 * (chance * (1 - chance) / 20_000) ** 0.5
    learned = float(world.pairs.right(world.written(20_000)).mean())  # of equal scores
    assert abs(learned - chance) < 4 * (chance * (1 - chance) / 20_000) ** 0.5


@pytest.mark.parametrize("choice", ["set", "order"])
def test_an_order_of_pairs_is_learned(choice):
    world = dcolt._World(8, 3, 1)
    world.learned(0.5, 250, choice)
    assert float(world.pairs.right(world.written(2000)).mean()) > 0.95
    first = world.policy.scores.argsort(descending=True)[:4]
    assert not set(first.tolist()) & set(world.pairs.partner[first].tolist())
    assert dcolt._World(8, 3, 2).variances(100) > 1


def test_a_solver_is_trained_as_its_arm_says():
    start = sudoku.pretrained(0, 3, batch=8)
    before = {name: own.clone() for name, own in start.model.state_dict().items()}
    found = sudoku.reinforced(start, "learned", 1e-3, 1, 0, steps=3, samples=2)
    assert policy_of(found.model) is not None
    assert policy_of(start.model) is None
    assert all(torch.equal(before[name], own) for name, own in start.model.state_dict().items())
    assert (
        policy_of(sudoku.reinforced(start, "random", 1e-3, 1, 0, steps=3, samples=2).model) is None
    )
    share, kinds = start.answers(Denoising(sudoku.CELLS, 3, order="random"), 50, 0)
    assert 0 <= share <= 1
    assert kinds <= 50 * share / 288 + 1e-9


def test_a_solver_that_knows_the_grid_is_right():
    """Answers are read as they are written: a model that says one grid for each row."""
    solver = sudoku.untrained(0)
    grid = {tuple(own[:4]): own for own in sudoku.grids().tolist()}
    made = solver.model.forward

    def forward(input_ids, **options):
        found = made(input_ids=input_ids, **options)
        logits = torch.full_like(found.logits, -30.0)
        for row, ids in enumerate(input_ids.tolist()):
            words = [int(sudoku.WORDS[own]) for own in ids[:4]]
            for place, digit in enumerate(grid[tuple(words)]):
                logits[row, place, sudoku.WORDS.index(str(digit))] = 30.0
        found.logits = logits
        return found

    solver.model.forward = forward
    how = Denoising(sudoku.CELLS, 3, None, 0.0, "confidence")
    share, kinds = solver.answers(how, 60, 0)
    assert share == 1
    assert 10 / 288 < kinds <= 24 / 288
