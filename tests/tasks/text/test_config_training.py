"""From a configuration to limits and optimisers, and what training cannot serve."""

import numpy as np
import pytest

from jvae.components import check
from jvae.errors import UserError
from jvae.tasks.text.config import TEXT_GROUPS, default_config
from jvae.training.settings import make_control, make_inner_loop, make_rates


def test_limits_and_inner_loop_come_from_the_configuration():
    config = default_config()
    assert make_inner_loop(config) is None
    config.training.update(
        {"epochs": 7, "patience": 3, "warm_epochs": 4, "decay": 0.3, "max_decays": 2}
    )
    config.training.update({"aggressive": True, "aggressive_epochs": 6, "inner_clip": "joint"})
    config.training.aggressive_min_epochs = 5
    config.training.update({"inner_max_updates": 8, "inner_window": 9})
    assert tuple(make_control(config)) == (7, 3, 4, 0.3, 2, 6, 5)
    assert tuple(make_inner_loop(config)) == (8, 9, "joint")


def test_the_learning_rate_warms_up():
    config = default_config()
    config.training.update({"learning_rate": 0.5, "warmup_steps": 4})
    schedules = make_rates(config, 10)
    rates = [float(schedules["learning_rate"](step)) for step in range(6)]
    np.testing.assert_allclose(rates, [0, 0.125, 0.25, 0.375, 0.5, 0.5], rtol=1e-6)
    assert float(schedules["inner_learning_rate"](0)) == 1.0
    assert float(schedules["clip_norm"](0)) == 5.0


def test_the_learning_rates_fall_along_a_cosine():
    config = default_config()
    config.training.update({"learning_rate": 0.5, "warmup_steps": 5, "cosine_epochs": 2.5})
    config.training.inner_learning_rate = 0.2
    schedules = make_rates(config, 10)
    steps = np.arange(5, 30)
    angle = np.pi * np.minimum(steps - 5, 20) / 20
    rates = [float(schedules["learning_rate"](step)) for step in steps]
    np.testing.assert_allclose(rates, 0.25 * (1 + np.cos(angle)), atol=1e-7)
    inner = [float(schedules["inner_learning_rate"](step)) for step in (0, 12.5, 25)]
    np.testing.assert_allclose(inner, [0.2, 0.1, 0], atol=1e-7)
    config.training.warmup_steps = 25
    with pytest.raises(UserError, match="warmup_steps = 25 .* the 25 updates of .*cosine_epochs"):
        make_rates(config, 10)


@pytest.mark.parametrize("mode", ["ae", "lm"])
def test_aggressive_training_needs_a_posterior(mode):
    config = default_config()
    config.training.aggressive = True
    check(TEXT_GROUPS, config)
    config.model.mode = mode
    with pytest.raises(
        UserError,
        match=rf"training.aggressive = True needs .* model.mode = 'vae' gives it, not {mode!r}",
    ):
        check(TEXT_GROUPS, config)


@pytest.mark.parametrize(
    ("model", "training", "says"),
    [
        ({"posterior_map": "batch_norm"}, {"batch_size": 1}, "at least 2"),
        ({"posterior_map": "batch_norm"}, {"parallel": "pmap"}, "its mean is of a whole batch"),
        ({"posterior_map": "batch_norm"}, {"memory_gb": 1.0}, "its mean is of a whole batch"),
        ({"posterior": "full"}, {"aggressive": True}, "ends by the mutual information"),
        ({"refine": "semi_amortised"}, {"aggressive": True}, "both keep q up with the decoder"),
    ],
)
def test_a_posterior_that_training_cannot_serve_is_refused(model, training, says):
    config = default_config()
    config.model.update(model)
    check(TEXT_GROUPS, config)
    config.training.update(training)
    with pytest.raises(UserError, match=says):
        check(TEXT_GROUPS, config)
