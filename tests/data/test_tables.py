"""Tables come back as they were written, whatever stands in them, and an error names its line."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.data.tables import column, read_table
from harness.errors import HarnessError, MissingData

CELLS = st.text(
    alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00\r"), min_size=1, max_size=8
)
NAMES = st.lists(CELLS.filter(lambda name: not name.startswith("\ufeff")), min_size=1, max_size=3, unique=True)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[str]]:
    names = draw(NAMES)
    rows = draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))
    return {name: [row[n] for row in rows] for n, name in enumerate(names)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@given(tables(), st.sampled_from([(".csv", ","), (".tsv", "\t")]), st.booleans())
@example({"a,b": ['say "yes", or\nno', " "]}, (".csv", ","), True)
def test_a_delimited_table_comes_back(
    folder: Path, table: dict[str, list[str]], kind: tuple[str, str], mark: bool
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=kind[1], quoting=csv.QUOTE_ALL)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    path = folder / f"t{kind[0]}"
    path.write_bytes(("\ufeff" if mark else "").encode() + text.getvalue().encode())
    columns, place = read_table(path)
    assert columns == table
    first_rows = sum(name.count("\n") for name in table) + 1
    own_rows = sum(values[0].count("\n") for values in table.values()) + 1
    assert place(0) == f"line {first_rows + own_rows}", "the line on which the row ends"


@given(st.lists(st.dictionaries(CELLS, CELLS | st.integers() | st.none() | st.lists(CELLS), min_size=1), min_size=1))
def test_json_lines_come_back_and_what_a_line_lacks_is_none(folder: Path, rows: list[dict[str, object]]) -> None:
    path = folder / "t.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    columns, place = read_table(path)
    assert set(columns) == {name for row in rows for name in row}
    for name, values in columns.items():
        assert values == [row.get(name) for row in rows]
    assert place(len(rows) - 1) == f"line {2 * len(rows) - 1}", "empty lines count"


@given(tables())
def test_parquet_comes_back_and_has_rows_instead_of_lines(folder: Path, table: dict[str, list[str]]) -> None:
    path = folder / "t.parquet"
    pq.write_table(pa.table(table), path)
    columns, place = read_table(path)
    assert columns == table
    assert place(0) == "row 0"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", b"a,b\n1,2\n3\n", "line 3 has 1 fields, the header has 2 (quote values that hold a comma or a line"),
        ("t.csv", b"a,b\n1,2,3\n", "line 2 has 3 fields, the header has 2"),
        ("t.csv", b'a,b\n"1" x,2\n', "line 2: "),
        ("t.csv", b'a,b\n1,"never closed\n', "line 2: "),
        ("t.csv", b"a,b,a\n1,2,3\n", "column a is there twice"),
        ("t.csv", b"a,b\n", "the dataset is empty: no rows"),
        ("t.csv", b"\n\n", "the dataset is empty: no rows"),
        ("t.csv", b"a\n\xff\xfe\n", "not UTF-8 text: "),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON: "),
        ("t.jsonl", b'{"a": 1}\n\n[1]\n', "line 3 is not an object"),
        ("t.jsonl", b"", "the dataset is empty: no rows"),
        ("t.jsonl", b"{}\n", "the dataset is empty: no rows"),
        ("t.jsonl", b"\xff\n", "not UTF-8 text: "),
        ("t.parquet", b"PAR1 and nothing more", "not a Parquet file: "),
        ("t.xlsx", b"", "not a table: .xlsx (CSV, JSONL or Parquet)"),
        ("t", b"a\n1\n", "not a table: no suffix (CSV, JSONL or Parquet)"),
    ],
)
def test_what_is_no_table_is_one_line_with_its_place(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        read_table(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert told in str(caught.value)


def test_a_missing_file_is_missing_data_so_that_a_plan_can_do_without(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv")


def test_a_missing_column_names_the_near_ones() -> None:
    assert column({"image": ["x"], "captions": ["y"]}, "image", Path("t.csv")) == ["x"]
    with pytest.raises(HarnessError, match=r"t\.csv: no column 'caption' \(did you mean 'captions'\?\)"):
        column({"image": ["x"], "captions": ["y"]}, "caption", Path("t.csv"))
