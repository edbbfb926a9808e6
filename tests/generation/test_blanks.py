"""The constrained beam against the listing of every filling."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import SPECIALS, UNK, Batch
from jvae.errors import UserError
from jvae.generation import fill_blanks
from tests.conftest import make_model

VOCAB = 8
WORDS = range(len(SPECIALS), VOCAB)
MODEL = make_model(VOCAB, 2, dropout_in=0.0, dropout_out=0.0)
# Blanks (-1) in the middle and at the end, at the beginning, side by side; none.
ROWS = np.array(
    [[1, 4, -1, 6, -1, 2], [1, -1, 5, 2, 0, 0], [1, -1, -1, 7, 2, 0], [1, 4, 5, 2, 0, 0]]
)
BLANK = jnp.asarray(ROWS[:, 1:] < 0)
NARROW, WIDE = 2, 16


def batch_of(rows: np.ndarray) -> Batch:
    """The rows, `<unk>` in the blanks."""
    return jvae.text_batch(np.where(rows < 0, UNK, rows))


LATENTS = jax.random.normal(jax.random.key(4), (4, 2))


@pytest.fixture(scope="module")
def params():
    init = jax.jit(lambda key: jvae.init(MODEL, batch_of(ROWS), key=key)["decoder"])
    return jax.tree.map(lambda leaf: 3 * leaf, init(jax.random.key(3)))


@pytest.fixture(scope="module")
def found(params):
    """The fillings of a narrow and of an exhaustive beam."""
    batch = batch_of(ROWS)

    def of(size):
        return fill_blanks(MODEL.decoder, params, LATENTS, batch.x, BLANK, beam_size=size)

    return jax.jit(lambda: {size: of(size) for size in (NARROW, WIDE)})()


@pytest.fixture(scope="module")
def exact(params):
    """By row: filling -> `log p(x | z)`, of whole sentences at once."""
    fillings = []
    for row in ROWS:
        places = np.flatnonzero(row < 0)
        filled = np.repeat(row[None], len(WORDS) ** len(places), axis=0)
        filled[:, places] = list(itertools.product(WORDS, repeat=len(places)))
        fillings.append(filled)
    z = jnp.repeat(LATENTS, np.array([len(rows) for rows in fillings]), axis=0)
    batch = batch_of(np.concatenate(fillings))
    log_prob = jax.jit(partial(MODEL.decoder.log_prob, train=False))
    values = iter(log_prob(params, z, batch, key=jax.random.key(0)).tolist())
    return [{tuple(row): next(values) for row in rows.tolist()} for rows in fillings]


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_a_wide_beam_finds_every_filling_in_order(found, exact, row):
    best = sorted(exact[row], key=exact[row].__getitem__, reverse=True)
    tokens, log_prob = found[WIDE].tokens[row], found[WIDE].log_prob[row]
    expected = [exact[row][filling] for filling in best]
    np.testing.assert_allclose(log_prob[: len(best)], expected, atol=1e-5)
    assert [tuple(filling) for filling in tokens[: len(best)].tolist()] == best
    assert np.all(np.isneginf(log_prob[len(best) :]))


def test_a_narrow_beam_says_what_its_fillings_are_worth(found, exact):
    tokens, log_prob = found[NARROW]
    # Row 3 has one filling only, without a blank.
    assert np.isfinite(log_prob).sum(axis=1).tolist() == [2, 2, 2, 1]
    for row, slot in np.argwhere(np.isfinite(log_prob)):
        filling = tuple(tokens[row, slot].tolist())
        np.testing.assert_allclose(log_prob[row, slot], exact[row][filling], atol=1e-5)
    assert np.all(log_prob[:, 0] <= found[WIDE].log_prob[:, 0] + 1e-5)


def test_no_hypothesis(params):
    with pytest.raises(UserError, match="beam_size is 0"):
        fill_blanks(MODEL.decoder, params, LATENTS, batch_of(ROWS).x, BLANK, beam_size=0)


def test_a_context_reaches_the_decoder_row_by_row(params, found):
    """A decoder whose context is half of z."""

    def start(params, z, context, max_length):
        return MODEL.decoder.steps.start(params, jnp.concatenate([z, context], 1), None, max_length)

    decoder = MODEL.decoder._replace(steps=jvae.Steps(start, MODEL.decoder.steps.step))
    fill = jax.jit(partial(fill_blanks, decoder, beam_size=NARROW))
    halves = LATENTS[:, :1], LATENTS[:, 1:]
    filled = fill(params, halves[0], batch_of(ROWS).x, BLANK, context=halves[1])
    np.testing.assert_array_equal(filled.tokens, found[NARROW].tokens)
    np.testing.assert_allclose(filled.log_prob, found[NARROW].log_prob, atol=1e-5)


def test_a_decoder_without_steps_is_refused(params):
    decoder = MODEL.decoder._replace(steps=None)
    with pytest.raises(UserError, match="not autoregressive"):
        fill_blanks(decoder, params, LATENTS, batch_of(ROWS).x, BLANK, beam_size=2)
