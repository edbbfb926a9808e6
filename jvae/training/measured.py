"""A step that also brings the encoder's measured parameters up to date."""

from collections.abc import Callable

import jax

from jvae.objectives import Scheduled
from jvae.random import Stream, stream
from jvae.training.state import TrainState
from jvae.training.steps import DeviceCorpus, DevicePlan, Step, gather
from jvae.types import Array, Key, Params
from jvae.vae import Encoder


def with_measured(
    step: Step, encoder: Encoder, widths: tuple[int, ...], rows: Callable[[Array], Array]
) -> Step:
    """`step`, then `Encoder.measure` on the same batch with the new parameters.

    One more pass of the encoder, without gradient. A step that met a fault leaves all as it was.

    Args:
      step: of `jvae.training.steps.make_step`.
      encoder: the model's.
      widths: the buckets, as in the step's settings.
      rows: see `jvae.training.steps.Sharding`.

    Returns:
      The step itself where the encoder measures nothing.
    """
    measure = encoder.measure
    if measure is None:
        return step

    def wrapped(
        state: TrainState,
        key: Key,
        corpus: DeviceCorpus,
        plan: DevicePlan,
        row: Array,
        scheduled: Scheduled,
    ) -> TrainState:
        own = stream(stream(key, Stream.TRAINING, state.step), Stream.MEASURE)
        state = step(state, key, corpus, plan, row, scheduled)

        def at_width(width: int):
            def branch(params: Params) -> Params:
                batch = gather(corpus, rows(plan.index[row]), rows(plan.weight[row]), width)
                return measure(params, batch, key=own)

            return branch

        old = state.params["encoder"]
        measured = jax.lax.switch(plan.bucket[row], [at_width(width) for width in widths], old)
        new = jax.tree.map(lambda n, o: jax.numpy.where(state.fault.term == 0, n, o), measured, old)
        return state._replace(params=state.params | {"encoder": new})

    return wrapped
