"""The frontier: who dominates whom, against a brute-force definition and hand-worked cases, and what is written."""

import itertools
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from harness.run.store import RunStore
from reports.analysis import analyse
from reports.build import build_report
from reports.cost_tables import frontier_table
from reports.entries import COSTS, QUALITIES, FrontierRow, frontier_entries, staircase, undominated
from reports.figures.axes import STYLE
from reports.overview import overview_rows
from reports.plots import connectors, frontier
from reports.tidy import frames_of

GRID = [
    FrontierRow("cheap", 1.0, 9.0, 0.5, 0.2),
    FrontierRow("middle", 2.0, 4.0, 0.9, 0.1),
    FrontierRow("waste", 3.0, 5.0, 0.9, 0.1),  # as good as middle, dearer
    FrontierRow("dear", 8.0, 8.0, 0.95, 0.0),
]


def test_hand_worked_frontier() -> None:
    assert undominated(GRID, "flops", "spearman") == {"cheap", "middle", "dear"}
    assert undominated(GRID, "seconds", "spearman") == {"middle", "dear"}
    assert undominated(GRID, "flops", "regret") == {"cheap", "middle", "dear"}
    assert [e.label for e in staircase(GRID, "flops", "spearman")] == ["cheap", "middle", "dear"]


def test_twins_dominate_neither_other_and_unknown_quality_is_left_out() -> None:
    twins = [FrontierRow("a", 1, 1, 0.5, None), FrontierRow("b", 1, 1, 0.5, None), FrontierRow("c", 1, 1, None, 0.0)]
    assert undominated(twins, "flops", "spearman") == {"a", "b"}
    assert undominated(twins, "flops", "regret") == {"c"}


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_along_the_staircase_more_cost_buys_more_quality(points: list[tuple[int, int]]) -> None:
    entries = [FrontierRow(str(n), cost, cost, quality / 5, None) for n, (cost, quality) in enumerate(points)]
    stairs = staircase(entries, "flops", "spearman")
    assert stairs
    for one, other in itertools.pairwise(stairs):
        assert (other.flops, other.spearman) == (one.flops, one.spearman) or (
            other.flops > one.flops and (other.spearman or 0) > (one.spearman or 0)
        )
    best = max(e.spearman or 0 for e in entries)
    assert max(e.spearman or 0 for e in stairs) == best


def _ladder(maker: Any, folder: Path) -> RunStore:
    rng = np.random.default_rng(0)
    truth = np.linspace(0.2, 0.8, 6)
    methods = {}
    for epochs, noise in ((1, 0.3), (4, 0.1), (16, 0.01)):
        val = truth + noise * rng.standard_normal((2, 6))
        test = np.clip(truth + 0.01 * rng.standard_normal((2, 6)), 0, 1)
        methods[f"ape@{epochs}"] = maker.Spec(val, test, flops=1e9 * epochs, wall_s=2.0 * epochs, updates=10 * epochs)
    methods["dear"] = maker.Spec(rng.random((2, 6)), None, kind="score", flops=9e11, wall_s=900, updates=0)
    methods["free"] = maker.Spec(rng.random((2, 6)), None, kind="score", flops=0.0, wall_s=0.001, updates=0)
    return maker.run(folder / "ladder", methods, reference="ape@16")


def test_report_of_a_ladder(maker: Any, tmp_path: Path) -> None:
    report = build_report(_ladder(maker, tmp_path))
    folder = Path(report.where)
    assert {"plots/frontier.png", "plots/frontier.pdf"} <= set(report.files)
    frame = pd.read_csv(folder / "tables" / "frontier.csv").set_index("method")
    assert frame.loc["ape@4", "flops"] == pytest.approx(6 * 4e9)
    assert frame.loc["ape@4", "seconds"] == pytest.approx(6 * 8.0)
    assert (
        not frame.loc["dear", [f"best_{quality}_for_{cost}" for quality in QUALITIES for cost in COSTS]]
        .to_numpy()
        .any()
    )
    best = frame[frame["spearman"] == frame["spearman"].max()].sort_values("flops")
    assert best["best_spearman_for_flops"].tolist() == [True] + [False] * (len(best) - 1)
    assert frame.loc["free", "best_spearman_for_flops"]  # the cheapest is never dominated
    assert "The frontier" in (folder / "index.html").read_text(encoding="utf-8")
    assert "plots/frontier.png" in (folder / "report.md").read_text(encoding="utf-8")


def test_two_methods_are_no_frontier(maker: Any, tmp_path: Path) -> None:
    methods = dict(list(maker.realistic(3, 2, 2).items())[:2])
    report = build_report(maker.run(tmp_path / "two", methods))
    folder = Path(report.where)
    assert "plots/frontier.png" not in report.files
    assert not (folder / "tables" / "frontier.csv").exists()
    assert "The frontier" not in (folder / "index.html").read_text(encoding="utf-8")


def test_an_unfinished_method_has_no_place(maker: Any, tmp_path: Path) -> None:
    methods = maker.realistic(3, 2, 2)
    methods["late"] = maker.Spec(np.full((2, 6), 0.5), status={(0, 0): "missing", (1, 1): "missing"})
    analysis = analyse(maker.run(tmp_path / "gaps", methods))
    assert [entry.label for entry in frontier_entries(analysis)] == ["ape", "hyma", "cka"]


def test_what_costs_nothing_stands_in_a_band_of_its_own_that_says_so(maker: Any, tmp_path: Path) -> None:
    with mpl.rc_context(STYLE):
        analysis = analyse(_ladder(maker, tmp_path))
        figure = frontier(analysis, frames_of(analysis))
        assert figure is not None
        FigureCanvasAgg(figure).draw()
    axis = figure.axes[0]  # Spearman against FLOPs
    bottom = figure.axes[2]  # whose ticks are labelled for its column
    ticks = dict(zip(bottom.get_xticks(), (label.get_text() for label in bottom.get_xticklabels()), strict=True))
    (zero,) = [place for place, text in ticks.items() if text == "0"]
    drawn = {float(x) for line in axis.get_lines() for x in np.atleast_1d(line.get_xdata())}
    assert zero in drawn
    cheapest = 6e9  # ape@1, six pairs
    assert zero < cheapest / 5
    assert not [place for place, text in ticks.items() if text != "0" and place < cheapest / 3], "no number beside it"


def test_both_figures_mark_the_reference(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(_ladder(maker, tmp_path))
    with mpl.rc_context(STYLE):
        frames = frames_of(analysis)
        drawn = {"connectors": connectors(analysis, frames), "frontier": frontier(analysis, frames)}
    for figure in drawn.values():
        assert figure is not None
        assert any("ape@16" in text.get_text() for text in figure.axes[0].texts)
    own = drawn["connectors"].axes[0]  # type: ignore[union-attr]
    assert own.get_ylabel() == "test text_to_image_r5, mean over pairs"
    value = analysis.summary.methods["ape@16"].mean_score
    assert value is not None
    assert any(np.allclose(line.get_ydata(), value) for line in own.get_lines() if line.get_linestyle() == "--")


def some_pairs(maker: Any, folder: Path) -> RunStore:
    """A grid, a method with connectors for the three best of six pairs, and two scores."""
    truth = np.stack([np.linspace(0.2, 0.8, 6)] * 2)
    few = truth.copy()
    few[:, :3] = np.nan
    specs = {
        "ape": maker.Spec(truth, truth, flops=1e9),
        "additive": maker.Spec(truth, few, kind="joint", flops=2e9),
        "cka": maker.Spec(truth, None, kind="score", flops=1e9, updates=0),
    }
    return maker.run(folder / "some", specs)


def test_a_mean_over_some_pairs_is_not_set_against_one_over_all(maker: Any, tmp_path: Path) -> None:
    """additive's own connectors are the grid's, of its best pairs: their mean is higher and says nothing."""
    analysis = analyse(some_pairs(maker, tmp_path))
    entries = {entry.label: entry for entry in frontier_entries(analysis)}
    assert analysis.summary.methods["additive"].mean_score == pytest.approx(0.68)
    assert entries["additive"].mean_score is None
    assert entries["ape"].mean_score == pytest.approx(0.5)
    assert "ape" in undominated(list(entries.values()), "flops", "mean_score")
    row = next(row for row in overview_rows(analysis) if row.method == "additive")
    assert row.mean_score == "0.680 (3 of 6 pairs)"


def test_what_has_no_score_is_not_called_dominated(maker: Any, tmp_path: Path) -> None:
    table = frontier_table(analyse(some_pairs(maker, tmp_path)))
    assert table is not None
    row = next(row for row in table.rows if row[0] == "cka")
    found = dict(zip(table.columns, row, strict=True))
    assert found["on the frontier: mean score for"] == found["on the frontier: delivered score for"] == "–"
    assert found["on the frontier: Spearman for"] != "–"


@pytest.mark.parametrize("factor", [1.3, 3.0, 20.0, 500.0])
def test_a_cost_axis_has_numbers_however_alike_the_costs(maker: Any, tmp_path: Path, factor: float) -> None:
    truth = np.stack([np.linspace(0.2, 0.8, 6)] * 2)
    specs = {
        label: maker.Spec(truth, truth, flops=2.3e8 * spent, wall_s=2.3 * spent)
        for label, spent in (("ape", factor), ("ridge", 1.0), ("cca", factor**0.5))
    }
    with mpl.rc_context(STYLE):
        analysis = analyse(maker.run(tmp_path / "run", specs))
        figure = connectors(analysis, frames_of(analysis))
        assert figure is not None
        FigureCanvasAgg(figure).draw()
    for axis in figure.axes[2:]:
        low, high = axis.get_xlim()
        shown = [x for x, text in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True) if text.get_text()]
        assert sum(low <= x <= high for x in shown) >= 2
