"""From `config.objective` to losses, and the combinations that are refused."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.errors import UserError
from jvae.experiments import objective
from jvae.experiments.building import make_schedules
from jvae.experiments.checks import check
from jvae.experiments.config import default_config
from jvae.experiments.objective import (
    make_adversary,
    make_loss,
    make_rate_control,
    make_terms,
    make_trained_model,
)
from jvae.remedies import iwae, negative_iwae
from jvae.remedies.path_gradient import PathPosterior
from tests.conftest import make_batch, make_model

PLAIN = {"objective.kl_schedule": "constant"}
KL = np.asarray([[0.1, 3.0], [0.4, 0.2]], np.float32)
TERMS = jvae.ELBOTerms(jnp.asarray([-7.0, -8.0]), {"latent": jnp.asarray(KL)})


def config_with(**fields):
    config = default_config()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return config


def loss_with(step: int = 0, **objective) -> np.ndarray:
    config = config_with(**{f"objective__{k}": v for k, v in objective.items()})
    check(config)
    schedules = make_schedules(config, steps_per_epoch=10)
    scheduled = {name: schedule(step) for name, schedule in schedules.items()}
    return np.asarray(make_loss(config)(TERMS, scheduled, jnp.ones(2)))


def test_the_fields_reach_the_losses():
    beta = {"kl_schedule": "constant", "kl_end": 2.0}
    np.testing.assert_allclose(loss_with(**beta), [7 + 6.2, 8 + 1.2], rtol=1e-6)
    found = loss_with(**beta, loss="free_bits", free_bits=0.5)
    np.testing.assert_allclose(found, [7 + 6.0, 8 + 0.8], rtol=1e-6)
    found = loss_with(**beta, loss="free_bits", free_bits=0.5, free_bits_form="clamp")
    np.testing.assert_allclose(found, [7 + 6.5, 8 + 1.3], rtol=1e-6)
    found = loss_with(**beta, loss="free_bits", free_bits=1.0, free_bits_mode="total")
    np.testing.assert_allclose(found, [7 + 6.2, 8.0], rtol=1e-6)
    found = loss_with(5, **beta, loss="capacity", capacity=2.0, capacity_steps=10)
    np.testing.assert_allclose(found, [7 + 2 * 2.1, 8 + 2 * 0.4], rtol=1e-6)


def test_the_shape_reaches_the_schedule():
    config = config_with(
        objective__kl_schedule="cyclical",
        objective__kl_start=0.0,
        objective__kl_shape="cosine",
        objective__kl_epochs=1.0,
    )
    check(config)
    weight = make_schedules(config, 80)["kl_weight"](10)
    assert weight == pytest.approx(0.5 - 0.5 * np.cos(np.pi / 4))


def test_the_rate_reaches_its_control():
    assert make_rate_control(default_config()) is None
    fields = {"objective__kl_schedule": "constant", "objective__rate": 2.0}
    config = config_with(**fields, objective__rate_control="soft_free_bits")
    check(config)
    control = make_rate_control(config)
    assert float(control.update(control.init(), jnp.float32(1.9))) < 1
    assert float(control.update(control.init(), jnp.float32(2.05))) == 1
    config = config_with(
        **fields, objective__rate_control="minimum_rate", objective__rate_learning_rate=0.1
    )
    check(config)
    control = make_rate_control(config)
    after = control.update(control.init(), jnp.float32(1.0))
    # The first step of RMSprop is ten times the learning rate.
    assert float(control.kl_weight(after)) == pytest.approx(1 - 2.01, abs=1e-3)


def test_bound_and_gradient_reach_the_terms():
    config = config_with(
        objective__kl_schedule="constant",
        objective__bound="iwae",
        objective__num_samples=5,
        objective__gradient="dreg",
    )
    check(config)
    terms = make_terms(config)
    assert isinstance(terms, partial) and terms.func is iwae
    assert terms.keywords == {"gradient": "dreg"}
    assert make_loss(config) is negative_iwae
    assert make_terms(default_config()) is jvae.elbo
    config = config_with(objective__gradient="stl")
    check(config)
    model, batch = make_model(), make_batch(2, 3)
    trained = make_trained_model(config, model)
    params = trained.encoder.init(jax.random.key(0), batch)
    assert isinstance(trained.encoder.apply(params, batch, key=None, train=True), PathPosterior)
    assert make_trained_model(default_config(), model) is model


def test_the_weights_of_the_aggregate_reach_schedule_loss_and_terms():
    auxiliary = {"mmd": jnp.full(2, 3.0), "mutual_information": jnp.asarray([1.0, 2.0])}
    config = config_with(
        **{f"objective__{k}": v for k, v in {"info_alpha": 0.75, "info_lambda": 2.25}.items()},
        objective__kl_schedule="constant",
        objective__mi_weight=0.5,
        objective__mmd_kernel="imq",
    )
    check(config)
    scheduled = {"kl_weight": make_schedules(config, steps_per_epoch=10)["kl_weight"](0)}
    terms = dataclasses.replace(TERMS, auxiliary=auxiliary)
    found = make_loss(config)(terms, scheduled, jnp.ones(2))
    # (1 - alpha) KL, (alpha + lambda - 1) MMD, and half of the information taken off.
    expected = [7 + 0.25 * 3.1 + 2 * 3 - 0.5, 8 + 0.25 * 0.6 + 2 * 3 - 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    model, batch = make_model(), make_batch(3, 3)
    shapes = jax.eval_shape(
        lambda key: make_terms(config)(
            model, jvae.init(model, batch, key=key), batch, key=key, num_samples=2, train=True
        ),
        jax.random.key(0),
    )
    assert {name: term.shape for name, term in shapes.auxiliary.items()} == {
        "mmd": (3,),
        "mutual_information": (3,),
    }
    # alpha 0 and lambda 1 are the ELBO: nothing is added, nothing is weighed.
    plain = default_config()
    assert make_loss(plain) is jvae.negative_elbo
    assert make_adversary(plain) is None


def test_the_adversary_is_made_of_its_fields():
    fields = {
        "adversarial_weight": 10.0,
        "discriminator_size": 6,
        "discriminator_learning_rate": 0.03,
    }
    config = config_with(model__mode="ae", **{f"objective__{k}": v for k, v in fields.items()})
    check(config)
    made = make_adversary(config)
    params, opt_state = made.init(jax.random.key(0))
    assert params["Dense_0"]["kernel"].shape == (config.model.latent_size, 6)
    assert params["Dense_1"]["kernel"].shape == (6, 1)
    # Adam's first step is as long as its rate.
    after, _ = made.update((params, opt_state), jax.tree.map(jnp.ones_like, params))
    np.testing.assert_allclose(after["Dense_1"]["bias"], -0.03, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_the_kernel_reaches_the_mmd(kernel, monkeypatch):
    monkeypatch.setattr(objective, "with_mmd", lambda terms, kernel: kernel)
    assert (
        make_terms(config_with(objective__info_alpha=1.0, objective__mmd_kernel=kernel)) == kernel
    )


WHOLE = "it is of a whole batch"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mmd_kernel": "rbg"}, "did you mean 'rbf'"),
        ({"loss": "free_bits", "model.prior": "vamp"}, "a sum over dimensions"),
        ({"loss": "free_bits", "gradient": "stl"}, "elsewhere take 'total'"),
        ({"mi_weight": -0.1}, "at least 0"),
        ({"discriminator_size": 0}, "above 0"),
        ({"info_alpha": 1.5}, "at most 1"),
        ({"info_alpha": 0.5, "info_lambda": 0.2}, "at least 0.5"),
        ({**PLAIN, "info_alpha": 0.5, "rate_control": "soft_free_bits"}, "info_alpha = 0.0"),
        ({"info_lambda": 9.0, "training.parallel": "pmap"}, WHOLE),
        ({"mi_weight": 1.0, "training.memory_gb": 1.0}, WHOLE),
        ({"mi_weight": 1.0, "model.mode": "ae"}, "a density of z"),
        ({"mi_weight": 1.0, "gradient": "stl"}, "objective.gradient = 'plain'"),
        ({"mi_weight": 1.0, "model.posterior": "iaf"}, "own draws' density"),
        ({"info_lambda": 9.0, "model.prior": "mixture"}, "model.prior = 'standard_normal'"),
        ({"adversarial_weight": 1.0, "model.prior": "vamp"}, "model.prior = 'standard_normal'"),
        ({"adversarial_weight": 1.0, "training.aggressive": True}, "training.aggressive = False"),
        ({"adversarial_weight": 1.0, "model.mode": "lm"}, "has none"),
        (
            {**PLAIN, "bound": "iwae", "num_samples": 4, "adversarial_weight": 1.0},
            "objective.bound = 'elbo'",
        ),
        ({"loss": "free_bit"}, "objective.loss = 'free_bit' is unknown: did you mean 'free_bits'"),
        ({"kl_shape": "cosin"}, "did you mean 'cosine'"),
        ({"free_bits_mode": "dim"}, "known are dimension, dimension_batch, total"),
        ({"free_bits_form": "clip"}, "known are mask, clamp"),
        ({"rate_control": "minimum"}, "did you mean 'minimum_rate'"),
        ({"bound": "iwe"}, "did you mean 'iwae'"),
        ({"gradient": "drag"}, "did you mean 'dreg'"),
        ({"free_bits": 0.0}, "above 0"),
        ({"capacity_steps": 0}, "above 0"),
        ({"rate": -1.0}, "above 0"),
        ({"kl_shape": "cosine"}, "objective.kl_schedule = 'cyclical'"),
        ({"rate_control": "minimum_rate"}, "objective.kl_schedule = 'constant'"),
        ({"bound": "iwae", "num_samples": 4}, "objective.kl_schedule = 'constant'"),
        ({**PLAIN, "bound": "iwae"}, "objective.num_samples above 1"),
        ({**PLAIN, "bound": "iwae", "loss": "capacity"}, "objective.loss = 'elbo'"),
        ({**PLAIN, "rate_control": "minimum_rate", "loss": "free_bits"}, "objective.loss = 'elbo'"),
        (
            {**PLAIN, "bound": "iwae", "num_samples": 4, "rate_control": "soft_free_bits"},
            "objective.rate_control = ''",
        ),
        ({"gradient": "dreg"}, "objective.bound = 'iwae'"),
        ({**PLAIN, "bound": "iwae", "num_samples": 4, "gradient": "stl"}, "biased"),
        ({"loss": "free_bits", "model.mode": "ae"}, "model.mode = 'vae'"),
        ({"gradient": "stl", "model.mode": "ae"}, "model.mode = 'vae'"),
        ({**PLAIN, "rate_control": "minimum_rate", "model.mode": "lm"}, "model.mode = 'vae'"),
        *[
            (
                {"loss": "free_bits", "free_bits_mode": "dimension_batch", **batch},
                "its mean is of a whole batch",
            )
            for batch in ({"training.parallel": "pmap"}, {"training.memory_gb": 1.0})
        ],
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(fields, says):
    config = default_config()
    full = {name if "." in name else f"objective.{name}": value for name, value in fields.items()}
    config.update_from_flattened_dict(full)
    with pytest.raises(UserError) as caught:
        check(config)
    message = str(caught.value)
    assert message.startswith("objective.") and says in message and "\n" not in message
