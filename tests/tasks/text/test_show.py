"""The sentences that a finished run shows."""

from types import SimpleNamespace

import numpy as np
from rich.console import Console

from jvae.batch import UNK
from jvae.tasks.text import show

WORDS = {word: number for number, word in enumerate("abcdefgh", start=4)}
RUN = SimpleNamespace(
    resources=SimpleNamespace(encode=lambda text: [WORDS.get(w, UNK) for w in text.split()]),
    config=SimpleNamespace(training=SimpleNamespace(seed=0)),
)


def test_shown_sentences_differ_are_known_and_are_not_too_short():
    sentences = ["a b", "a b c d", "a b c x", "a b c d", "b c d e", "c d e f"]
    assert show.rows_to_show(RUN, sentences, 2) == [1, 4]
    assert show.rows_to_show(RUN, sentences, 3) == [1, 4, 5]
    # Too few of them: the first others follow, each once.
    assert show.rows_to_show(RUN, sentences, 9) == [1, 4, 5, 0, 2]


def test_the_nearest_other_sentence_is_another_sentence():
    sentences = ["a", "a", "b", "c"]
    means = np.array([[0.0], [0.0], [3.0], [1.0]])
    assert show.nearest_others(sentences, means, [0, 1, 2]) == ["c", "c", "c"]
    assert show.nearest_others(["a", "a"], means[:2], [0]) == [None]


def test_clusters_are_the_largest_and_have_known_sentences_only():
    rng = np.random.default_rng(0)
    sizes = [40, 30, 20] + [5] * 9
    centres = 100 * np.arange(12)
    means = np.concatenate(
        [centre + rng.normal(size=(n, 1)) for centre, n in zip(centres, sizes, strict=True)]
    )
    names = [f"a b {w}" for w in "cdefghabcdef"]
    sentences = [
        name if row % 3 else f"{name} x{row}"
        for name, size in zip(names, sizes, strict=True)
        for row in range(size)
    ]
    found = show.typical_of_clusters(RUN, sentences, means)
    assert [cluster["size"] for cluster in found] == [40, 30, 20]
    assert [cluster["sentences"] for cluster in found] == [["a b c"], ["a b d"], ["a b e"]]
    # One value for all sentences is one cluster.
    (only,) = show.typical_of_clusters(RUN, ["a b"] * 5, np.zeros((5, 2)))
    assert only == {"size": 5, "sentences": ["a b"]}


def test_everything_is_printed(capsys):
    examples = {
        "prior_likeliest": ["one"],
        "prior_sampled": ["two"],
        "reconstructions": [{"sentence": "three", "reconstruction": "four"}],
        "neighbours": ["five"],
        "interpolation": {"from": "three", "to": "six", "sentences": ["seven", "eight"]},
        "clusters": [{"size": 1234, "sentences": ["nine"]}],
    }
    show.print_examples(Console(), examples)
    printed = capsys.readouterr().out.splitlines()
    for line in ("  one", "  two", "  three", "    -> four", "    ~  five", "  seven", "  nine"):
        assert line in printed
    assert "cluster 1 of the posterior means, 1,234 sentences" in printed
