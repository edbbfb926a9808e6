"""From `config.objective` to the objective, and the combinations that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.components import check
from jvae.errors import UserError
from jvae.objectives import bound_objective
from jvae.remedies import (
    iwae,
    negative_iwae,
    with_bag_of_words,
    with_mmd,
    with_mutual_information,
)
from jvae.remedies.path_gradient import PathPosterior
from jvae.tasks.text import objective
from jvae.tasks.text.config import TEXT_GROUPS, default_config
from jvae.tasks.text.objective import (
    make_loss,
    make_objective,
    make_rate_control,
    make_schedules,
)
from tests.conftest import LATENT, VOCAB, make_batch, make_model

KEY = jax.random.key(0)
PLAIN = {"objective.kl_schedule": "constant"}
KL = np.asarray([[0.1, 3.0], [0.4, 0.2]], np.float32)
TERMS = jvae.ELBOTerms(jnp.asarray([-7.0, -8.0]), {"latent": jnp.asarray(KL)})
MODEL, BATCH = make_model(), make_batch(4, 4)


def config_with(**fields):
    """A checked configuration; a double underscore is a dot."""
    config = default_config()
    config.model.latent_size = LATENT
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    check(TEXT_GROUPS, config)
    return config


def loss_with(step: int = 0, **fields) -> np.ndarray:
    config = config_with(**{f"objective__{k}": v for k, v in fields.items()})
    schedules = make_schedules(config, steps_per_epoch=10)
    scheduled = {name: schedule(step) for name, schedule in schedules.items()}
    return np.asarray(make_loss(config).loss(TERMS, scheduled, jnp.ones(2)))


def losses_of(made, **scheduled) -> np.ndarray:
    """Losses of a fresh model on `BATCH`."""

    @jax.jit
    def losses(key):
        params = jvae.init(MODEL, BATCH, key=key)
        groups = made.init(key, params)
        return made.apply(
            params | groups.params, groups.carried, BATCH, key=key, scheduled=scheduled
        ).losses

    return np.asarray(losses(KEY))


def test_the_fields_reach_the_losses():
    beta = {"kl_schedule": "constant", "kl_end": 2.0}
    np.testing.assert_allclose(loss_with(**beta), [7 + 6.2, 8 + 1.2], rtol=1e-6)
    found = loss_with(**beta, loss="free_bits", free_bits__target=0.5)
    np.testing.assert_allclose(found, [7 + 6.0, 8 + 0.8], rtol=1e-6)
    found = loss_with(**beta, loss="free_bits", free_bits__target=0.5, free_bits__form="clamp")
    np.testing.assert_allclose(found, [7 + 6.5, 8 + 1.3], rtol=1e-6)
    found = loss_with(**beta, loss="free_bits", free_bits__target=1.0, free_bits__mode="total")
    np.testing.assert_allclose(found, [7 + 6.2, 8.0], rtol=1e-6)
    found = loss_with(5, **beta, loss="capacity", capacity__target=2.0, capacity__steps=10)
    np.testing.assert_allclose(found, [7 + 2 * 2.1, 8 + 2 * 0.4], rtol=1e-6)


def test_the_shape_reaches_the_schedule():
    config = config_with(
        objective__kl_schedule="cyclical",
        objective__kl_start=0.0,
        objective__cyclical__shape="cosine",
        objective__kl_epochs=1.0,
    )
    weight = make_schedules(config, 80)["kl_weight"](10)
    assert weight == pytest.approx(0.5 - 0.5 * np.cos(np.pi / 4))


def test_the_rate_reaches_its_control():
    assert make_rate_control(default_config()) is None
    config = config_with(
        objective__kl_schedule="constant",
        objective__rate_control="soft_free_bits",
        objective__soft_free_bits__rate=2.0,
    )
    control = make_rate_control(config)
    assert float(control.update(control.init(), jnp.float32(1.9))) < 1
    assert float(control.update(control.init(), jnp.float32(2.05))) == 1
    config = config_with(
        objective__kl_schedule="constant",
        objective__rate_control="minimum_rate",
        objective__minimum_rate__rate=2.0,
        objective__minimum_rate__learning_rate=0.1,
    )
    control = make_rate_control(config)
    after = control.update(control.init(), jnp.float32(1.0))
    # The first step of RMSprop is ten times the learning rate.
    assert float(control.kl_weight(after)) == pytest.approx(1 - 2.01, abs=1e-3)
    # And the control reaches the objective.
    carried = make_objective(config, MODEL, VOCAB).init(KEY, {}).carried
    assert set(carried) == {"rate_control"}


def test_bound_gradient_and_estimator_reach_the_terms(monkeypatch):
    found = []
    monkeypatch.setattr(
        objective,
        "bound_objective",
        lambda *arguments, **options: found.append((arguments, options)),
    )

    def made(**fields):
        make_objective(config_with(**fields), MODEL, VOCAB)
        return found.pop()

    (model, loss), options = made(
        objective__kl_schedule="constant",
        objective__bound="iwae",
        objective__num_samples=5,
        objective__gradient="dreg",
    )
    assert (model, loss, options["num_samples"]) == (MODEL, negative_iwae, 5)
    assert options["terms_of"].func is iwae
    assert options["terms_of"].keywords == {"gradient": "dreg"}
    (model, loss), options = made()
    assert (model, loss, options["num_samples"]) == (MODEL, jvae.negative_elbo, 1)
    assert options["terms_of"].func is jvae.elbo
    assert options["terms_of"].keywords == {"estimator": jvae.pathwise}
    (model, _), _ = made(objective__gradient="stl")
    params = model.encoder.init(KEY, BATCH, None)
    result = model.encoder.apply(params, BATCH, None, key=KEY, train=True)
    assert isinstance(result.posterior, PathPosterior)


def test_the_weights_of_the_aggregate_reach_schedule_and_objective():
    config = config_with(
        **{f"objective__{k}": v for k, v in {"info_alpha": 0.75, "info_lambda": 2.25}.items()},
        objective__kl_schedule="constant",
        objective__mi_weight=0.5,
        objective__mmd_kernel="imq",
    )
    assert make_schedules(config, steps_per_epoch=10)["kl_weight"](0) == pytest.approx(0.25)
    plain = bound_objective(MODEL, jvae.negative_elbo)
    # alpha + lambda - 1 times the MMD, and half of the information taken off.
    wanted = with_mutual_information(with_mmd(plain, MODEL, 2.0, "imq"), 0.5)
    found = losses_of(make_objective(config, MODEL, VOCAB), kl_weight=0.25)
    np.testing.assert_allclose(found, losses_of(wanted, kl_weight=0.25), rtol=1e-5)
    assert np.all(np.abs(found - losses_of(plain, kl_weight=0.25)) > 1e-3)


def test_the_weight_of_the_bag_of_words_is_the_configured_one():
    plain = bound_objective(MODEL, jvae.negative_elbo)
    # The scale of the head's initial weights is the model's.
    sizes = {"vocab_size": VOCAB, "latent_size": LATENT, "init_scale": 0.5}
    wanted = losses_of(with_bag_of_words(plain, weight=2.0, **sizes), kl_weight=0.5)
    config = config_with(objective__bow_weight=2.0, model__init_scale=0.5)
    made = make_objective(config, MODEL, VOCAB)
    np.testing.assert_allclose(losses_of(made, kl_weight=0.5), wanted, rtol=1e-6)
    head = jax.eval_shape(made.init, KEY, {}).params["bag_of_words"]
    assert head["output_kernel"].shape == (400, VOCAB)
    assert make_objective(config_with(), MODEL, VOCAB).init(KEY, {}) == ({}, {})


def test_the_adversary_is_made_of_its_fields():
    fields = {
        "adversarial_weight": 10.0,
        "discriminator_size": 6,
        "discriminator_learning_rate": 0.03,
    }
    config = config_with(model__mode="ae", **{f"objective__{k}": v for k, v in fields.items()})
    made = make_objective(config, MODEL, VOCAB)
    params = made.init(KEY, {}).params["discriminator"]
    assert params["Dense_0"]["kernel"].shape == (LATENT, 6)
    assert params["Dense_1"]["kernel"].shape == (6, 1)
    # Adam's first step is as long as its rate.
    optimiser = made.optimisers["discriminator"]
    ones = jax.tree.map(jnp.ones_like, params)
    update, _ = optimiser.update(ones, optimiser.init(params), params)
    np.testing.assert_allclose(update["Dense_1"]["bias"], -0.03, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_the_kernel_reaches_the_mmd(kernel, monkeypatch):
    found = []
    monkeypatch.setattr(objective, "with_mmd", lambda *arguments: found.append(arguments[2:]))
    make_objective(
        config_with(objective__info_alpha=1.0, objective__mmd_kernel=kernel), MODEL, VOCAB
    )
    assert found == [(1.0, kernel)]


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
        (
            {**PLAIN, "info_alpha": 0.5, "rate_control": "soft_free_bits"},
            "info_alpha = 0.0 gives it",
        ),
        ({"info_lambda": 9.0, "training.parallel": "pmap"}, WHOLE),
        ({"mi_weight": 1.0, "training.memory_gb": 1.0}, WHOLE),
        ({"mi_weight": 1.0, "model.mode": "ae"}, "it takes the density of z"),
        ({"mi_weight": 1.0, "gradient": "stl"}, "objective.gradient = 'plain'"),
        ({"mi_weight": 1.0, "model.posterior": "iaf"}, "own draws' density"),
        ({"info_lambda": 9.0, "model.prior": "mixture"}, "model.prior = 'standard_normal'"),
        ({"adversarial_weight": 1.0, "model.prior": "vamp"}, "model.prior = 'standard_normal'"),
        (
            {"adversarial_weight": 1.0, "training.aggressive": True},
            "training.aggressive = False gives it, not True",
        ),
        ({"adversarial_weight": 1.0, "model.mode": "lm"}, "model.mode = 'vae' or 'ae' gives it"),
        (
            {**PLAIN, "bound": "iwae", "num_samples": 4, "adversarial_weight": 1.0},
            "objective.bound = 'elbo'",
        ),
        ({"loss": "free_bit"}, "objective.loss = 'free_bit' is unknown: did you mean 'free_bits'"),
        ({"cyclical.shape": "cosin"}, "did you mean 'cosine'"),
        ({"free_bits.mode": "dim"}, "known are dimension, dimension_batch, total"),
        ({"free_bits.form": "clip"}, "known are mask, clamp"),
        ({"rate_control": "minimum"}, "did you mean 'minimum_rate'"),
        ({"bound": "iwe"}, "did you mean 'iwae'"),
        ({"gradient": "drag"}, "did you mean 'dreg'"),
        ({"free_bits.target": 0.0}, "above 0"),
        ({"capacity.steps": 0}, "above 0"),
        ({"minimum_rate.rate": -1.0}, "above 0"),
        ({"kl_delay": 1.0, "kl_schedule": "constant"}, "it delays the ramp"),
        (
            {"loss": "by_name", "by_name.dirichlet_delay": 1.0},
            "objective.by_name.dirichlet_schedule = 'linear'",
        ),
        ({"estimator": "enumeration"}, "a latent with few values"),
        ({"rate_control": "minimum_rate"}, "objective.kl_schedule = 'constant'"),
        ({"bound": "iwae", "num_samples": 4}, "objective.kl_schedule = 'constant'"),
        ({**PLAIN, "bound": "iwae"}, "with one sample it is the ELBO"),
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
                {"loss": "free_bits", "free_bits.mode": "dimension_batch", **batch},
                "its mean is of a whole batch",
            )
            for batch in ({"training.parallel": "pmap"}, {"training.memory_gb": 1.0})
        ],
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(fields, says):
    config = default_config()
    groups = ("model.", "training.", "objective.")
    full = {k if k.startswith(groups) else f"objective.{k}": v for k, v in fields.items()}
    config.update_from_flattened_dict(full)
    with pytest.raises(UserError) as caught:
        check(TEXT_GROUPS, config)
    message = str(caught.value)
    assert message.startswith("objective.") and says in message and "\n" not in message
