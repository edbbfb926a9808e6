"""The contract: a model is a value made of pure functions.

Parameters are `{"encoder": .., "decoder": .., "prior": ..}`, with `"conditioner"` where the model
has one, and with a group for each thing that an objective learns.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from flax import linen as nn

from jvae.batch import Batch
from jvae.distributions.base import Distribution
from jvae.random import Stream, stream
from jvae.types import Array, Key, Params


class Inference(NamedTuple):
    """The result of an encoder.

    Attributes:
      posterior: `q(z | x, c)`.
      terms: by name, `[B]`, nats, of latents inside the encoder: training adds them to the KL. They
        are no part of the bound, which holds for any posterior, however it is made.
      metrics: by name, `[B]`, what evaluation reports of these latents.
      statistics: a tree of sums over the batch's real rows, in training, for `Encoder.after`.
    """

    posterior: Any
    terms: dict[str, Array] = {}
    metrics: dict[str, Array] = {}
    statistics: Any = {}

    @classmethod
    def of(cls, result: Any) -> "Inference":
        """Wraps the result of an encoder that gives its posterior alone."""
        return result if isinstance(result, cls) else cls(result, {}, {}, {})


class ConditionerApply(Protocol):
    """Computes the context that encoder, prior, decoder and all samples share."""

    def __call__(self, params: Params, condition: Any, *, key: Key, train: bool) -> Any:
        """`condition` is `Batch.condition`; the context is a pytree with leading axis B."""
        ...


class Conditioner(NamedTuple):
    """Reads what is given, once per batch.

    Attributes:
      init: `(key, condition) -> params`.
      apply: see `ConditionerApply`.
    """

    init: Callable[[Key, Any], Params]
    apply: ConditionerApply


class EncoderApply(Protocol):
    """Computes `q(z | x, c)`."""

    def __call__(
        self, params: Params, batch: Batch, context: Any, *, key: Key, train: bool
    ) -> Distribution | Inference:
        """`key` is used in training only (dropout, denoising)."""
        ...


class Encoder(NamedTuple):
    """`q(z | x, c)`.

    Attributes:
      init: `(key, batch, context) -> params`.
      apply: see `EncoderApply`; `params` are the encoder's.
      from_embeddings: `(params, embedded [K, T, E], lengths [K]) -> posterior over [K, L]`, of
        examples given as embeddings, without noise; None where the encoder reads none.
      after: `(params, statistics) -> params`, after each update, with the sums of
        `Inference.statistics`: parameters that are counted, not learnt (running moments).
    """

    init: Callable[[Key, Batch, Any], Params]
    apply: EncoderApply
    from_embeddings: Callable[[Params, Array, Array], Distribution] | None = None
    after: Callable[[Params, Any], Params] | None = None


class Steps(NamedTuple):
    """A decoder that produces a sequence step by step.

    Attributes:
      start: `(params, z, context, max_length) -> carry`, the state before the first token, arrays
        only. `max_length`, a static number, is how many tokens will be read at most.
      step: `(params, carry, token [B]) -> (carry, logits [B, V])`: reads a token, predicts the
        next.
    """

    start: Callable[[Params, Any, Any, int], Any]
    step: Callable[[Params, Any, Array], tuple[Any, Array]]


class DecoderLogProb(Protocol):
    """Computes `log p(x | z, c)`."""

    def __call__(
        self, params: Params, z: Any, batch: Batch, context: Any, *, key: Key, train: bool
    ) -> Array:
        """`[B]`, nats. Map it over samples with `jax.vmap`: what does not depend on z is shared."""
        ...


class DecoderJoint(Protocol):
    """Computes `log p(x | z, c)` of a decoder with latents of its own along the output."""

    def __call__(
        self, params: Params, z: Any, batch: Batch, context: Any, *, key: Key, train: bool
    ) -> tuple[Array, dict[str, Array], Array]:
        """Returns the log-likelihood `[B]`, KL terms by name, and `log p - log q` of them `[B]`.

        An importance weight is the log-likelihood plus the last; their priors need the output
        before each latent.
        """
        ...


class Decoder(NamedTuple):
    """`p(x | z, c)`.

    Attributes:
      init: `(key, z, batch, context) -> params`.
      log_prob: see `DecoderLogProb`; `params` are the decoder's.
      sample: `(params, z, context, *, key) -> x`, where it can draw x at once.
      steps: where it is autoregressive.
      joint: where it has latents of its own; `log_prob` is then not asked.
    """

    init: Callable[[Key, Any, Batch, Any], Params]
    log_prob: DecoderLogProb
    sample: Callable[..., Any] | None = None
    steps: Steps | None = None
    joint: DecoderJoint | None = None


class Prior(NamedTuple):
    """`p(z | c)`.

    Attributes:
      init: `(key) -> params`.
      apply: `(params, context) -> distribution`, broadcastable to leading axis B. `params` are
        all of the model's: a prior may be made with the encoder.
      observe: `(posterior, weight [B]) -> statistics`, sums over rows, for `fit`.
      fit: `(params, statistics) -> params`, of the prior, where a part of it is estimated from the
        posteriors of a whole split, not learnt.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Any], Distribution]
    observe: Callable[[Any, Array], Any] | None = None
    fit: Callable[[Params, Any], Params] | None = None


class Refine(Protocol):
    """Improves the encoder's posterior with the rest of the model."""

    def __call__(
        self,
        model: "VAE",
        params: Params,
        posterior: Any,
        batch: Batch,
        context: Any,
        *,
        key: Key,
        train: bool,
    ) -> Distribution:
        """Returns a posterior of the same family."""
        ...


class VAE(NamedTuple):
    """A latent-variable model with amortised inference.

    Attributes:
      encoder: `q(z | x, c)`.
      decoder: `p(x | z, c)`.
      prior: `p(z | c)`.
      conditioner: reads c; None where nothing is given, and every context is None.
      refine: see `Refine`; None to take the encoder's posterior as it is.
    """

    encoder: Encoder
    decoder: Decoder
    prior: Prior
    conditioner: Conditioner | None = None
    refine: Refine | None = None

    def context(self, params: Params, condition: Any, *, key: Key, train: bool) -> Any:
        """Computes what the parts are given of the condition; None without a conditioner."""
        if self.conditioner is None:
            return None
        noise = stream(key, Stream.CONDITIONER)
        return self.conditioner.apply(params["conditioner"], condition, key=noise, train=train)

    def infer(
        self, params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Inference:
        """Computes `q(z | x, c)`, refined where the model does that."""
        noise = stream(key, Stream.ENCODER)
        apply = self.encoder.apply
        result = Inference.of(apply(params["encoder"], batch, context, key=noise, train=train))
        if self.refine is None:
            return result
        q = self.refine(self, params, result.posterior, batch, context, key=key, train=train)
        return result._replace(posterior=q)


def _apply(module: nn.Module, params: Params, *arguments: Any, **options: Any) -> Any:
    return module.apply({"params": params}, *arguments, **options)


def encoder_from_module(module: nn.Module) -> Encoder:
    """Wraps a Flax module with `__call__(batch, context, *, key, train) -> posterior`.

    A method `from_embeddings(embedded, lengths) -> posterior` is wrapped too, where there is one.
    """

    def init(key: Key, batch: Batch, context: Any = None) -> Params:
        return module.init(key, batch, context, key=key, train=False).get("params", {})

    def apply(
        params: Params, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Distribution | Inference:
        return _apply(module, params, batch, context, key=key, train=train)

    def from_embeddings(params: Params, embedded: Array, lengths: Array) -> Distribution:
        return _apply(module, params, embedded, lengths, method="from_embeddings")

    return Encoder(init, apply, from_embeddings if hasattr(module, "from_embeddings") else None)


def decoder_from_module(module: nn.Module) -> Decoder:
    """Wraps a Flax module with a method `log_prob(z, batch, context, *, key, train)`.

    Methods `start(z, context, max_length)` and `step(carry, token)` make it autoregressive, and
    `sample(z, context, *, key)` lets it draw observations, where there are any.
    """

    def init(key: Key, z: Any, batch: Batch, context: Any = None) -> Params:
        variables = module.init(key, z, batch, context, key=key, train=False, method="log_prob")
        return variables.get("params", {})

    def log_prob(
        params: Params, z: Any, batch: Batch, context: Any = None, *, key: Key, train: bool
    ) -> Array:
        return _apply(module, params, z, batch, context, key=key, train=train, method="log_prob")

    def sample(params: Params, z: Any, context: Any = None, *, key: Key) -> Any:
        return _apply(module, params, z, context, key=key, method="sample")

    def start(params: Params, z: Any, context: Any, max_length: int) -> Any:
        return _apply(module, params, z, context, max_length, method="start")

    def step(params: Params, carry: Any, token: Array) -> tuple[Any, Array]:
        return _apply(module, params, carry, token, method="step")

    return Decoder(
        init,
        log_prob,
        sample=sample if hasattr(module, "sample") else None,
        steps=Steps(start, step) if hasattr(module, "step") else None,
    )


def fixed_prior(make: Callable[[], Distribution]) -> Prior:
    """Makes a prior without parameters and condition: `make()` is its distribution."""

    def apply(params: Params, context: Any = None) -> Distribution:
        return make()

    return Prior(lambda key: {}, apply)
