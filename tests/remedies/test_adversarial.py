"""The discriminator: its losses by hand, whom they reach, and its state in the compiled step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jvae
from jvae.random import Stream, example_keys, stream
from jvae.remedies import adversary
from jvae.training.checkpoint import open_checkpoints, restore, save
from tests.conftest import LATENT
from tests.training.setting import KEY as TRAINING_KEY
from tests.training.setting import assert_close, make_problem

KEY = jax.random.key(5)
RNG = np.random.default_rng(3)
SMALL = adversary(LATENT, weight=2.0, hidden_size=4, learning_rate=0.01)


def by_hand(params, z):
    """The probability that z is the prior's."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    hidden = np.maximum(z @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
    return 1 / (1 + np.exp(-(hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"])[..., 0]))


def test_both_losses_are_cross_entropies_and_pull_apart():
    state = jax.jit(SMALL.init)(KEY)
    z, draws = RNG.normal(size=(2, 5, LATENT)), RNG.normal(size=(5, LATENT))
    rows = np.array([1.0, 1, 1, 0, 0])
    told, real = by_hand(state[0], z), by_hand(state[0], draws)
    loss = jax.jit(SMALL.loss)
    found = loss(state, jnp.float32(z))
    np.testing.assert_allclose(found, 2.0 * -np.log(told).mean(axis=0), rtol=1e-4)

    def own_loss(params):
        cost = -np.log(1 - by_hand(params, z)).mean(axis=0) - np.log(by_hand(params, draws))
        return np.sum(rows * cost)

    gradient = jax.jit(SMALL.gradient)(state, jnp.float32(z), jnp.float32(draws), jnp.asarray(rows))
    for layer, name, place in (("Dense_0", "kernel", (1, 2)), ("Dense_1", "bias", (0,))):
        leaf = np.asarray(state[0][layer][name], np.float64)
        up, down = ({**state[0], layer: {**state[0][layer], name: leaf.copy()}} for _ in range(2))
        up[layer][name][place] += 1e-5
        down[layer][name][place] -= 1e-5
        slope = (own_loss(up) - own_loss(down)) / 2e-5
        np.testing.assert_allclose(gradient[layer][name][place], slope, rtol=1e-3)
    # A step against each gradient: the discriminator tells better, the encoder is told worse.
    params, _ = jax.jit(SMALL.update)(state, gradient)
    assert own_loss(params) < own_loss(state[0]) and real.shape == (5,)
    pull = jax.jit(jax.grad(lambda z: jnp.sum(loss(state, z))))(jnp.float32(z))
    assert np.all(by_hand(state[0], z - 1e-3 * np.asarray(pull)) >= told)
    assert np.any(pull != 0)


@pytest.fixture(scope="module")
def problem():
    return make_problem(
        aggressive=False,
        inner=None,
        loss=lambda terms, step, weight: 0 * terms.total_kl - terms.log_likelihood,
        adversary=SMALL,
        clip_norm=1e9,
        learning_rate=0.5,
    )


def test_the_step_trains_encoder_and_discriminator_and_leaves_the_decoder_to_its_own(problem):
    """Against a step without: only the encoder's update differs, by the adversarial gradient."""
    after = problem.run(problem.state, [0])
    # An encoder that pays nothing: the same program, its discriminator told by a constant.
    blind = jax.tree.map(jnp.zeros_like, problem.state.adversary[0])
    silent = problem.state._replace(adversary=(blind, problem.state.adversary[1]))
    alone = problem.run(silent, [0])
    for part in ("decoder", "prior"):
        assert_close(after.params[part], alone.params[part], rtol=0)
    moved = optax.tree.norm(
        jax.tree.map(jnp.subtract, after.params["encoder"], alone.params["encoder"])
    )
    assert moved > 1e-4
    before, found = problem.state.adversary[0], after.adversary[0]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), before, found)))
    # Adam's first step has the length of its rate in every number with a gradient.
    change = np.abs(found["Dense_1"]["bias"] - before["Dense_1"]["bias"])
    np.testing.assert_allclose(change, 0.01, rtol=1e-3)


@pytest.mark.parametrize("filled", [True, False])
def test_the_discriminator_learns_of_the_real_sentences_mean(problem, filled):
    """Its first moments against the gradient of the row without its filling, of draws apart."""
    row = int(np.argmax(np.any(problem.host_plan.weight == 0, axis=1) == filled))
    index, weight = problem.host_plan.index[row], problem.host_plan.weight[row]
    index = index[weight > 0]
    assert (0 < len(index) < len(weight)) == filled and (filled or len(index) > 1)
    width = problem.widths[problem.host_plan.bucket[row]]
    tokens, lengths = (np.asarray(field) for field in problem.corpus[:2])
    batch = jvae.Batch(
        tokens[index, : width + 1], lengths[index], jnp.asarray(index), jnp.ones(len(index))
    )
    key = stream(TRAINING_KEY, Stream.TRAINING, 0)
    elbo = jax.jit(partial(jvae.elbo, problem.model, key=key, train=True))
    z = elbo(problem.state.params, batch).z
    draws = (
        jvae.standard_normal(latent_size=LATENT)
        .distribution({})
        .sample(example_keys(stream(stream(key, Stream.ADVERSARY), Stream.AGGREGATE), batch.index))
    )
    mean = SMALL.gradient(problem.state.adversary, z, draws, jnp.full(len(index), 1 / len(index)))
    moments = problem.run(problem.state, [row]).adversary[1][0]
    # Adam's decays, 0.5 and 0.999.
    assert_close(moments.mu, jax.tree.map(lambda g: 0.5 * g, mean), rtol=1e-3, atol=1e-6)
    assert_close(moments.nu, jax.tree.map(lambda g: 0.001 * g**2, mean), rtol=2e-3, atol=1e-8)


def test_a_resumed_state_goes_on_with_its_discriminator(problem, tmp_path):
    half = problem.run(problem.state, [0, 1])
    whole = problem.run(half, [2, 3])
    manager = open_checkpoints(tmp_path)
    save(manager, half, {}, None)
    resumed = restore(manager, jax.tree.map(jnp.zeros_like, half))
    manager.close()
    assert_close(problem.run(resumed, [2, 3]), whole, rtol=0)


def test_playing_moves_the_aggregate_to_the_prior():
    """Points that pay to be told, without any reconstruction."""
    game = adversary(1, weight=1.0, hidden_size=16, learning_rate=0.01)
    z = jnp.asarray(0.3 * RNG.normal(size=(64, 1)) + 2, jnp.float32)

    @jax.jit
    def play(z):
        def turn(carry, key):
            z, state = carry
            pull = jax.grad(lambda z: jnp.sum(game.loss(state, z[None])))(z)
            draws = jax.random.normal(key, z.shape)
            gradient = game.gradient(state, z[None], draws, jnp.full(64, 1 / 64))
            return (z - 0.02 * pull, game.update(state, gradient)), jnp.mean(z)

        carry = (z, game.init(KEY))
        return jax.lax.scan(turn, carry, jax.random.split(KEY, 1000))

    (after, _), means = play(z)
    assert means[0] > 1.8 and abs(np.mean(means[500:])) < 0.2, np.mean(means[500:])
    assert 0.8 < np.std(after) < 1.25
