"""Tables on disk as columns: CSV, TSV, JSON Lines and Parquet, without guesses about types."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.contract.registry import near
from harness.errors import HarnessError, MissingData

Columns = dict[str, list[Any]]


def read_table(path: Path) -> tuple[Columns, Callable[[int], str]]:
    """Read a whole table.

    Args:
        path: ``.csv`` or ``.tsv`` (with a header line; values stay strings), ``.jsonl`` or ``.ndjson``, ``.parquet``.

    Returns:
        The columns, and a function from row to where it stands (``line 7``), for messages.

    Raises:
        HarnessError: Missing, empty, of another kind, or malformed (with the line).
    """
    readers = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".ndjson": _read_jsonl,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise HarnessError(f"not a table: {path.suffix or 'no suffix'}", where=str(path), fix="CSV, JSONL or Parquet")
    if not path.is_file():
        raise MissingData("no such file", where=str(path))
    try:
        columns, lines = reader(path)
    except UnicodeDecodeError as error:
        raise HarnessError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from error
    if not columns or not len(next(iter(columns.values()))):
        raise HarnessError("the dataset is empty: no rows", where=str(path))
    return columns, lambda row: f"line {lines[row]}" if lines else f"row {row}"


def column(columns: Mapping[str, list[Any]], name: str, where: Path) -> list[Any]:
    """One column.

    Raises:
        HarnessError: No such column (with the near ones).
    """
    if name not in columns:
        raise HarnessError(f"no column {name!r}", where=str(where), fix=near(name, columns))
    return columns[name]


def _read_csv(path: Path) -> tuple[Columns, list[int]]:
    # utf-8-sig: spreadsheet programs write a byte-order mark.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        rows: list[list[str]] = []
        lines: list[int] = []
        try:
            header = next(reader, [])
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    what = f"line {reader.line_num} has {len(row)} fields, the header has {len(header)}"
                    raise HarnessError(what, where=str(path), fix="quote values that hold a comma or a line break")
                rows.append(row)
                lines.append(reader.line_num)
        except csv.Error as error:
            raise HarnessError(f"line {reader.line_num}: {error}", where=str(path)) from error
    if twice := {name for name in header if header.count(name) > 1}:
        raise HarnessError(f"column {', '.join(sorted(twice))} is there twice", where=str(path))
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}, lines


def _read_jsonl(path: Path) -> tuple[Columns, list[int]]:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise HarnessError(f"line {number} is not JSON: {error}", where=str(path)) from error
            if not isinstance(row, dict):
                raise HarnessError(f"line {number} is not an object", where=str(path))
            rows.append(row)
            lines.append(number)
    names: Sequence[str] = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}, lines


def _read_parquet(path: Path) -> tuple[Columns, list[int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pydict(), []
    except (pa.ArrowException, OSError) as error:
        raise HarnessError(f"not a Parquet file: {error}", where=str(path)) from error
