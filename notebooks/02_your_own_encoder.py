# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # `jvae.elbo` with an encoder of your own
#
# A model is three values made of pure functions. Here the encoder is written by hand: the mean of
# the word vectors, and two linear maps. Everything else, the decoder, the bound, the
# importance-weighted likelihood, stays as it is. `context` is what a conditioner makes of a
# condition; here nothing is given, and it is None.

# %%
import jax
import jax.numpy as jnp
import optax

import jvae

VOCAB, LATENT, EMBED = 20, 4, 16


# %%
def init(key, batch, context):
    keys = jax.random.split(key, 2)
    return {
        "words": 0.1 * jax.random.normal(keys[0], (VOCAB, EMBED)),
        "head": 0.1 * jax.random.normal(keys[1], (EMBED, 2 * LATENT)),
    }


def apply(params, batch, context, *, key, train):
    ids = batch.x.ids
    real = (ids != 0)[..., None]
    words = jnp.where(real, params["words"][ids], 0)
    pooled = words.sum(axis=1) / real.sum(axis=1)
    mean, log_var = jnp.split(pooled @ params["head"], 2, axis=-1)
    return jvae.DiagonalGaussian(mean, log_var)


model = jvae.VAE(
    encoder=jvae.Encoder(init, apply),
    decoder=jvae.lstm_decoder(
        vocab_size=VOCAB, latent_size=LATENT, embed_size=EMBED, hidden_size=32, init_scale=0.1
    ),
    prior=jvae.standard_normal(latent_size=LATENT),
)

# %% [markdown]
# Sixteen sentences `<s> w w w w </s>` that repeat one word each: a language with one fact per
# sentence, which z can carry.

# %%
words = jnp.arange(4, 20)
body = jnp.tile(words[:, None], (1, 4))
ones = jnp.ones((16, 1), jnp.int32)
batch = jvae.text_batch(jnp.concatenate([1 * ones, body, 2 * ones], axis=1))

# %% [markdown]
# The training step is yours, too: the library never jits and keeps no state.

# %%
key = jax.random.key(0)
params = jvae.init(model, batch, key=key)
optimiser = optax.adam(1e-2)


@jax.jit
def step(params, opt_state, number):
    def loss(params):
        step_key = jax.random.fold_in(key, number)
        terms = jvae.elbo(model, params, batch, key=step_key, num_samples=4)
        return -jnp.mean(terms.log_likelihood - jnp.minimum(1.0, number / 500) * terms.total_kl)

    value, grads = jax.value_and_grad(loss)(params)
    updates, opt_state = optimiser.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, value


opt_state = optimiser.init(params)
for number in range(1000):
    params, opt_state, value = step(params, opt_state, number)

# %% [markdown]
# The entropy of this language is `log 16 = 2.77` nats per sentence: no bound may be below it, and
# a good model is close.

# %%
terms = jvae.elbo(model, params, batch, key=key, num_samples=100)
bound, _ = jvae.iw_log_likelihood(model, params, batch, key=key, num_samples=500, chunk_size=100)
print(f"-ELBO {-terms.elbo.mean():.3f}   KL {terms.total_kl.mean():.3f}")
print(f"IW-NLL(500) {-bound.mean():.3f}   entropy {jnp.log(16):.3f}")
