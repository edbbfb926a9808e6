"""Files are read as what they are, or refused with the cure that helps."""

import csv
import gzip
import json

import pytest

from jvae.data import files
from jvae.data.corpora import load_corpus
from jvae.errors import UserError


def rows_of(content, name="x.txt", **options):
    data = content if isinstance(content, bytes) else content.encode()
    return files.parse(data, name, **options)


def sentences(content, name="x.txt", **options):
    return rows_of(content, name, **options).sentences


RECORDS = [{"text": "a cat", "y": 1}, {"text": "two\ndogs", "y": 2}]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.ndjson", "X.JSON.GZ"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(RECORDS, indent=2),
        json.dumps(RECORDS),
        "\n".join(map(json.dumps, RECORDS)),
        "\r\n".join(map(json.dumps, RECORDS)) + "\r\n",
    ],
)
def test_json_in_either_form_and_under_each_name(name, content):
    read = rows_of(content, name, column="text", label_column="y")
    assert read == (["a cat", "two dogs"], ["1", "2"], 0)


def test_one_pretty_object_and_lists_of_texts():
    assert sentences(json.dumps(RECORDS[0], indent=1), "x.json", column="text") == ["a cat"]
    assert sentences('["a cat", "a dog"]', "x.json") == ["a cat", "a dog"]
    assert sentences('"a cat"\n"a dog"\n', "x.jsonl") == ["a cat", "a dog"]


def test_fasta_records_are_sequences_without_headers():
    text = ">sp|P1 first\nMKV\nLLA\n\n>sp|P2\nGG*\n"
    assert sentences(text, "x.fasta") == ["MKVLLA", "GG*"]
    assert sentences(text.replace("\n", "\r\n"), "x.FAA.gz") == ["MKVLLA", "GG*"]
    with pytest.raises(UserError, match=r"looks like FASTA, 2 headers.*\.fasta"):
        sentences(text)
    quoted = "> hello there\nwell said , sir\n"
    assert sentences(quoted) == ["> hello there", "well said , sir"]


def test_line_ends_of_old_machines():
    assert sentences("a cat\ra dog\r") == ["a cat", "a dog"]
    assert sentences("a cat\r\na dog\r\n") == ["a cat", "a dog"]
    assert sentences("text\ra cat\ra dog\r", "x.csv", column="text") == ["a cat", "a dog"]


@pytest.mark.parametrize("name", ["x.txt", "x.csv"])
def test_byte_order_marks_of_files_put_together(name):
    options = {"column": "t"} if name == "x.csv" else {}
    head = "t\n" if options else ""
    text = f"\ufeff{head}a cat\n\ufeffa dog\n"
    assert sentences(text, name, **options) == ["a cat", "a dog"]


def test_spaces_around_a_sentence_stay_where_they_count():
    code = "def f():\n    return 1  \r\n\tx\n"
    assert sentences(code) == ["def f():", "return 1", "x"]
    assert sentences(code, spaces=True) == ["def f():", "    return 1  ", "\tx"]


@pytest.mark.parametrize(("tokenizer", "kept"), [("words", False), ("chars", True), ("bpe", True)])
def test_the_tokenizer_says_whether_spaces_count(tokenizer, kept, tmp_path, monkeypatch):
    from jvae.tasks.text.data import read_corpus
    from tests.tiny import tiny_config

    path = tmp_path / "code.txt"
    path.write_text("if a:\n    b\n    b\n    b\n")
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path / "cache"))
    corpus = read_corpus(tiny_config(path, data__tokenizer=tokenizer))
    assert ("    b" in sum(corpus.sentences.values(), [])) == kept


def test_a_tsv_as_pandas_writes_it():
    text = 'text\tkind\n"say ""x"""\ta\n"two\tparts"\tb\n"two\nlines"\tc\n\td\nplain\te\n'
    read = rows_of(text, "x.tsv", column="text", label_column="kind")
    assert read.sentences == ['say "x"', "two\tparts", "two lines", "plain"]
    assert read.labels == ["a", "b", "c", "e"] and read.blank == 1


def test_a_tsv_whose_quotes_are_text():
    text = 'k\ttext\n1\tsay "x\n2\t"well" , he said\n'
    assert sentences(text, "x.tsv", column="text") == ['say "x', '"well" , he said']


def test_a_long_field():
    before = csv.field_size_limit()
    long = "word " * 40_000
    read = sentences(f'text,y\n"{long}",1\nshort,2\n', "x.csv", column="text")
    assert read == [long.strip(), "short"] and csv.field_size_limit() == before


@pytest.mark.parametrize("name", ["x.TXT.GZ", "x.txt.gz", "x.txt"])
def test_gz_is_known_by_name_or_content(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a\nb\nc\nd\n", mtime=0))
    corpus = load_corpus("text", train=str(path), cache_dir=str(tmp_path / "cache"))
    assert sorted(sum(corpus.sentences.values(), [])) == ["a", "b", "c", "d"]


def test_other_packers_are_named(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(UserError, match=r"x\.zip: a packed file \(zip\); unpack it"):
        files.read_bytes(tmp_path / "x.zip")


TEXT = {"column": "text"}
BOTH = {"column": "text", "label_column": "y"}


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        (
            "x.jsonl",
            '{"text": "a"}\n{"txt": "b"}',
            TEXT,
            "line 2 has no 'text', unlike the rows before it; add it, or delete the row",
        ),
        ("x.json", '{"text": {"0": "a"}}', TEXT, r"orient='records'"),
        ("x.json", '{"text": "a"', TEXT, "one JSON object a line, or one list of them"),
        ("x.json", '["a"]', TEXT, "row 1 is a text and has no columns; leave data.column"),
        ("x.csv", "text,text\na,b\n", TEXT, "2 columns of its first line are named 'text'"),
        ("x.csv", "text;y\na;b\n", TEXT, "has no comma: write the table with commas"),
        ("x.csv", "text,y\na\n", TEXT, "1 columns in line 2, but 2 in its first line; add"),
        ("x.csv", "text,y\na,b,c\n", TEXT, "3 columns in line 2.*quote fields"),
        ("x.csv", 'text\n"a" b\n', TEXT, "malformed table in line 2.*double those inside"),
        ("x.csv", "text,y\na,\n", BOTH, "the label in line 2 is empty; give it one, or delete"),
        ("x.csv", "text,z\na,1\n", BOTH, "Set data.label_column to one of: 'text', 'z'"),
        ("x.jsonl", '{"text": "a", "y": NaN}', BOTH, "column 'y' in line 1 is NaN"),
        ("x.txt", "a\tcat\n\tdog\n", {"label": True}, "the label in line 2 is empty"),
        ("x.fa", "MKV\n>x\nMK\n", {}, "line 1 is before the first header"),
    ],
)
def test_advice_that_helps(name, content, options, says):
    with pytest.raises(UserError, match=says) as caught:
        rows_of(content, name, **options)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_duplicate_column_that_nobody_asks_for():
    assert sentences("text,n,n\na,1,2\n", "x.csv", column="text") == ["a"]


def test_a_label_is_not_asked_of_a_blank_row():
    assert rows_of("text,y\n ,\na,b\n", "x.csv", **BOTH) == (["a"], ["b"], 1)


def notes_of(lines, tmp_path, **options):
    from jvae.tasks.text.data import load
    from tests.tiny import tiny_config

    path = tmp_path / "x.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return " ".join(load(tiny_config(path, data__max_length=0, **options)).notes)


@pytest.mark.parametrize(
    "lines",
    [
        ["我今天要去上班", "你好吗", "天气很好", "谢谢你"],
        ["CC(=O)Oc1ccccc1C(=O)O", "CCO", "c1ccccc1", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"],
        ["MKVLLAGGHHSTPPWYMKVLLAGGHHSTPPWY MKVLLAGGHHSTPPWYMKVLLAGGHHSTPPWY"] * 4,
    ],
)
def test_text_without_spaces_is_noted(lines, tmp_path):
    advice = "text without spaces needs --config.data.tokenizer=chars, or =bpe"
    assert advice in notes_of(lines, tmp_path)
    assert advice not in notes_of(lines, tmp_path, data__tokenizer="chars")


def test_text_with_spaces_has_no_such_note(tmp_path):
    assert "without spaces" not in notes_of(["a cat", "the dog sleeps"] * 4, tmp_path)
