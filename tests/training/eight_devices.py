"""Meshes of eight devices against one device; run by `test_eight_devices.py`.

Named so that pytest leaves it alone in a process of four devices.
"""

import re
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from jvae.batch import Tokens
from jvae.data.split import Split
from jvae.evaluation.corpus import collect
from jvae.evaluation.functions import SplitBatches, make_functions
from jvae.objectives.elbo import latent_keys
from jvae.training import checkpoint
from jvae.training.memory import compiled_memory
from jvae.training.state import TrainState
from tests.conftest import make_batch, make_sentences
from tests.training.setting import INNER, KEY, NUM, WIDTH, Problem, assert_close, make_problem

VOCAB = 960  # no other axis of the problem is as long, nor a half or a quarter of it
MESHES = [(8, 1), (8, 2), (8, 4)]  # devices and parts of the largest arrays
SPREAD = MESHES[1:]
# A sum over devices adds in another order: rounding, which some updates let grow.
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


@lru_cache
def problem(num_devices: int, model_shards: int) -> Problem:
    """Its step is compiled for the state's placement, as in a run, and takes no other."""
    jitted = make_problem(
        "jit",
        num_devices,
        model_shards=model_shards,
        vocab_size=VOCAB,
        dropout_in=0.5,
        dropout_out=0.3,
        learning_rate=0.2,
        optimiser=partial(optax.trace, 0.9),
    )
    return jitted._replace(step=jitted.step.lower(*jitted.arguments).compile())


@lru_cache
def after(num_devices: int, model_shards: int) -> tuple[TrainState, TrainState]:
    """Three aggressive steps, then three joint ones."""
    it = problem(num_devices, model_shards)
    aggressive = it.run(it.state, np.arange(3, dtype=np.int32))
    return aggressive, calm(it, aggressive)


def calm(it: Problem, state: TrainState) -> TrainState:
    """Three steps beyond the aggressive phase."""
    state = it.parallel.place_state(state._replace(aggressive=jnp.bool_(False)))
    return it.run(state, np.arange(3, 6, dtype=np.int32))


def test_there_are_eight_devices():
    assert len(jax.devices()) == 8


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("phase", [0, 1], ids=["aggressive", "joint"])
def test_a_mesh_gives_the_numbers_of_one_device(mesh, phase):
    expected, found = after(1, 1)[phase], after(*mesh)[phase]
    assert float(found.totals.inner_updates) == float(expected.totals.inner_updates)
    assert_close(found.params, expected.params, **TOLERANCE)
    assert_close(found.opt_state, expected.opt_state, **TOLERANCE)
    assert_close(found.totals, expected.totals, rtol=1e-4)


def test_the_stop_rule_ended_an_inner_loop_above():
    """Its sums are global: with those of one device alone the numbers of updates would differ."""
    updates = int(after(1, 1)[0].totals.inner_updates)
    assert 3 * INNER.window < updates < 3 * INNER.max_updates


@pytest.mark.parametrize("mesh", SPREAD)
def test_the_vocabulary_is_spread_and_stays_so(mesh):
    """Parameters and optimiser states with an axis of words, and nothing else."""
    it = problem(*mesh)
    for state in (it.state, *after(*mesh)):
        found = jax.tree_util.tree_leaves_with_path((state.params, state.opt_state))
        spread = [leaf for _, leaf in found if VOCAB in leaf.shape]
        assert len(spread) == 2 * 3  # two embeddings and the output kernel
        for leaf in spread:
            axis = leaf.shape.index(VOCAB)
            assert leaf.sharding.spec == PartitionSpec(*[None] * axis, "model")
            assert leaf.addressable_data(0).shape[axis] == VOCAB // mesh[1]
        others = [leaf for _, leaf in found if VOCAB not in leaf.shape]
        assert all(leaf.sharding.is_fully_replicated for leaf in others)


@pytest.mark.parametrize("mesh", MESHES)
def test_no_device_gathers_what_is_spread(mesh):
    text = problem(*mesh).step.as_text()
    assert "all-reduce" in text and "all-gather" not in text and "all-to-all" not in text
    as_wide_as_the_vocabulary = re.findall(rf"\w+\[(?:\d+,)*{VOCAB}(?:,\d+)*\]", text)
    assert bool(as_wide_as_the_vocabulary) == (mesh[1] == 1)


def test_memory_per_device_falls_with_the_parts():
    whole, half, quarter = (compiled_memory(problem(*mesh).step) for mesh in MESHES)
    assert whole.arguments > half.arguments > quarter.arguments
    assert whole.work > half.work > quarter.work


def computations(text: str) -> dict[str, str]:
    """The bodies of a compiled function's computations by name."""
    found = re.findall(r"^(?:ENTRY )?%(\S+) .*?\{\n(.*?)^\}", text, flags=re.M | re.S)
    return dict(found)


def reached(bodies: dict[str, str], name: str) -> set[str]:
    """A computation and all that it calls."""
    names = {name}
    for word in set(re.findall(r"%([\w.\-]+)", bodies[name])) & bodies.keys():
        names |= reached(bodies, word)
    return names


def test_an_inner_update_has_one_all_reduce_and_no_decoder_gradient_in_it():
    """XLA fuses the gradient of all arrays and the sums of the stop rule into one."""
    bodies = computations(problem(8, 1).step.as_text())
    reductions = {
        name: re.findall(r"= (.*?) all-reduce(?:-start)?\(", body) for name, body in bodies.items()
    }
    loops = re.findall(r"while\(.*?body=%([\w.\-]+)", "".join(bodies.values()))
    counted = {loop: [r for n in reached(bodies, loop) for r in reductions[n]] for loop in loops}
    [inner] = [found for found in counted.values() if found]  # the LSTMs' loops have none
    widths = problem(8, 1).widths
    assert len(inner) == len(widths)  # one in each bucket's branch, and an update takes one branch
    outer = [r for found in reductions.values() for r in found if r not in inner]
    assert len(outer) == len(widths)
    for reduction in inner:
        assert reduction.count(f"[{VOCAB},") == 1  # the encoder's embedding
    for reduction in outer:
        assert reduction.count(f"[{VOCAB},") + reduction.count(f",{VOCAB}]") == 3


@lru_cache
def weights(num_devices: int, model_shards: int) -> np.ndarray:
    """The importance weights of all sentences, three at a time or as many as there are devices."""
    tokens, lengths = make_sentences(NUM, WIDTH, vocab_size=VOCAB)
    it = problem(num_devices, model_shards)
    functions = make_functions(it.model, it.parallel.compile_evaluation, it.parallel.shard)
    split = Split(Tokens(tokens, lengths), lengths)
    split = SplitBatches(split, (WIDTH,), 3, it.parallel.row_shards)
    assert all(np.all(batch.weight == 1) for batch in list(split)[:-1])  # no padding rows
    weigh = functions.importance(6, 3)
    key = it.parallel.replicate(KEY)

    def terms(batch):
        return weigh(it.state.params, functions.place(batch), np.int32(0), key=key)

    return collect(terms, split, NUM)


@pytest.mark.parametrize("mesh", [(8, 1), (8, 4)])
def test_importance_weights_with_sentences_spread(mesh):
    """Every sentence draws from its own key: the same weights up to rounding."""
    expected = weights(1, 1)
    assert expected.shape == (NUM, 6) and np.ptp(expected, axis=1).min() > 0
    np.testing.assert_allclose(weights(*mesh), expected, rtol=2e-6)


def test_the_noise_of_spread_sentences_is_the_same_bit_by_bit():
    batch = make_batch(8)

    def noise(batch):
        return jax.vmap(lambda key: jax.random.normal(key, (3,)))(latent_keys(KEY, batch))

    spread = problem(8, 1).parallel.shard(batch)
    assert len(spread.x.ids.sharding.device_set) == 8
    np.testing.assert_array_equal(jax.jit(noise)(spread), jax.jit(noise)(batch))


@pytest.mark.parametrize(("saved", "resumed"), [((8, 4), (1, 1)), ((1, 1), (8, 2))])
def test_a_checkpoint_goes_from_one_mesh_to_another(saved, resumed, tmp_path):
    state = after(*saved)[0]
    there = problem(*resumed)
    manager = checkpoint.open_checkpoints(tmp_path)
    checkpoint.save(manager, state, {}, -1.0)
    found = there.parallel.place_state(checkpoint.restore(manager, there.state))
    manager.close()
    assert_close(found, state, rtol=0)
    placed = jax.tree.map(lambda a, b: a.sharding == b.sharding, found, there.state)
    assert all(jax.tree.leaves(placed))
    assert_close(calm(there, found).params, after(*saved)[1].params, **TOLERANCE)
