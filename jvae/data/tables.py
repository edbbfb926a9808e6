"""Rows of the user's tables: `.csv`, `.tsv`, and JSON, as lines or as one list."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jvae.errors import UserError

JSON = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv", *JSON)

# Place in the file, sentence, label.
Row = tuple[str, str, str | None]

# A .tsv whose quotes all enclose fields, inner ones doubled: pandas writes such. Possessive, so
# that a file of another kind is told from it in linear time.
_FIELD = r'(?:"(?:[^"]++|"")*+"|[^"\t\r\n]*+)'
_QUOTED = re.compile(rf"(?:{_FIELD}[\t\r\n]++)*+{_FIELD}")


def table(
    text: str, path: str | Path, kind: str, column: str | None, label_column: str | None
) -> Iterator[Row]:
    """Yields the place, sentence and label of each row.

    Args:
      text: of the file.
      path: names it in messages.
      kind: one of `TABLES`.
      column: of the sentences; None for JSON whose rows are texts themselves.
      label_column: of the labels.

    Raises:
      UserError: a row that does not fit.
    """
    wanted = [name for name in (column, label_column) if name is not None]
    rows = _json_rows(text, path) if kind in JSON else _csv_rows(text, path, kind, wanted)
    for count, (place, row) in enumerate(rows):
        if isinstance(row, str):
            if wanted:
                raise UserError(
                    f"{path}: {place} is a text and has no columns; leave data.column and "
                    "data.label_column out"
                )
            yield place, row, None
            continue
        missing = next((name for name in wanted if name not in row), "")
        if missing or column is None:
            option = "data.column" if missing in ("", column) else "data.label_column"
            advice = _advice(list(row), missing, option, place, first=count == 0)
            raise UserError(f"{path}: {advice}")
        for name in wanted:
            value = row[name]
            # NaN is the only number that differs from itself.
            number = name == label_column and isinstance(value, int | float) and value == value
            if not isinstance(value, str) and not number:
                cure = "correct the row, or delete it"
                if isinstance(value, dict | list):
                    cure = "write a list of rows, [{..}, {..}] (pandas: orient='records')"
                raise UserError(
                    f"{path}: column {name!r} in {place} is {json.dumps(value)[:40]}, not a text; "
                    f"{cure}"
                )
        yield place, row[column], None if label_column is None else str(row[label_column])


def _advice(names: list[str], missing: str, option: str, place: str, *, first: bool) -> str:
    """Says what to do about a row without the column `missing`, or about a column without name.

    Only JSON rows after the first may lack one that the rows before them have.
    """
    if missing and not first:
        return f"{place} has no {missing!r}, unlike the rows before it; add it, or delete the row"
    problem = f"no column {missing!r} in {place}" if missing else "which column"
    if len(names) == 1 and re.search("[;\t|]", names[0]):
        return f"{problem}? Its first line, {names[0]!r}, has no comma: write the table with commas"
    return f"{problem}? Set {option} to one of: {', '.join(map(repr, names))}"


def _json_rows(text: str, path: str | Path) -> Iterator[tuple[str, Any]]:
    """Yields the elements of a JSON list, or one JSON value a line; each is a dictionary or text.

    What the file holds decides, not its ending: both carry either name.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        parsed = _json_lines(text, path)
    else:
        listed = whole if isinstance(whole, list) else []
        parsed = ((f"row {number}", row) for number, row in enumerate(listed, start=1))
        if not isinstance(whole, list):  # a file of one line, or one object over several
            parsed = iter([("line 1", whole)])
    for place, row in parsed:
        if not isinstance(row, dict | str):
            raise UserError(
                f"{path}: {place} is {json.dumps(row)[:40]}, not a JSON object; "
                'each row must be like {"text": "a sentence"}'
            )
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            # "\ud800" is valid JSON but no text: nothing could write or hash it.
            raise UserError(
                f"{path}: malformed JSON in {place} ({error.reason}); correct the row"
            ) from None
        yield place, row


def _json_lines(text: str, path: str | Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{path}: malformed JSON in line {number} ({error}); "
                    "give one JSON object a line, or one list of them: [{..}, {..}]"
                ) from None


def _csv_rows(
    text: str, path: str | Path, kind: str, wanted: list[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    source = io.StringIO(text, newline="")
    before = csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    if kind == ".csv":
        reader = csv.reader(source, strict=True)
    elif '"' in text and _QUOTED.fullmatch(text):
        reader = csv.reader(source, delimiter="\t", strict=True)
    else:
        reader = csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE)
    header: list[str] | None = None
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                for name in wanted:
                    if header.count(name) > 1:
                        raise UserError(
                            f"{path}: {header.count(name)} columns of its first line are named "
                            f"{name!r}; rename the others"
                        )
            elif len(row) != len(header):
                cure = (
                    "quote fields that hold the separator"
                    if len(row) > len(header)
                    else "add the missing ones"
                )
                raise UserError(
                    f"{path}: {len(row)} columns in {place}, but {len(header)} in its first "
                    f"line; {cure}"
                )
            else:
                yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{path}: malformed table in line {reader.line_num} ({error}); put quotes around "
            "fields that hold quotes, and double those inside"
        ) from None
    finally:
        csv.field_size_limit(before)
