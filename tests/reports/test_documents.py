"""Documents quote what sweeps have made: markers are read, tables are written, nothing was typed by hand."""

import math
from pathlib import Path

import pytest

from harness.run.store import RunStore
from reports.build import build_report
from reports.documents import NUMBERS, Quoted, markdown, numbers, quoted, section_table, with_tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "docs").glob("results*.md"))
SWEEP = "name: tiny\n"


def test_a_marker_names_a_sweep_and_its_overrides(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SWEEP)
    text = (
        "<!-- table: one.yaml -->\nold\n<!-- end -->\nwords\n"
        "<!-- table: one.yaml name=other 'methods.x={lr: 1.0e-2}' -->\n<!-- end -->\n"
    )
    first, second = quoted(text)
    assert (first, first.name(tmp_path)) == (Quoted("one.yaml"), "tiny")
    assert second == Quoted("one.yaml", ("name=other", "methods.x={lr: 1.0e-2}"))
    assert second.name(tmp_path) == "other"


def test_tables_are_the_reports_numbers_and_stand_between_the_markers(finished: RunStore, tmp_path: Path) -> None:
    summary = build_report(finished).summary
    frame = numbers(finished)
    assert set(frame["method"]) == set(summary.methods)
    for row in frame.to_dict("records"):
        method = summary.methods[str(row["method"])]
        assert row["flops"] == method.flops.total
        for name, value in (("delivered", method.delivered.value), ("regret", method.regret.value)):
            assert row[name] == pytest.approx(math.nan if value is None else value, nan_ok=True)
    (tmp_path / "one.yaml").write_text(SWEEP)
    (tmp_path / NUMBERS).mkdir(parents=True)
    frame.to_csv(tmp_path / NUMBERS / "tiny.csv", index=False)
    text = "before\n<!-- table: one.yaml -->\nold\n<!-- end -->\nafter\n"
    written = with_tables(text, tmp_path)
    assert written == f"before\n<!-- table: one.yaml -->\n{markdown(frame)}<!-- end -->\nafter\n"
    assert with_tables(written, tmp_path) == written
    assert f"| {summary.reference} (reference) |" in written


REPORT = """# run

## Methods

| method | score |
|---|---|
| a | 1 |

## The best pair per constraint level

Words.

| level | pick of ape |
| --- | --- |
| dim < 30 M | 0.281 |
| dim 8 | – |

![plot](x.png)
"""


def test_a_section_of_a_report_can_be_quoted_with_its_cells_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SWEEP)
    heading = "The best pair per constraint level"
    text = f'<!-- table: one.yaml seeds=[0] section="{heading}" -->\nold\n<!-- end -->\n'
    (one,) = quoted(text)
    assert one == Quoted("one.yaml", ("seeds=[0]",), heading)
    assert one.file(tmp_path).name == "tiny.the_best_pair_per_constraint_level.csv"
    frame = section_table(REPORT, heading)
    one.file(tmp_path).parent.mkdir(parents=True)
    frame.to_csv(one.file(tmp_path), index=False)
    assert with_tables(text, tmp_path).splitlines()[1:-1] == [
        "| level | pick of ape |",
        "|---|---|",
        "| dim < 30 M | 0.281 |",
        "| dim 8 | – |",
    ]
    with pytest.raises(ValueError, match="no table under 'Ranking'"):
        section_table(REPORT, "Ranking")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_the_committed_tables_are_those_of_the_committed_numbers(document: Path) -> None:
    text = document.read_text()
    for one in quoted(text):
        assert (ROOT / one.sweep).exists()
        assert one.file(ROOT).exists(), f"make results: {one.sweep}"
    assert with_tables(text, ROOT) == text


def test_every_file_of_numbers_is_quoted() -> None:
    names = {one.file(ROOT).name for document in DOCUMENTS for one in quoted(document.read_text())}
    assert names >= {file.name for file in (ROOT / NUMBERS).glob("*.csv")}
