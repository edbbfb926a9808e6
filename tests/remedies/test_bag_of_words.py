"""The bag-of-words term: its equation, where it acts, and where it must not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.objectives import bound_objective
from jvae.remedies import with_bag_of_words
from jvae.remedies.bag_of_words import NAME
from tests.conftest import LATENT, VOCAB, make_batch
from tests.training.setting import assert_close, make_problem

KEY = jax.random.key(3)
BATCH = make_batch(4, 6)
HALF = {"kl_weight": 0.5}


def _log_prob(params, z, batch, context, *, key, train):
    del context, key, train
    return -jnp.sum(jnp.square(z - params["centre"]), axis=-1) * batch.x.lengths


# A VAE without scans, which compiles at once: words at their first place say what z is.
MODEL = jvae.VAE(
    jvae.Encoder(
        lambda key, batch, context: {"mean": jax.random.normal(key, (VOCAB, LATENT))},
        lambda params, batch, context, *, key, train: jvae.DiagonalGaussian(
            params["mean"][batch.x.ids[:, 1]], jnp.full((batch.rows, LATENT), -1.0)
        ),
    ),
    jvae.Decoder(
        lambda key, z, batch, context: {"centre": jax.random.normal(key, (LATENT,))}, _log_prob
    ),
    jvae.standard_normal(latent_size=LATENT),
)
PLAIN = bound_objective(MODEL, jvae.negative_elbo, num_samples=3)
HEAD = partial(
    with_bag_of_words, vocab_size=VOCAB, latent_size=LATENT, hidden_size=5, init_scale=0.8
)
OBJECTIVE = HEAD(PLAIN, weight=2.0)


@pytest.fixture(scope="module")
def params():
    model = jax.jit(lambda: jvae.init(MODEL, BATCH, key=KEY))()
    groups = jax.jit(partial(OBJECTIVE.init, KEY))(model)
    assert groups.carried == {}
    return model | groups.params


@jax.jit
def both(params, batch):
    """The outcomes with and without the head."""
    return [of.apply(params, {}, batch, key=KEY, scheduled=HALF) for of in (OBJECTIVE, PLAIN)]


def by_hand(head, z, batch, row: int) -> float:
    """`log p_bow(x | z)` of a row."""
    head = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), head)
    hidden = np.tanh(z @ head["Dense_0"]["kernel"] + head["Dense_0"]["bias"])
    p = np.exp(hidden @ head["output_kernel"])
    words = np.asarray(batch.x.targets[row, : int(batch.x.lengths[row])])
    counts = np.bincount(words, minlength=VOCAB)
    return float(counts @ np.log(p / p.sum()))


def test_the_head_is_a_group_that_the_runs_optimiser_trains(params):
    assert set(params) == {"encoder", "decoder", "prior", NAME} and NAME == "bag_of_words"
    assert jax.tree.map(jnp.shape, params[NAME]) == {
        "Dense_0": {"kernel": (LATENT, 5), "bias": (5,)},
        "output_kernel": (5, VOCAB),
    }
    assert OBJECTIVE.optimisers == {}
    # Its key is its own: the model's parameters are those without it, the head's others.
    other = jax.jit(partial(OBJECTIVE.init, jax.random.key(4)))({}).params[NAME]
    assert np.all(other["output_kernel"] != params[NAME]["output_kernel"])


def test_the_loss_adds_the_weighted_sum_over_the_words_of_a_softmax_of_z(params):
    outcome, plain = both(params, BATCH)
    z = np.asarray(plain.terms.z, np.float64)
    assert z.shape == (3, 4, LATENT)
    for row in range(4):
        each = [by_hand(params[NAME], one[row], BATCH, row) for one in z]
        assert np.ptp(each) > 1e-3 and max(each) < 0
        found = outcome.losses[row] - plain.losses[row]
        np.testing.assert_allclose(found, -2.0 * np.mean(each), rtol=1e-4)
    # Half the weight is half the term.
    half = jax.jit(partial(HEAD(PLAIN, weight=1.0).apply, key=KEY, scheduled=HALF))
    halved = half(params, {}, BATCH).losses - plain.losses
    np.testing.assert_allclose(2 * halved, outcome.losses - plain.losses, rtol=1e-4)


def test_the_encoder_learns_from_the_term_and_the_text_decoder_does_not(params):
    @jax.jit
    @jax.grad
    def gradient(params):
        outcome, plain = both(params, BATCH)
        return jnp.sum(outcome.losses - plain.losses)

    grads = gradient(params)
    for part in (grads["encoder"], grads[NAME]):
        assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(part))
    np.testing.assert_allclose(grads["decoder"]["centre"], 0, atol=1e-5)
    assert jax.tree.leaves(grads["prior"]) == []


def test_no_reported_number_contains_the_term(params):
    outcome, plain = both(params, BATCH)
    np.testing.assert_array_equal(outcome.terms.elbo, plain.terms.elbo)
    jax.tree.map(np.testing.assert_array_equal, outcome.metrics, plain.metrics)
    np.testing.assert_allclose(
        outcome.metrics["rec"] + outcome.metrics["kl"], -plain.terms.elbo, rtol=1e-6
    )
    # Evaluation reads the model, which knows no head.
    bound = jax.jit(partial(jvae.iw_log_likelihood, MODEL, num_samples=3, chunk_size=3))
    without = {name: group for name, group in params.items() if name != NAME}
    ours, theirs = bound(params, BATCH, key=KEY), bound(without, BATCH, key=KEY)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_padding_and_the_rest_of_the_batch_change_no_row(params):
    outcome, _ = both(params, BATCH)
    wide, _ = both(params, BATCH.replace(x=BATCH.x.resized(9)))
    np.testing.assert_allclose(wide.losses, outcome.losses, rtol=1e-5)
    turned, _ = both(params, jax.tree.map(lambda leaf: leaf[::-1], BATCH))
    np.testing.assert_allclose(turned.losses[::-1], outcome.losses, rtol=1e-5)


def with_head(objective: jvae.Objective, model: jvae.VAE) -> jvae.Objective:
    return HEAD(objective, weight=1.0)


def test_a_step_trains_the_head_with_the_rest_by_one_clipped_gradient():
    """The norm that is clipped is of the model and of the head."""
    problem = make_problem(aggressive=False, inner=None, remedy=with_head, learning_rate=0.5)
    after = problem.run(problem.state, [0])
    moved = jax.tree.map(jnp.subtract, after.params, problem.state.params)
    for name in ("encoder", "decoder", NAME):
        assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(moved[name]))
    tight = problem._replace(
        schedules=problem.schedules
        | {"clip_norm": lambda step: 1e-2, "kl_weight": lambda step: 1.0}
    )
    clipped = tight.run(problem.state, [0])
    steps = jax.tree.leaves(jax.tree.map(jnp.subtract, clipped.params, problem.state.params))
    length = np.sqrt(sum(np.sum(np.square(np.asarray(step, np.float64))) for step in steps))
    np.testing.assert_allclose(length, 0.5 * 1e-2, rtol=1e-2)
    assert_close(after.carried, {}, rtol=0)
