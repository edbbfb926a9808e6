"""The decisions between epochs, against hand-made sequences and He et al.'s own loop."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jvae.objectives import Groups
from jvae.training.control import ControlSettings, end_epoch, finished
from jvae.training.optimisers import Optimisers
from jvae.training.state import TrainState, create_state

ALWAYS = ControlSettings(epochs=1000, warm_epochs=0, max_decays=1000, aggressive_epochs=1000)


def new_state(*, aggressive: bool = True) -> TrainState:
    params = {"encoder": {"w": jnp.ones(2)}, "decoder": {"w": jnp.ones(3)}, "prior": {}}
    optimisers = Optimisers(optax.identity(), optax.identity())
    return create_state(params, Groups({}, {}), optimisers, aggressive=aggressive)


def run(scores, settings, *, mis=None, aggressive=True):
    """States and decisions after each epoch, until a stop."""
    state, steps = new_state(aggressive=aggressive), []
    for score, mi in zip(scores, mis or [1.0] * len(scores), strict=True):
        state, decision = end_epoch(state, score, mi, settings)
        steps.append((state, decision))
        if finished(state, settings):
            break
    return steps


def rates(steps) -> list[float]:
    return [float(state.lr_scale) for state, _ in steps]


@pytest.mark.parametrize(
    ("mis", "lasts"),
    [
        ([0.5, 0.6, 0.7, 0.8], [True, True, True, True]),
        ([0.5, 0.6, 0.55, 0.9, 1.5], [True, True, False, False, False]),
        ([0.5, 0.4, 3.0, 4.0], [True, False, False, False]),
        ([0.1, 0.1, 0.1], [True, True, True]),  # the same is no fall, though 0.1 has no float32
        ([-0.01, 0.2], [False, False]),  # the epoch before the first had none
    ],
)
def test_phase_ends_for_good_when_the_mutual_information_falls(mis, lasts):
    steps = run([-1.0] * len(mis), ALWAYS, mis=mis)
    assert [bool(state.aggressive) for state, _ in steps] == lasts
    ends = [decision.phase_ended for _, decision in steps]
    assert ends == [i == lasts.index(False) if False in lasts else False for i in range(len(mis))]


@pytest.mark.parametrize("limit", [1, 3])
def test_phase_ends_at_its_limit(limit):
    settings = ALWAYS._replace(aggressive_epochs=limit)
    steps = run([-1.0] * 5, settings, mis=[0.1, 0.2, 0.3, 0.4, 0.5])
    assert [bool(state.aggressive) for state, _ in steps] == [e < limit for e in range(1, 6)]
    assert [decision.phase_ended for _, decision in steps] == [e == limit for e in range(1, 6)]


def test_a_phase_that_never_was_does_not_end():
    steps = run([-1.0] * 3, ALWAYS, mis=[0.5, 0.1, 0.9], aggressive=False)
    assert not any(bool(state.aggressive) or decision.phase_ended for state, decision in steps)


def test_decay_after_patience_bad_epochs():
    settings = ALWAYS._replace(patience=3)
    steps = run([-10, -11, -12, -13, -14, -15, -16, -17], settings)
    # The reference becomes the epoch of the decay (-13), which three epochs miss again.
    assert rates(steps) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert [d.reload_best for _, d in steps] == [r in (3, 6) for r in range(8)]
    assert [int(state.decays) for state, _ in steps] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_a_good_epoch_starts_the_count_again():
    steps = run([-10, -11, -9, -10, -9, -10, -11], ALWAYS._replace(patience=2))
    assert rates(steps) == [1, 1, 1, 1, 1, 1, 0.5]


def test_no_decay_in_the_warm_epochs():
    settings = ALWAYS._replace(patience=2, warm_epochs=5)
    steps = run([-10, -11, -12, -13, -14, -15, -16, -17], settings)
    assert rates(steps) == [1, 1, 1, 1, 1, 0.5, 0.5, 0.25]


def test_the_factor_is_a_setting():
    steps = run([-1, -2, -3], ALWAYS._replace(patience=1, decay=0.1))
    np.testing.assert_allclose(rates(steps), [1, 0.1, 0.01], rtol=1e-6)


def test_the_best_epoch_is_remembered():
    steps = run([-10.3, -9.7, -9.9, -9.7, -9.6], ALWAYS)
    assert [decision.is_best for _, decision in steps] == [True, True, False, False, True]
    assert [int(state.best_epoch) for state, _ in steps] == [1, 2, 2, 2, 5]
    np.testing.assert_allclose(float(steps[3][0].best_score), -9.7, rtol=1e-6)


def test_stop_after_max_decays_without_a_reload():
    steps = run(range(0, -50, -1), ALWAYS._replace(patience=2, max_decays=3))
    assert len(steps) == 7 and rates(steps)[-1] == 0.125
    assert [decision.reload_best for _, decision in steps] == [e in (2, 4) for e in range(7)]
    assert finished(steps[-1][0], ALWAYS._replace(max_decays=3))
    assert not finished(steps[-2][0], ALWAYS._replace(max_decays=3))


def test_stop_at_epochs():
    settings = ALWAYS._replace(epochs=4)
    steps = run(range(100), settings, mis=[1.0] * 100)
    assert [finished(state, settings) for state, _ in steps] == [False, False, False, True]
    assert not finished(steps[-1][0], settings._replace(epochs=5)), "more epochs continue"


def test_an_epoch_ends_with_empty_sums():
    state = new_state()
    state = state._replace(totals=state.totals._replace(loss=jnp.float32(3)))
    state, _ = end_epoch(state, -1.0, 0.5, ALWAYS)
    assert float(state.totals.loss) == 0 and int(state.epoch) == 1


def script(losses, *, decay_epoch: int, warm: int, max_decay: int):
    """The rule of He et al.'s text.py, its epochs counted from 0: (rate, reloaded) per epoch."""
    best_ref, not_improved, rate, decays, saved = np.inf, 0, 1.0, 0, np.inf
    for epoch, loss in enumerate(losses):
        reload = False
        best = loss < saved
        saved = min(saved, loss)
        if loss > best_ref:
            not_improved += 1
            if not_improved >= decay_epoch and epoch >= warm:
                best_ref = loss
                not_improved = 0
                rate *= 0.5
                decays += 1
                reload = True
        else:
            not_improved = 0
            best_ref = loss
        yield rate, reload, best
        if decays == max_decay:
            return


@pytest.mark.parametrize("seed", range(30))
def test_the_rule_of_the_released_script(seed):
    rng = np.random.default_rng(seed)
    patience, warm, max_decay = int(rng.integers(1, 6)), int(rng.integers(0, 20)), 5
    # Down at first, then wandering, with ties.
    losses = 100 + 20 * np.exp(-np.arange(120) / 8) + rng.normal(0, rng.uniform(0.1, 3), 120)
    losses = np.round(losses, 1)
    settings = ALWAYS._replace(patience=patience, warm_epochs=warm, max_decays=max_decay)
    ours = run([-loss for loss in losses], settings)
    expected = list(script(losses, decay_epoch=patience, warm=warm, max_decay=max_decay))
    assert len(ours) == len(expected)
    for number, ((state, decision), (rate, reload, best)) in enumerate(
        zip(ours, expected, strict=True)
    ):
        assert float(state.lr_scale) == rate, number
        assert (decision.reload_best or finished(state, settings)) == reload, number
        assert decision.is_best == best, number
    assert ours[-1][0].decays == max_decay, "the sequence exercised the rule"


def test_the_script_settings_are_the_defaults():
    assert ControlSettings()._asdict() == {
        "epochs": 100,
        "patience": 2,
        "warm_epochs": 15,
        "decay": 0.5,
        "max_decays": 5,
        "aggressive_epochs": 100,
        "aggressive_min_epochs": 0,
    }


def test_a_least_length_of_the_phase_outlasts_a_falling_mi():
    settings = ALWAYS._replace(aggressive_min_epochs=3)
    state = new_state()
    phases = []
    for mi in (3.0, 2.0, 1.0, 2.0):
        state, decision = end_epoch(state, -1.0, mi, settings)
        phases.append((bool(state.aggressive), decision.phase_ended))
    assert phases == [(True, False), (True, False), (False, True), (False, False)]
