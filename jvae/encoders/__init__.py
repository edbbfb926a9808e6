"""Encoders by name. A new one is one file and one line here."""

from collections.abc import Callable

from jvae.encoders.lstm import LSTMEncoder as LSTMEncoder
from jvae.encoders.lstm import lstm_encoder as lstm_encoder
from jvae.encoders.none import no_encoder as no_encoder
from jvae.encoders.transformer import POOLINGS as POOLINGS
from jvae.encoders.transformer import transformer_encoder as transformer_encoder
from jvae.model import Encoder

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "lstm": lstm_encoder,
    "none": no_encoder,
    "transformer": transformer_encoder,
}
