"""Words, characters and byte-level BPE, saved as one JSON file that HF `tokenizers` reads too.

Ids 0..3 are `<pad> <s> </s> <unk>`. No text ever becomes `<pad>`, `<s>` or `</s>`: a word that is
spelt like one of these is `<unk>`. Nothing is lower-cased or normalised.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import tokenizers as hf

from jvae.batch import BOS, EOS, PAD, SPECIALS, UNK
from jvae.errors import UserError
from jvae.files import write_atomically

BPE_SIZE = 8192  # entries of a BPE vocabulary, if the caller does not say


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back.

    Attributes:
      kind: a key of `TOKENIZERS`.
      vocabulary: the entry of each id; the first four are the special ones.
    """

    kind: str
    vocabulary: tuple[str, ...]
    _backend: hf.Tokenizer = field(repr=False, compare=False)

    @property
    def vocab_size(self) -> int:
        """The number of ids, the four special ones included."""
        return len(self.vocabulary)

    def encode(self, sentence: str) -> list[int]:
        """Ids of a sentence, without `<s>` and `</s>`; what is not in the vocabulary is `<unk>`."""
        if self.kind == "bpe":
            return self._backend.encode(sentence, add_special_tokens=False).ids
        pieces = sentence.split() if self.kind == "words" else sentence
        return [self._ids.get(piece, UNK) for piece in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids up to the first `</s>`, without `<pad>` and `<s>`."""
        kept = []
        for number in map(int, ids):
            if number == EOS:
                break
            if number not in (PAD, BOS):
                kept.append(number)
        if self.kind == "bpe":
            return self._backend.decode(kept, skip_special_tokens=False)
        return (" " if self.kind == "words" else "").join(self.vocabulary[i] for i in kept)

    def to_json(self) -> str:
        """Writes the JSON of HF `tokenizers`, whose parts say which kind this is."""
        return self._backend.to_str(pretty=True)

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Reads what `to_json` writes.

        Raises:
          UserError: the text is not such a JSON.
        """
        try:
            splitter = json.loads(text)["pre_tokenizer"]["type"]
            kind = {"WhitespaceSplit": "words", "Split": "chars", "ByteLevel": "bpe"}[splitter]
            tokenizer = _wrap(kind, hf.Tokenizer.from_str(text))
        except Exception as error:  # HF raises bare exceptions
            raise UserError(
                f"damaged tokenizer file ({type(error).__name__}: {error}); "
                "restore it, or train again in a new directory"
            ) from None
        if tokenizer.vocabulary[: len(SPECIALS)] != SPECIALS:
            raise UserError(f"tokenizer file without {' '.join(SPECIALS)} as ids 0..3")
        return tokenizer

    def save(self, path: str | Path) -> None:
        """Writes `to_json` to a file."""
        write_atomically(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Reads what `save` wrote.

        Raises:
          UserError: the file is missing or damaged.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, UserError) as error:
            raise UserError(f"{path}: {error}") from None

    @cached_property
    def _ids(self) -> dict[str, int]:
        # A word spelt like <pad>, <s> or </s> must not end a sentence; <unk> means itself.
        ids = {entry: number for number, entry in enumerate(self.vocabulary)}
        return {**ids, **dict.fromkeys(SPECIALS, UNK)}


def spaces_count(kind: str) -> bool:
    """Tells whether a tokenizer reads the spaces around a sentence as a part of it."""
    return kind != "words"


def build_tokenizer(
    kind: str, sentences: Iterable[str], *, min_count: int = 1, max_size: int | None = None
) -> Tokenizer:
    """Builds the vocabulary of a tokenizer from the training sentences.

    Args:
      kind: a key of `TOKENIZERS`.
      sentences: the text to count.
      min_count: rarer entries (for BPE, rarer pairs) are left out.
      max_size: the most entries, the four special ones included; None for no limit (BPE: 8192).

    Raises:
      UserError: an unknown kind, or a size that leaves no room for an entry.
    """
    if kind not in TOKENIZERS:
        raise UserError(f"unknown tokenizer {kind!r}: there are {', '.join(TOKENIZERS)}")
    least = len(SPECIALS) + (256 if kind == "bpe" else 1)
    if max_size is not None and max_size < least:
        raise UserError(
            f"max_size={max_size} is too small for the tokenizer {kind}: {least} at least"
        )
    return TOKENIZERS[kind](sentences, min_count=min_count, max_size=max_size)


def words(sentences: Iterable[str], *, min_count: int, max_size: int | None) -> Tokenizer:
    """Learns white-space words, frequent ones first, equal counts in alphabetical order."""
    counts = Counter(word for sentence in sentences for word in sentence.split())
    return fixed_words(_ordered(counts, min_count, max_size))


def fixed_words(entries: Sequence[str]) -> Tokenizer:
    """Makes white-space words with given ids: 4, 5, .. in the order of `entries`, each once."""
    return _word_level("words", hf.pre_tokenizers.WhitespaceSplit(), list(entries))


def chars(sentences: Iterable[str], *, min_count: int, max_size: int | None) -> Tokenizer:
    """Learns Unicode characters, white space too."""
    counts = Counter(char for sentence in sentences for char in sentence)
    splitter = hf.pre_tokenizers.Split(hf.Regex(r"[\s\S]"), behavior="isolated")
    return _word_level("chars", splitter, _ordered(counts, min_count, max_size))


def bpe(sentences: Iterable[str], *, min_count: int, max_size: int | None) -> Tokenizer:
    """Learns byte-level BPE (Sennrich et al. 2016): every text has ids, which give it back."""
    size = (BPE_SIZE if max_size is None else max_size) - len(SPECIALS)
    alphabet = sorted(hf.pre_tokenizers.ByteLevel.alphabet())
    trained = _byte_level(hf.models.BPE())
    trained.train_from_iterator(
        sentences,
        hf.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=min_count,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    # Built anew, because the trainer would find special tokens in any text. No merge can spell one:
    # the pre-tokenizer never joins letters and brackets.
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    entries = dict.fromkeys((*SPECIALS, *alphabet, *(left + right for left, right in merges)))
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    return _wrap("bpe", _byte_level(hf.models.BPE(vocab=vocabulary, merges=merges)))


TOKENIZERS: dict[str, Callable[..., Tokenizer]] = {"words": words, "chars": chars, "bpe": bpe}


def _ordered(counts: Counter[str], min_count: int, max_size: int | None) -> list[str]:
    for special in SPECIALS:
        counts.pop(special, None)
    kept = [entry for entry, count in counts.items() if count >= min_count]
    kept.sort(key=lambda entry: (-counts[entry], entry))
    return kept if max_size is None else kept[: max_size - len(SPECIALS)]


def _word_level(kind: str, splitter: hf.pre_tokenizers.PreTokenizer, kept: list[str]) -> Tokenizer:
    vocabulary = {entry: number for number, entry in enumerate((*SPECIALS, *kept))}
    backend = hf.Tokenizer(hf.models.WordLevel(vocabulary, unk_token=SPECIALS[UNK]))
    backend.pre_tokenizer = splitter
    if kind == "chars":
        backend.decoder = hf.decoders.Fuse()
    return _wrap(kind, backend)


def _byte_level(model: hf.models.Model) -> hf.Tokenizer:
    backend = hf.Tokenizer(model)
    backend.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = hf.decoders.ByteLevel()
    return backend


def _wrap(kind: str, backend: hf.Tokenizer) -> Tokenizer:
    ids = backend.get_vocab(with_added_tokens=False)
    vocabulary = tuple(sorted(ids, key=ids.__getitem__))
    if sorted(ids.values()) != list(range(len(vocabulary))):
        raise ValueError("ids are not 0, 1, 2, ..")
    return Tokenizer(kind, vocabulary, backend)
