"""One update of training, as a pure function of the state, the data and the epoch's plan."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jvae.batch import Batch, resized, size_of
from jvae.objectives import Objective
from jvae.random import Stream, stream
from jvae.remedies.aggressive import InnerLoop, InnerUpdate, aggressive_update
from jvae.training.optimisers import ENCODER, Optimisers, clip_factor
from jvae.training.state import Fault, TrainState
from jvae.types import Array, Key, Params


class DeviceData(NamedTuple):
    """Examples on the devices: the training split, or one step's part of it.

    Attributes:
      x: observations, leading axis N.
      condition: likewise, or None.
      numbers: `[N]`, of a part: the numbers that its examples have in the split; the rows of its
        plan are then in the order in which the step visits them. None for a whole split.
    """

    x: Any
    condition: Any = None
    numbers: Array | None = None


class DevicePlan(NamedTuple):
    """`jvae.data.batching.Plan` on the devices: `[M]`, `[M, B]`, `[M, B]`."""

    bucket: Array
    index: Array  # type: ignore[assignment]  # not tuple.index
    weight: Array


class _Inputs(NamedTuple):
    """The inputs of a step beside the state.

    Attributes:
      key: of the step.
      data: examples.
      plan: of the epoch.
      row: of the plan, which batch.
      scheduled: values of the schedules at this step.
    """

    key: Key
    data: DeviceData
    plan: DevicePlan
    row: Array
    scheduled: Mapping[str, Any]


class Sums(NamedTuple):
    """Sums of one batch over its real rows.

    Attributes:
      loss: nats.
      metrics: the objective's, by name.
      rows, symbols: counts.
      statistics: the objective's.
    """

    loss: Array
    metrics: dict[str, Array]
    rows: Array
    symbols: Array
    statistics: dict[str, Any]


class StepSettings(NamedTuple):
    """The constants of a compiled step.

    Attributes:
      widths: of the buckets.
      microbatches: equal parts in which a batch's gradient is summed, to save memory.
      inner: settings of the aggressive loop, or None to leave it out of the compiled step.
    """

    widths: tuple[int, ...]
    microbatches: int = 1
    inner: InnerLoop | None = None


class Sharding(NamedTuple):
    """The spread of a step over devices (`jvae.training.parallel`).

    Attributes:
      rows: applied to `[B]` arrays of a plan's row, before examples are gathered.
      reduce: applied to sums over rows, to make them sums over all devices.
    """

    rows: Callable[[Array], Array] = lambda rows: rows
    reduce: Callable[[Any], Any] = lambda sums: sums


class Step(Protocol):
    """One update."""

    def __call__(
        self,
        state: TrainState,
        key: Key,
        data: DeviceData,
        plan: DevicePlan,
        row: Any,
        scheduled: Mapping[str, Any],
    ) -> TrainState:
        """`row` is the plan's; `scheduled` has "learning_rate", "inner_learning_rate",
        "clip_norm" (of the global gradient norm) and what the objective asks for.
        """
        ...


def gather(data: DeviceData, index: Array, weight: Array, width: int) -> Batch:
    """Gathers the batch of a plan's row, `index` and `weight` `[B]`, padded to `width`."""

    def take(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), tree)

    # The noise belongs to the example's number.
    numbers = index if data.numbers is None else jnp.take(data.numbers, index)
    return Batch(take(resized(data.x, width)), take(data.condition), numbers, weight)


def inner_row(key: Key, number: Array, row: Array, num_rows: Array | int) -> Array:
    """Chooses the plan's row of an inner update: the step's, then random ones, as He's script."""
    drawn = jax.random.randint(stream(key, Stream.INNER_BATCH, number), (), 0, num_rows)
    return jnp.where(number == 0, row, drawn)


def first_fault(sums: Sums, grad_norm: Array) -> Array:
    """Returns 0, or the code of the first non-finite term (`jvae.training.state.Fault`)."""
    fault, terms = jnp.int32(0), [*sums.metrics.values(), grad_norm]
    for code, term in reversed(list(enumerate(terms, start=1))):
        fault = jnp.where(jnp.isfinite(term), fault, code)
    return fault


def make_step(
    objective: Objective, optimisers: Optimisers, settings: StepSettings, sharding: Sharding
) -> Step:
    """Builds `step(state, key, data, plan, row, scheduled) -> state`.

    Outside the aggressive phase a step is one joint update. Within it, the encoder is updated by
    the inner loop and the step's own update reaches the other parameters only (He et al., 2019,
    algorithm 1). All buckets are branches of one compiled function.

    A step that meets a non-finite number changes nothing but `state.fault`, and after that no
    step changes anything: the parameters stay those of the last good update.
    """

    def batch_sums(
        params: Params, batch: Batch, state: TrainState, inputs: _Inputs
    ) -> tuple[Array, Sums]:
        outcome = objective.apply(
            params, state.carried, batch, key=inputs.key, scheduled=inputs.scheduled
        )
        metrics = {name: jnp.sum(value * batch.weight) for name, value in outcome.metrics.items()}
        sums = Sums(
            loss=jnp.sum(outcome.losses * batch.weight),
            metrics=metrics,
            rows=jnp.sum(batch.weight),
            symbols=jnp.sum(size_of(batch.x) * batch.weight),
            statistics=outcome.statistics,
        )
        return sums.loss, sums

    def gradient(
        of: Callable[..., tuple[Array, Sums]], wrt: Params, state: TrainState, inputs: _Inputs
    ) -> tuple[Params, Sums]:
        """Sums the gradients of a plan's row over its examples."""
        data, plan, row = inputs.data, inputs.plan, inputs.row

        def at_width(width: int) -> Callable[[Params], tuple[Params, Sums]]:
            def of_rows(wrt: Params, index: Array, weight: Array) -> tuple[Params, Sums]:
                batch = gather(data, sharding.rows(index), sharding.rows(weight), width)
                return jax.grad(of, has_aux=True)(wrt, batch, state, inputs)

            def branch(wrt: Params) -> tuple[Params, Sums]:
                index, weight = plan.index[row], plan.weight[row]
                if settings.microbatches == 1:
                    return of_rows(wrt, index, weight)
                parts = [field.reshape(settings.microbatches, -1) for field in (index, weight)]
                zeros = jax.tree.map(
                    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
                    jax.eval_shape(of_rows, wrt, *(part[0] for part in parts)),
                )
                add = partial(jax.tree.map, jnp.add)
                total, _ = jax.lax.scan(
                    lambda sums, part: (add(sums, of_rows(wrt, *part)), None), zeros, tuple(parts)
                )
                return total

            return branch

        branches = [at_width(width) for width in settings.widths]
        return sharding.reduce(jax.lax.switch(plan.bucket[row], branches, wrt))

    def inner_loop(state: TrainState, inputs: _Inputs) -> TrainState:
        assert settings.inner is not None
        scheduled, joint_norm = inputs.scheduled, settings.inner.clip == "joint"
        shared = optimisers.shared(state.params)
        others = {name: group for name, group in state.params.items() if name != ENCODER}

        def row_of(number: Array) -> Array:
            if inputs.data.numbers is not None:  # the host has drawn already
                return number
            return inner_row(inputs.key, number, inputs.row, inputs.plan.bucket.shape[0])

        def of_encoder(encoder: Params, *rest: Any) -> tuple[Array, Sums]:
            return batch_sums(others | {ENCODER: encoder}, *rest)

        def of_shared(shared: Params, *rest: Any) -> tuple[Array, Sums]:
            return batch_sums(state.params | shared, *rest)

        def update(encoder: Params, opt_state: Any, number: Array) -> InnerUpdate:
            key = stream(inputs.key, Stream.INNER_LOOP, number)
            now = inputs._replace(key=key, row=row_of(number))
            if joint_norm:
                grads, sums = gradient(of_shared, shared | {ENCODER: encoder}, state, now)
                norm = optax.tree.norm(grads) / sums.rows
                grads = grads[ENCODER]
            else:
                grads, sums = gradient(of_encoder, encoder, state, now)
                norm = optax.tree.norm(grads) / sums.rows
            fault = first_fault(sums, norm)
            # One pass over the gradient makes the mean and clips it.
            factor = clip_factor(norm, scheduled["clip_norm"]) / sums.rows
            grads = optax.tree.scale(factor, grads)
            updates, new_opt_state = optimisers.inner.update(grads, opt_state, encoder)
            updates = optax.tree.scale(-scheduled["inner_learning_rate"], updates)
            updates = optax.tree.scale(state.lr_scale, updates)
            new = (optax.apply_updates(encoder, updates), new_opt_state)
            encoder, opt_state = _keep_if(fault == 0, new, (encoder, opt_state))
            return InnerUpdate(encoder, opt_state, sums.loss, sums.symbols, sums.rows, fault)

        active = state.aggressive & (state.fault.term == 0)
        inner = aggressive_update(
            update, state.params[ENCODER], state.inner_opt_state, settings.inner, active=active
        )
        totals = state.totals._replace(
            inner_updates=state.totals.inner_updates + inner.updates,
            inner_rows=state.totals.inner_rows + inner.rows,
        )
        last = inner.updates - 1
        fault = Fault(inner.fault, state.step, last, row_of(last))
        return state._replace(
            params=state.params | {ENCODER: inner.encoder},
            inner_opt_state=inner.opt_state,
            totals=totals,
            fault=_keep_if(inner.fault != 0, fault, state.fault),
        )

    def own_updates(
        state: TrainState, grads: Params, rows: Array
    ) -> tuple[Params, dict[str, Any], Array]:
        """Updates the groups with optimisers of their own, which are not clipped."""
        params, opt_states, norm = {}, {}, jnp.float32(0)
        for name, optimiser in optimisers.own.items():
            mean, before = optax.tree.scale(1 / rows, grads[name]), state.own_opt_states[name]
            updates, opt_states[name] = optimiser.update(mean, before, state.params[name])
            params[name] = optax.apply_updates(state.params[name], updates)
            norm += optax.tree.norm(grads[name])
        return params, opt_states, norm

    def outer_update(state: TrainState, inputs: _Inputs) -> TrainState:
        scheduled = inputs.scheduled
        grads, sums = gradient(batch_sums, state.params, state, inputs)
        shared, shared_grads = optimisers.shared(state.params), optimisers.shared(grads)
        norm = optax.tree.norm(shared_grads) / sums.rows
        factor = clip_factor(norm, scheduled["clip_norm"])
        shared_grads = optax.tree.scale(factor / sums.rows, shared_grads)
        updates, opt_state = optimisers.joint.update(shared_grads, state.opt_state, shared)
        updates = optax.tree.scale(-scheduled["learning_rate"], updates)
        updates = optax.tree.scale(state.lr_scale, updates)
        # In the aggressive phase the inner loop alone moves the encoder.
        moves = jnp.where(state.aggressive, 0.0, 1.0)
        updates = updates | {ENCODER: optax.tree.scale(moves, updates[ENCODER])}
        own, own_opt_states, own_norm = own_updates(state, grads, sums.rows)
        add = partial(jax.tree.map, jnp.add)
        totals = state.totals._replace(
            loss=state.totals.loss + sums.loss,
            metrics=add(state.totals.metrics, sums.metrics),
            rows=state.totals.rows + sums.rows,
            symbols=state.totals.symbols + sums.symbols,
            updates=state.totals.updates + 1,
            clipped=state.totals.clipped + (factor < 1),
            grad_norm=state.totals.grad_norm + norm,
        )
        params, carried = objective.after(
            optax.apply_updates(shared, updates) | own, state.carried, sums.statistics
        )
        good = state._replace(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            own_opt_states=own_opt_states,
            carried=carried,
            totals=totals,
        )
        # A group that is lost would fail the next step.
        term = first_fault(sums, norm + own_norm)
        bad = state._replace(fault=Fault(term, state.step, jnp.int32(-1), inputs.row))
        return _keep_if(term == 0, good, bad)

    def step(
        state: TrainState,
        key: Key,
        data: DeviceData,
        plan: DevicePlan,
        row: Array,
        scheduled: Mapping[str, Any],
    ) -> TrainState:
        inputs = _Inputs(stream(key, Stream.TRAINING, state.step), data, plan, row, scheduled)
        if settings.inner is not None:
            state = inner_loop(state, inputs)
        return _keep_if(state.fault.term == 0, outer_update(state, inputs), state)

    return step


def _keep_if(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
