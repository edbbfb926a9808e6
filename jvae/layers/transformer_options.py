"""Options that the Transformers of encoders and decoders share."""

import dataclasses

from jvae.configs import option
from jvae.layers.denoising import VARIANTS
from jvae.layers.transformer import NORMS, POSITIONS


@dataclasses.dataclass(frozen=True)
class TransformerOptions:
    """Options of `jvae.layers.Transformer`; one sub-group holds for encoder and decoder."""

    layers: int = option(2, "blocks of the encoder, and of the decoder", above=0)
    heads: int = option(4, "heads of each attention; divides hidden_size", above=0)
    feed_forward: int = option(0, "units within each block; 0: 4 * hidden_size", at_least=0)
    norm: str = option("pre", "normalise before each sublayer, or after it", choices=NORMS)
    positions: str = option("sinusoidal", "encoding of the tokens' positions", choices=POSITIONS)
    max_positions: int = option(
        256, "most tokens of a sentence, for learned positions and priors of sets", above=0
    )
    attention_bias: str = option(
        "half",
        "use of log variances by denoising attention and NVIB layers",
        choices=VARIANTS,
    )

    def stack(self) -> dict[str, object]:
        """Returns the arguments of `jvae.layers.Transformer` that both have."""
        names = ("layers", "heads", "feed_forward", "norm", "positions", "max_positions")
        return {name: getattr(self, name) for name in names}
