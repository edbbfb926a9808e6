"""The memory of a compiled function, known before it runs."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jvae.errors import UserError


class Memory(NamedTuple):
    """Bytes per device.

    Attributes:
      arguments: what the function reads: parameters, optimiser states, the corpus.
      outputs: what it returns beyond the arguments that it overwrites.
      work: temporaries at their peak: activations, gradients, logits.
    """

    arguments: int
    outputs: int
    work: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.arguments + self.outputs + self.work

    def __str__(self) -> str:
        return (
            f"{megabytes(self.total)} ({megabytes(self.arguments)} parameters, optimisers and "
            f"data, {megabytes(self.work + self.outputs)} work space)"
        )


def compiled_memory(compiled: Any) -> Memory | None:
    """Returns the memory of `jit(f).lower(..).compile()`, or None where that is not known."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    outputs = found.output_size_in_bytes - found.alias_size_in_bytes
    return Memory(found.argument_size_in_bytes, outputs, found.temp_size_in_bytes)


def fit(
    build: Callable[[int], Any], choices: Iterable[int], budget: int, *, what: str, cure: str
) -> tuple[Any, int, Memory | None]:
    """Returns the first choice whose compiled function keeps to a budget.

    Args:
      build: choice -> compiled function.
      choices: numbers to try, from the largest function to the smallest.
      budget: bytes per device; 0 for no limit.
      what: the function, for the error, with `{}` for the last choice.
      cure: what to lower.

    Returns:
      The compiled function, the choice, and the memory it needs.

    Raises:
      UserError: not even the last choice fits.
    """
    for choice in choices:
        compiled = build(choice)
        memory = compiled_memory(compiled)
        needed = memory.total if memory else 0
        if not budget or needed <= budget:
            return compiled, choice, memory
    raise UserError(
        f"{what.format(choice)} needs {megabytes(needed)} on each device, and training.memory_gb "
        f"allows {megabytes(budget)}: raise it, or lower {cure}"
    )


def megabytes(num_bytes: float) -> str:
    """Writes `123 MB`."""
    return f"{num_bytes / 2**20:,.0f} MB"
