"""Errors in the weights of PyTorch's copy, which the gate must see: otherwise it is blind."""

from typing import Any

import numpy as np


def wrong_weights(weights: dict, share: float) -> dict[str, dict]:
    """By name, jvae's parameters with one thing wrong.

    Args:
      weights: right ones.
      share: by which one array is too large.
    """
    decoder = weights["decoder"]

    def with_decoder(**changes: Any) -> dict:
        return weights | {"decoder": decoder | changes}

    errors = {}
    if "lstm" in decoder:
        lstm = decoder["lstm"]
        wrong = lstm | {"recurrent_kernel": (1 + share) * lstm["recurrent_kernel"]}
        gates = {"kernel": 0 * decoder["latent_to_gates"]["kernel"]}
        errors[f"{share:.0%} in a weight"] = with_decoder(lstm=wrong)
        errors["no z in the gates"] = with_decoder(latent_to_gates=gates)
        return errors
    if "transformer" in decoder:
        transformer = decoder["transformer"]
        block = transformer["blocks_1"]

        def with_block(**changes: Any) -> dict:
            return with_decoder(transformer=transformer | {"blocks_1": block | changes})

        def with_input(kernel: np.ndarray) -> dict:
            return with_block(
                self_attention=block["self_attention"] | {"input": {"kernel": kernel}}
            )

        kernel, z = block["self_attention"]["input"]["kernel"], block["latent"]["kernel"]
        errors[f"{share:.0%} in a weight"] = with_input((1 + share) * kernel)
        errors["values first"] = with_input(np.roll(kernel, len(kernel), axis=1))
        errors["no z in a block"] = with_block(latent={"kernel": 0 * z})
        return errors
    block, z = decoder["blocks_1"], {"kernel": 0 * decoder["latent_to_input"]["kernel"]}

    def with_filter(kernel: np.ndarray) -> dict:
        return with_decoder(blocks_1=block | {"filter": block["filter"] | {"kernel": kernel}})

    kernel = block["filter"]["kernel"]
    errors[f"{share:.0%} in a weight"] = with_filter((1 + share) * kernel)
    errors["taps in another order"] = with_filter(np.roll(kernel, kernel.shape[1], axis=0))
    errors["no z in the input"] = with_decoder(latent_to_input=z)
    return errors
