"""Corpora, tokenizers, and padded arrays of token ids."""

from jvae.data.corpora import CORPORA as CORPORA
from jvae.data.corpora import Corpus as Corpus
from jvae.data.corpora import load_corpus as load_corpus
from jvae.data.encoding import EncodingReport as EncodingReport
from jvae.data.encoding import encode_split as encode_split
from jvae.data.split import Split as Split
from jvae.data.tokenizers import TOKENIZERS as TOKENIZERS
from jvae.data.tokenizers import Tokenizer as Tokenizer
from jvae.data.tokenizers import build_tokenizer as build_tokenizer
