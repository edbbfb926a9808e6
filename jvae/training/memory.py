"""How much memory a compiled program needs, known before it runs."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jvae.errors import UserError


class Memory(NamedTuple):
    """Bytes per device.

    Attributes:
      arguments: what the program reads: parameters, optimiser states, the corpus.
      outputs: what it returns beyond the arguments that it overwrites.
      work: temporaries at their peak: activations, gradients, logits.
    """

    arguments: int
    outputs: int
    work: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.arguments + self.outputs + self.work

    def __str__(self) -> str:
        return (
            f"{megabytes(self.total)} ({megabytes(self.arguments)} parameters, optimisers and "
            f"data, {megabytes(self.work + self.outputs)} work space)"
        )


def program_memory(compiled: Any) -> Memory | None:
    """Of `jit(f).lower(..).compile()`, or None where the platform cannot tell."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    outputs = found.output_size_in_bytes - found.alias_size_in_bytes
    return Memory(found.argument_size_in_bytes, outputs, found.temp_size_in_bytes)


def fit(
    build: Callable[[int], Any], choices: Iterable[int], budget: int, *, what: str, cure: str
) -> tuple[Any, int, Memory | None]:
    """The first choice whose compiled program keeps to a budget.

    Args:
      build: choice -> compiled program.
      choices: numbers to try, from the largest program to the smallest.
      budget: bytes per device; 0 for no limit.
      what: the program, for the error, with `{}` for the last choice.
      cure: what to lower.

    Returns:
      The compiled program, the choice, and the memory it needs.

    Raises:
      UserError: not even the last choice fits.
    """
    for choice in choices:
        compiled = build(choice)
        memory = program_memory(compiled)
        needed = memory.total if memory else 0
        if not budget or needed <= budget:
            return compiled, choice, memory
    raise UserError(
        f"{what.format(choice)} needs {megabytes(needed)} on each device, and training.memory_gb "
        f"allows {megabytes(budget)}: raise it, or lower {cure}"
    )


def megabytes(num_bytes: float) -> str:
    """`123 MB`."""
    return f"{num_bytes / 2**20:,.0f} MB"
