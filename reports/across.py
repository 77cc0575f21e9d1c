"""Several runs side by side: one table, one figure, and whether the cells that they share agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.run.store import RunStore
from harness.storage.blobs import Blobs
from reports.analysis import Analysis, analyse
from reports.curves import mean_point
from reports.frames import summary_frame
from reports.palette import MARKERS, OKABE_ITO
from reports.plots import STYLE, flops_axis, mark_epochs, save
from reports.ranking import oriented
from reports.traces import trace


@dataclass(frozen=True)
class SharedCells:
    """Cells that two runs have in common: equal keys must mean equal numbers.

    Attributes:
        runs: Names of both.
        equal: Cells whose metrics are equal.
        different: Keys of those whose metrics differ.
    """

    runs: tuple[str, str]
    equal: int
    different: tuple[str, ...]


def analyses_of(stores: Sequence[RunStore]) -> dict[str, Analysis]:
    """Every run analysed, by a name that tells them apart: the run's, or its folder where two have one name."""
    found = [(store, analyse(store)) for store in stores]
    plain = [analysis.manifest.name for _, analysis in found]
    return {
        (name if plain.count(name) == 1 else store.where): analysis
        for name, (store, analysis) in zip(plain, found, strict=True)
    }


def across_frame(analyses: Mapping[str, Analysis]) -> pd.DataFrame:
    """Every method of every run: the columns of ``summary.csv`` and what it spent, under the run's name."""
    frames = []
    for run, analysis in analyses.items():
        frame = summary_frame(analysis)
        frame.insert(0, "run", run)
        frame.insert(1, "pairs", analysis.summary.n_pairs)
        rows = analysis.summary.methods.values()
        frame["flops_total"] = [row.flops.total for row in rows]
        frame["wall_s"] = [row.wall_s for row in rows]
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def shared_cells(one: RunStore, other: RunStore) -> SharedCells:
    """Compare the finished cells that stand in both runs under one key."""
    first, second = (store.finished(cell.key for cell in store.manifest().cells) for store in (one, other))
    both = sorted(set(first) & set(second))
    different = tuple(key for key in both if one.record(key).metrics != other.record(key).metrics)
    return SharedCells((one.manifest().name, other.manifest().name), len(both) - len(different), different)


def across_figure(analyses: Mapping[str, Analysis]) -> Figure | None:
    """Mean validation score against FLOPs: a colour for every method, a marker for every run, epochs at the points."""
    colours: dict[str, str] = {}
    markers = {run: MARKERS[number % len(MARKERS)] for number, run in enumerate(analyses)}
    figure = Figure(figsize=(8.5, 5))
    axis = figure.subplots()
    for number, (run, analysis) in enumerate(analyses.items()):
        selection = analysis.manifest.selection
        for label, result in analysis.methods.items():
            points = [mean_point(at) for at in trace(analysis, result)]
            if result.data.planned.kind == "score" or not points or points[-1].flops <= 0:
                continue
            scores = np.array([np.nanmean(point.scores) for point in points])
            shown = oriented(scores, higher_is_better=selection.higher_is_better)
            colour = colours.setdefault(label, OKABE_ITO[len(colours) % len(OKABE_ITO)])
            axis.plot([point.flops for point in points], shown, color=colour, marker=markers[run], ms=4, lw=1.2)
            mark_epochs(axis, points, list(shown), below=number % 2 == 1)
        axis.set_ylabel(f"validation {selection.metric}, mean over pairs")
    if not colours:
        return None
    flops_axis(axis)
    keys = [Line2D([], [], color=colour, label=label) for label, colour in colours.items()]
    keys += [Line2D([], [], color="#555555", ls="", marker=marker, label=run) for run, marker in markers.items()]
    figure.legend(handles=keys, loc="outside right upper", frameon=False, fontsize=7)
    return figure


def write_across(analyses: Mapping[str, Analysis], into: Blobs) -> list[str]:
    """Write ``across.csv`` and the figure ``across.png`` and ``.pdf``; returns their places."""
    into.put("across.csv", across_frame(analyses).to_csv(index=False).encode())
    with mpl.rc_context(STYLE):
        figure = across_figure(analyses)
        drawn = [] if figure is None else save(figure, into, "across", ", ".join(analyses), list(analyses))
    return [f"{into.where}/{name}" for name in ("across.csv", *drawn)]
