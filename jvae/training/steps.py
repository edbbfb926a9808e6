"""One update of training, as a pure function of the state, the corpus and the epoch's plan."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jvae.data.batching import take_batch
from jvae.objectives import ELBOTerms, Loss, Scheduled, elbo
from jvae.random import Stream, stream
from jvae.remedies.adversarial import Adversary
from jvae.remedies.aggregate import prior_draws
from jvae.remedies.aggressive import InnerLoop, InnerUpdate, aggressive_update
from jvae.remedies.rate_control import RateControl
from jvae.training.optimisers import clip_factor
from jvae.training.state import Fault, TrainState
from jvae.types import Array, Batch, Key, Params
from jvae.vae import VAE


class DeviceCorpus(NamedTuple):
    """Sentences on the device: `tokens` `[N, T_max + 1]` and `lengths` `[N]`.

    The training set, or one step's part of it (`jvae.training.feed.streamed`). A part has
    `numbers` `[N]`, those that its sentences have in the training set, and its plan's rows are
    in the order in which the step visits them.
    """

    tokens: Array
    lengths: Array
    numbers: Array | None = None


class DevicePlan(NamedTuple):
    """`jvae.data.batching.Plan` on the device: `[M]`, `[M, B]`, `[M, B]`."""

    bucket: Array
    index: Array  # type: ignore[assignment]  # not tuple.index
    weight: Array


class _Given(NamedTuple):
    """What a step works on, beside the state.

    Attributes:
      key: the step's own.
      corpus: sentences.
      plan: of the epoch.
      row: of the plan, which batch.
      scheduled: what the schedules give at this step.
    """

    key: Key
    corpus: DeviceCorpus
    plan: DevicePlan
    row: Array
    scheduled: Scheduled


class Sums(NamedTuple):
    """Of one batch over its real sentences; float32 scalars, but for the last.

    Attributes:
      adversary: the gradient of the discriminator's loss, if there is one.
    """

    loss: Array
    rec: Array
    kl: Array
    sentences: Array
    tokens: Array
    adversary: Params = ()


class StepSettings(NamedTuple):
    """What the compiled step is specialised to.

    Attributes:
      widths: the buckets, predicted tokens.
      clip_norm: global gradient norm above which an update is scaled down.
      num_samples: samples of z per sentence.
      microbatches: equal parts in which a batch's gradient is summed, to save memory.
      inner: settings of the aggressive loop, or None to leave it out of the program.
      terms: what a batch's terms are computed by, `jvae.elbo` or one with its arguments.
      rate_control: its weight of the KL replaces the loss's own, which must be 1; or None.
      adversary: what else the encoder pays, against a discriminator that the step trains; or None.
    """

    widths: tuple[int, ...]
    clip_norm: float = 5.0
    num_samples: int = 1
    microbatches: int = 1
    inner: InnerLoop | None = None
    terms: Callable[..., ELBOTerms] = elbo
    rate_control: RateControl | None = None
    adversary: Adversary | None = None


class Sharding(NamedTuple):
    """How a step spreads over devices (`jvae.training.parallel`).

    Attributes:
      rows: applied to `[B]` arrays of a plan's row, before sentences are gathered.
      reduce: applied to sums over rows, to make them sums over all devices.
    """

    rows: Callable[[Array], Array] = lambda rows: rows
    reduce: Callable[[Any], Any] = lambda sums: sums


# The plan's row comes last but one.
Step = Callable[[TrainState, Key, DeviceCorpus, DevicePlan, Any, Scheduled], TrainState]


def _fault(sums: Sums, grad_norm: Array) -> Array:
    """0, or the code of the first non-finite term (`FAULT_TERMS`)."""
    terms = (grad_norm, sums.kl, sums.rec)
    fault = jnp.int32(0)
    for code, term in zip((3, 2, 1), terms, strict=True):
        fault = jnp.where(jnp.isfinite(term), fault, code)
    return fault


def gather(corpus: DeviceCorpus, index: Array, weight: Array, width: int) -> Batch:
    """The batch of a plan's row: `index` and `weight` `[B]`, `width` predicted tokens."""
    batch = take_batch(corpus.tokens, corpus.lengths, index, weight, width)
    if corpus.numbers is None:
        return batch
    # The noise belongs to the sentence's number.
    return batch._replace(index=jnp.take(corpus.numbers, index))


def inner_row(key: Key, number: Array, row: Array, num_rows: Array | int) -> Array:
    """The plan's row of an inner update: the step's own, then random ones, as in He's script."""
    drawn = jax.random.randint(stream(key, Stream.INNER_BATCH, number), (), 0, num_rows)
    return jnp.where(number == 0, row, drawn)


def make_step(
    model: VAE,
    loss: Loss,
    optimiser: optax.GradientTransformation,
    inner_optimiser: optax.GradientTransformation,
    settings: StepSettings,
    sharding: Sharding,
) -> Step:
    """Builds `step(state, key, corpus, plan, row, scheduled) -> state`.

    Outside the aggressive phase a step is one joint update. Within it, the encoder is updated by
    the inner loop and the step's own update reaches the decoder and the prior only (He et al.,
    2019, algorithm 1). All buckets are branches of one program.

    A step that meets a non-finite number changes nothing but `state.fault`, and after that no
    step changes anything: the parameters stay those of the last good update.
    """
    control, adversary = settings.rate_control, settings.adversary

    def batch_sums(params: Params, batch: Batch, state: TrainState, given: _Given):
        key = given.key
        terms = settings.terms(
            model, params, batch, key=key, num_samples=settings.num_samples, train=True
        )
        losses = loss(terms, given.scheduled, batch.weight)
        if control is not None:
            losses += (control.kl_weight(state.rate_control) - 1) * terms.total_kl
        own: Params = ()
        if adversary is not None:
            losses += adversary.loss(state.adversary, terms.z)
            draws = prior_draws(model, params, batch, stream(key, Stream.ADVERSARY))
            own = adversary.gradient(state.adversary, terms.z, draws, batch.weight)
        sums = Sums(
            loss=jnp.sum(losses * batch.weight),
            rec=-jnp.sum(terms.log_likelihood * batch.weight),
            kl=jnp.sum(terms.total_kl * batch.weight),
            sentences=jnp.sum(batch.weight),
            tokens=jnp.sum(batch.lengths * batch.weight),
            adversary=own,
        )
        return sums.loss, sums

    def gradient(
        of: Callable[..., tuple[Array, Sums]], wrt: Params, state: TrainState, given: _Given
    ) -> tuple[Params, Sums, Array]:
        """Of a plan's row: the sum of its losses' gradients, its sums, and the norm of the mean."""
        corpus, plan, row = given.corpus, given.plan, given.row

        def at_width(width: int):
            def of_rows(wrt: Params, index: Array, weight: Array) -> tuple[Params, Sums]:
                batch = gather(corpus, sharding.rows(index), sharding.rows(weight), width)
                return jax.grad(of, has_aux=True)(wrt, batch, state, given)

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
        grads, sums = sharding.reduce(jax.lax.switch(plan.bucket[row], branches, wrt))
        return grads, sums, optax.tree.norm(grads) / sums.sentences

    def inner_loop(state: TrainState, given: _Given) -> TrainState:
        assert settings.inner is not None
        decoder_and_prior = {k: v for k, v in state.params.items() if k != "encoder"}
        joint_norm = settings.inner.clip == "joint"

        def row_of(number: Array) -> Array:
            if given.corpus.numbers is not None:  # the host has drawn already
                return number
            return inner_row(given.key, number, given.row, given.plan.bucket.shape[0])

        def of_encoder(encoder: Params, *rest: Any):
            return batch_sums(decoder_and_prior | {"encoder": encoder}, *rest)

        def update(encoder: Params, opt_state: Any, number: Array) -> InnerUpdate:
            key = stream(given.key, Stream.INNER_LOOP, number)
            own = given._replace(key=key, row=row_of(number))
            if joint_norm:
                params = decoder_and_prior | {"encoder": encoder}
                grads, sums, norm = gradient(batch_sums, params, state, own)
                grads = grads["encoder"]
            else:
                grads, sums, norm = gradient(of_encoder, encoder, state, own)
            fault = _fault(sums, norm)
            # One pass over the gradient makes the mean and clips it.
            factor = clip_factor(norm, settings.clip_norm) / sums.sentences
            grads = optax.tree.scale(factor, grads)
            updates, new_opt_state = inner_optimiser.update(grads, opt_state, encoder)
            updates = optax.tree.scale(state.lr_scale, updates)
            new = (optax.apply_updates(encoder, updates), new_opt_state)
            encoder, opt_state = _keep_if(fault == 0, new, (encoder, opt_state))
            return InnerUpdate(encoder, opt_state, sums.loss, sums.tokens, sums.sentences, fault)

        active = state.aggressive & (state.fault.term == 0)
        inner = aggressive_update(
            update, state.params["encoder"], state.inner_opt_state, settings.inner, active=active
        )
        totals = state.totals._replace(
            inner_updates=state.totals.inner_updates + inner.updates,
            inner_sentences=state.totals.inner_sentences + inner.sentences,
        )
        last = inner.updates - 1
        fault = Fault(inner.fault, state.step, last, row_of(last))
        return state._replace(
            params=state.params | {"encoder": inner.encoder},
            inner_opt_state=inner.opt_state,
            totals=totals,
            fault=_keep_if(inner.fault != 0, fault, state.fault),
        )

    def outer_update(state: TrainState, given: _Given) -> TrainState:
        grads, sums, norm = gradient(batch_sums, state.params, state, given)
        factor = clip_factor(norm, settings.clip_norm)
        grads = optax.tree.scale(factor / sums.sentences, grads)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        updates = optax.tree.scale(state.lr_scale, updates)
        # In the aggressive phase the inner loop alone moves the encoder.
        moves = jnp.where(state.aggressive, 0.0, 1.0)
        updates["encoder"] = optax.tree.scale(moves, updates["encoder"])
        totals = state.totals._replace(
            loss=state.totals.loss + sums.loss,
            rec=state.totals.rec + sums.rec,
            kl=state.totals.kl + sums.kl,
            sentences=state.totals.sentences + sums.sentences,
            tokens=state.totals.tokens + sums.tokens,
            updates=state.totals.updates + 1,
            clipped=state.totals.clipped + (factor < 1),
            grad_norm=state.totals.grad_norm + norm,
        )
        good = state._replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            totals=totals,
        )
        if control is not None:
            kl = sums.kl / sums.sentences
            good = good._replace(rate_control=control.update(state.rate_control, kl))
        if adversary is not None:
            own = optax.tree.scale(1 / sums.sentences, sums.adversary)
            good = good._replace(adversary=adversary.update(state.adversary, own))
            # A discriminator that is lost would fail the next step.
            norm += optax.tree.norm(sums.adversary)
        term = _fault(sums, norm)
        bad = state._replace(fault=Fault(term, state.step, jnp.int32(-1), given.row))
        return _keep_if(term == 0, good, bad)

    def step(
        state: TrainState,
        key: Key,
        corpus: DeviceCorpus,
        plan: DevicePlan,
        row: Array,
        scheduled: Scheduled,
    ) -> TrainState:
        given = _Given(stream(key, Stream.TRAINING, state.step), corpus, plan, row, scheduled)
        if settings.inner is not None:
            state = inner_loop(state, given)
        return _keep_if(state.fault.term == 0, outer_update(state, given), state)

    return step


def _keep_if(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
