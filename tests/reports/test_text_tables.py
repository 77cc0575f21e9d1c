"""Tables as files: Markdown, LaTeX that compiles in one's head, and the rows of every pair."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.analysis import analyse
from reports.build import Report
from reports.page_parts import page_data
from reports.pair_table import pair_rows
from reports.tables import TextTable
from reports.text_tables import latex, markdown, text_tables
from reports.traces import traces

TABLE = TextTable(["a_b", "share %"], [["x & y | z", "3 $ #1 {B²}"], ["–", "~ ^ \\ @"]])


def test_markdown_keeps_bars_inside_cells() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "| a_b | share % |"
    assert lines[1] == "| --- | --- |"
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)


def test_latex_escapes_what_latex_reads_and_says_its_run() -> None:
    lines = latex(TABLE, "a run").splitlines()
    assert lines[0] == "% a run"
    assert [line for line in lines if line.startswith("\\") and "rule" in line] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert r"a\_b & share \% \\" in lines
    assert r"x \& y | z & 3 \$ \#1 \{B\textsuperscript{2}\} \\" in lines
    assert r"-- & \textasciitilde{} \textasciicircum{} \textbackslash{} {@} \\" in lines


def test_every_table_is_written_in_both_and_names_data_connector_size_batch_and_seeds(report: Report) -> None:
    folder = Path(report.where) / "tables"
    names = {path.stem for path in folder.glob("*.tex")}
    assert names == {path.stem for path in folder.glob("*.md")}
    assert {"methods", "best_pairs", "ranking", "costs", "frontier", "view_as_run", "view_matched_flops"} <= names
    first = (folder / "methods.tex").read_text().splitlines()[0]
    assert first == "% finished · linear · 4 x 3 encoders · batch 128 · seeds 0, 1, 2"


def test_columns_agree(finished: Any) -> None:
    for name, table in text_tables(analyse(finished)).items():
        assert all(len(row) == len(table.columns) for row in table.rows), name


def test_the_rows_of_pairs_hold_means_intervals_and_both_places(finished: Any, report: Report) -> None:
    analysis = analyse(finished)
    rows = pair_rows(analysis)
    assert len(rows) == 12 * 3
    assert [row.reference_place for row in rows] == sorted(row.reference_place for row in rows)
    first = rows[0]
    assert first.pair == analysis.summary.methods["ape"].oracle_pair and "oracle" in first.note
    result = analysis.methods["hyma"]
    for row in rows:
        if row.method == "hyma":
            assert row.test == pytest.approx(result.data.test[:, row.number].mean())
            assert row.score == pytest.approx(result.data.scores[:, row.number].mean())
            assert row.ends[0] <= row.test <= row.ends[1]
            theirs = analysis.methods["ape"].data.test[:, row.number].mean()
            assert row.behind == pytest.approx(theirs - row.test)
        if row.method == "cka":
            assert np.isnan(row.test)
    frame = pd.read_csv(Path(report.where) / "tables" / "pair_scores.csv")
    assert len(frame) == 36 and frame["test_low"].notna().sum() == 24
    assert (frame.groupby("method")["note"].apply(lambda notes: notes.str.contains("pick").sum()) == 1).all()


def test_without_queries_there_are_no_intervals(maker: Any, tmp_path: Any) -> None:
    run = maker.run(tmp_path / "run", maker.realistic(3, 2, 2), arrays=False)
    assert all(np.isnan(row.ends).all() for row in pair_rows(analyse(run)))


def test_lower_is_better_turns_intervals_and_gaps(maker: Any, tmp_path: Any) -> None:
    ours, theirs = np.full((2, 6), 10.0) + np.arange(6), np.full((2, 6), 14.0) + np.arange(6)
    specs = {"ape": maker.Spec(ours, ours), "hyma": maker.Spec(theirs, theirs, kind="joint")}
    rows = pair_rows(analyse(maker.run(tmp_path / "run", specs, metric="median_rank")))
    for row in rows:
        assert row.ends[0] <= row.test <= row.ends[1]
    assert all(row.behind == pytest.approx(4, abs=1.5) for row in rows if row.method == "hyma"), "worse is positive"
    assert rows[0].pair == ("synthetic:image0", "synthetic:text0")


def test_nothing_in_the_scripts_data_looks_like_a_tag(maker: Any, tmp_path: Any) -> None:
    names = (["x:</script><b>", "x:plain"], ["t:a&b", "t:c"])
    analysis = analyse(maker.run(tmp_path / "run", maker.realistic(2, 2, 2), names=names))
    written = page_data(analysis, traces(analysis))
    assert "<" not in written and "&" not in written


def test_without_a_reference_the_pairs_stand_by_their_mean_place(maker: Any, tmp_path: Any) -> None:
    one, other = np.tile([0.1, 0.4, 0.2, 0.3], (2, 1)), np.tile([0.2, 0.4, 0.1, 0.3], (2, 1))
    specs = {"ridge": maker.Spec(one, one, kind="joint"), "cca": maker.Spec(other, other, kind="joint")}
    rows = pair_rows(analyse(maker.run(tmp_path / "run", specs, images=2, texts=2, reference=None)))
    assert [row.number for row in rows[::2]] == [1, 3, 0, 2]
    assert all(np.isnan(row.reference_place) and np.isnan(row.behind) for row in rows)
