"""From a configuration to the loss, its schedules and the score of an epoch."""

import numpy as np
import pytest

from jvae.components import check
from jvae.errors import UserError
from jvae.tasks.text.config import TEXT_GROUPS, default_config
from jvae.tasks.text.objective import make_schedules, score


def weights(steps, **options) -> list[float]:
    config = default_config()
    config.objective.update(options)
    schedule = make_schedules(config, steps_per_epoch=100)["kl_weight"]
    return [float(schedule(step)) for step in steps]


def test_linear_counts_in_epochs():
    found = weights([0, 100, 200, 400], kl_schedule="linear", kl_start=0.2, kl_epochs=2.0)
    np.testing.assert_allclose(found, [0.2, 0.6, 1.0, 1.0], rtol=1e-6)
    found = weights([0, 25, 50], kl_schedule="linear", kl_start=0.0, kl_epochs=0.5, kl_end=0.4)
    np.testing.assert_allclose(found, [0.0, 0.2, 0.4], rtol=1e-6)


def test_linear_may_wait():
    found = weights([0, 100, 150, 200, 400], kl_start=0.0, kl_epochs=1.0, kl_delay=1.0)
    np.testing.assert_allclose(found, [0, 0, 0.5, 1, 1], atol=1e-6)


def test_the_dirichlet_weight_has_a_schedule_of_its_own():
    config = default_config()
    config.objective.update({"loss": "by_name", "kl_start": 0.0, "kl_epochs": 1.0})
    config.objective.by_name.update({"gaussian_weight": 3.0, "dirichlet_weight": 0.5})

    def found() -> list[list[float]]:
        schedules = make_schedules(config, steps_per_epoch=100)
        names = ("gaussian_weight", "dirichlet_weight")
        return [[float(schedules[name](step)) for step in (0, 50, 200)] for name in names]

    np.testing.assert_allclose(found(), [[0, 1.5, 3], [0, 0.25, 0.5]], rtol=1e-6)
    config.objective.by_name.update({"dirichlet_schedule": "linear", "dirichlet_epochs": 4.0})
    np.testing.assert_allclose(found(), [[0, 1.5, 3], [0, 0.0625, 0.25]], rtol=1e-6)
    config.objective.by_name.dirichlet_delay = 1.0  # alone
    np.testing.assert_allclose(found(), [[0, 1.5, 3], [0, 0, 0.125]], rtol=1e-6)
    config.objective.kl_delay = 0.5
    np.testing.assert_allclose(found(), [[0, 0, 3], [0, 0, 0.125]], rtol=1e-6)


def test_the_best_epoch_is_chosen_by_what_training_weighs():
    config = default_config()
    config.objective.update({"loss": "by_name", "kl_end": 0.1})
    config.objective.by_name.update({"gaussian_weight": 0.5, "dirichlet_weight": 2.0})
    metrics = {"rec": 10.0, "kl": 99.0, "elbo": -109.0, "kl_gaussian": 4.0, "kl_dirichlet": 3.0}
    metrics |= {"kl_gaussian_layers": 2.0, "kl_length": 7.0}
    assert score(config, metrics) == pytest.approx(-10 - 0.1 * (2 + 6 + 1) - 7)
    config.objective.info_alpha = 0.5  # halves the KL's weight in the loss
    assert score(config, metrics) == pytest.approx(-10 - 0.05 * (2 + 6 + 1) - 7)
    config.objective.info_alpha = 0.0
    config.objective.loss = "elbo"
    assert score(config, metrics) == -109


@pytest.mark.parametrize("schedule", ["constant", "linear", "logistic", "cyclical"])
def test_without_a_last_weight_the_best_epoch_is_the_best_reconstruction(schedule):
    config = default_config()
    config.objective.update({"kl_schedule": schedule, "kl_end": 0.0})
    assert weights([10**6], kl_schedule=schedule, kl_end=0.0) == [0.0]
    assert score(config, {"rec": 10.0, "kl": 99.0, "elbo": -109.0}) == -10.0


def test_constant_is_beta():
    assert weights([0, 999], kl_schedule="constant", kl_end=0.25) == [0.25, 0.25]


def test_logistic_has_its_midpoint_in_epochs():
    found = weights(
        [0, 300, 400, 10**6],
        kl_schedule="logistic",
        kl_epochs=3.0,
        logistic={"steepness": 0.01},
        kl_end=0.8,
    )
    expected = [0.8 / (1 + np.exp(3)), 0.4, 0.8 / (1 + np.exp(-1)), 0.8]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_cyclical_has_cycles_of_epochs():
    found = weights(
        [0, 25, 50, 99, 100, 125, 199, 200, 225, 10000],
        kl_schedule="cyclical",
        kl_epochs=1.0,
        cyclical={"cycles": 2, "ramp": 0.5},
        kl_start=0.2,
    )
    expected = [0.2, 0.6, 1.0, 1.0, 0.2, 0.6, 1.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["ae", "lm"])
def test_without_a_posterior_the_kl_weighs_nothing(mode):
    config = default_config()
    config.model.mode = mode
    schedule = make_schedules(config, 100)["kl_weight"]
    assert float(schedule(0)) == float(schedule(5000)) == 0.0


@pytest.mark.parametrize(
    ("model", "objective", "says"),
    [
        ({"posterior": "iaf"}, {"gradient": "stl"}, "the density of its own draws"),
        ({"refine": "semi_amortised"}, {"gradient": "stl"}, "passes through the steps"),
        (
            {"refine": "semi_amortised"},
            {"bound": "iwae", "num_samples": 5, "kl_schedule": "constant"},
            "that is what the steps raise",
        ),
    ],
)
def test_a_posterior_that_an_objective_cannot_serve_is_refused(model, objective, says):
    config = default_config()
    config.model.update(model)
    check(TEXT_GROUPS, config)
    config.objective.update(objective)
    with pytest.raises(UserError, match=says):
        check(TEXT_GROUPS, config)
