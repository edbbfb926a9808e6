"""The discriminator: its losses by hand, whom they reach, and its state in the compiled step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jvae
from jvae.objectives import Groups, Objective, bound_objective
from jvae.priors import mixture
from jvae.random import Stream, stream
from jvae.remedies import with_adversary
from jvae.remedies.adversarial import NAME
from jvae.remedies.aggregate import prior_draws
from jvae.training.checkpoint import open_checkpoints, restore, save
from tests.conftest import LATENT
from tests.test_linear_gaussian import BATCH as PAIRS
from tests.test_linear_gaussian import CORRELATED, MODEL, make_params, wrong
from tests.training.setting import KEY as TRAINING_KEY
from tests.training.setting import assert_close, make_problem

KEY = jax.random.key(5)
RNG = np.random.default_rng(3)
OPTIONS = {"weight": 2.0, "hidden_size": 4, "learning_rate": 0.01}


def given_latents(objective_losses: float = 0.0) -> Objective:
    """An objective whose samples z `[S, B, L]` are the "encoder"'s parameters."""

    def apply(params, carried, batch, *, key, scheduled):
        losses = jnp.full(batch.rows, objective_losses)
        terms = jvae.ELBOTerms(-losses, {}, z=params["encoder"])
        return jvae.Outcome(losses, terms, {}, {})

    return Objective(
        lambda key, params: Groups({}, {}), apply, lambda params, carried, _: (params, carried)
    )


def batch_of(rows: int, weight=None) -> jvae.Batch:
    """A batch of nothing but numbers."""
    weight = jnp.ones(rows) if weight is None else jnp.asarray(weight)
    return jvae.Batch(None, None, jnp.arange(rows), weight)


def prior_only(prior: jvae.Prior) -> jvae.VAE:
    return jvae.VAE(None, None, prior)


STANDARD = prior_only(jvae.standard_normal(latent_size=LATENT))
GIVEN = with_adversary(given_latents(3.0), STANDARD, LATENT, **OPTIONS)


def by_hand(params, z):
    """The probability that z is the prior's."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    hidden = np.maximum(z @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
    return 1 / (1 + np.exp(-(hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"])[..., 0]))


def initial(objective: Objective) -> dict:
    """The parameter groups beside the model's."""
    groups = jax.jit(partial(objective.init, KEY))({})
    assert groups.carried == {}
    return groups.params


def test_the_discriminator_is_a_group_with_an_optimiser_of_its_own():
    groups = initial(GIVEN)
    assert set(groups) == set(GIVEN.optimisers) == {NAME} == {"discriminator"}
    shapes = jax.tree.map(jnp.shape, groups[NAME])
    assert shapes == {
        "Dense_0": {"kernel": (LATENT, 4), "bias": (4,)},
        "Dense_1": {"kernel": (4, 1), "bias": (1,)},
    }
    # What the wrapped objective has stays.
    other = with_adversary(GIVEN._replace(optimisers={"other": optax.sgd(1.0)}), STANDARD, LATENT)
    assert set(other.optimisers) == {"other", NAME}
    # Adam's first step has the length of its rate.
    optimiser = GIVEN.optimisers[NAME]
    step, _ = optimiser.update(jnp.float32(7.0), optimiser.init(jnp.float32(0)))
    np.testing.assert_allclose(step, -0.01, rtol=1e-4)


def test_both_losses_are_cross_entropies_and_pull_apart():
    own = initial(GIVEN)[NAME]
    z = RNG.normal(size=(2, 5, LATENT))
    weight = np.array([1.0, 1, 1, 0, 0])
    batch = batch_of(5, weight)
    draws = prior_draws(STANDARD, {"prior": {}}, batch, stream(KEY, Stream.ADVERSARY))
    draws = np.asarray(draws, np.float64)
    assert draws.shape == (5, LATENT)
    told = by_hand(own, z)

    @jax.jit
    def run(z, own):
        def total(z, own):
            params = {"encoder": z, NAME: own, "prior": {}}
            outcome = GIVEN.apply(params, {}, batch, key=KEY, scheduled={})
            return jnp.sum(outcome.losses * batch.weight), outcome.losses

        (_, losses), grads = jax.value_and_grad(total, (0, 1), has_aux=True)(z, own)
        return losses, grads

    losses, (pull, gradient) = run(jnp.float32(z), own)
    # The value has the encoder's part alone.
    cost = 2.0 * -np.log(told).mean(axis=0)
    np.testing.assert_allclose(losses, 3.0 + cost, rtol=1e-4)

    # The discriminator's gradient is that of its own loss alone, ..
    def own_loss(own):
        cost = -np.log(1 - by_hand(own, z)).mean(axis=0) - np.log(by_hand(own, draws))
        return np.sum(weight * cost)

    for layer, name, place in (("Dense_0", "kernel", (1, 2)), ("Dense_1", "bias", (0,))):
        leaf = np.asarray(own[layer][name], np.float64)
        up, down = ({**own, layer: {**own[layer], name: leaf.copy()}} for _ in range(2))
        up[layer][name][place] += 1e-5
        down[layer][name][place] -= 1e-5
        slope = (own_loss(up) - own_loss(down)) / 2e-5
        np.testing.assert_allclose(gradient[layer][name][place], slope, rtol=1e-3)
    # .. and that of the samples is of the encoder's part alone.
    for place in ((0, 1, 2), (1, 2, 0), (1, 4, 1)):
        ends = []
        for size in (1e-5, -1e-5):
            moved = z.copy()
            moved[place] += size
            ends.append(np.sum(weight * 2.0 * -np.log(by_hand(own, moved)).mean(axis=0)))
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(pull[place], slope, rtol=1e-3, atol=1e-6)
    assert not np.any(pull[:, 3:]) and np.any(pull[:, :3])
    # A step against each gradient: the discriminator tells better, the encoder is told worse.
    optimiser = GIVEN.optimisers[NAME]
    step, _ = optimiser.update(gradient, optimiser.init(own))
    assert own_loss(optax.apply_updates(own, step)) < own_loss(own)
    assert np.all(by_hand(own, z - 1e-3 * np.asarray(pull)) >= told)


def test_nothing_of_the_discriminators_loss_reaches_the_model():
    """With the encoder's part at weight 0 every gradient of the model is that of the bound."""
    prior = mixture(latent_size=2, components=3)
    model = MODEL._replace(prior=prior)
    params = make_params(wrong(CORRELATED), CORRELATED) | {"prior": prior.init(KEY)}
    plain = bound_objective(model, jvae.negative_elbo)
    silent = with_adversary(plain, model, 2, weight=0.0, hidden_size=4)
    params |= jax.jit(partial(silent.init, KEY))(params).params

    def run(objective):
        def total(params):
            outcome = objective.apply(params, {}, PAIRS, key=KEY, scheduled={"kl_weight": 1.0})
            return jnp.sum(outcome.losses), outcome.losses

        (_, losses), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
        return losses, grads

    (losses, grads), (bare, expected) = run(silent), run(plain)
    np.testing.assert_array_equal(losses, bare)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads.pop(NAME)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(expected.pop(NAME)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), grads, expected)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))
    # The prior's draws train the discriminator, and no prior: with z given it has no gradient.
    given = with_adversary(given_latents(), prior_only(prior), 2, **OPTIONS)
    z = {"encoder": jnp.ones((1, 4, 2)), "prior": params["prior"]} | initial(given)

    def total(params):
        return jnp.sum(given.apply(params, {}, batch_of(4), key=KEY, scheduled={}).losses)

    grads = jax.jit(jax.grad(total))(z)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["prior"]))
    assert np.all(grads["encoder"] != 0)


def test_halves_of_a_batch_have_the_gradients_of_the_whole():
    """Every term is a sum over examples: a batch may come in parts."""
    own, z = initial(GIVEN)[NAME], jnp.float32(RNG.normal(size=(1, 6, LATENT)))
    batch = batch_of(6, [1.0, 1, 1, 0, 1, 1])

    @jax.jit
    def gradient(own, z, batch):
        def total(own):
            params = {"encoder": z, NAME: own, "prior": {}}
            outcome = GIVEN.apply(params, {}, batch, key=KEY, scheduled={})
            return jnp.sum(outcome.losses * batch.weight)

        return jax.grad(total)(own)

    parts = [
        gradient(own, z[:, part], jax.tree.map(lambda leaf, part=part: leaf[part], batch))
        for part in (slice(0, 3), slice(3, 6))
    ]
    assert_close(jax.tree.map(jnp.add, *parts), gradient(own, z, batch), rtol=1e-4, atol=1e-6)


# In the compiled step.


def told(objective: Objective, model: jvae.VAE) -> Objective:
    return with_adversary(objective, model, LATENT, **OPTIONS)


def reconstruction(terms, scheduled, weight):
    return 0 * terms.total_kl - terms.log_likelihood


@pytest.fixture(scope="module")
def problem():
    return make_problem(
        aggressive=False,
        inner=None,
        loss=reconstruction,
        remedy=told,
        clip_norm=1e9,
        learning_rate=0.5,
    )


def test_the_step_trains_encoder_and_discriminator_and_leaves_the_decoder_to_its_own(problem):
    """Against a step without: only the encoder's update differs, by the adversarial gradient."""
    after = problem.run(problem.state, [0])
    # An encoder that pays nothing: the same program, its discriminator told by a constant.
    blind = jax.tree.map(jnp.zeros_like, problem.state.params[NAME])
    silent = problem.state._replace(params=problem.state.params | {NAME: blind})
    alone = problem.run(silent, [0])
    for part in ("decoder", "prior"):
        assert_close(after.params[part], alone.params[part], rtol=0)
    moved = optax.tree.norm(
        jax.tree.map(jnp.subtract, after.params["encoder"], alone.params["encoder"])
    )
    assert moved > 1e-4
    before, found = problem.state.params[NAME], after.params[NAME]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), before, found)))
    # Adam's first step has the length of its rate in every number with a gradient.
    change = np.abs(found["Dense_1"]["bias"] - before["Dense_1"]["bias"])
    np.testing.assert_allclose(change, 0.01, rtol=1e-3)


@pytest.mark.parametrize("filled", [True, False])
def test_the_discriminator_learns_of_the_real_sentences_mean(problem, filled):
    """Its first moments against the gradient of the row without its padding, of draws apart."""
    row = int(np.argmax(np.any(problem.host_plan.weight == 0, axis=1) == filled))
    index, weight = problem.host_plan.index[row], problem.host_plan.weight[row]
    index = index[weight > 0]
    assert (0 < len(index) < len(weight)) == filled and (filled or len(index) > 1)
    width = problem.widths[problem.host_plan.bucket[row]]
    x = jax.tree.map(lambda leaf: leaf[index], problem.data.x.resized(width))
    batch = jvae.Batch(x, None, jnp.asarray(index), jnp.ones(len(index)))
    key = stream(TRAINING_KEY, Stream.TRAINING, 0)
    elbo = jax.jit(partial(jvae.elbo, problem.model, key=key, train=True))
    z = elbo(problem.state.params, batch).z
    draws = prior_draws(STANDARD, {"prior": {}}, batch, stream(key, Stream.ADVERSARY))

    @jax.jit
    @jax.grad
    def mean(own):
        def logit(z):
            hidden = jax.nn.relu(z @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"])
            return (hidden @ own["Dense_1"]["kernel"] + own["Dense_1"]["bias"])[..., 0]

        return jnp.mean(jax.nn.softplus(logit(z[0])) + jax.nn.softplus(-logit(draws)))

    expected = mean(problem.state.params[NAME])
    moments = problem.run(problem.state, [row]).own_opt_states[NAME][0]
    # Adam's decays, 0.5 and 0.999.
    assert_close(moments.mu, jax.tree.map(lambda g: 0.5 * g, expected), rtol=1e-3, atol=1e-6)
    assert_close(moments.nu, jax.tree.map(lambda g: 0.001 * g**2, expected), rtol=2e-3, atol=1e-8)


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
    model = prior_only(jvae.standard_normal(latent_size=1))
    options = {"weight": 1.0, "hidden_size": 16, "learning_rate": 0.01}
    game = with_adversary(given_latents(), model, 1, **options)
    optimiser, own = game.optimisers[NAME], initial(game)[NAME]
    z = jnp.asarray(0.3 * RNG.normal(size=(64, 1)) + 2, jnp.float32)
    batch = batch_of(64)

    @jax.jit
    def play(z):
        def turn(carry, key):
            z, own, state = carry

            def total(z, own):
                params = {"encoder": z[None], NAME: own, "prior": {}}
                return jnp.sum(game.apply(params, {}, batch, key=key, scheduled={}).losses)

            pull, gradient = jax.grad(total, (0, 1))(z, own)
            step, state = optimiser.update(optax.tree.scale(1 / 64, gradient), state)
            return (z - 0.02 * pull, optax.apply_updates(own, step), state), jnp.mean(z)

        carry = (z, own, optimiser.init(own))
        return jax.lax.scan(turn, carry, jax.random.split(KEY, 1000))

    (after, *_), means = play(z)
    assert means[0] > 1.8 and abs(np.mean(means[500:])) < 0.2, np.mean(means[500:])
    assert 0.8 < np.std(after) < 1.25
