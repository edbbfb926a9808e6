"""Sets of vectors as latent values: how they are padded, collected, joined and weighed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.batch import Batch
from jvae.distributions.sets import VectorSet, widened
from jvae.evaluation.corpus import collect, prior_samples
from jvae.generation import aligned, union
from jvae.objectives import ELBOTerms, negative_elbo_by_name
from jvae.posteriors.nvib import NVIB
from jvae.posteriors.tokens import TokenDelta, TokenGaussian
from jvae.priors import dirichlet_process


def make_set(rows: int, size: int, *, seed: int, mixture: bool = False) -> VectorSet:
    """`rows` sets of `size` vectors, the last of each absent, weights summing to 1."""
    rng = np.random.default_rng(seed)
    logs = np.log(rng.dirichlet(np.ones(size - 1), rows))
    return VectorSet(
        jnp.asarray(rng.normal(size=(rows, size, 2))),
        jnp.asarray(np.concatenate([logs, np.full((rows, 1), -np.inf)], axis=1)),
        jnp.asarray(rng.normal(size=(rows, size, 2))) if mixture else None,
    )


def one(some: VectorSet) -> VectorSet:
    """The first of several sets."""
    return jax.tree.map(lambda leaf: leaf[0], some)


def test_widened_sets_have_the_same_vectors():
    some = make_set(3, 4, seed=0, mixture=True)
    wide = widened(some, 6)
    assert wide.vectors.shape == wide.log_vars.shape == (3, 6, 2)
    np.testing.assert_array_equal(wide.count, some.count)
    np.testing.assert_array_equal(wide.vectors[:, :4], some.vectors)
    np.testing.assert_array_equal(wide.log_weights[:, :4], some.log_weights)
    assert not wide.present[:, 3:].any()


def test_vectors_kept_are_those_of_the_sentence_and_not_the_priors():
    rows, log_alpha = jnp.zeros((2, 4, 3)), jnp.array([[0, 2, -np.inf, 1], [0] + [-np.inf] * 3])
    assert NVIB(rows, rows, log_alpha, jnp.full(2, 4.0), 2).kept.tolist() == [2, 0]
    log_weights = jnp.array([[0, 0, -np.inf, 0], [0] + [-np.inf] * 3])
    for q in (TokenGaussian(rows, rows, log_weights), TokenDelta(rows, log_weights)):
        assert q.kept.tolist() == [3, 1]


def test_prior_samples_follow_from_the_sentences_numbers():
    model = jvae.VAE(None, None, dirichlet_process(latent_size=2, max_count=3))
    params = {"prior": {"logits": jnp.zeros(4)}}
    draw = jax.jit(lambda index: prior_samples(model, params, index, key=jax.random.key(0)))
    whole, some = draw(np.arange(9)), draw(np.array([7, 2]))
    for ours, theirs in zip(jax.tree.leaves(some), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs[jnp.array([7, 2])], rtol=1e-6)
    assert len(set(whole.count.tolist())) > 1


def test_a_split_collects_sets_of_batches_of_different_widths():
    first, second = make_set(2, 4, seed=0), make_set(3, 3, seed=1)
    numbers = [np.array([4, 0]), np.array([2, 1, 0])]  # the last row only fills up the batch
    weights = [np.ones(2), np.array([1.0, 1.0, 0.0])]
    batches = [
        Batch(None, None, index, weight) for index, weight in zip(numbers, weights, strict=True)
    ]
    results = iter([first, second])
    result = collect(lambda batch: {"z": next(results)}, batches, 5)["z"]
    assert result.vectors.shape == (5, 4, 2)
    np.testing.assert_array_equal(result.vectors[[4, 0]], first.vectors)
    np.testing.assert_array_equal(result.vectors[[2, 1], :3], second.vectors[:2])
    rows = [4, 0, 2, 1]
    np.testing.assert_array_equal(result.present.sum(axis=1)[rows], [3, 3, 2, 2])


@pytest.mark.parametrize("mixture", [False, True])
def test_the_union_has_one_set_at_each_end_and_weights_that_sum_to_one(mixture):
    first = one(make_set(1, 4, seed=0, mixture=mixture))
    second = one(make_set(1, 3, seed=1, mixture=mixture))
    way = union(first, second, 5)
    assert way.vectors.shape == (5, 7, 2)
    assert (way.log_vars is None) is not mixture
    np.testing.assert_allclose(jnp.sum(jnp.exp(way.log_weights), axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(way.log_weights[0, :4], first.log_weights)
    np.testing.assert_array_equal(way.log_weights[-1, 4:], second.log_weights)
    assert not way.present[0, 4:].any()
    assert not way.present[-1, :4].any()
    shares = jnp.sum(jnp.exp(way.log_weights[:, 4:]), axis=1)
    np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75, 1], rtol=1e-6)
    with pytest.raises(jvae.UserError, match="at least 2"):
        union(first, second, 1)


def test_aligned_sets_meet_place_by_place():
    first, second = one(make_set(1, 4, seed=0)), one(make_set(1, 4, seed=1))
    first = first._replace(log_weights=jnp.array([0.0, 0.0, 0.0, -jnp.inf]))
    second = second._replace(log_weights=jnp.array([0.0, -jnp.inf, -jnp.inf, -jnp.inf]))
    way = aligned(first, second, 3)
    np.testing.assert_array_equal(
        way.present,
        [[True, True, True, False], [True, True, True, False], [True, False, False, False]],
    )
    np.testing.assert_allclose(way.vectors[0, :3], first.vectors[:3])
    np.testing.assert_allclose(way.vectors[1, 0], (first.vectors[0] + second.vectors[0]) / 2)
    np.testing.assert_allclose(way.vectors[1, 1], first.vectors[1] / 2)
    np.testing.assert_allclose(way.vectors[2, 0], second.vectors[0])


def test_terms_are_weighed_by_their_names():
    kl = {"gaussian": jnp.array([1.0, 2.0]), "dirichlet": jnp.array([3.0, 5.0])}
    terms = ELBOTerms(jnp.array([-10.0, -20.0]), kl | {"length": jnp.array([0.5, 0.25])})
    scheduled = {"kl_weight": 1.0, "gaussian_weight": 0.5, "dirichlet_weight": 2.0}
    losses = negative_elbo_by_name(terms, scheduled, jnp.ones(2))
    np.testing.assert_allclose(losses, [10 + 0.5 + 6 + 0.5, 20 + 1 + 10 + 0.25])
