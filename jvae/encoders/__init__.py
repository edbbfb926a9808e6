"""Encoders by name. A new one is one file and one line here."""

from jvae.capabilities import EMBEDDINGS, NO_LATENT, TOKEN_STATES
from jvae.components import Component, Registry
from jvae.encoders.lstm import LSTMEncoder as LSTMEncoder
from jvae.encoders.lstm import build_lstm
from jvae.encoders.lstm import lstm_encoder as lstm_encoder
from jvae.encoders.none import build_none
from jvae.encoders.none import no_encoder as no_encoder
from jvae.encoders.transformer import POOLINGS as POOLINGS
from jvae.encoders.transformer import TransformerEncoderOptions, build_transformer
from jvae.encoders.transformer import transformer_encoder as transformer_encoder

ENCODERS: Registry = {
    "lstm": Component(
        build=build_lstm,
        gives=frozenset({EMBEDDINGS}),
        about="the last hidden state of an LSTM (He et al., 2019)",
    ),
    "transformer": Component(
        TransformerEncoderOptions,
        build_transformer,
        gives=frozenset({EMBEDDINGS, TOKEN_STATES}),
        about="a Transformer, pooled or with a vector for each token",
    ),
    "none": Component(
        build=build_none, needs={NO_LATENT: "it reads nothing"}, about="no encoder at all"
    ),
}
