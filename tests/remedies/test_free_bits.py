"""Free bits against sentence-by-sentence arithmetic, and what each mode and form keeps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jvae
from jvae.distributions import DiagonalGaussian, kl_divergence
from jvae.errors import UserError
from jvae.remedies import FREE_BITS_FORMS, FREE_BITS_MODES, capacity, free_bits
from jvae.remedies.kl_schedules import linear

B, L, TARGET = 6, 4, 2.0  # half a nat for each dimension
RNG = np.random.default_rng(0)
KL = (RNG.gamma(0.7, 1.0, (B, L)) * [0.2, 1.1, 0.4, 0.6]).astype(np.float32)
LOG_LIKELIHOOD = -RNG.uniform(5, 9, B).astype(np.float32)
ONE = {"kl_weight": 1.0}
WEIGHT = np.asarray([1, 1, 1, 1, 0, 1], np.float32)  # one padding row
CASES = [(mode, form) for mode in FREE_BITS_MODES for form in FREE_BITS_FORMS]


def terms_of(kl) -> jvae.ELBOTerms:
    """Under two names, as a model with two latents would have them."""
    return jvae.ELBOTerms(jnp.asarray(LOG_LIKELIHOOD), {"a": kl[:, :1], "b": kl[:, 1:]})


def loss_of(mode: str, form: str, kl=KL, weight=WEIGHT):
    loss = free_bits(TARGET, mode, form)
    return loss(terms_of(jnp.asarray(kl)), {"kl_weight": 0.5}, jnp.asarray(weight))


def total(kl, mode: str, form: str):
    return jnp.sum(loss_of(mode, form, kl) * WEIGHT)


def by_hand(mode: str, form: str) -> np.ndarray:
    """One sentence and one group at a time, as the papers have it."""
    result = np.zeros(B)
    batch_mean = KL[WEIGHT > 0].mean(axis=0)
    for row in range(B):
        groups = [KL[row].sum()] if mode == "total" else list(KL[row])
        share, free = TARGET / len(groups), 0.0
        for number, kl in enumerate(groups):
            above = (batch_mean[number] if mode == "dimension_batch" else kl) > share
            free += kl if above else share if form == "clamp" else 0.0
        result[row] = 0.5 * free - LOG_LIKELIHOOD[row]
    return result


@pytest.mark.parametrize(("mode", "form"), CASES)
def test_the_loss_is_that_of_the_equation(mode, form):
    found = loss_of(mode, form)
    assert found.shape == (B,)
    np.testing.assert_allclose(found, by_hand(mode, form), rtol=1e-5)


def test_the_numbers_lie_on_both_sides_of_the_target():
    for values in (KL.ravel(), KL[WEIGHT > 0].mean(axis=0), KL.sum(axis=1) / L):
        assert np.any(values > TARGET / L) and np.any(values < TARGET / L)


def test_the_clamp_of_the_batch_mean_is_kingmas_objective():
    """`sum_l max(share, mean KL_l)` for each sentence, on average over the batch."""
    real = WEIGHT > 0
    expected = (
        0.5 * np.maximum(TARGET / L, KL[real].mean(axis=0)).sum() - LOG_LIKELIHOOD[real].mean()
    )
    loss = loss_of("dimension_batch", "clamp")
    np.testing.assert_allclose(np.mean(np.asarray(loss)[real]), expected, rtol=1e-5)


@pytest.mark.parametrize(("mode", "form"), CASES)
def test_the_gradient_is_the_weight_above_the_target_and_nothing_below(mode, form):
    decides = {
        "dimension": KL,
        "dimension_batch": np.broadcast_to(KL[WEIGHT > 0].mean(axis=0), KL.shape),
        "total": np.broadcast_to(KL.sum(axis=1, keepdims=True) / L, KL.shape),
    }[mode]
    expected = 0.5 * (decides > TARGET / L) * WEIGHT[:, None]
    np.testing.assert_allclose(jax.grad(total)(KL, mode, form), expected, rtol=1e-6)
    # Finite differences see the same, the group's own mean included.
    assert 0 < expected.sum() < 0.5 * WEIGHT.sum() * L
    for row, dimension in ((0, 0), (2, 1), (4, 2), (5, 3)):
        step = np.zeros_like(KL)
        step[row, dimension] = 1e-2
        slope = (total(KL + step, mode, form) - total(KL - step, mode, form)) / 2e-2
        np.testing.assert_allclose(slope, expected[row, dimension], atol=1e-3)


def test_a_target_of_almost_nothing_is_the_elbo():
    for mode, form in CASES:
        loss = free_bits(1e-9, mode, form)
        terms = terms_of(jnp.asarray(KL))
        np.testing.assert_allclose(loss(terms, ONE, jnp.asarray(WEIGHT)), -terms.elbo, rtol=1e-5)


def test_the_batch_mean_is_of_all_devices_rows_and_of_no_padding_row():
    rows = NamedSharding(
        jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,)), PartitionSpec("data")
    )
    compiled = jax.jit(partial(loss_of, "dimension_batch", "mask"))
    spread = compiled(*(jax.device_put(array, rows) for array in (KL, WEIGHT)))
    np.testing.assert_allclose(spread, loss_of("dimension_batch", "mask"), rtol=1e-6)
    # What stands in the padding row changes no other one.
    other = KL.copy()
    other[4] = 100.0
    found = np.asarray(loss_of("dimension_batch", "mask", other))
    real = WEIGHT > 0
    np.testing.assert_array_equal(found[real], np.asarray(loss_of("dimension_batch", "mask"))[real])


def test_a_kl_without_dimensions_has_no_free_bits_by_dimension():
    terms = jvae.ELBOTerms(jnp.zeros(B), {"latent": jnp.ones(B)}, frozenset({"latent"}))
    with pytest.raises(UserError, match="mode 'total'"):
        free_bits()(terms, ONE, jnp.ones(B))
    free = free_bits(0.5, "total")(terms, ONE, jnp.ones(B))
    np.testing.assert_array_equal(free, np.ones(B))


def test_capacity_draws_the_kl_to_its_target_from_both_sides():
    weight = jnp.asarray(WEIGHT)
    for target in (0.0, 1.5, 3.0):
        scheduled = {"kl_weight": 7.0, "capacity": target}
        found = capacity(terms_of(jnp.asarray(KL)), scheduled, weight)
        expected = 7.0 * np.abs(KL.sum(axis=1) - target) - LOG_LIKELIHOOD
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    slope = jax.grad(lambda kl: jnp.sum(capacity(terms_of(kl), scheduled, weight)))(KL)
    side = np.sign(KL.sum(axis=1) - 3.0)
    assert set(side) == {-1.0, 1.0}
    np.testing.assert_allclose(slope, np.broadcast_to(7.0 * side[:, None], KL.shape))


def test_the_kl_of_each_sentence_follows_a_capacity_that_rises():
    """Where a nat of KL buys 0.8 nats of reconstruction: the bound alone would lose it."""
    prior = DiagonalGaussian(jnp.zeros((1, 3)), jnp.zeros((1, 3)))
    start = DiagonalGaussian(jnp.asarray([[0.4, 0, 0.1], [-1.0, 1.0, 0]]), jnp.zeros((2, 3)))
    target = linear(0.0, 1500, 3.0)

    def train(loss):
        def turn(q, step):
            def total(q):
                kl, _ = kl_divergence(q, prior, None)
                terms = jvae.ELBOTerms(0.8 * jnp.sum(kl, axis=1), {"latent": kl})
                scheduled = {"kl_weight": 10.0, "capacity": target(step)}
                return jnp.sum(loss(terms, scheduled, jnp.ones(2))), terms.total_kl

            grads, kl = jax.grad(total, has_aux=True)(q)
            return jax.tree.map(lambda a, g: a - 1e-3 * g, q, grads), kl

        return jax.jit(lambda q: jax.lax.scan(turn, q, jnp.arange(2000))[1])(start)

    kls = train(capacity)
    targets = np.asarray([target(step) for step in range(2000)])
    assert targets[300] == pytest.approx(0.6) and targets[-1] == 3
    np.testing.assert_allclose(kls[300:], np.tile(targets[300:, None], 2), atol=0.15)
    assert np.all(train(jvae.negative_elbo)[-1] < 0.01)
