"""``import reports``: figures from frames, into the caller's axes or a figure of their own."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import reports
from harness.errors import HarnessError
from harness.run.blobs import FolderBlobs
from reports.analysis import analyse
from reports.entries import placed_entries
from reports.figures.worth import entries_of
from reports.plots import write_plots
from reports.tidy import Frames, frames_of

FIGURES = {
    "connectors": "methods",
    "costs": "costs",
    "curves": "curves",
    "frontier": "methods",
    "heatmap": "pairs",
    "ranks": "pairs",
}
OPTIONS = {"heatmap": {"method": "hyma"}, "ranks": {"method": "hyma"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run's analysis and its frames."""
    from tests.reports.conftest import _finished

    analysis = analyse(_finished(tmp_path_factory.mktemp("figures")))
    return analysis, frames_of(analysis)


def draw(frames: Frames, name: str, ax: Axes | None = None, **options: Any) -> Axes:
    return getattr(reports, name)(getattr(frames, FIGURES[name]), ax, **OPTIONS.get(name, {}), **options)


def test_the_package_names_every_figure_and_is_light() -> None:
    assert sorted(reports.__all__) == sorted([*FIGURES, "scaling"])  # which is over several runs
    for name in reports.__all__:
        assert list(inspect.signature(getattr(reports, name)).parameters)[:2] == ["frame", "ax"]
    code = "import sys, reports; print([m for m in ('matplotlib', 'pandas', 'torch', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reports.nothing  # type: ignore[attr-defined]


def test_importing_the_report_hides_no_figure() -> None:
    """A module of the package with a figure's name would take its place."""
    code = "import reports.build, reports.plots, reports; "
    code += f"assert all(callable(getattr(reports, name)) for name in {list(FIGURES)})"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_where_it_is_told_to(made: Any, name: str) -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert draw(made[1], name, right) is right
    assert right.has_data() and not left.has_data()
    assert plt.get_fignums() == [figure.number]
    plt.close(figure)


@pytest.mark.parametrize("name", FIGURES)
def test_without_axes_it_makes_a_figure_that_pyplot_knows(made: Any, name: str) -> None:
    axis = draw(made[1], name)
    assert axis.has_data()
    assert [plt.figure(number) for number in plt.get_fignums()] == [axis.get_figure()]
    plt.close("all")


def test_frames_hold_what_the_analysis_does(made: Any) -> None:
    analysis, frames = made
    assert len(frames.pairs) == 3 * 12
    for label, result in analysis.methods.items():
        own = frames.pairs[frames.pairs["method"] == label]
        np.testing.assert_array_equal(own["score"], result.data.scores.mean(axis=0))
        np.testing.assert_array_equal(own["test"], result.data.test.mean(axis=0))
        ((image, text),) = own.loc[own["picked"], ["image", "text"]].to_numpy().tolist()
        assert (image, text) == result.summary.best_pair
        best = own.sort_values("score", ascending=False).iloc[0]
        assert best["place"] == 1
    ape = frames.pairs[frames.pairs["method"] == "ape"]
    assert (ape["test"] == ape["reference_test"]).all()
    assert ape.loc[ape["reference_place"] == 1, "test"].tolist() == [ape["test"].max()]
    methods = frames.methods.set_index("method")
    for label, row in analysis.summary.methods.items():
        assert methods.loc[label, "flops"] == row.flops.total
        assert methods.loc[label, "seconds"] == row.wall_s
        spent = frames.costs[(frames.costs["method"] == label)].groupby("unit")["value"].sum()
        assert spent["flops"] == pytest.approx(row.flops.total)
        assert spent["seconds"] == pytest.approx(row.wall_s)
    ends = frames.curves.groupby("method").last()
    assert ends.loc["hyma", "updates"] == 40
    assert ends.loc["hyma", "flops"] == pytest.approx(methods.loc["hyma", "flops"])


def test_the_entries_of_a_frame_are_those_of_the_run(made: Any) -> None:
    analysis, frames = made
    assert entries_of(frames.methods) == placed_entries(analysis)


def test_a_frame_made_by_hand_is_enough(tmp_path: Path) -> None:
    """Three methods: the dear one that is no better than the middle one is grey, and not on the line."""
    frame = pd.DataFrame({"method": ["a", "b", "c"], "flops": [1e9, 1e10, 1e11], "spearman": [0.5, 0.9, 0.8]})
    axis = reports.frontier(frame)
    line = next(line for line in axis.get_lines() if line.get_drawstyle() == "steps-post")
    assert np.asarray(line.get_xydata()).tolist() == [[1e9, 0.5], [1e10, 0.9]]
    assert {text.get_text() for text in axis.texts} == {"a", "b", "c"}
    frame.to_csv(tmp_path / "frame.csv", index=False)
    plt.close("all")
    again = reports.frontier(pd.read_csv(tmp_path / "frame.csv"))
    own, theirs = ([np.asarray(x.get_xydata()).tolist() for x in one.get_lines()] for one in (again, axis))
    assert own == theirs
    plt.close("all")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda f: reports.heatmap(f.pairs), "reports.heatmap: the frame has several methods (method='ape')"),
        (lambda f: reports.ranks(f.pairs, method="x"), "no method 'x' (known: ape, hyma, cka)"),
        (lambda f: reports.curves(f.costs), "reports.curves: the frame has no column flops, epoch"),
        (lambda f: reports.costs(f.costs.iloc[:0]), "reports.costs: the frame has no rows"),
    ],
)
def test_a_wrong_frame_is_one_line(made: Any, call: Any, told: str) -> None:
    with pytest.raises(HarnessError) as raised:
        call(made[1])
    assert told in str(raised.value)
    assert plt.get_fignums() == []


def test_files_are_drawn_by_the_same_functions(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of a file's panel are those of the function, point by point."""
    analysis, frames = made
    kept: dict[str, Figure] = {}
    monkeypatch.setattr("reports.plots.save", lambda figure, into, stem, *rest: kept.setdefault(stem, figure) and [])
    write_plots(analysis, FolderBlobs(tmp_path))
    alone = {
        "connectors": reports.connectors(frames.methods),
        "curves": reports.curves(frames.curves),
        "frontier": reports.frontier(frames.methods),
    }
    for name, axis in alone.items():
        panel = kept[f"plots/{name}"].axes[0]
        own, theirs = ([np.asarray(line.get_xydata()).tolist() for line in one.get_lines()] for one in (axis, panel))
        assert own == theirs, name
        assert axis.get_ylabel() == panel.get_ylabel()
    cells = [np.ma.filled(one.images[0].get_array(), -1).tolist() for one in kept["plots/heatmaps"].axes[:1]]  # type: ignore[union-attr]
    assert np.asarray(cells).shape == (1, 4, 3)
    plt.close("all")
