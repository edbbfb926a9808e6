"""Denoising attention against NumPy, one query and head at a time, and against Bayes' rule.

The oracle is given the present rows alone, so that it has nothing to mask; what the others hold is
not even a number.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.distributions.sets import VectorSet
from jvae.layers import DenoisingAttention, denoising_attention
from jvae.layers.denoising import VARIANTS, attend, precompute

B, T, K, P, H, E = 3, 4, 5, 6, 2, 3
S = np.sqrt(E)
FORMS = [("impulses", "half"), *(("mixture", variant) for variant in VARIANTS)]
TWO_FORMS = [("impulses", "half"), ("mixture", "exact")]  # "exact" has all terms
ATTENTION = jax.jit(denoising_attention, static_argnames=("causal", "variant"))
KEY = jax.random.key(0)


def make_set(form: str, rows: int = K, seed: int = 0) -> VectorSet:
    """Of the rows of sentence 1 the middle one is absent, of those of sentence 2 all but one."""
    rng = np.random.default_rng(seed)
    vectors, log_vars = rng.normal(size=(2, B, rows, P))
    log_weights = rng.normal(size=(B, rows))
    log_weights[1, rows // 2] = log_weights[2, 1:] = -np.inf
    vectors[log_weights == -np.inf] = log_vars[log_weights == -np.inf] = np.nan
    return VectorSet(vectors, log_weights, 2 * log_vars if form == "mixture" else None)


def make_others(heads: int = H, width: int = E, steps: int = T) -> tuple[np.ndarray, ...]:
    """A query and two kernels."""
    rng = np.random.default_rng(1)
    shapes = ((B, steps, heads, width), (P, heads, width), (P, heads, width))
    return tuple(rng.normal(size=shape) for shape in shapes)


SET, MIXTURE, OTHERS = make_set("impulses"), make_set("mixture"), make_others()


def run(query, memory, *kernels, dtype=np.float64, **options) -> np.ndarray:
    """Compiled, in this precision."""
    with jax.enable_x64(dtype == np.float64):
        arrays = jax.tree.map(lambda x: jnp.asarray(x, dtype), (query, memory, *kernels))
        out = ATTENTION(*arrays, **options)
        assert out.dtype == dtype
        return np.asarray(out, np.float64)


def oracle(query, memory, key_kernel, value_kernel, causal=False, variant="half") -> np.ndarray:
    """Sums written out."""
    out = np.zeros(query.shape)
    s, big_a = np.sqrt(query.shape[-1]), {"half": 0.5, "exact": 0.5, "v1": 1}[variant]
    steps = query.shape[1]
    for b, t, h in np.ndindex(query.shape[:3]):
        rows = [i for i in range(len(memory.log_weights[b])) if memory.log_weights[b, i] > -np.inf]
        if causal:
            rows = [i for i in rows if i % (steps + 1) <= t + 1]
        q, logits, vectors = query[b, t, h], [], []
        u = key_kernel[:, h] @ q
        for i in rows:
            mu, log_pi = memory.vectors[b, i], memory.log_weights[b, i]
            if memory.log_vars is None:
                key = mu @ key_kernel[:, h]
                logits.append(q @ key / s + log_pi - mu @ mu / (2 * s))
                vectors.append(mu)
            else:
                var = np.exp(memory.log_vars[b, i])
                var_u = var + s
                logit = u @ (mu / var_u) + log_pi - np.sum(mu**2 / var_u) / 2
                logit -= big_a * np.sum(np.log(var_u))
                logits.append(logit - (np.sum(u**2 / var_u) / 2 if variant == "exact" else 0))
                vectors.append(var / var_u * u + s / var_u * mu)
        weights = np.exp(np.array(logits) - max(logits))
        out[b, t, h] = weights / weights.sum() @ np.array(vectors) @ value_kernel[:, h]
    return out


# Values.


@pytest.mark.parametrize(("form", "variant"), FORMS)
def test_the_formulas(form, variant):
    memory = make_set(form)
    query, *kernels = OTHERS
    expected = oracle(query, memory, *kernels, variant=variant)
    for dtype, atol in ((np.float64, 1e-12), (np.float32, 2e-5)):
        out = run(query, memory, *kernels, dtype=dtype, variant=variant)
        np.testing.assert_allclose(out, expected, atol=atol)


@pytest.mark.parametrize(("form", "variant"), TWO_FORMS)
def test_one_head_as_wide_as_the_vectors_or_wider(form, variant):
    """E, not P, is in the scales."""
    for width in (P, P + 2):
        query, *kernels = make_others(1, width)
        expected = oracle(query, make_set(form), *kernels, variant=variant)
        out = run(query, make_set(form), *kernels, variant=variant)
        np.testing.assert_allclose(out, expected, atol=1e-12)


@pytest.mark.parametrize("form", ["impulses", "mixture"])
@pytest.mark.parametrize("copies", [1, 2])
def test_causal(form, copies):
    """The prior's row and the tokens so far, in each copy."""
    memory = make_set(form, copies * (T + 1))
    query, *kernels = OTHERS
    expected = oracle(query, memory, *kernels, causal=True)
    for dtype, atol in ((np.float64, 1e-12), (np.float32, 2e-5)):
        out = run(query, memory, *kernels, dtype=dtype, causal=True)
        np.testing.assert_allclose(out, expected, atol=atol)


def test_a_causal_memory_of_another_length_is_refused():
    query, *kernels = make_others(steps=T - 1)
    with pytest.raises(jvae.UserError, match="needs a memory of 4 rows, or so many in each copy"):
        denoising_attention(query, make_set("impulses"), *kernels, causal=True)


def test_exact_is_the_posterior_mean():
    """By quadrature over the plane: a mixture seen through noise of variance sqrt(E)."""
    rng = np.random.default_rng(3)
    means, log_vars = rng.normal(size=(2, 1, 3, 2))
    log_weights = np.log([[0.5, 0.2, 0.3]])
    query, (kernel,) = rng.normal(size=(1, 2, 1, E)), rng.normal(size=(1, 2, 1, E))
    axis = np.linspace(-12, 12, 481)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    var = np.exp(log_vars[0])
    normal = np.exp(-0.5 * (z - means[0]) ** 2 / var) / np.sqrt(2 * np.pi * var)
    prior = np.prod(normal, axis=-1) @ np.exp(log_weights[0])
    for t in range(2):
        u = kernel[:, 0] @ query[0, t, 0]
        density = prior * np.exp(-np.sum((u - z[:, 0]) ** 2, axis=-1) / (2 * S))
        expected = density @ z[:, 0] / density.sum() @ kernel[:, 0]
        memory = VectorSet(means, log_weights, log_vars)
        out = run(query, memory, kernel, kernel, variant="exact")
        np.testing.assert_allclose(out[0, t, 0], expected, atol=1e-8)


def test_a_mixture_of_tiny_variances_is_a_set_of_impulses():
    query, *kernels = OTHERS
    impulses = run(query, SET, *kernels)
    for variant in VARIANTS:
        mixture = SET._replace(log_vars=np.full(SET.vectors.shape, -200.0))
        np.testing.assert_allclose(
            run(query, mixture, *kernels, variant=variant), impulses, atol=1e-12
        )


def test_weights_that_undo_the_norms_give_ordinary_attention():
    query, *kernels = OTHERS
    vectors = np.nan_to_num(SET.vectors)
    memory = VectorSet(vectors, np.sum(vectors**2, -1) / (2 * S))
    keys, values = (np.einsum("bkp,phe->bkhe", vectors, kernel) for kernel in kernels)
    ordinary = jax.nn.dot_product_attention(*(jnp.asarray(x, "f") for x in (query, keys, values)))
    np.testing.assert_allclose(run(query, memory, *kernels), ordinary, atol=2e-5)


def test_one_component_needs_no_weights():
    query, *kernels = OTHERS
    u = np.einsum("bthe,phe->bthp", query, kernels[0])
    mu, var = MIXTURE.vectors[:, :1], np.exp(MIXTURE.log_vars[:, :1])
    alone = MIXTURE._replace(
        log_weights=np.where(np.arange(K) == 0, 3.0, -np.inf) * np.ones((B, 1))
    )
    for memory, z in (
        (alone._replace(log_vars=None), mu[:, :, None] + 0 * u),
        (alone, (var[:, :, None] * u + S * mu[:, :, None]) / (var[:, :, None] + S)),
    ):
        expected = np.einsum("bthp,phe->bthe", z, kernels[1])
        np.testing.assert_allclose(run(query, memory, *kernels), expected, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_component_that_may_be_anywhere_returns_the_query_and_is_rare(variant):
    query, *kernels = OTHERS
    wide = MIXTURE._replace(log_vars=np.full(SET.vectors.shape, 75.0))
    expected = np.einsum("bthe,phe,pho->btho", query, *kernels)
    np.testing.assert_allclose(run(query, wide, *kernels, variant=variant), expected, atol=1e-12)
    # Its bias falls by A for each dimension and nat of variance.
    with jax.enable_x64(True):
        further = wide._replace(log_vars=wide.log_vars + 2)
        biases = [precompute(x, *kernels, variant=variant).bias[0] for x in (wide, further)]
    expected = np.full(K, -2 * P * (1.0 if variant == "v1" else 0.5))
    np.testing.assert_allclose(biases[1] - biases[0], expected, atol=1e-12)


# Invariances.


@pytest.mark.parametrize(("form", "variant"), TWO_FORMS)
def test_order_halves_and_padding_change_nothing(form, variant):
    query, *kernels = OTHERS
    memory = make_set(form)

    def of(rows, log_factor=0.0):
        parts = jax.tree.map(lambda x: x[:, rows], memory)
        return parts._replace(log_weights=parts.log_weights + log_factor)

    expected = run(query, memory, *kernels, variant=variant)
    # Shuffled; with row 2 in two halves; after two more rows of padding.
    halved = of([0, 1, 2, 2, 3, 4], np.log([1, 1, 0.5, 0.5, 1, 1]))
    padded = of([0, 1, 2, 3, 4, 0, 0], np.where(np.arange(7) < K, 0, -np.inf))
    for same in (of([3, 1, 4, 0, 2]), halved, padded):
        out = run(query, same, *kernels, variant=variant)
        np.testing.assert_allclose(out, expected, atol=1e-12)


def test_prepared_once_token_by_token_in_a_map_it_is_the_same():
    query, *kernels = (jnp.asarray(x, jnp.float32) for x in OTHERS)
    memory = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), MIXTURE)

    @jax.jit
    def steps(query):
        prepared = precompute(memory, *kernels, variant="exact")
        return jax.vmap(lambda q: attend(q[:, None], prepared, *kernels), 1, 1)(query)

    expected = run(*OTHERS[:1], MIXTURE, *OTHERS[1:], dtype=np.float32, variant="exact")
    np.testing.assert_allclose(steps(query)[:, :, 0], expected, atol=1e-5)


# Gradients and extremes.


@pytest.mark.parametrize(("form", "variant"), TWO_FORMS)
def test_gradients_are_those_of_finite_differences_and_none_reach_absent_rows(form, variant):
    query, *kernels = OTHERS
    memory = make_set(form)
    rng = np.random.default_rng(4)
    share = rng.normal(size=query.shape)
    with jax.enable_x64(True):
        args = jax.tree.map(jnp.asarray, (query, memory, *kernels))

        @jax.jit
        def gradient(args):
            return jax.grad(lambda args: jnp.sum(share * ATTENTION(*args, variant=variant)))(args)

        grad = jax.tree.map(np.asarray, gradient(args))
    for leaf in grad[1]:
        if leaf is not None:
            np.testing.assert_array_equal(leaf[memory.log_weights == -np.inf], 0)
    size = 1e-6
    for number, leaf in enumerate(jax.tree.leaves(grad)):
        direction = rng.normal(size=leaf.shape)

        def value(step, number=number, direction=direction):
            leaves, tree = jax.tree.flatten((query, memory, *kernels))
            leaves[number] = leaves[number] + step * direction
            return np.sum(share * oracle(*jax.tree.unflatten(tree, leaves), variant=variant))

        slope = (value(size) - value(-size)) / (2 * size)
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(np.sum(leaf * direction), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("form", "variant"), TWO_FORMS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extremes_stay_finite(form, variant, dtype):
    """Variances and weights of all sizes, sentences of one vector and of none."""
    memory = make_set(form)
    rng = np.random.default_rng(5)
    log_weights = np.where(memory.present, rng.choice([-1e4, -80, 0, 80], (B, K)), -np.inf)
    log_weights[2] = -np.inf
    log_vars = rng.choice([-200.0, -20, np.log(S), 20, 200], memory.vectors.shape)
    memory = VectorSet(memory.vectors, log_weights, log_vars if form == "mixture" else None)
    args = jax.tree.map(lambda x: jnp.asarray(x, dtype), (OTHERS[0], memory, *OTHERS[1:]))

    @jax.jit
    def value_and_grad(args):
        def total(args):
            out = ATTENTION(*args, variant=variant)
            return jnp.sum(out), out

        return jax.grad(total, has_aux=True)(args)

    grad, out = value_and_grad(args)
    assert out.dtype == dtype
    for leaf in jax.tree.leaves((out, grad)):
        assert np.all(np.isfinite(np.asarray(leaf, np.float32)))
    # Rounded inputs and outputs are all that bfloat16 costs.
    with jax.enable_x64(True):
        rounded = jax.tree.map(lambda x: np.asarray(x, np.float64), args)
    expected = oracle(
        *(jax.tree.map(lambda x: x[:2], a) for a in rounded[:2]), *rounded[2:], variant=variant
    )
    close = {"rtol": 2**-7, "atol": 1e-3} if dtype == jnp.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(np.asarray(out[:2], np.float64), expected, **close)


def test_evaluation_makes_no_array_of_tokens_by_components_by_dimensions():
    steps, rows, size = 16, 16, 16
    args = (
        jax.ShapeDtypeStruct((B, steps, 1, size), jnp.float32),
        VectorSet(
            jax.ShapeDtypeStruct((B, rows, size), jnp.float32),
            jax.ShapeDtypeStruct((B, rows), jnp.float32),
            jax.ShapeDtypeStruct((B, rows, size), jnp.float32),
        ),
        *2 * [jax.ShapeDtypeStruct((size, 1, size), jnp.float32)],
    )

    def sizes(jaxpr):
        for eqn in jaxpr.eqns:
            yield from (var.aval.size for var in eqn.outvars)
            for inner in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "jaxpr")):
                yield from sizes(inner.jaxpr) if hasattr(inner, "jaxpr") else ()

    closed = jax.make_jaxpr(partial(denoising_attention, variant="exact"))(*args)
    found = list(sizes(closed.jaxpr))
    assert len(found) > len(closed.jaxpr.eqns)
    assert max(found) == B * rows * size


# The module.


@pytest.mark.parametrize(("form", "variant"), TWO_FORMS)
def test_the_module_is_four_projections_around_it_and_goes_token_by_token(form, variant):
    memory = make_set(form)
    module = DenoisingAttention(heads=H, size=H * E, latent_size=P, variant=variant)
    x = jnp.asarray(np.random.default_rng(6).normal(size=(B, T, H * E)), jnp.float32)
    args = x, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), memory)
    params = jax.jit(module.init)(KEY, *args)

    @jax.jit
    def value_and_grad(params):
        def total(params):
            out = module.apply(params, *args)
            return jnp.sum(jnp.square(out)), out

        return jax.grad(total, has_aux=True)(params)

    grad, out = value_and_grad(params)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    query = np.asarray(x, np.float64) @ p["query"]["kernel"]
    kernels = (p[name].reshape(P, H, E) for name in ("key_kernel", "value_kernel"))
    heads = oracle(query.reshape(B, T, H, E), memory, *kernels, variant=variant)
    expected = heads.reshape(B, T, -1) @ p["output"]["kernel"]
    np.testing.assert_allclose(out, expected, atol=2e-5)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(grad))

    prepared = module.apply(params, args[1], method="precompute")
    assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(prepared))
    step = jax.jit(partial(module.apply, method="attend"))
    steps = [step(params, x[:, t : t + 1], prepared) for t in range(T)]
    np.testing.assert_allclose(np.concatenate(steps, axis=1), expected, atol=2e-5)


def test_the_module_rounds_its_projections_and_may_be_causal():
    memory = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), make_set("impulses", T + 1))
    x = jnp.asarray(np.random.default_rng(6).normal(size=(B, T, H * E)), jnp.float32)
    sizes = {"heads": H, "size": H * E, "latent_size": P, "causal": True}
    plain = DenoisingAttention(**sizes)
    params = jax.jit(plain.init)(KEY, x, memory)
    modules = plain, DenoisingAttention(**sizes, dtype=jnp.bfloat16)
    apply = [jax.jit(module.apply) for module in modules]
    expected, rounded = (run(params, x, memory) for run in apply)
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(rounded - expected).max() < 0.05
    keys, coarse = (module.apply(params, memory, method="precompute").keys[0] for module in modules)
    assert 0 < np.abs(keys - coarse).max() < 0.05
    later = apply[0](
        params, x.at[:, 2:].add(1), memory._replace(vectors=memory.vectors.at[:, 3:].add(1))
    )
    np.testing.assert_allclose(later[:, :2], expected[:, :2], atol=1e-6)
    assert np.all(np.abs(later - expected)[0, 2:].max(axis=-1) > 1e-3)
