import json

import pytest
import tokenizers as hf

from jvae.batch import BOS, EOS, PAD, SPECIALS, UNK
from jvae.data.tokenizers import TOKENIZERS, Tokenizer, build_tokenizer
from jvae.errors import UserError

TEXT = ["the cat saw the dog", "The dog  slept", "na\u00efve caf\u00e9 \u65e5\u672c the", "a a b"]
HARD = "The  caf\u00e9\u2028 \U0001f600 </s> <unk> x\t "


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_contract(kind):
    tokenizer = build_tokenizer(kind, TEXT)
    assert tokenizer.kind == kind and tokenizer.vocabulary[:4] == SPECIALS
    assert len(set(tokenizer.vocabulary)) == tokenizer.vocab_size
    for sentence in TEXT:
        ids = tokenizer.encode(sentence)
        assert all(type(i) is int and UNK < i < tokenizer.vocab_size for i in ids)
        expected = " ".join(sentence.split()) if kind == "words" else sentence
        assert tokenizer.decode(ids) == expected
        assert tokenizer.decode([BOS, *ids, EOS, *ids, PAD]) == expected
    # No text gives the ids that have a meaning of their own.
    assert not {PAD, BOS, EOS} & set(tokenizer.encode("<s> </s> <pad> <s></s>"))
    assert tokenizer.encode("") == [] and tokenizer.decode([PAD, EOS]) == ""


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_saved_and_loaded(kind, tmp_path):
    tokenizer = build_tokenizer(kind, TEXT)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again == tokenizer and again.to_json() == tokenizer.to_json()
    assert again.encode(HARD) == tokenizer.encode(HARD)
    assert build_tokenizer(kind, TEXT).to_json() == tokenizer.to_json()
    # The same file means the same to HF's library.
    theirs = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for sentence in TEXT:
        assert theirs.encode(sentence).ids == tokenizer.encode(sentence)


def test_words_order_case_and_unknown():
    tokenizer = build_tokenizer("words", ["b a c C", "a <unk> <unk> <unk> </s>", "b"])
    assert tokenizer.vocabulary == (*SPECIALS, "a", "b", "C", "c")
    assert tokenizer.encode("A <unk> c") == [UNK, UNK, 7]
    assert tokenizer.decode([4, UNK, 7]) == "a <unk> c"


def test_min_count_and_max_size():
    text = ["a a a b b c"]
    assert build_tokenizer("words", text, min_count=2).vocabulary[4:] == ("a", "b")
    assert build_tokenizer("words", text, max_size=5).vocabulary[4:] == ("a",)
    assert build_tokenizer("chars", text, min_count=3).vocabulary[4:] == (" ", "a")
    assert build_tokenizer("bpe", TEXT * 9, max_size=270).vocab_size == 270
    common = build_tokenizer("bpe", TEXT * 9, min_count=9)
    assert common.vocab_size > build_tokenizer("bpe", TEXT * 9, min_count=10).vocab_size
    with pytest.raises(UserError, match="max_size=259 is too small for the tokenizer bpe: 260"):
        build_tokenizer("bpe", text, max_size=259)
    with pytest.raises(UserError, match="unknown tokenizer 'word': there are words, chars, bpe"):
        build_tokenizer("word", text)


def test_bpe_loses_nothing_on_unseen_text():
    tokenizer = build_tokenizer("bpe", TEXT)
    ids = tokenizer.encode(HARD)
    assert UNK not in ids and tokenizer.decode(ids) == HARD


def test_bpe_never_merges_into_a_special_token():
    tokenizer = build_tokenizer("bpe", ["<s> x<s>y <s>strike</s> <unk> <pad>"] * 50, max_size=400)
    assert len(set(tokenizer.vocabulary)) == tokenizer.vocab_size > 260  # some were merged
    text = "<s> x<s>y <s>strike</s> <unk> <pad>"
    assert min(tokenizer.encode(text)) > UNK and tokenizer.decode(tokenizer.encode(text)) == text


def test_chars_keep_white_space():
    tokenizer = build_tokenizer("chars", ["a  b\t\u2028"])
    assert tokenizer.decode(tokenizer.encode("b\u2028\ta  ")) == "b\u2028\ta  "
    assert tokenizer.encode("az") == [tokenizer.vocabulary.index("a"), UNK]


def test_damaged_files(tmp_path):
    whole = json.loads(build_tokenizer("words", TEXT).to_json())
    vocab = whole["model"]["vocab"]
    renamed = {**{k: v for k, v in vocab.items() if v}, "<PAD>": 0}
    gap = {**vocab, "cat": 99}
    bad = {
        "empty": "",
        "half": json.dumps(whole)[:-30],
        "other": "{}",
        "list": "[]",
        "kind": json.dumps({**whole, "pre_tokenizer": {"type": "Digits"}}),
        "renamed": json.dumps({**whole, "model": {**whole["model"], "vocab": renamed}}),
        "gap": json.dumps({**whole, "model": {**whole["model"], "vocab": gap}}),
    }
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=f"{name}: .*tokenizer file") as caught:
            Tokenizer.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="missing: .*No such file"):
        Tokenizer.load(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="binary: "):
        Tokenizer.load(tmp_path / "binary")
