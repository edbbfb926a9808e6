import json

import pytest

from jvae.data.cache import cached
from jvae.data.chitchat import (
    Chitchat,
    _find,
    _messages,
    select,
    split_of,
    tokenize,
    why_dropped,
)
from jvae.data.corpora import load_corpus
from jvae.errors import UserError


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def corpus(cache_dir):
    return load_corpus("chitchat", cache_dir=cache_dir)


def test_counts(corpus):
    sizes = {split: len(rows) for split, rows in corpus.sentences.items()}
    assert 150_000 <= sum(sizes.values()) <= 170_000
    assert sizes == {"train": 150717, "valid": 5515, "test": 3532}
    assert corpus.fingerprint.startswith("c3613d88853114d9")
    words = {word for rows in corpus.sentences.values() for s in rows for word in s.split()}
    assert len(words) == 31457


def test_notes_account_for_every_message(corpus):
    assert any("lower-cased" in note for note in corpus.notes)
    dropped = [
        int(n.split()[1].rstrip(":").replace(",", "")) for n in corpus.notes if n[:4] == "drop"
    ]
    assert sum(dropped) + sum(map(len, corpus.sentences.values())) == 258_145
    assert "dropped 2,271: line of the collecting site's game" in corpus.notes


def test_every_sentence_passes_the_filters(corpus):
    everything = [s for rows in corpus.sentences.values() for s in rows]
    assert len(set(everything)) == len(everything)  # hence also disjoint splits
    for sentence in everything:
        tokens = sentence.split(" ")
        assert 4 <= len(tokens) <= 20 and all(tokens)
        assert sentence.isascii() and "@" not in sentence and sentence == sentence.lower()


def test_no_conversation_crosses_splits(corpus):
    held_out = {"valid": set(), "test": set()}
    ids = {"train": set(), "valid": set(), "test": set()}
    for conversation, message in _messages(_find()):
        split = split_of(conversation)
        ids[split].add(conversation)
        if split != "train":  # tokenizing 4 % is fast
            held_out[split].add(" ".join(tokenize(message)))
    assert {split: len(names) for split, names in ids.items()} == {
        "train": 6898,
        "valid": 124,
        "test": 146,
    }
    assert set(corpus.sentences["valid"]) <= held_out["valid"]
    assert set(corpus.sentences["test"]) <= held_out["test"]
    # Sentences are distinct, so what train shares with them occurs in a train conversation first.
    shared = held_out["valid"] & set(corpus.sentences["train"])
    assert len(shared) < 0.1 * len(held_out["valid"])


def test_second_start_reads_the_cache(corpus, cache_dir, monkeypatch):
    monkeypatch.setattr(Chitchat, "contents", lambda self: pytest.fail("prepared again"))
    again = load_corpus("chitchat", cache_dir=cache_dir)
    assert again == corpus
    assert cached(Chitchat, cache_dir=cache_dir).notes == corpus.notes


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("The pink book blinked slowly.", "game"),
        ("the PINK book Blinked slowly", "game"),
        ("The pink book blinked slowly!", ""),
        ("The very pink book blinked slowly.", ""),
        ("see www.example.org for all of it", "URL"),
        ("see HTTPS://x.y for all of it", "URL"),
        ("go to example.com for all of it", "URL"),
        ("write to me@home if you can", "URL or @"),
        ("this is <em>really</em> so good", "markup"),
        ("fish &amp; chips are so good", "markup"),
        ("the caf\u00e9 is so good today", "ASCII"),
        ("one two three", "fewer than 4"),
        ("one two three four", ""),
        (" ".join("abcdefghijklmnopqrst"), ""),
        (" ".join("abcdefghijklmnopqrstu"), "more than 20"),
        ("ha ha ha that is good", "three times"),
        ("I know that that is good", ""),
        ("Don't you think so?", ""),
    ],
)
def test_filters(message, reason):
    found = why_dropped(message, tokenize(message))
    assert (reason in found) if reason else not found


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ("Don't worry, it's OK!!!", "don't worry , it's ok !"),
        ("Wait..... what--really?", "wait ... what - really ?"),
        ('He said "no" (twice); well-known: 3.5 at 7:30.', None),
        ("see you :) :D ;-)", "see you :) :d ;-)"),
        ("10,000 people", "10,000 people"),
    ],
)
def test_tokenize(message, tokens):
    tokens = tokens or 'he said " no " ( twice ) ; well-known : 3.5 at 7:30 .'
    assert tokenize(message) == tokens.split(" ")


def test_first_occurrence_wins_across_splits():
    ids = {split_of(str(i)): str(i) for i in range(200)}
    assert set(ids) == {"train", "valid", "test"}
    contents = select(
        [(ids["test"], "Are you there now?"), (ids["train"], "are you there now ?!"[:-1])]
    )
    sentences = {split: rows["sentences"] for split, rows in contents.splits.items()}
    assert sentences == {"test": ["are you there now ?"], "train": [], "valid": []}
    assert "dropped 1: repeated sentence" in contents.notes


def test_changed_source_is_refused(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"dataset.json: sha256 is 44136f.*chitchat-dataset==0.9.0"):
        list(_messages(path))
