"""Every case by name: what jvae runs, and what PyTorch runs against it, form by form."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.sizes import SIZES, Size, flops

JOINT_STEPS = 4  # dispatched together, as the training loop does
INNER_UPDATES = 10  # per decoder update, where the inner loop is timed
ROUNDS, ROUND_INNER = 2, 30  # 30: two windows, the least that the stop rule allows
SAMPLES, IW_SENTENCES = 500, 2
GREEDY_SENTENCES, BEAM_SENTENCES, BEAM = 1_000, 100, 10

Run = Callable[[], Any]


class Case(NamedTuple):
    """What is timed.

    Attributes:
      size: a key of `benchmarks.sizes.SIZES`.
      kind: joint, inner, epoch, iw, greedy, beam; see `KINDS` and `ONE_RUN`.
      precision: float32, or for the LSTM's joint steps bfloat16: jvae's `training.precision`
        against PyTorch's autocast.
    """

    size: str
    kind: str
    precision: str = "float32"

    def __str__(self) -> str:
        return "/".join(self if self.precision != "float32" else self[:2])


def parse(name: str) -> Case:
    """`SIZE/KIND` or `SIZE/KIND/PRECISION`.

    Raises:
      ValueError: there is no such case.
    """
    case = Case(*name.split("/")) if name.count("/") in (1, 2) else Case("", "")
    decoder = SIZES[case.size].decoder if case.size in SIZES else ""
    rounded = case.kind == "joint" and decoder == "lstm"
    precisions = ("float32", "bfloat16") if rounded else ("float32",)
    if case.kind not in KINDS.get(decoder, ()) or case.precision not in precisions:
        raise ValueError(
            f"no case {name!r}: give SIZE/KIND or SIZE/joint/bfloat16, SIZE of {', '.join(SIZES)}, "
            f"KIND of {', '.join(FORMS)} (_cnn: joint, iw; _tf: joint, iw, greedy; bfloat16 of the "
            "LSTM's alone)"
        )
    return case


# PyTorch's forms; jvae is compared with the faster one.
FORMS = {
    "joint": ("torch",),
    "inner": ("torch-full", "torch-encoder-only"),
    "epoch": ("torch-published",),
    "iw": ("torch-100", "torch-500"),
    "greedy": ("torch",),
    "beam": ("torch",),
}
KINDS = {"lstm": tuple(FORMS), "cnn": ("joint", "iw"), "transformer": ("joint", "iw", "greedy")}

# What one timed run of a kind is.
ONE_RUN = {
    "joint": f"{JOINT_STEPS} steps",
    "inner": f"a round of {INNER_UPDATES} inner updates and one outer",
    "epoch": f"{ROUNDS} rounds of {ROUND_INNER} inner updates and one outer, lengths mixed",
    "iw": f"{IW_SENTENCES} sentences, {SAMPLES} samples each",
    "greedy": f"{GREEDY_SENTENCES:,} sentences in one call",
    "beam": f"{BEAM_SENTENCES} sentences in one call, a beam of {BEAM}",
}


def operations(case: Case) -> float:
    """Floating-point operations of one run, of the matrix products that it cannot do without.

    Of `epoch` the expected number, over sentences drawn at random, each by its own length: padding
    is no work. `greedy` and `beam` are counted to the last token, as with random weights hardly a
    sentence ends before; a beam's first step has one hypothesis, though both compute all of them.
    """
    size = SIZES[case.size]
    if case.kind == "joint":
        return JOINT_STEPS * flops(size, "joint", sentences=size.batch_size)
    if case.kind == "inner":
        inner = flops(size, "inner", sentences=size.batch_size)
        return INNER_UPDATES * inner + flops(size, "joint", sentences=size.batch_size)
    if case.kind == "epoch":
        lengths, counts = np.unique(ragged(size)[1], return_counts=True)
        sizes = [size._replace(length=int(length)) for length in lengths]
        shares = counts / counts.sum() * size.batch_size
        parts = {"joint": ROUNDS, "inner": ROUNDS * ROUND_INNER}
        return sum(
            number * flops(of_length, part, sentences=share)
            for part, number in parts.items()
            for of_length, share in zip(sizes, shares, strict=True)
        )
    if case.kind == "iw":
        return flops(size, "iw", sentences=IW_SENTENCES, samples=SAMPLES)
    if case.kind == "greedy":
        return flops(size, "greedy", sentences=GREEDY_SENTENCES)
    first = flops(size._replace(length=1), "greedy", sentences=BEAM_SENTENCES)
    return first + BEAM * (size.length - 1) * first


def ragged(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Sentences of many lengths around `size.length`: tokens `[N, T + 1]`, lengths `[N]`."""
    rng = np.random.default_rng(3)
    number = 16_384  # so many that PyTorch's batches of one length are full
    lengths = np.clip(rng.gamma(4.0, size.length / 4.0, number).round(), 3, 2 * size.length)
    lengths = lengths.astype(np.int32)
    tokens = rng.integers(4, size.vocab_size, (number, lengths.max() + 1), dtype=np.int32)
    tokens[:, 0] = 1
    steps = np.arange(tokens.shape[1])
    tokens[steps == lengths[:, None]] = 2
    tokens[steps > lengths[:, None]] = 0
    return tokens, lengths


def prepare(case: Case, contestant: str, device: str) -> Run:
    """Builds what a contestant runs on a device; imports its framework alone."""
    size = SIZES[case.size]
    if contestant == "jvae":
        from benchmarks import jvae_cases as of

        builders: dict[str, Callable[[], Run]] = {
            "joint": lambda: of.joint(size, JOINT_STEPS, case.precision),
            "inner": lambda: of.inner(size, INNER_UPDATES),
            "epoch": lambda: of.epoch(size, *ragged(size), ROUNDS, ROUND_INNER),
            "iw": lambda: of.iw(size, IW_SENTENCES, SAMPLES),
            "greedy": lambda: of.greedy_decoding(size, GREEDY_SENTENCES),
            "beam": lambda: of.beam(size, BEAM_SENTENCES, BEAM),
        }
    else:
        from benchmarks import torch_cases as th

        full = contestant == "torch-full"
        builders = {
            "joint": lambda: th.joint(size, JOINT_STEPS, case.precision, device),
            "inner": lambda: th.inner(size, INNER_UPDATES, device, full=full),
            "epoch": lambda: th.epoch(size, *ragged(size), ROUNDS, ROUND_INNER, device),
            "iw": lambda: th.iw(size, IW_SENTENCES, SAMPLES, int(contestant[6:] or 0), device),
            "greedy": lambda: th.greedy_decoding(size, GREEDY_SENTENCES, device),
            "beam": lambda: th.beam(size, BEAM_SENTENCES, BEAM, device),
        }
    return builders[case.kind]()
