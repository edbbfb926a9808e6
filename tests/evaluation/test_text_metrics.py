"""Numbers about text, by hand and against sacrebleu."""

import logging
import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from jvae.errors import UserError
from jvae.evaluation.text_metrics import bleu, distinct_n, exact_match, self_bleu


def random_sentences(number: int, *, words: int = 6, shortest: int = 5) -> list[str]:
    """Of up to 12 words, from so few that n-grams repeat."""
    rng = np.random.default_rng(0)
    return [
        " ".join(f"w{i}" for i in rng.integers(0, words, rng.integers(shortest, 13)))
        for _ in range(number)
    ]


def test_distinct_n_by_hand():
    sentences = ["the cat sees the cat", "the dog", "the cat"]  # 9 words
    assert distinct_n(sentences, 1) == 4 / 9
    assert distinct_n(sentences, 2) == 4 / 9  # the cat, cat sees, sees the, the dog
    assert distinct_n(sentences, 3) == 3 / 9
    assert distinct_n(["a b"], 3) == 0
    once, twice = random_sentences(20), random_sentences(20) * 2
    assert distinct_n(twice, 2) == distinct_n(once, 2) / 2


def test_exact_match_by_hand():
    assert exact_match(["a b", "c", "d"], ["a b", "c c", "d"]) == 2 / 3
    with pytest.raises(ValueError):
        exact_match(["a"], ["a", "b"])


def test_self_bleu_by_hand():
    # "a b c" has 2 of 3 words and 1 of 2 pairs in "a b d e"; that one 2 of 4 and 1 of 3.
    first = math.sqrt(2 / 3 * 1 / 2) * math.exp(1 - 4 / 3)
    second = math.sqrt(2 / 4 * 1 / 3)
    assert self_bleu(["a b c", "a b d e"], max_order=2) == pytest.approx(50 * (first + second))
    # No pair in common: 0.1 of 1. A sentence without a common word counts nothing.
    third = math.sqrt(1 / 2 * 0.1 / 1)
    assert self_bleu(["a b", "a c", "d e"], max_order=2) == pytest.approx(100 * 2 * third / 3)
    # "a a a": the others have at most two of its a's.
    clipped = self_bleu(["a a a", "a a b", "a b b"], max_order=1)
    assert clipped == pytest.approx(100 * (2 / 3 + 3 / 3 + 2 / 3) / 3)


@pytest.mark.parametrize("order", [2, 4])
def test_self_bleu_is_sacrebleus_with_all_others_as_references(order):
    sentences = [*random_sentences(12, shortest=1), "w1", "w0 w1", "w2 w2 w3"]
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it advises another definition
    oracle = BLEU(
        tokenize="none",
        max_ngram_order=order,
        smooth_method="floor",
        smooth_value=0.1,
        effective_order=True,
    )
    scores = [
        oracle.sentence_score(sentence, sentences[:row] + sentences[row + 1 :]).score
        for row, sentence in enumerate(sentences)
    ]
    assert self_bleu(sentences, max_order=order) == pytest.approx(np.mean(scores), rel=1e-6)


def test_self_bleu_of_equal_sentences_and_of_too_few():
    for words in ("a b c d e", "a b c", "a"):  # however short
        assert self_bleu([words] * 3) == pytest.approx(100)
    assert self_bleu(["", "a"]) == 0
    assert self_bleu(random_sentences(30)) > self_bleu(random_sentences(30, words=40))
    with pytest.raises(UserError, match="at least 2"):
        self_bleu(["a b"])


def test_bleu():
    sentences = random_sentences(9)
    score, signature = bleu(sentences, sentences)
    assert score == pytest.approx(100)
    assert "tok:none" in signature
    changed = [sentence.replace("w0", "w1") for sentence in sentences]
    assert 0 < bleu(changed, sentences)[0] < 100
    # Words are what white space separates, and case counts.
    assert bleu(["A b, c d!"], ["a b, c d!"])[0] < bleu(["a b, c d!"], ["a b, c d!"])[0]
    # Of sentences without four words, too; one that has them decides for all.
    assert bleu(["a b c", "d"], ["a b c", "d"])[0] == pytest.approx(100)
    short = (4 / 6 * 2 / 4 * 1 / 2) ** (1 / 3)  # words, pairs, threes
    assert bleu(["a b c", "a d e"], ["a b c", "a x y"])[0] == pytest.approx(100 * short, rel=1e-3)
    plain = BLEU(tokenize="none", force=True).corpus_score
    mixed = [sentence.split(" ", 4)[0] if i % 2 else sentence for i, sentence in enumerate(changed)]
    assert bleu(mixed, sentences)[0] == plain(mixed, [sentences]).score > 0
    by_hand = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu(["a b c d x"], ["a b c d e"])[0] == pytest.approx(100 * by_hand)
