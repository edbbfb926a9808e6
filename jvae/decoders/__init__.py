"""Decoders by name. A new one is one file and one line here."""

from collections.abc import Callable

from jvae.decoders.cnn import CNN_SIZES as CNN_SIZES
from jvae.decoders.cnn import cnn_decoder as cnn_decoder
from jvae.decoders.lstm import LSTMDecoder as LSTMDecoder
from jvae.decoders.lstm import lstm_decoder as lstm_decoder
from jvae.decoders.transformer import transformer_decoder as transformer_decoder
from jvae.model import Decoder

DECODERS: dict[str, Callable[..., Decoder]] = {
    "lstm": lstm_decoder,
    "cnn": cnn_decoder,
    "transformer": transformer_decoder,
}
