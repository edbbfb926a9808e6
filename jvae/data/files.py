"""Sentences from the user's files: plain text, `.csv`, `.tsv` and `.jsonl`, each also as `.gz`.

Whatever is wrong with a file is one `UserError` that names the file and the place in it.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jvae.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl")

Pairs = Iterator[tuple[str, str | None]]  # sentence, label


class Rows(NamedTuple):
    """The sentences of a file, and their labels.

    Attributes:
      sentences: one per row, without the spaces around it.
      labels: as many, or None.
      blank: rows without a sentence, which were skipped.
    """

    sentences: list[str]
    labels: list[str] | None
    blank: int


def ending(path: str | Path) -> str:
    """Returns the ending that says how a file is parsed: `.csv` of `a.csv.gz`."""
    return Path(str(path).removesuffix(".gz")).suffix.lower()


def read_bytes(path: str | Path) -> bytes:
    """Reads the file's bytes, unpacked if its name ends in `.gz`.

    Raises:
      UserError: it is missing, a directory, unreadable, empty or a broken `.gz`.
    """
    path = Path(path).expanduser()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; correct the path") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; give a file of it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); correct the path") from None
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"{path}: broken .gz file ({error}); pack or download it again"
            ) from None
    if not data:
        raise UserError(f"{path}: empty file; give one with a sentence a line")
    return data


def decode(data: bytes, path: str | Path) -> str:
    """Decodes UTF-8 text, without byte order mark.

    Raises:
      UserError: it is not UTF-8, or holds a NUL and so is no text; with line and byte offset.
    """
    try:
        text = data.decode("utf-8-sig")
        position, problem = data.find(b"\0"), "a binary file (NUL byte)"
    except UnicodeDecodeError as error:
        # The decoder counts from behind the byte order mark.
        position = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        problem = f"not UTF-8 (byte 0x{data[position]:02x})"
    if position >= 0:
        line = data.count(b"\n", 0, position) + 1
        raise UserError(
            f"{path}: {problem} in line {line}, byte offset {position}; convert it to UTF-8 text"
        )
    return text


def parse(
    data: bytes,
    path: str | Path,
    *,
    label: bool = False,
    column: str | None = None,
    label_column: str | None = None,
) -> Rows:
    """Splits a file into sentences, and labels if asked for.

    Lines end at a line feed only, so that no other Unicode separator splits a sentence.

    Args:
      data: unpacked bytes.
      path: names the file in messages and, by its ending, its format.
      label: plain lines are `label<TAB>sentence`.
      column: the column of a table that holds the sentences.
      label_column: the one that holds the labels.

    Raises:
      UserError: a line, column or row that does not fit, or no sentence at all.
    """
    kind = ending(path)
    text = decode(data, path)
    if column is None and (label or kind not in TABLES):
        if label_column is not None:
            raise UserError(f"{path}: data.label_column needs data.column as well")
        # The last line feed ends a line and does not begin a blank one.
        lines = text.removesuffix("\n").split("\n")
        pairs = _labelled(lines, path) if label else ((line, None) for line in lines)
    elif label:
        raise UserError(f"{path}: data.label is for plain lines; name a data.label_column instead")
    elif kind not in TABLES:
        raise UserError(
            f"{path}: data.column={column} is for {', '.join(TABLES)} files; rename the file, "
            "or leave data.column out"
        )
    else:
        pairs = _table(text, path, kind, column, label_column)

    sentences, labels, blank = [], [], 0
    for sentence, label_of in pairs:
        # A quoted field of a table may hold line feeds.
        sentence = sentence.replace("\n", " ").strip(" \t\r")
        if sentence.strip():
            sentences.append(sentence)
            labels.append(str(label_of).replace("\n", " ").strip())
        else:
            blank += 1
    if not sentences:
        raise UserError(f"{path}: no sentence in it, only {blank} blank lines; give another file")
    has_labels = label or label_column is not None
    return Rows(sentences, labels if has_labels else None, blank)


def _labelled(lines: list[str], path: str | Path) -> Pairs:
    for number, line in enumerate(lines, start=1):
        name, tab, sentence = line.partition("\t")
        if not tab and line.strip():
            raise UserError(
                f"{path}: no tab in line {number}; a line with a label is `label<TAB>sentence`: "
                "correct it, or give a file of such lines"
            )
        yield sentence, name


def _table(
    text: str, path: str | Path, kind: str, column: str | None, label_column: str | None
) -> Pairs:
    rows = _json_rows(text, path) if kind == ".jsonl" else _csv_rows(text, path, kind)
    wanted = [name for name in (column, label_column) if name is not None]
    for number, row in rows:
        # csv files have the same columns everywhere; jsonl files may lack one in any line.
        missing = [name for name in wanted if name not in row]
        if missing or column is None:
            problem = f"no column {missing[0]!r} in line {number}" if missing else "which column"
            raise UserError(
                f"{path}: {problem}? Set data.column to one of: {', '.join(map(repr, row))}"
            )
        for name in wanted:
            if not isinstance(row[name], str) and not (
                name == label_column and isinstance(row[name], int | float)
            ):
                raise UserError(
                    f"{path}: column {name!r} in line {number} is "
                    f"{json.dumps(row[name])[:40]}, not a text; correct the line"
                )
        yield row[column], str(row[label_column]) if label_column is not None else None


def _json_rows(text: str, path: str | Path) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            # "\ud800" is valid JSON but no text: nothing could write or hash it.
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: malformed JSON in line {number} ({error}); "
                "each line must be one JSON object"
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{path}: line {number} is not a JSON object; "
                'each line must be like {"text": "a sentence"}'
            )
        yield number, row


def _csv_rows(text: str, path: str | Path, kind: str) -> Iterator[tuple[int, dict]]:
    # Quotes in .tsv files are text; in .csv files they protect commas and line feeds.
    if kind == ".tsv":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
            elif len(row) != len(header):
                raise UserError(
                    f"{path}: {len(row)} columns in line {reader.line_num}, but {len(header)} in "
                    "its first line; quote fields that hold the separator"
                )
            else:
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{path}: malformed table in line {reader.line_num} ({error}); correct the line"
        ) from None
