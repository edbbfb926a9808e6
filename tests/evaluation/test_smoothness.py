"""Smoothness against ways worked out by hand, and what must hold for every way."""

import math
from functools import lru_cache

import numpy as np
import pytest

from jvae.errors import UserError
from jvae.evaluation.smoothness import Smoothness, edit_distance, of_path, smoothness


def defined(first, second):
    """The edit distance by its recursive definition."""

    @lru_cache
    def of(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(
            of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        )

    return of(len(first), len(second))


def random_sentences(rng, number):
    return [" ".join(rng.choice(list("abcd"), rng.integers(0, 8))) for _ in range(number)]


def test_the_distance_is_the_definition_and_a_metric():
    rng = np.random.default_rng(0)
    some = [sentence.split() for sentence in random_sentences(rng, 25)]
    distance = np.array([[edit_distance(a, b) for b in some] for a in some])
    assert distance.tolist() == [[defined(tuple(a), tuple(b)) for b in some] for a in some]
    assert (distance == distance.T).all()
    through = distance[:, :, None] + distance[None]
    assert (distance[:, None] <= through).all()
    assert edit_distance(("the", "cat", "sees"), ("a", "cat")) == 2


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        # One of four words at each step: as smooth as can be.
        (["a b c d", "x b c d", "x y c d", "x y z d", "x y z w"], Smoothness(1 / 4, 1, 1)),
        # All at once, after a rest.
        (["a b", "a b", "x y", "x y"], Smoothness(1, 1, 1)),
        # There, back, there again: three times the way, and one step of three leads away.
        (["a", "x", "a", "x"], Smoothness(1, 3, 2 / 3)),
        # A detour over a long sentence: 4 words in, 5 changed on the way out.
        (["a", "a p q r s", "x"], Smoothness(5, 9, 1 / 2)),
        # An empty sentence is one without words.
        (["a b", "", "c d"], Smoothness(1, 2, 1)),
        (["a b c", "x y z"], Smoothness(1, 1, 1)),
    ],
)
def test_ways_worked_out_by_hand(way, expected):
    assert of_path(way) == pytest.approx(expected)


def test_what_holds_for_every_way():
    rng = np.random.default_rng(1)
    for _ in range(40):
        way = random_sentences(rng, 6)
        found = of_path(way)
        if found is None:
            assert way[0] == way[-1]
            continue
        assert found.jump >= 1 / 5 - 1e-12 and found.path >= 1 - 1e-12
        assert found.jump <= found.path <= 5 * found.jump + 1e-12
        # Backwards the steps are the same; other words for the same ones change nothing.
        assert of_path(way[::-1])[:2] == pytest.approx(found[:2])
        assert of_path([s.replace("a", "word") for s in way]) == found
        # Standing still is no step: only the share of steps moves.
        still = of_path([way[0], *way])
        assert still[:2] == found[:2]
        assert still.monotone == pytest.approx((5 * found.monotone + 1) / 6)


def test_means_errors_and_what_is_left_out():
    ways = [["a", "x"], ["a", "b", "a"], ["a", "x", "a", "x"]]
    found = smoothness(ways)
    assert found.paths == 2 and found.equal_ends == 1
    assert found.mean == pytest.approx(Smoothness(1, 2, 5 / 6))
    assert found.error == pytest.approx(Smoothness(0, 1, 1 / 6))  # half the difference of two
    one = smoothness(ways[:1])
    assert one.mean == Smoothness(1, 1, 1) and math.isnan(one.error.path)
    assert smoothness([["a", "a"]]) == (None, None, 0, 1)
    assert smoothness([]) == (None, None, 0, 0)


def test_a_way_has_two_ends():
    with pytest.raises(UserError, match="a path of 1 sentences"):
        smoothness([["a"]])
