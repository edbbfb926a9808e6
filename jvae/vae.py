"""The contract: a model is a value made of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn

from jvae.distributions import Distribution, Inference
from jvae.random import Stream, stream
from jvae.types import Array, Batch, Key, Params


class Encoder(NamedTuple):
    """`q(z | x)`.

    Attributes:
      init: `(key, batch) -> params`.
      apply: `(params, batch, *, key, train) -> posterior over [B, L]`, or an `Inference` that holds
        it. `key` is used in training only (dropout, denoising).
      from_embeddings: `(params, embedded [K, T, E], lengths [K]) -> posterior over [K, L]`, of
        sentences given as embeddings, without noise; None where it does not read any.
      measure: `(params, batch, *, key) -> params`, after each update: parameters that are measured
        on the batch, not learnt (running moments); None without such.
    """

    init: Callable[..., Params]
    apply: Callable[..., Distribution]
    from_embeddings: Callable[..., Distribution] | None = None
    measure: Callable[..., Params] | None = None


class Decoder(NamedTuple):
    """`p(x | z)`.

    Attributes:
      init: `(key, z [B, L], batch) -> params`.
      log_prob: `(params, z [B, L], batch, *, key, train) -> [B]`, nats per sentence. Map it over
        samples with `jax.vmap`: what does not depend on z is then computed once. Of some decoders z
        is a tree of arrays, `jvae.sets.VectorSet`.
      start: `(params, z [B, L], max_length) -> carry`: the state before the first token, arrays
        only. `max_length`, a static number, is how many tokens will be read at most.
      step: `(params, carry, token [B]) -> (carry, logits [B, V])`: reads a token, predicts the
        next.
      auxiliary: None, or `(params, z [B, L], batch) -> {name: [B]}`: what a loss may add in
        training, and no part of `p(x | z)`.
    """

    init: Callable[..., Params]
    log_prob: Callable[..., Array]
    start: Callable[[Params, Any, int], Any]
    step: Callable[[Params, Any, Array], tuple[Any, Array]]
    auxiliary: Callable[[Params, Array, Batch], dict[str, Array]] | None = None


class Prior(NamedTuple):
    """`p(z)`.

    Attributes:
      init: `(key) -> params`.
      distribution: `(params) -> distribution`, broadcastable to `[B, L]`; of all the model's
        parameters, for a prior may be made with the encoder.
    """

    init: Callable[[Key], Params]
    distribution: Callable[[Params], Distribution]


class VAE(NamedTuple):
    """A text VAE. Its parameters are `{"encoder": .., "decoder": .., "prior": ..}`.

    Attributes:
      encoder: `q(z | x)`.
      decoder: `p(x | z)`.
      prior: `p(z)`.
      latent_size: L.
      refine: None, or `(model, params, posterior, batch, *, key, train) -> posterior`: what is made
        of the encoder's with the rest of the model.
    """

    encoder: Encoder
    decoder: Decoder
    prior: Prior
    latent_size: int
    refine: Callable[..., Distribution] | None = None

    def infer(self, params: Params, batch: Batch, *, key: Key, train: bool) -> Distribution:
        """`q(z | x)`, over `[B, L]`: the encoder's, refined where the model does that."""
        return self.inference(params, batch, key=key, train=train).posterior

    def inference(self, params: Params, batch: Batch, *, key: Key, train: bool) -> Inference:
        """The same, and what else the encoder tells."""
        noise = stream(key, Stream.ENCODER)
        apply = self.encoder.apply
        found = Inference.of(apply(params["encoder"], batch, key=noise, train=train))
        if self.refine is None:
            return found
        q = self.refine(self, params, found.posterior, batch, key=key, train=train)
        return found._replace(posterior=q)


def _apply(module: nn.Module, params: Params, *arguments: Any, **options: Any) -> Any:
    return module.apply({"params": params}, *arguments, **options)


def encoder_from_module(module: nn.Module) -> Encoder:
    """Wraps a Flax module with `__call__(batch, *, key, train) -> posterior`.

    Its method `from_embeddings(embedded, lengths) -> posterior`, if it has one, is wrapped too.
    """

    def init(key: Key, batch: Batch) -> Params:
        return module.init(key, batch, key=key, train=False).get("params", {})

    def apply(params: Params, batch: Batch, *, key: Key, train: bool) -> Distribution:
        return _apply(module, params, batch, key=key, train=train)

    def from_embeddings(params: Params, embedded: Array, lengths: Array) -> Distribution:
        return _apply(module, params, embedded, lengths, method="from_embeddings")

    return Encoder(init, apply, from_embeddings if hasattr(module, "from_embeddings") else None)


def decoder_from_module(module: nn.Module) -> Decoder:
    """Wraps a Flax module with methods `log_prob(z, batch, *, key, train)`, `start`, `step`."""

    def init(key: Key, z: Any, batch: Batch) -> Params:
        variables = module.init(key, z, batch, key=key, train=False, method="log_prob")
        return variables.get("params", {})

    def log_prob(params: Params, z: Any, batch: Batch, *, key: Key, train: bool) -> Array:
        return _apply(module, params, z, batch, key=key, train=train, method="log_prob")

    def start(params: Params, z: Any, max_length: int) -> Any:
        return _apply(module, params, z, max_length, method="start")

    def step(params: Params, carry: Any, token: Array) -> tuple[Any, Array]:
        return _apply(module, params, carry, token, method="step")

    return Decoder(init, log_prob, start, step)
