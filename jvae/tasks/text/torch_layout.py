"""The parameters of He et al.'s and Li et al.'s PyTorch scripts, by their names, as ours.

Both scripts save `vae.state_dict()` of one layout, read from their sources (`modules/` of
jxhe/vae-lagging-encoder and bohanli/vae-pretraining-encoder). It is our LSTM VAE but for details:

- kernels are stored `[outputs, inputs]`, gates in our order i, f, g, o;
- each LSTM has two bias vectors, of which only the sum matters;
- the decoder's LSTM reads word and z side by side, so that one kernel holds both maps.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jvae.errors import UserError
from jvae.types import Params

# The words' weights in their cross entropy, all 1: saved with the parameters, none of them.
_WORD_WEIGHTS = "decoder.loss.weight"
_WANTED = "give a state_dict that text.py of He et al. or text_*.py of Li et al. has saved"


class Sizes(NamedTuple):
    """The sizes of a model: V, L, E, H as in `jvae.types`."""

    vocab_size: int
    latent_size: int
    embed_size: int
    hidden_size: int


def read_sizes(arrays: Mapping[str, np.ndarray]) -> Sizes:
    """Reads the sizes of a `state_dict`, all of whose names and shapes fit together.

    Args:
      arrays: by PyTorch's names.

    Raises:
      UserError: a parameter is missing, unknown, or of another shape than the others ask for.
    """
    for name in ("encoder.embed.weight", "decoder.trans_linear.weight"):
        if name not in arrays:
            raise UserError(f"the checkpoint has no parameter {name}; {_WANTED}")
        if arrays[name].ndim != 2:
            raise UserError(f"the checkpoint's {name} is no matrix; {_WANTED}")
    vocab_size, embed_size = arrays["encoder.embed.weight"].shape
    hidden_size, latent_size = arrays["decoder.trans_linear.weight"].shape
    sizes = Sizes(vocab_size, latent_size, embed_size, hidden_size)
    shapes = _shapes(sizes)
    for name, shape in shapes.items():
        if name not in arrays:
            raise UserError(f"the checkpoint has no parameter {name}; {_WANTED}")
        if arrays[name].shape != shape:
            raise UserError(
                f"the checkpoint's {name} has the shape {arrays[name].shape}, where the others ask "
                f"for {shape}; encoder and decoder must have one embedding and one hidden size"
            )
    unknown = sorted(arrays.keys() - shapes.keys() - {_WORD_WEIGHTS})
    if unknown:
        raise UserError(f"the checkpoint has a parameter {unknown[0]} besides; {_WANTED}")
    return sizes


def to_params(arrays: Mapping[str, np.ndarray], order: Sequence[int]) -> Params:
    """Converts the arrays to parameters of `LSTMEncoder` and `LSTMDecoder`.

    Args:
      arrays: by PyTorch's names, checked by `read_sizes`.
      order: `[V]`, for each of our ids the word's id there.
    """
    rows = np.asarray(order)
    arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}

    embed_size = arrays["encoder.embed.weight"].shape[1]

    def lstm(side: str) -> Params:
        name = f"{side}.lstm."
        return {
            "input": {
                "kernel": arrays[f"{name}weight_ih_l0"][:, :embed_size].T,
                "bias": arrays[f"{name}bias_ih_l0"] + arrays[f"{name}bias_hh_l0"],
            },
            "recurrent_kernel": arrays[f"{name}weight_hh_l0"].T,
        }

    return {
        "encoder": {
            "embedding": {"embedding": arrays["encoder.embed.weight"][rows]},
            "lstm": lstm("encoder"),
            "head": {"kernel": arrays["encoder.linear.weight"].T},  # means, then log variances
        },
        "decoder": {
            "embedding": {"embedding": arrays["decoder.embed.weight"][rows]},
            "lstm": lstm("decoder"),
            "latent_to_cell": {"kernel": arrays["decoder.trans_linear.weight"].T},
            "latent_to_gates": {"kernel": arrays["decoder.lstm.weight_ih_l0"][:, embed_size:].T},
            "output_kernel": arrays["decoder.pred_linear.weight"][rows].T,
        },
        "prior": {},
    }


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    vocab, latent, embed, hidden = sizes
    shapes: dict[str, tuple[int, ...]] = {}
    for side, inputs in (("encoder", embed), ("decoder", embed + latent)):
        shapes |= {
            f"{side}.embed.weight": (vocab, embed),
            f"{side}.lstm.weight_ih_l0": (4 * hidden, inputs),
            f"{side}.lstm.weight_hh_l0": (4 * hidden, hidden),
            f"{side}.lstm.bias_ih_l0": (4 * hidden,),
            f"{side}.lstm.bias_hh_l0": (4 * hidden,),
        }
    return shapes | {
        "encoder.linear.weight": (2 * latent, hidden),
        "decoder.trans_linear.weight": (hidden, latent),
        "decoder.pred_linear.weight": (vocab, hidden),
    }
