"""Numbers about sentences as text: how varied they are, and how close to what they should be.

Words are what white space separates; BLEU is in percent.
"""

import math
from collections import Counter
from collections.abc import Sequence

from sacrebleu.metrics import BLEU

from jvae.errors import UserError

_SMOOTHING = 0.1  # matches that an order without one is given: NLTK's "method1"


def distinct_n(sentences: Sequence[str], n: int) -> float:
    """Computes different n-grams per word: `|{n-grams}| / words`.

    It falls with the amount of text: compare equal numbers of sentences only.

    Args:
      sentences: at least one word in all.
      n: words of an n-gram.

    Source: Li et al. 2016, "A diversity-promoting objective function".
    """
    split = [sentence.split() for sentence in sentences]
    return len({gram for words in split for gram in _grams(words, n)}) / sum(map(len, split))


def self_bleu(sentences: Sequence[str], *, max_order: int = 4) -> float:
    """Computes the mean BLEU of each sentence against all others; 100 if all are equal.

    `100 BP exp(mean_n log p_n)`, n up to `max_order`, or to the sentence's length if that is less;
    an order without a match counts as `0.1 / n-grams`, a sentence without a known word as 0.

    Args:
      sentences: N, at least 2; it grows with N.
      max_order: the longest n-grams.

    Raises:
      UserError: there is one sentence only.

    Source: Zhu et al. 2018 (Texygen), whose script takes 500 sentences and NLTK's `method1`.
    """
    if len(sentences) < 2:
        raise UserError("self-BLEU compares sentences with one another: give at least 2")
    split = [sentence.split() for sentence in sentences]
    counts = [[Counter(_grams(words, n)) for words in split] for n in range(1, max_order + 1)]
    most = [_two_largest(order) for order in counts]
    lengths = Counter(map(len, split))
    total = 0.0
    for row, words in enumerate(split):
        longest = min(max_order, len(words))
        logs = 0.0 if words else -math.inf
        for order, largest in zip(counts[:longest], most, strict=False):
            own = order[row]
            # The references are all sentences but this one, which may be the one with the most.
            matches = sum(
                count if count < largest[gram][0] else largest[gram][1]
                for gram, count in own.items()
            )
            logs += math.log((matches or _SMOOTHING) / own.total())
            if order is counts[0] and not matches:
                logs = -math.inf
                break
        others = (length for length, held in lengths.items() if held > (length == len(words)))
        nearest = min(others, key=lambda length: (abs(length - len(words)), length))
        brevity = min(0.0, 1 - nearest / len(words)) if words else 0.0
        total += math.exp(brevity + logs / max(longest, 1))
    return 100 * total / len(split)


def bleu(sentences: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """Corpus BLEU of sentences with one reference each, in percent, and sacrebleu's signature.

    n-grams of up to 4 words, or as many as the longest of the sentences has: where none has 4,
    BLEU-4 would be 0 whatever they say. All other corpora have plain BLEU.

    Args:
      sentences: N.
      references: N; words as they are, without another tokenizer.

    Source: Papineni et al. 2002, as in Post 2018.
    """
    metric = BLEU(tokenize="none", force=True, effective_order=True)
    score = metric.corpus_score(list(sentences), [list(references)]).score
    return score, str(metric.get_signature())


def exact_match(sentences: Sequence[str], references: Sequence[str]) -> float:
    """Computes the share of sentences that equal their reference, from 0 to 1."""
    pairs = list(zip(sentences, references, strict=True))
    return sum(sentence == reference for sentence, reference in pairs) / len(pairs)


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _two_largest(order: list[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int]]:
    """Returns, for each n-gram, the two largest counts of it in a sentence."""
    largest: dict[tuple[str, ...], tuple[int, int]] = {}
    for counter in order:
        for gram, count in counter.items():
            first, second = largest.get(gram, (0, 0))
            largest[gram] = (max(first, count), max(second, min(first, count)))
    return largest
