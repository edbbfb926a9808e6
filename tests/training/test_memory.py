"""The memory of a step is known beforehand, and a budget splits the batch."""

import jax
import pytest

from jvae.errors import UserError
from jvae.training.memory import compiled_memory, fit
from tests.training.setting import BATCH, copied, make_problem


def joint(microbatches: int = 1):
    """Unsplit it is a function of `test_steps.py`, which lies in the cache."""
    return make_problem(aggressive=False, inner=None, microbatches=microbatches)


def build(microbatches: int):
    return joint(microbatches).step


def test_the_memory_counts_what_a_program_holds():
    def f(x):
        return jax.numpy.tanh(x @ x) @ x  # one array in between, as large as the others

    x = jax.numpy.ones((256, 256))
    memory = compiled_memory(jax.jit(f).lower(x).compile())
    assert memory.arguments == memory.outputs == x.nbytes
    assert x.nbytes <= memory.work <= 2 * x.nbytes
    donated = compiled_memory(jax.jit(f, donate_argnums=0).lower(x).compile())
    assert donated.outputs == 0  # it takes the argument's place
    assert memory.total == memory.arguments + memory.outputs + memory.work


ARGUMENTS = {"what": "a step even in {} microbatches", "cure": "nothing"}


@pytest.mark.slow
def test_a_budget_is_kept_by_the_fewest_microbatches_that_can():
    arguments = joint().arguments
    choices = [1, 2, BATCH]
    programs = {n: build(n).lower(*arguments).compile() for n in choices}
    needed = [compiled_memory(programs[n]).total for n in choices]
    assert fit(programs.get, choices, 0, **ARGUMENTS)[1] == 1
    fits = [n for n, memory in zip(choices, needed, strict=True) if memory <= needed[1]]
    compiled, microbatches, memory = fit(programs.get, choices, needed[1], **ARGUMENTS)
    assert microbatches == fits[0] and memory.total <= needed[1]
    state = compiled(copied(arguments[0]), *arguments[1:])  # what comes back runs
    assert int(state.step) == 1


def test_a_budget_that_nothing_keeps_to_is_refused_in_one_line():
    arguments = joint().arguments
    with pytest.raises(UserError, match="even in 4 microbatches needs .* training.memory_gb") as e:
        fit(lambda n: build(n).lower(*arguments).compile(), [1, 4], 1000, **ARGUMENTS)
    assert "\n" not in str(e.value)
