"""Documents quote what sweeps have made: markers are read, tables are written, nothing was typed by hand."""

import math
from pathlib import Path

import pytest

from harness.run.store import RunStore
from reports.build import build_report
from reports.documents import NUMBERS, Quoted, markdown, numbers, quoted, with_tables

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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_the_committed_tables_are_those_of_the_committed_numbers(document: Path) -> None:
    text = document.read_text()
    for one in quoted(text):
        assert (ROOT / one.sweep).exists()
        made = (ROOT / NUMBERS / f"{one.name(ROOT)}.csv").exists()
        assert made or "**Older tables.**" in text, f"make results: {one.sweep}"
    assert with_tables(text, ROOT) == text


def test_every_file_of_numbers_is_quoted() -> None:
    names = {f"{one.name(ROOT)}.csv" for document in DOCUMENTS for one in quoted(document.read_text())}
    assert names >= {file.name for file in (ROOT / NUMBERS).glob("*.csv")}
