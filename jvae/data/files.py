"""Sentences from the user's files: plain text, tables and FASTA, each also as `.gz`.

Whatever is wrong with a file is one `UserError` that names the file and the place in it.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jvae.data.tables import TABLES, Row, table
from jvae.errors import UserError

FASTA = (".fasta", ".fa", ".faa", ".fna", ".ffn")
GZIP = b"\x1f\x8b"
PACKED = {b"PK\x03\x04": "zip", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Rows(NamedTuple):
    """The sentences of a file, and their labels.

    Attributes:
      sentences: one per row, without the spaces around it unless these count.
      labels: as many, or None.
      blank: rows without a sentence, which were skipped.
    """

    sentences: list[str]
    labels: list[str] | None
    blank: int


def ending(path: str | Path) -> str:
    """Returns the ending that says how a file is parsed: `.csv` of `a.csv.gz`."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


def read_bytes(path: str | Path) -> bytes:
    """Reads the file's bytes, unpacked if it is a `.gz`, by its name or its first bytes.

    Raises:
      UserError: it is missing, a directory, unreadable, empty, a broken `.gz` or packed otherwise.
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
    for start, packer in PACKED.items():
        if data.startswith(start):
            raise UserError(f"{path}: a packed file ({packer}); unpack it, or pack it as .gz")
    if path.suffix.lower() == ".gz" or data.startswith(GZIP):
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
    """Decodes UTF-8 text, without byte order marks: files put together have one in mid-file.

    Lines end at line feeds. In a text without any, carriage returns end them.

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
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return text.replace("\n\ufeff", "\n")


def parse(
    data: bytes,
    path: str | Path,
    *,
    label: bool = False,
    column: str | None = None,
    label_column: str | None = None,
    spaces: bool = False,
) -> Rows:
    """Splits a file into sentences, and labels if asked for.

    Lines end at a line feed only, so that no other Unicode separator splits a sentence.

    Args:
      data: unpacked bytes.
      path: names the file in messages and, by its ending, its format.
      label: plain lines are `label<TAB>sentence`.
      column: the column of a table that holds the sentences.
      label_column: the one that holds the labels.
      spaces: whether the spaces around a sentence belong to it.

    Raises:
      UserError: a line, column or row that does not fit, or no sentence at all.
    """
    kind = ending(path)
    text = decode(data, path)
    # The last line feed ends a line and does not begin a blank one.
    lines = text.removesuffix("\n").split("\n")
    if kind in TABLES and not label:
        rows = table(text, path, kind, column, label_column)
    elif column is not None and label:
        raise UserError(f"{path}: data.label is for plain lines; name a data.label_column instead")
    elif column is not None:
        raise UserError(
            f"{path}: data.column={column} is for {', '.join(TABLES)} files; rename the file, "
            "or leave data.column out"
        )
    elif label_column is not None:
        raise UserError(f"{path}: data.label_column needs data.column as well")
    elif label:
        rows = _labelled(lines, path)
    elif kind in FASTA:
        rows = _fasta(lines, path)
    else:
        _refuse_fasta(lines, path)
        rows = ((f"line {number}", line, None) for number, line in enumerate(lines, start=1))

    sentences, labels, blank = [], [], 0
    has_labels = label or label_column is not None
    for place, sentence, label_of in rows:
        # A quoted field of a table may hold line feeds.
        sentence = sentence.removesuffix("\r").replace("\r\n", " ").replace("\n", " ")
        if not sentence.strip():
            blank += 1
            continue
        sentences.append(sentence if spaces else sentence.strip(" \t\r"))
        if has_labels:
            labels.append(_label(label_of, place, path))
    if not sentences:
        raise UserError(f"{path}: no sentence in it, only {blank} blank lines; give another file")
    return Rows(sentences, labels if has_labels else None, blank)


def _label(label: str | None, place: str, path: str | Path) -> str:
    name = (label or "").replace("\n", " ").strip()
    if not name:
        raise UserError(f"{path}: the label in {place} is empty; give it one, or delete the row")
    return name


def _labelled(lines: list[str], path: str | Path) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        name, tab, sentence = line.partition("\t")
        if not tab and line.strip():
            raise UserError(
                f"{path}: no tab in line {number}; a line with a label is `label<TAB>sentence`: "
                "correct it, or give a file of such lines"
            )
        yield f"line {number}", sentence, name


def _fasta(lines: list[str], path: str | Path) -> Iterator[Row]:
    """Yields the sequence of each record, whose header `>..` is left out and lines are joined."""
    place, parts = "", list[str]()
    for number, line in enumerate(lines, start=1):
        if line.startswith(">"):
            if place:
                yield place, "".join(parts), None
            place, parts = f"line {number}", []
        elif not place and line.strip():
            raise UserError(
                f"{path}: line {number} is before the first header, which starts with >; correct "
                "it, or name a file of plain lines .txt"
            )
        else:
            parts.append(line.strip())
    yield place, "".join(parts), None


def _refuse_fasta(lines: list[str], path: str | Path) -> None:
    """Refuses records of FASTA under another name: their headers would be taken for sentences."""
    headers = sum(line.startswith(">") for line in lines)
    if lines[0].startswith(">") and headers < len(lines):
        others = (line for line in lines if not line.startswith(">"))
        if all(re.fullmatch(r"[A-Za-z*.-]*\s*", line) for line in others):
            raise UserError(
                f"{path}: it looks like FASTA, {headers:,} headers from line 1 on; let its name "
                "end in .fasta to read each sequence as a sentence"
            )
