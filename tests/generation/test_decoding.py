import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.batch import BOS, EOS, PAD, UNK
from jvae.errors import UserError
from jvae.generation import beam_search, greedy, sample, truncate
from jvae.generation.decoding import likeliest, top_k
from jvae.model import Decoder, Steps

VOCABULARY, LENGTH, LATENT = 6, 4, 2
SMALL = 5e-6  # sums of LENGTH float32 log-probabilities


def _start(params, z, context, max_length):
    # The position is a scalar without a batch axis: decoding must not assume a carry's layout.
    bias = z @ params["latent"]
    if context is not None:
        bias += context["bias"] @ params["latent"]
    return bias, jnp.int32(0), jnp.full(len(z), PAD)


def _step(params, carry, token):
    # A trigram: the carry holds the token before the last, so that it differs between hypotheses.
    bias, position, before = carry
    return (bias, position + 1, token), params["table"][position, before, token] + bias


TABULAR = Decoder(init=None, log_prob=None, steps=Steps(_start, _step))


def _params(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    table = scale * rng.normal(size=(LENGTH, VOCABULARY, VOCABULARY, VOCABULARY))
    return {
        "table": jnp.float32(table),
        "latent": jnp.float32(rng.normal(size=(LATENT, VOCABULARY))),
    }


def _latents(seed, rows):
    return jnp.float32(np.random.default_rng(100 + seed).normal(size=(rows, LATENT)))


def _log_probs(params, row):
    """NumPy: log p(. | the last two tokens, z) at each position, over the whole vocabulary."""
    table, latent = np.float64(params["table"]), np.float64(params["latent"])
    logits = table + np.float64(row) @ latent
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def _score(log_probs, sentence):
    tokens = (PAD, BOS, *sentence)
    return sum(log_probs[t, *tokens[t : t + 3]] for t in range(len(sentence)))


def _all_sentences(longest, allow_unk):
    words = [w for w in range(VOCABULARY) if w > (UNK - 1 if allow_unk else UNK)]
    for length in range(longest):
        for body in itertools.product(words, repeat=length):
            yield (*body, EOS)
    yield from itertools.product(words, repeat=longest)


def _sentence(generated, row):
    return tuple(np.asarray(generated.tokens[row])[: int(generated.lengths[row])].tolist())


def _methods():
    key = jax.random.key(0)
    return {
        "greedy": lambda p, z: greedy(TABULAR, p, z, max_length=LENGTH),
        "sample": lambda p, z: sample(TABULAR, p, z, key=key, max_length=LENGTH),
        "sharp": lambda p, z: sample(
            TABULAR, p, z, key=key, max_length=LENGTH, temperature=0.5, top_k=3, top_p=0.8
        ),
        "beam": lambda p, z: beam_search(
            TABULAR, p, z, max_length=LENGTH, beam_size=3, length_penalty=0.7
        ),
    }


COMPILED = {name: jax.jit(method) for name, method in _methods().items()}
METHODS = pytest.mark.parametrize("name", COMPILED)


@METHODS
def test_every_method_returns_well_formed_sentences_with_the_models_probability(name):
    params, z = _params(0), _latents(0, 40)
    out = COMPILED[name](params, z)
    assert out.tokens.shape == (40, LENGTH) and out.tokens.dtype == jnp.int32
    ended = 0
    for row in range(len(z)):
        sentence = _sentence(out, row)
        assert not {PAD, BOS} & set(sentence)
        assert EOS not in sentence[:-1]
        assert sentence[-1] == EOS or len(sentence) == LENGTH
        assert np.all(np.asarray(out.tokens[row, len(sentence) :]) == PAD)
        np.testing.assert_allclose(
            out.log_prob[row], _score(_log_probs(params, z[row]), sentence), atol=SMALL
        )
        ended += sentence[-1] == EOS
    assert 0 < ended < 40  # both kinds of ending were tried


@METHODS
def test_jit_equals_eager_and_a_row_ignores_the_rows_after_it(name):
    params, z = _params(1), _latents(1, 40)
    eager, compiled = _methods()[name](params, z), COMPILED[name](params, z)
    alone = COMPILED[name](params, z[:5])
    np.testing.assert_array_equal(eager.tokens, compiled.tokens)
    np.testing.assert_array_equal(eager.tokens[:5], alone.tokens)
    np.testing.assert_allclose(eager.log_prob, compiled.log_prob, atol=SMALL)
    changed = COMPILED[name](params, z.at[5:].set(-3 * z[5:]))
    np.testing.assert_array_equal(eager.tokens[:5], changed.tokens[:5])


def _with_context():
    key = jax.random.key(0)
    return {
        "greedy": lambda p, z, c: greedy(TABULAR, p, z, max_length=LENGTH, context=c),
        "sample": lambda p, z, c: sample(TABULAR, p, z, key=key, max_length=LENGTH, context=c),
        "sharp": lambda p, z, c: sample(
            TABULAR,
            p,
            z,
            key=key,
            max_length=LENGTH,
            temperature=0.5,
            top_k=3,
            top_p=0.8,
            context=c,
        ),
        "beam": lambda p, z, c: beam_search(
            TABULAR, p, z, max_length=LENGTH, beam_size=3, length_penalty=0.7, context=c
        ),
    }


@METHODS
def test_a_context_reaches_the_decoder_row_by_row(name):
    """It counts as a part of z here: the same sum, the same sentences."""
    params, z = _params(0), _latents(0, 40)
    context = {"bias": _latents(50, 40)}
    found = jax.jit(_with_context()[name])(params, z, context)
    expected = COMPILED[name](params, z + context["bias"])
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.log_prob, expected.log_prob, atol=SMALL)
    assert np.any(found.tokens != COMPILED[name](params, z).tokens)


@METHODS
def test_a_decoder_without_steps_is_refused(name, monkeypatch):
    monkeypatch.setitem(globals(), "TABULAR", Decoder(init=None, log_prob=None))
    with pytest.raises(UserError, match="not autoregressive"):
        _methods()[name](_params(0), _latents(0, 2))


def test_greedy_takes_the_likeliest_token_at_every_step():
    params, z = _params(2), _latents(2, 20)
    out = greedy(TABULAR, params, z, max_length=LENGTH)
    for row in range(len(z)):
        expected, log_probs = [PAD, BOS], _log_probs(params, z[row])
        while len(expected) < LENGTH + 2 and expected[-1] != EOS:
            scores = log_probs[len(expected) - 2, *expected[-2:]]
            scores[[PAD, BOS]] = -np.inf
            expected.append(int(scores.argmax()))
        assert _sentence(out, row) == tuple(expected[2:])


def test_a_sentence_that_never_ends_is_cut_without_an_end_symbol():
    params = _params(3)
    params["table"] = params["table"].at[..., EOS].set(-50.0)
    out = greedy(TABULAR, params, _latents(3, 3), max_length=LENGTH)
    np.testing.assert_array_equal(out.lengths, LENGTH)
    assert not np.any(np.asarray(out.tokens) == EOS)


@pytest.mark.parametrize("allow_unk", [True, False])
def test_unk_appears_only_if_it_is_allowed(allow_unk):
    params, z = _params(4), _latents(4, 30)
    params["table"] = params["table"].at[..., UNK].add(3.0)
    options = {"max_length": LENGTH, "allow_unk": allow_unk}
    for out in (
        greedy(TABULAR, params, z, **options),
        sample(TABULAR, params, z, key=jax.random.key(1), **options),
        beam_search(TABULAR, params, z, beam_size=2, **options),
    ):
        assert np.any(np.asarray(out.tokens) == UNK) == allow_unk


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(length_penalty):
    params, z = _params(5), _latents(5, 30)
    one = beam_search(
        TABULAR, params, z, max_length=LENGTH, beam_size=1, length_penalty=length_penalty
    )
    best = greedy(TABULAR, params, z, max_length=LENGTH)
    np.testing.assert_array_equal(one.tokens, best.tokens)
    np.testing.assert_array_equal(one.lengths, best.lengths)
    np.testing.assert_allclose(one.log_prob, best.log_prob, atol=SMALL)


@pytest.mark.parametrize(("length_penalty", "allow_unk"), [(0.0, True), (0.6, False), (1.5, True)])
def test_a_beam_as_wide_as_the_tree_is_exhaustive_search(length_penalty, allow_unk):
    params, z = _params(6), _latents(6, 40)
    sentences = list(_all_sentences(3, allow_unk))
    search = jax.jit(
        lambda z: beam_search(
            TABULAR,
            params,
            z,
            max_length=3,
            beam_size=len(sentences),
            length_penalty=length_penalty,
            allow_unk=allow_unk,
        )
    )
    out = search(z)
    for row in range(len(z)):
        log_probs = _log_probs(params, z[row])
        scores = [_score(log_probs, s) / len(s) ** length_penalty for s in sentences]
        assert _sentence(out, row) == sentences[int(np.argmax(scores))]


def test_a_wider_beam_finds_what_greedy_misses():
    params, z = _params(7, scale=2.0), _latents(7, 60)
    found = greedy(TABULAR, params, z, max_length=LENGTH).log_prob
    wide = beam_search(TABULAR, params, z, max_length=LENGTH, beam_size=40).log_prob
    assert np.all(np.asarray(wide) >= np.asarray(found) - SMALL)
    assert np.mean(np.asarray(wide) > np.asarray(found) + 1e-3) > 0.1


def test_a_length_penalty_prefers_longer_sentences():
    params, z = _params(8), _latents(8, 60)
    lengths = [
        beam_search(
            TABULAR, params, z, max_length=LENGTH, beam_size=5, length_penalty=penalty
        ).lengths.mean()
        for penalty in (0.0, 1.0)
    ]
    assert lengths[1] > lengths[0]


def _numpy_truncate(logits, top_k, top_p):
    """One row, by the definition: walk down the sorted probabilities."""
    order = np.argsort(-logits, kind="stable")[: top_k or None]
    p = np.exp(logits[order] - logits.max())
    p /= p.sum()
    count = next(n for n in range(1, len(p) + 1) if n == len(p) or p[:n].sum() >= top_p)
    out = np.full_like(logits, -np.inf)
    out[order[:count]] = logits[order[:count]]
    return out


@pytest.mark.parametrize(
    ("top_k", "top_p"),
    [(0, 1.0), (0, 0.9), (0, 0.5), (0, 1e-6), (1, 1.0), (3, 1.0), (99, 1.0), (3, 0.7), (99, 0.7)],
)
def test_truncation_is_its_definition(top_k, top_p):
    logits = np.random.default_rng(9).normal(size=(50, 12)).astype(np.float32)
    expected = np.stack([_numpy_truncate(row, top_k, top_p) for row in logits])
    np.testing.assert_array_equal(truncate(logits, top_k=top_k, top_p=top_p), expected)


def test_truncation_of_equal_logits_keeps_exactly_k():
    kept = np.isfinite(truncate(jnp.zeros((2, 8)), top_k=3))
    np.testing.assert_array_equal(kept, np.tile(np.arange(8) < 3, (2, 1)))


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.6}, {"top_k": 2}, {"temperature": 1.7, "top_p": 0.7}]
)
def test_samples_follow_the_truncated_distribution(options):
    rows, params = 20_000, _params(10)
    z = jnp.tile(_latents(10, 1), (rows, 1))
    out = sample(TABULAR, params, z, key=jax.random.key(3), max_length=1, **options)
    logits = _log_probs(params, z[0])[0, PAD, BOS]
    logits[[PAD, BOS]] = -np.inf
    logits = logits / options.get("temperature", 1.0)
    kept = _numpy_truncate(logits, options.get("top_k", 0), options.get("top_p", 1.0))
    p = np.exp(kept) / np.exp(kept).sum()
    frequency = np.bincount(np.asarray(out.tokens[:, 0]), minlength=VOCABULARY) / rows
    error = np.sqrt(p * (1 - p) / rows)
    assert np.all(np.abs(frequency - p) <= 4.5 * error)


def test_rows_steps_and_keys_draw_independently():
    params = jax.tree.map(jnp.zeros_like, _params(0))
    params["table"] = params["table"].at[..., jnp.array([EOS, UNK])].set(-50.0)  # words 4, 5
    z = jnp.zeros((4000, 2))
    draw = lambda seed: sample(TABULAR, params, z, key=jax.random.key(seed), max_length=LENGTH)  # noqa: E731
    bits = np.asarray(draw(0).tokens) - 4.5
    # Correlations of fair coins over 4000 rows: standard error 0.25 / sqrt(4000).
    bound = 4.5 * 0.25 / np.sqrt(len(bits))
    for other in (bits[:, 1], np.roll(bits[:, 0], 1), np.asarray(draw(1).tokens)[:, 0] - 4.5):
        assert abs(np.mean(bits[:, 0] * other)) < bound


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"max_length": 0}],
)
def test_options_out_of_range_are_refused(options):
    options = {"max_length": LENGTH, **options}
    with pytest.raises(UserError, match=next(k for k in reversed(options))):
        sample(TABULAR, _params(0), _latents(0, 2), key=jax.random.key(0), **options)


@pytest.mark.parametrize("options", [{"beam_size": 0}, {"beam_size": 2, "length_penalty": -1.0}])
def test_beam_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=list(options)[-1]):
        beam_search(TABULAR, _params(0), _latents(0, 2), max_length=LENGTH, **options)


@pytest.mark.parametrize("allow_unk", [True, False])
@pytest.mark.parametrize("size", [4, 20, 331, 400, 1024])  # blocks from 400 = 5 * 80 on
def test_the_likeliest_token_is_the_argmax_and_of_equal_ones_the_first(size, allow_unk):
    rng = np.random.default_rng(0)
    logits = rng.integers(-3, 3, (50, size)).astype(np.float32)  # many ties
    logits[::2] = rng.normal(size=logits[::2].shape)
    logits[:10, [0, 1, 3]] = 9.0  # the forbidden ones win, or would
    logits[10] = -np.inf
    logits[10, 2] = 0.0
    allowed = logits.copy()
    allowed[:, [0, 1] if allow_unk else [0, 1, 3]] = -np.inf
    found = likeliest(jnp.asarray(logits), allow_unk=allow_unk)
    np.testing.assert_array_equal(found, np.argmax(allowed, axis=-1))


@pytest.mark.parametrize("k", [1, 4, 13])
@pytest.mark.parametrize("size", [20, 331, 400, 1024, 1600])
def test_the_largest_by_blocks_are_those_of_jax_and_of_equal_ones_the_first(size, k):
    values = np.random.default_rng(1).integers(-9, 9, (3, 20, size)).astype(np.float32)
    values[0] = np.random.default_rng(2).normal(size=values[0].shape)
    # Ties across blocks whose maxima differ.
    rng, places = np.random.default_rng(3), np.arange(20)[:, None]
    values[1] = -1000.0 - np.arange(size)
    values[1, places, rng.integers(0, size, (20, 16))] = rng.integers(0, 6, (20, 16))
    values[2, 0] = -np.inf
    for found, expected in zip(top_k(values, k), jax.lax.top_k(values, k), strict=True):
        np.testing.assert_array_equal(found, expected)
