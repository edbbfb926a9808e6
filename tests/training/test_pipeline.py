"""Streamed inputs are the resident ones, example by example, with what is given of each."""

from contextlib import closing
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.batch import Labels, Tokens
from jvae.data.batching import epoch_plan
from jvae.data.split import Split
from jvae.random import Stream, stream
from jvae.training.pipeline import inner_rows, own_row, resident, streamed
from jvae.training.steps import DeviceData, gather, inner_row
from tests.conftest import make_sentences

NUM, WIDTHS, BATCH, INNER, EPOCH = 37, (5, 9), 4, 3, 2
KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def split() -> Split:
    tokens, lengths = make_sentences(NUM, WIDTHS[-1])
    return Split(Tokens(tokens, lengths), lengths, Labels(np.arange(NUM, dtype=np.int32) % 5))


def batch_at(data, plan, row) -> list[np.ndarray]:
    """The batch that a step works on at a row of its plan."""
    width = WIDTHS[int(plan.bucket[row])]
    return jax.tree.leaves(gather(data, plan.index[row], plan.weight[row], width))


@pytest.mark.parametrize("aggressive", [False, True])
@pytest.mark.parametrize("first", [0, 4])
def test_a_step_is_given_the_same_batches(split, aggressive, first):
    plan = epoch_plan(split.widths, WIDTHS, BATCH, seed=0, epoch=EPOCH)
    data = jax.tree.map(jnp.asarray, DeviceData(split.x, split.condition))
    put = partial(jax.tree.map, jnp.asarray)
    whole = resident(data, put)
    draw = jax.jit(partial(inner_rows, KEY, INNER))
    parts = streamed(split, draw, INNER, put)
    num_rows, seen = len(plan.bucket), 0
    with closing(parts.inputs(plan, EPOCH, first, aggressive)) as ours:
        theirs = whole.inputs(plan, EPOCH, first, aggressive)
        for row, (mine, expected) in enumerate(zip(ours, theirs, strict=True), start=first):
            seen += 1
            step = EPOCH * num_rows + row
            assert expected[2] == row and mine[2] == 0
            assert len(mine[0].numbers) == INNER * BATCH  # one shape in both phases
            for number in range(INNER if aggressive else 1):
                key = stream(KEY, Stream.TRAINING, step)
                visited = int(inner_row(key, number, row, num_rows))
                assert number > 0 or visited == row
                for a, b in zip(
                    batch_at(*mine[:2], number), batch_at(*expected[:2], visited), strict=True
                ):
                    np.testing.assert_array_equal(a, b)
                # A fault's row is told in the numbers of the epoch's plan.
                assert whole.plan_row(plan, step, visited) == visited
                assert parts.plan_row(plan, step, number) == visited
            if not aggressive:
                np.testing.assert_array_equal(mine[1].weight[1:], 0)
    assert seen == num_rows - first


def test_outside_the_aggressive_phase_a_step_names_its_row_alone():
    np.testing.assert_array_equal(own_row(12, 5, 9), [5])
