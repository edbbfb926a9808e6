"""The loop around the steps: what a plateau takes back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jvae.data.batching import Plan
from jvae.training.checkpoint import open_checkpoints
from jvae.training.control import ControlSettings
from jvae.training.feed import Feed
from jvae.training.logs import MetricsLog, Progress
from jvae.training.loop import Job, train
from jvae.training.profile import Profiler
from jvae.training.state import Fault, create_state

PARAMS = {"encoder": {"w": np.zeros(2)}, "decoder": {"w": np.zeros(3)}, "prior": {}}
OPTIMISER = optax.sgd(1.0, momentum=0.9)


def counting(state, key, corpus, plan, row, scheduled):
    """A step that adds 1 to all that is trained."""
    trained = (state.params, state.opt_state, state.adversary, state.rate_control)
    params, opt_state, adversary, weight = jax.tree.map(lambda leaf: leaf + 1, trained)
    one = jnp.float32(1)
    return state._replace(
        step=state.step + 1,
        params=params,
        opt_state=opt_state,
        adversary=adversary,
        rate_control=weight,
        totals=state.totals._replace(sentences=one, updates=one),
        fault=Fault.none(),
    )


def test_discriminator_and_rate_control_return_to_the_best_epoch_with_the_parameters(tmp_path):
    scores = iter([-9.0, -5.0, -6.0, -7.0, -8.0])  # best in the second epoch, cut after the fourth
    job = Job(
        step=counting,
        key=jax.random.key(0),
        feed=Feed(lambda *_: ((None, None, np.int32(0)) for _ in range(1)), lambda *_: 0),
        plan=lambda epoch: Plan(np.zeros(1, int), np.zeros((1, 1), int), np.ones((1, 1))),
        place_state=lambda state: state,
        validate=lambda state: {"elbo": next(scores), "rec": 0.0, "kl": 0.0},
        score=lambda figures: figures["elbo"],
        reset_optimisers=lambda s: s._replace(opt_state=OPTIMISER.init(s.params)),
        schedules=lambda steps: {},
        kl_weight=lambda state: 1.0,
        settings=ControlSettings(epochs=5, patience=2, warm_epochs=0),
        meta={},
    )
    params = jax.tree.map(jnp.float32, PARAMS)
    # Of its optimiser, too: what it knows of one encoder is no help against another.
    rival = ({"w": jnp.zeros(2)}, {"momentum": jnp.zeros(2)})
    held = {"rate_control": jnp.zeros(()), "adversary": rival}
    state = create_state(params, OPTIMISER, OPTIMISER, aggressive=False, **held)
    checkpoints, log = open_checkpoints(tmp_path), MetricsLog(tmp_path, 0)
    lines = []
    progress = Progress(lines.append, 100.0, 5)
    after = train(job, state, checkpoints, log, progress, Profiler(tmp_path, 0), lines.append)
    log.close()
    checkpoints.close()
    assert sum("plateau" in line for line in lines) == 1 and int(after.epoch) == 5
    # Two steps to the best epoch, and the one after the reload.
    for leaf in jax.tree.leaves((after.params, after.adversary, after.rate_control)):
        np.testing.assert_array_equal(leaf, 3)
    for leaf in jax.tree.leaves(after.opt_state):  # the model's starts afresh
        np.testing.assert_array_equal(leaf, 1)
    assert float(after.lr_scale) == 0.5
