"""Figures as PNG and PDF files (for papers), drawn without a display by the functions of ``reports.figures``.

PDF and PNG carry the run's name and parameters in their metadata. Colours are Okabe and Ito's, told apart by people
with colour vision deficiencies; markers and hatches say the same thing again.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.run.blobs import Blobs
from reports import formatting
from reports.analysis import Analysis
from reports.entries import COSTS, FEWEST, Quality
from reports.figures.axes import STYLE, legend_below
from reports.figures.costs import costs as costs_of
from reports.figures.curves import curves as curve_of
from reports.figures.heatmap import heatmap, panel_size
from reports.figures.ranks import ranks as ranks_of
from reports.figures.ranks import too_many
from reports.figures.worth import Named, Worth, name_points, panel
from reports.heading import run_line
from reports.order import encoder_order
from reports.tidy import Frames, frames_of

PAGE = 14.0
"""Widest figure, in inches."""


def write_plots(analysis: Analysis, into: Blobs) -> dict[str, list[str]]:
    """Draw every figure for which the run has data.

    Returns:
        Figure name -> names of its PNG and PDF.
    """
    drawings: dict[str, Callable[[Analysis, Frames], Figure | None]] = {
        "connectors": connectors,
        "heatmaps": heatmaps,
        "ranks": ranks,
        "frontier": frontier,
        "curves": curves,
        "costs": costs,
    }
    frames = frames_of(analysis)
    written: dict[str, list[str]] = {}
    with mpl.rc_context(STYLE):
        for name, draw in drawings.items():
            figure = draw(analysis, frames)
            if figure is not None:
                manifest = analysis.manifest
                figure.suptitle("\n".join(filter(None, (figure.get_suptitle(), run_line(analysis)))), fontsize=10)
                written[name] = save(figure, into, f"plots/{name}", manifest.name, manifest.sweep)
    return written


PLACES = ("source", "storage")
"""Fields of a sweep that are paths of a machine."""


def save(figure: Figure, into: Blobs, stem: str, run: str, parameters: object) -> list[str]:
    """Write ``stem.png`` and ``stem.pdf``, with the run's name and parameters in their metadata."""
    title = f"{run}: {stem.rpartition('/')[2]}"
    if isinstance(parameters, Mapping):  # where it lay is nobody's business, and changes no number
        parameters = {key: value for key, value in parameters.items() if key not in PLACES}
    written = json.dumps(parameters, sort_keys=True, default=str)
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Title": title, "Description": written, "Software": "stitch-harness"},
        "pdf": {"Title": title, "Subject": f"run {run}", "Keywords": written, "CreationDate": None},
    }
    FigureCanvasAgg(figure)
    for kind in ("png", "pdf"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=130, metadata=metadata[kind])
        into.put(f"{stem}.{kind}", buffer.getvalue())
    return [f"{stem}.png", f"{stem}.pdf"]


def _grid(panels: int, width: float, height: float, extra: float = 0.0) -> tuple[Figure, list[Axes]]:
    """As many panels side by side as fit a page; sizes in inches, ``extra`` for a legend below."""
    columns = max(1, min(panels, 3, int(PAGE // width)))
    rows = -(-panels // columns)
    figure = Figure(figsize=(max(4.5, width * columns), height * rows + extra))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.set_visible(False)
    return figure, axes[:panels]


def heatmaps(analysis: Analysis, frames: Frames) -> Figure | None:
    """Test score of every pair under every method on one colour scale; training-free scores on their own."""
    pairs = frames.pairs
    if pairs.empty:
        return None
    # Those with connectors first, so that the panels of one colour scale stand together.
    tested = {label: bool(rows["test"].notna().any()) for label, rows in pairs.groupby("method", sort=False)}
    labels = sorted(tested, key=lambda label: (label != analysis.summary.reference, not tested[label]))
    known = pairs["test"].dropna()
    limits = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    order = encoder_order(analysis)
    figure, axes = _grid(len(labels), *panel_size(*order))
    for axis, label in zip(axes, labels, strict=True):
        heatmap(pairs, axis, method=str(label), order=order, limits=limits if tested[label] else None)
    metric = analysis.manifest.selection.metric
    figure.suptitle(f"Test {metric} of every pair (framed: the method's pick; grey: no result)", fontsize=11)
    return figure


def ranks(analysis: Analysis, frames: Frames) -> Figure | None:
    """Place of each pair by the method (validation) against its place by the reference (test)."""
    pairs = frames.pairs
    others = [label for label in dict.fromkeys(pairs["method"]) if label != analysis.summary.reference]
    if analysis.reference is None or not others or pairs["reference_place"].isna().all():
        return None
    texts = list(dict.fromkeys(pairs["text"]))
    columns = 2 if len(others) == 1 else 4
    figure, axes = _grid(len(others), 3.9, 3.4, 0.5 + (0 if too_many(texts) else 0.22 * (2 + len(texts) // columns)))
    for axis, label in zip(axes, others, strict=True):
        ranks_of(pairs, axis, method=label)
        spearman = analysis.methods[label].summary.spearman
        axis.set_title(f"{label}\nSpearman {formatting.with_interval(spearman.value, spearman.ci95)}")
    legend_below(axes, columns, "text encoder")
    figure.suptitle("Ranking against the reference\n(shaded: not separated from the best)", fontsize=11)
    return figure


def connectors(analysis: Analysis, frames: Frames) -> Figure | None:
    """What people get for the cost: mean score over all pairs, and the score of the connector that is handed over."""
    title = "What connectors cost (grey: another entry is at least as cheap and as good)"
    return _worth(frames.methods, ("mean_score", "delivered"), title, 2)


def frontier(analysis: Analysis, frames: Frames) -> Figure | None:
    """How well the pairs are ranked for the cost: rank correlation with the reference, and regret."""
    if analysis.reference is None:
        return None
    title = "What rank quality costs (grey: another entry is at least as cheap and as good)"
    return _worth(frames.methods, ("spearman", "regret"), title, FEWEST)


def _worth(methods: pd.DataFrame, qualities: Sequence[Quality], title: str, fewest: int) -> Figure | None:
    """One row of panels for each quality, FLOPs on the left and seconds on the right."""
    setting = Worth.of(methods, qualities)
    if len(setting.entries) < fewest:
        return None
    figure = Figure(figsize=(11, 8.2))
    axes = figure.subplots(len(qualities), len(COSTS), sharex="col", sharey="row")
    named: dict[Axes, list[Named]] = {}
    for row, quality in zip(axes, qualities, strict=True):
        for axis, cost in zip(row, COSTS, strict=True):
            named[axis] = panel(axis, setting, quality, cost)
            axis.label_outer()
    figure.suptitle(title, fontsize=11)
    legend_below(figure.axes, 6)
    name_points(figure, named)
    return figure


def curves(analysis: Analysis, frames: Frames) -> Figure | None:
    """Mean validation score, and rank correlation with the reference's full-budget test scores, against FLOPs.

    Without a reference there is no rank correlation, and one panel.
    """
    if frames.curves.empty:
        return None
    figure = Figure(figsize=(10, 4.4) if analysis.truth is not None else (6, 4.4))
    panels = list(np.atleast_1d(figure.subplots(1, 1 if analysis.truth is None else 2)))
    curve_of(frames.curves, panels[0], quality="score")
    for axis in panels[1:]:
        curve_of(frames.curves, axis, quality="spearman")
    legend_below(sorted(panels, key=lambda one: -len(one.get_lines())))
    return figure


def costs(analysis: Analysis, frames: Frames) -> Figure | None:
    """FLOPs per seed by phase, and device-seconds by section, stacked."""
    if frames.costs.empty:
        return None
    figure = Figure(figsize=(10, 2.0 + 0.42 * frames.costs["method"].nunique()))
    left, right = figure.subplots(1, 2, sharey=True)
    costs_of(frames.costs, left, unit="flops")
    costs_of(frames.costs, right, unit="seconds")
    for axis in (left, right):
        handles, found = axis.get_legend_handles_labels()
        if found:
            below = "outside lower left" if axis is left else "outside lower right"
            figure.legend(handles, found, loc=below, ncols=4, frameon=False, fontsize=8)
    figure.suptitle("Cost by phase, as run (encoding is shared by all methods and not shown)", fontsize=11)
    return figure
