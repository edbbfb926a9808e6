"""The bag-of-words loss (Zhao et al., 2017): z alone must also predict which words occur.

The decoder can forget z, as it sees the words before; a second head cannot, as it sees nothing
else. It acts in training only and is no part of `p(x | z)`, hence of no reported number.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jvae.batch import Batch, Tokens
from jvae.layers import dense_product, product, symmetric_uniform
from jvae.objectives import Groups, Objective, Outcome, add_losses
from jvae.random import Stream, stream
from jvae.types import Array, DType, Key, Params

NAME = "bag_of_words"  # of its parameter group


class BagOfWords(nn.Module):
    """`log p_bow(x | z) = sum_t log softmax(tanh(z W_1 + b) W_2)[x_t]`, the order ignored.

    Attributes:
      vocab_size: V.
      hidden_size: of the hidden layer. The source's script has 400.
      init_scale: weights start from `U(-init_scale, init_scale)`.
      dtype: of the products' factors, see `jvae.layers.product`.
    """

    vocab_size: int
    hidden_size: int
    init_scale: float
    dtype: DType = None

    @nn.compact
    def __call__(self, z: Array, x: Tokens) -> Array:
        """Sums over the words and `</s>`: `[B]`, nats per sentence."""
        init = symmetric_uniform(self.init_scale)
        hidden = nn.Dense(
            self.hidden_size,
            kernel_init=init,
            bias_init=init,
            dot_general=dense_product(self.dtype),
        )(z)
        output_kernel = self.param("output_kernel", init, (self.hidden_size, self.vocab_size))
        logits = product(jnp.tanh(hidden), output_kernel, self.dtype)
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), x.targets, axis=1)
        return jnp.sum(jnp.where(x.mask, log_probs, 0), axis=1)


def with_bag_of_words(
    objective: Objective,
    *,
    weight: float,
    vocab_size: int,
    latent_size: int,
    hidden_size: int = 400,
    init_scale: float = 0.01,
    dtype: DType = None,
) -> Objective:
    """Adds `-weight log p_bow(x | z)` to the losses; the source's weight is 1.

    The head is a parameter group of its own, trained by the run's optimiser.

    Args:
      objective: of a bound.
      weight: of the head's term.
      vocab_size: V.
      latent_size: L.
      hidden_size: of the head.
      init_scale: of the head.
      dtype: of the head's products.

    References:
      Zhao et al. (2017), Learning Discourse-level Diversity for Neural Dialog Models using
      Conditional Variational Autoencoders, section 3.3.
    """
    head = BagOfWords(vocab_size, hidden_size, init_scale, dtype)

    def init(key: Key, params: Params) -> Groups:
        groups = objective.init(key, params)
        sentence = Tokens(jnp.zeros((1, 2), jnp.int32), jnp.ones(1, jnp.int32))
        own_key = stream(key, Stream.OBJECTIVE)
        own = head.init(own_key, jnp.zeros((1, latent_size)), sentence)["params"]
        return groups._replace(params=groups.params | {NAME: own})

    def extra(params: Params, batch: Batch, outcome: Outcome, key: Key) -> Array:
        def log_prob(z: Array) -> Any:
            return head.apply({"params": params[NAME]}, z, batch.x)

        return -weight * jnp.mean(jax.vmap(log_prob)(outcome.terms.z), axis=0)

    return add_losses(objective, extra)._replace(init=init)
