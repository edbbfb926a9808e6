"""Decoders by name. A new one is one file and one line here."""

from jvae.capabilities import SET_READER, SKIP
from jvae.components import Component, Registry
from jvae.decoders.cnn import CNN_SIZES as CNN_SIZES
from jvae.decoders.cnn import CNNOptions, build_cnn
from jvae.decoders.cnn import cnn_decoder as cnn_decoder
from jvae.decoders.lstm import LSTMDecoder as LSTMDecoder
from jvae.decoders.lstm import build_lstm
from jvae.decoders.lstm import lstm_decoder as lstm_decoder
from jvae.decoders.transformer import TransformerDecoderOptions, build_transformer
from jvae.decoders.transformer import transformer_decoder as transformer_decoder

DECODERS: Registry = {
    "lstm": Component(
        build=build_lstm,
        gives=frozenset({SKIP}),
        about="an LSTM that z starts and enters at every step (He et al., 2019)",
    ),
    "cnn": Component(
        CNNOptions, build_cnn, about="dilated convolutions over the last tokens (Yang et al., 2017)"
    ),
    "transformer": Component(
        TransformerDecoderOptions,
        build_transformer,
        gives=frozenset({SKIP, SET_READER}),
        about="a Transformer that z enters at every block",
    ),
}
