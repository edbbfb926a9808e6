"""The loop around the steps: what a plateau takes back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jvae.data.batching import Plan
from jvae.objectives import Groups
from jvae.training.checkpoint import open_checkpoints
from jvae.training.control import ControlSettings
from jvae.training.logs import MetricsLog, Progress
from jvae.training.loop import Job, train
from jvae.training.optimisers import Optimisers
from jvae.training.pipeline import Pipeline
from jvae.training.profile import Profiler
from jvae.training.state import Fault, create_state

PARAMS = {"encoder": {"w": np.zeros(2)}, "decoder": {"w": np.zeros(3)}, "prior": {}}
OPTIMISER = optax.trace(0.9)
OPTIMISERS = Optimisers(OPTIMISER, OPTIMISER, {"rival": OPTIMISER})
# What an objective learns, and what it counts.
GROUPS = Groups({"rival": {"w": jnp.zeros(2)}}, {"rate_control": jnp.zeros(())})


def counting(state, key, data, plan, row, scheduled):
    """Adds 1 to all that is trained."""
    trained = (state.params, state.opt_state, state.own_opt_states, state.carried)
    params, opt_state, own_opt_states, carried = jax.tree.map(lambda leaf: leaf + 1, trained)
    one = jnp.float32(1)
    return state._replace(
        step=state.step + 1,
        params=params,
        opt_state=opt_state,
        own_opt_states=own_opt_states,
        carried=carried,
        totals=state.totals._replace(rows=one, updates=one),
        fault=Fault.none(),
    )


def test_what_the_objective_learns_and_counts_returns_to_the_best_epoch_with_the_parameters(
    tmp_path,
):
    scores = iter([-9.0, -5.0, -6.0, -7.0, -8.0])  # best in the second epoch, cut after the fourth
    job = Job(
        step=counting,
        key=jax.random.key(0),
        pipeline=Pipeline(lambda *_: ((None, None, np.int32(0)) for _ in range(1)), lambda *_: 0),
        plan=lambda epoch: Plan(np.zeros(1, int), np.zeros((1, 1), int), np.ones((1, 1))),
        place_state=lambda state: state,
        validate=lambda state: {"elbo": next(scores), "rec": 0.0, "kl": 0.0},
        score=lambda metrics: metrics["elbo"],
        reset_optimisers=lambda s: s._replace(opt_state=OPTIMISER.init(s.params)),
        schedules=lambda steps: {},
        describe=lambda state: {"kl_weight": 1.0},
        summary=lambda record: f"epoch {record['epoch']}",
        settings=ControlSettings(epochs=5, patience=2, warm_epochs=0),
        meta={},
    )
    params = jax.tree.map(jnp.float32, PARAMS)
    state = create_state(params, GROUPS, OPTIMISERS, aggressive=False)
    checkpoints, log = open_checkpoints(tmp_path), MetricsLog(tmp_path, 0)
    lines = []
    progress = Progress(lines.append, 100.0, 5)
    after = train(job, state, checkpoints, log, progress, Profiler(tmp_path, 0), lines.append)
    log.close()
    checkpoints.close()
    assert sum("plateau" in line for line in lines) == 1 and int(after.epoch) == 5
    # Two steps to the best epoch, and the one after the reload.
    # The rival's optimiser too: what it knows of one encoder is no help against another.
    returned = (after.params, after.own_opt_states, after.carried)
    assert len(jax.tree.leaves(returned)) == 3 + 1 + 1
    for leaf in jax.tree.leaves(returned):
        np.testing.assert_array_equal(leaf, 3)
    for leaf in jax.tree.leaves(after.opt_state):  # the model's starts afresh
        np.testing.assert_array_equal(leaf, 1)
    assert float(after.lr_scale) == 0.5
