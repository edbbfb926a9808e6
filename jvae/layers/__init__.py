"""Building blocks of encoders and decoders."""

from jvae.layers.convolution import ResidualBlock as ResidualBlock
from jvae.layers.denoising import VARIANTS as VARIANTS
from jvae.layers.denoising import DenoisingAttention as DenoisingAttention
from jvae.layers.denoising import DenoisingMemory as DenoisingMemory
from jvae.layers.denoising import attend as attend
from jvae.layers.denoising import denoising_attention as denoising_attention
from jvae.layers.denoising import precompute as precompute
from jvae.layers.dropout import dropout as dropout
from jvae.layers.dropout import word_dropout as word_dropout
from jvae.layers.initializers import symmetric_uniform as symmetric_uniform
from jvae.layers.lstm import LSTM as LSTM
from jvae.layers.lstm import LSTMCarry as LSTMCarry
from jvae.layers.lstm import lstm_cell as lstm_cell
from jvae.layers.lstm import lstm_scan as lstm_scan
from jvae.layers.product import by_row as by_row
from jvae.layers.product import dense_product as dense_product
from jvae.layers.product import product as product
from jvae.layers.softmax import next_token_log_prob as next_token_log_prob
from jvae.layers.softmax import sentence_log_prob as sentence_log_prob
from jvae.layers.softmax import streamed_log_prob as streamed_log_prob
from jvae.layers.transformer import ATTENTIONS as ATTENTIONS
from jvae.layers.transformer import NORMS as NORMS
from jvae.layers.transformer import POSITIONS as POSITIONS
from jvae.layers.transformer import Carry as Carry
from jvae.layers.transformer import Transformer as Transformer

__all__ = [
    "ATTENTIONS",
    "LSTM",
    "NORMS",
    "POSITIONS",
    "VARIANTS",
    "Carry",
    "DenoisingAttention",
    "DenoisingMemory",
    "LSTMCarry",
    "ResidualBlock",
    "Transformer",
    "attend",
    "by_row",
    "denoising_attention",
    "dense_product",
    "dropout",
    "lstm_cell",
    "lstm_scan",
    "next_token_log_prob",
    "precompute",
    "product",
    "sentence_log_prob",
    "streamed_log_prob",
    "symmetric_uniform",
    "word_dropout",
]
