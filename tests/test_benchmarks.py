"""The gate of the benchmarks, where PyTorch is installed (`pip install -e '.[bench]'`)."""

import pytest


@pytest.mark.parametrize(
    ("size", "precision", "planted"),
    [
        ("tiny", "float32", 3),
        ("tiny_cnn", "float32", 4),
        ("tiny_tf", "float32", 4),
        ("tiny", "bfloat16", 3),
    ],
)
def test_jvae_and_pytorch_compute_the_same_and_planted_errors_are_seen(size, precision, planted):
    pytest.importorskip("torch")
    from benchmarks.parity import TOLERANCES, check
    from benchmarks.sizes import SIZES

    found = check(SIZES[size], precision)
    same = found.pop("same")
    assert all(error < TOLERANCES[precision][name] for name, error in same.items())
    assert len(found) == planted


@pytest.mark.parametrize(
    "name",
    [
        "ptb",
        "ptb/train",
        "other/joint",
        "captions_cnn/beam",
        "ptb/iw/bfloat16",
        "captions_cnn/joint/bfloat16",
        "captions_tf/inner",
        "captions_tf/joint/bfloat16",
        "a/b/c/d",
    ],
)
def test_a_case_that_does_not_exist_is_refused(name):
    from benchmarks.cases import parse

    with pytest.raises(ValueError, match=f"no case '{name}'"):
        parse(name)


def test_what_is_timed_after_a_prefix_is_greedy_decoding():
    import jax
    import numpy as np

    from benchmarks.jvae_cases import make_model
    from benchmarks.prefix import continued, start
    from benchmarks.sizes import SIZES, random_weights
    from jvae.generation import greedy
    from jvae.types import EOS

    size = SIZES["tiny_tf"]
    decoder, params = make_model(size, 0.0).decoder, random_weights(size, 0)["decoder"]
    z = jax.random.normal(jax.random.key(0), (8, size.latent_size))
    block = jax.jit(continued(decoder, 3))
    state, first = block(params, start(decoder, params, z, 6))
    tokens = np.concatenate([first, block(params, state)[1]]).T

    expected = greedy(decoder, params, z, max_length=6).tokens
    ended = np.cumsum(tokens == EOS, axis=1) - (tokens == EOS) > 0
    assert not ended.all()
    np.testing.assert_array_equal(np.where(ended, 0, tokens), expected)


def test_cases_are_named_by_what_they_are():
    from benchmarks.cases import parse

    for name in ("ptb/beam", "captions_cnn/iw", "captions_tf/greedy", "ptb_he/joint/bfloat16"):
        assert str(parse(name)) == name
