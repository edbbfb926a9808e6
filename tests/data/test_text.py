import gzip
import json

import pytest

from jvae.data import files
from jvae.data.corpora import load_corpus
from jvae.data.text import Text
from jvae.errors import UserError


@pytest.fixture
def load(tmp_path):
    def run(content, name="train.txt", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_corpus("text", train=str(path), cache_dir=str(tmp_path / "cache"), **options)

    return run


def rows_of(content, name="x.txt", **options):
    data = content if isinstance(content, bytes) else content.encode()
    return files.parse(data, name, **options)


def test_three_files_as_they_are(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / split).write_text(f"A {split} Line\nsecond {split}\n")
    paths = {split: str(tmp_path / split) for split in ("train", "valid", "test")}
    corpus = load_corpus("text", **paths, cache_dir=str(tmp_path / "cache"))
    assert corpus.sentences == {
        split: [f"A {split} Line", f"second {split}"] for split in ("train", "valid", "test")
    }
    assert corpus.labels is None and corpus.latents is None and corpus.notes == ()


def test_one_file_is_split_by_seed(load):
    lines = [f"line {i}" for i in range(200)]
    first, again, other = (load("\n".join(lines), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.sentences != other.sentences and first.fingerprint != other.fingerprint
    assert [len(first.sentences[s]) for s in ("train", "valid", "test")] == [180, 10, 10]
    assert sorted(sum(first.sentences.values(), [])) == sorted(lines)
    assert "held out of the train file by seed 0: 10 sentences each" in first.notes[0]


def test_missing_test_file_is_held_out(load, tmp_path):
    (tmp_path / "valid.txt").write_text("v\n")
    corpus = load("a\nb\nc\nd\n", valid=str(tmp_path / "valid.txt"))
    assert corpus.sentences["valid"] == ["v"]
    assert sorted(corpus.sentences["train"] + corpus.sentences["test"]) == ["a", "b", "c", "d"]
    assert len(corpus.sentences["test"]) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_tiny_corpora(load, count):
    lines = [f"s{i}" for i in range(count)]
    corpus = load("\n".join(lines))
    if count < 3:
        assert all(rows == lines for rows in corpus.sentences.values())
        assert any("too few" in note for note in corpus.notes)
    else:
        assert sorted(sum(corpus.sentences.values(), [])) == lines
        assert all(corpus.sentences.values())


def test_line_ends_marks_and_blank_lines(load):
    text = "\ufeffone\u2028still one\r\n\r\n  two\x85 \n \t \nthree\nthree"
    corpus = load(text)
    found = sum(corpus.sentences.values(), [])
    assert sorted(found) == ["one\u2028still one", "three", "three", "two\x85"]
    assert "train file: 2 blank lines skipped" in corpus.notes
    assert rows_of("a\n").blank == 0 and rows_of("a\n\n").blank == 1


def test_leak_is_noted(load):
    corpus = load("same\n" * 10)
    assert "1 of 1 valid sentences are also in train" in corpus.notes


def test_labels(load):
    corpus = load("".join(f"y{i}\tsaid {i}\twith tab\n" for i in range(40)), label=True)
    for split, sentences in corpus.sentences.items():
        expected = [f"y{s.split()[1]}" for s in sentences]
        assert corpus.labels[split] == expected
    assert corpus.sentences["train"][0].endswith("\twith tab")
    with pytest.raises(UserError, match=r"no tab in line 2; .*label<TAB>sentence"):
        rows_of("a\tb\nno label\n", label=True)


def test_formats():
    table = 'text,kind\n"a, ""b""\nc",x\nd,y\n'
    assert rows_of(table, "t.csv", column="text", label_column="kind") == (
        ['a, "b" c', "d"],
        ["x", "y"],
        0,
    )
    assert rows_of('k\ttext\n1\tsay "x\n', "t.tsv", column="text").sentences == ['say "x']
    assert rows_of("y\tthe text\n", "t.tsv", label=True) == (["the text"], ["y"], 0)
    lines = '{"text": "a\\nb", "y": 1}\n\n{"text": "caf\\u00e9", "y": 2}\n'
    parsed = rows_of(lines, "t.jsonl.gz", column="text", label_column="y")
    assert parsed == (["a b", "caf\u00e9"], ["1", "2"], 0)


def test_gz_gives_the_same_as_plain(load):
    plain = load("a\nb\nc\n")
    packed = load(gzip.compress(b"a\nb\nc\n", mtime=0), name="train.txt.gz")
    assert packed.fingerprint == plain.fingerprint


def test_edited_file_is_not_served_from_the_cache(load, monkeypatch):
    assert "old" in sum(load("old\na\nb\n").sentences.values(), [])
    assert "new" in sum(load("new\na\nb\n").sentences.values(), [])
    monkeypatch.setattr(Text, "contents", lambda self: pytest.fail("prepared again"))
    assert "old" in sum(load("old\na\nb\n").sentences.values(), [])


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("x.txt", b"", {}, "empty file"),
        ("x.txt", b"\n \n\n", {}, "no sentence in it, only 3 blank lines"),
        ("x.txt", b"ab\ncd\xff\n", {}, r"not UTF-8 \(byte 0xff\) in line 2, byte offset 5"),
        ("x.txt", b"\xef\xbb\xbfa\n\xff", {}, "in line 2, byte offset 5"),
        ("x.txt", b"ab\n\0\n", {}, r"binary file \(NUL byte\) in line 2, byte offset 3"),
        ("x.txt", "a".encode("utf-16"), {}, "not UTF-8"),
        ("x.txt.gz", b"no gzip", {}, "broken .gz"),
        ("x.txt.gz", gzip.compress(b"a\n" * 999, mtime=0)[:-9], {}, "broken .gz"),
        ("x.txt.gz", gzip.compress(b"", mtime=0), {}, "empty file"),
        ("x.csv", b"a,b\n1,2\n", {"column": "c"}, r"no column 'c' in line 2.*'a', 'b'"),
        ("x.csv", b"a,b\n1,2\n", {}, r"which column\? Set data.column to one of: 'a', 'b'"),
        ("x.csv", b"a,b\n1\n", {"column": "a"}, "1 columns in line 2, but 2"),
        ("x.csv", b'a\n"x" y\n', {"column": "a"}, "malformed table in line 2"),
        ("x.csv", b"a,b\n", {"column": "a"}, "no sentence in it"),
        ("x.tsv", b"a\tb\n1\t2\n", {"column": "c"}, "no column 'c'"),
        ("x.jsonl", b'{"a": "x"}\n{"a"\n', {"column": "a"}, "malformed JSON in line 2"),
        ("x.jsonl", b'{"a": "x"}\n', {"column": "b"}, r"no column 'b' in line 1.*'a'"),
        ("x.jsonl", b"[1]\n", {"column": "a"}, "row 1 is 1, not a JSON object"),
        ("x.jsonl", b'{"a": 3}\n', {"column": "a"}, "column 'a' in line 1 is 3, not a text"),
        ("x.jsonl", b'{"a": "\\ud800"}\n', {"column": "a"}, "malformed JSON in line 1"),
        (
            "x.txt",
            b"a\n",
            {"column": "a"},
            r"data.column=a is for .csv, .tsv, .jsonl, ",
        ),
        ("x.txt", b"a\n", {"label_column": "a"}, "needs data.column"),
        ("x.csv", b"a\nb\n", {"column": "a", "label": True}, "label_column instead"),
    ],
)
def test_bad_input_is_one_clear_line(load, name, content, options, message):
    with pytest.raises(UserError, match=message) as caught:
        load(content, name=name, **options)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_bad_paths(tmp_path):
    with pytest.raises(UserError, match="nothere: no such file"):
        load_corpus("text", train=str(tmp_path / "nothere"))
    with pytest.raises(UserError, match="is a directory"):
        load_corpus("text", train=str(tmp_path))
    with pytest.raises(UserError, match="--config.data.train=FILE"):
        load_corpus("text")


def test_long_line_beside_short_ones(load):
    long = "x" * 3_000_000
    corpus = load("\n".join(["a", "b", long, "c"]))
    assert sorted(sum(corpus.sentences.values(), [])) == ["a", "b", "c", long]


def test_json_numbers_as_labels_only():
    line = json.dumps({"t": "x", "y": [1]})
    with pytest.raises(UserError, match="not a text"):
        rows_of(line, "x.jsonl", column="t", label_column="y")
