"""Figures, as PNG (for the page) and PDF (for papers), drawn without a display.

PDF and PNG carry the run's name and parameters in their metadata. Colours are Okabe and Ito's, told apart by people
with colour vision deficiencies; markers and hatches say the same thing again.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.contract.ledger import PHASES
from harness.storage.blobs import Blobs
from reports import formatting
from reports.analysis import Analysis
from reports.compare import seed_mean
from reports.cost_axis import cost_axis
from reports.curves import Point
from reports.drawn.costs import cost_parts
from reports.frontier_plot import connectors, frontier
from reports.heading import run_line
from reports.order import encoder_order
from reports.palette import HATCHES, MARKERS, OKABE_ITO
from reports.ranking import places
from reports.traces import traces

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "report",
}
PAGE = 14.0
"""Widest figure, in inches."""
DENSE_TEXTS = 16
"""Heatmaps of more columns than this have small cells."""
ANNOTATED_PAIRS = 60
"""Heatmaps of more cells than this go without numbers."""


def write_plots(analysis: Analysis, into: Blobs) -> dict[str, list[str]]:
    """Draw every figure for which the run has data.

    Returns:
        Figure name -> names of its PNG and PDF.
    """
    drawings = {"connectors": connectors, "heatmaps": heatmaps, "ranks": ranks, "frontier": frontier}
    drawings |= {"curves": curves, "costs": costs}
    written: dict[str, list[str]] = {}
    with mpl.rc_context(STYLE):
        for name, draw in drawings.items():
            figure = draw(analysis)
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


def heatmaps(analysis: Analysis) -> Figure | None:
    """Test score of every pair under every method on one colour scale; training-free scores on their own."""
    manifest = analysis.manifest
    images, texts = encoder_order(analysis)
    short_i, short_t = formatting.short_names(images), formatting.short_names(texts, 22)
    shown = [r for r in analysis.methods.values() if np.isfinite(r.data.scores).any()]
    if not shown:
        return None
    # Those with connectors first, so that the panels of one colour scale stand together.
    shown.sort(key=lambda r: (r.label != analysis.summary.reference, not np.isfinite(r.data.test).any()))
    tests = [seed_mean(r.data.test) for r in shown]
    known = np.concatenate([test[np.isfinite(test)] for test in tests])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    longest = max(len(short_i[i]) for i in images)
    # Large grids get small cells and labels, so that methods still stand side by side.
    dense = len(texts) > DENSE_TEXTS
    column = 0.62 if len(texts) <= 8 else 0.16 if dense else 0.36
    row = 0.32 if len(images) <= 16 else 0.16 if dense else 0.22
    width = min(PAGE, 1.2 + (0.05 if dense else 0.075) * longest + column * len(texts))
    figure, axes = _grid(len(shown), width, 1.5 + row * len(images))
    colours = mpl.colormaps["cividis" if manifest.selection.higher_is_better else "cividis_r"].with_extremes(
        bad="#dddddd"
    )
    for axis, result, test in zip(axes, shown, tests, strict=True):
        own = not np.isfinite(test).any()
        values = seed_mean(result.data.scores) if own else test
        table = np.full((len(images), len(texts)), np.nan)
        for number, (image, text) in enumerate(manifest.pairs):
            table[images.index(image), texts.index(text)] = values[number]
        limits = (None, None) if own else (low, high)
        picture = axis.imshow(table, cmap=colours, aspect="auto", vmin=limits[0], vmax=limits[1])
        if table.size <= ANNOTATED_PAIRS:
            _annotate(axis, table, picture)
        turned: dict[str, Any] = {"rotation": 90 if dense else 35, "ha": "right", "rotation_mode": "anchor"} | (
            {"va": "center"} if dense else {}
        )
        axis.set_xticks(range(len(texts)), [short_t[t] for t in texts], **turned)
        axis.set_yticks(range(len(images)), [short_i[i] for i in images])
        axis.tick_params(length=0)
        if dense:
            axis.tick_params(labelsize=6)
        axis.spines[:].set_visible(False)
        best = result.summary.best_pair
        if best is not None:
            axis.add_patch(
                Rectangle(
                    (texts.index(best[1]) - 0.5, images.index(best[0]) - 0.5), 1, 1, fill=False, ec="#D55E00", lw=2.5
                )
            )
        axis.set_title(result.data.label + (" (its own score)" if own else ""))
        # Each panel has its own bar, though most show one scale: a common one would lie over panels of another.
        bar = figure.colorbar(picture, ax=axis, shrink=0.8)
        bar.ax.tick_params(labelsize=7)
    title = f"Test {manifest.selection.metric} of every pair (framed: the method's pick; grey: no result)"
    figure.suptitle(title, fontsize=11)
    return figure


def _annotate(axis: Axes, table: np.ndarray, picture: Any) -> None:
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            red, green, blue, _ = picture.cmap(picture.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            text = f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")


def ranks(analysis: Analysis) -> Figure | None:
    """Place of each pair by the method (validation) against its place by the reference (test)."""
    truth, reference = analysis.truth, analysis.reference
    others = [r for r in analysis.methods.values() if r is not reference and np.isfinite(r.data.scores).any()]
    if truth is None or reference is None or not others or not np.isfinite(truth.mean).any():
        return None
    manifest = analysis.manifest
    texts = list(dict.fromkeys(pair[1] for pair in manifest.pairs))
    short = formatting.short_names(texts, 22)
    theirs = places(truth.mean)
    many = len(texts) > len(MARKERS)  # too many to tell apart
    columns = 2 if len(others) == 1 else 4
    figure, axes = _grid(len(others), 3.9, 3.4, 0.5 + (0 if many else 0.22 * (2 + len(texts) // columns)))
    n = len(manifest.pairs)
    for axis, result in zip(axes, others, strict=True):
        own = places(seed_mean(result.data.ranking))
        if analysis.ties is not None and len(analysis.ties) > 1:
            axis.axvspan(0.5, len(analysis.ties) + 0.5, color="#000000", alpha=0.07, lw=0)
        axis.plot([1, n], [1, n], color="#999999", lw=1, zorder=1)
        for number, text in enumerate(texts):
            at = [k for k, pair in enumerate(manifest.pairs) if pair[1] == text]
            axis.scatter(
                theirs[at],
                own[at],
                label=short[text],
                color=OKABE_ITO[0 if many else number % len(OKABE_ITO)],
                marker="o" if many else MARKERS[number],
                s=30 if n <= 100 else 12,
                edgecolors="black",
                linewidths=0.4,
                zorder=2,
            )
        axis.set_xlim(0.5, n + 0.5)
        axis.set_ylim(0.5, n + 0.5)
        ticks = list(range(1, n + 1, max(1, round(n / 5))))
        axis.set_xticks(ticks)
        axis.set_yticks(ticks)
        spearman = result.summary.spearman
        axis.set_title(f"{result.data.label}\nSpearman {formatting.with_interval(spearman.value, spearman.ci95)}")
        axis.set_xlabel(f"place by {reference.data.label} (test; 1 = best)")
        axis.set_ylabel(f"place by {result.data.label} (validation)")
    if not many:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, title="text encoder", frameon=False)
    figure.suptitle("Ranking against the reference\n(shaded: not separated from the best)", fontsize=11)
    return figure


def curves(analysis: Analysis) -> Figure | None:
    """Mean validation score, and rank correlation with the reference's full-budget test scores, against FLOPs.

    Without a reference there is no rank correlation, and one panel.
    """
    lines = traces(analysis)
    if not lines:
        return None
    figure = Figure(figsize=(10, 4.4) if analysis.truth is not None else (6, 4.4))
    panels = list(np.atleast_1d(figure.subplots(1, 1 if analysis.truth is None else 2)))
    spent: dict[Axes, list[float]] = {panel: [] for panel in panels}
    for number, line in enumerate(lines):
        for panel, heights in zip(panels, (line.scores, line.ranks), strict=False):
            if heights is None:
                continue
            colour, marker = OKABE_ITO[number % len(OKABE_ITO)], MARKERS[number % len(MARKERS)]
            flops = [point.flops for point in line.points]
            panel.plot(flops, heights, label=line.label, color=colour, marker=marker, ms=4, lw=1.3)
            spent[panel] += [x for x, y in zip(flops, heights, strict=True) if np.isfinite(y)]
            mark_epochs(panel, line.points, heights, below=number % 2 == 1)
    panels[0].set_ylabel(f"validation {analysis.manifest.selection.metric}, mean over pairs")
    panels[0].set_title("Score against FLOPs")
    for panel in panels[1:]:
        panel.set_ylabel("Spearman with the reference's test scores")
        panel.set_title("Rank quality against FLOPs")
        panel.axhline(0, color="#999999", lw=0.8, ls=":")
        ceiling = analysis.summary.noise_ceiling.spearman
        if ceiling is not None:
            panel.axhline(ceiling, color="#555555", lw=1, ls="--", label="noise ceiling")
        panel.set_ylim(top=1.04)
    for panel in panels:
        if max(spent[panel], default=0) > 0:  # else nothing to scale: no cell with a cost has finished
            flops_axis(panel)
    handles, labels = max((panel.get_legend_handles_labels() for panel in panels), key=lambda found: len(found[0]))
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure


def flops_axis(axis: Axes) -> None:
    """FLOPs along x, on a log scale."""
    cost_axis(axis, "flops")
    axis.set_xlabel("FLOPs per seed, all pairs (small numbers: epochs)")


def mark_epochs(axis: Axes, points: Sequence[Point], heights: Sequence[float], *, below: bool) -> None:
    """Label epochs, only where a label has room (log axis: a quarter of an octave apart)."""
    last = 0.0
    for number, (point, height) in enumerate(zip(points, heights, strict=True)):
        final = number == len(points) - 1
        if point.epoch > 0 and np.isfinite(height) and (final or point.flops > 1.6 * last):
            if not final and points[-1].flops < 1.6 * point.flops:
                continue
            axis.annotate(
                f"{point.epoch:.3g}",
                (point.flops, height),
                (0, -11 if below else 5),
                textcoords="offset points",
                fontsize=7,
                color="#333333",
                ha="center",
            )
            last = point.flops


def costs(analysis: Analysis) -> Figure | None:
    """FLOPs per seed by phase, and device-seconds by section, stacked."""
    shown = {label: r for label, r in analysis.methods.items() if r.summary.flops.total}
    if not shown:
        return None
    labels = list(shown)
    figure = Figure(figsize=(10, 2.0 + 0.42 * len(labels)))
    left, right = figure.subplots(1, 2, sharey=True)
    looks = {part: number for number, part in enumerate(cost_parts(analysis))}
    phases = [p for p in PHASES if any(getattr(r.summary.flops, p) for r in shown.values())]
    table = np.array([[getattr(r.summary.flops, p) or 0.0 for p in phases] for r in shown.values()])
    _stack(left, labels, phases, table, looks, formatting.flops)
    left.set_xlabel("FLOPs per seed")
    left.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: formatting.flops(value).replace("FLOP", "") if value else "0")
    )
    sections = [
        s
        for s in dict.fromkeys(s for r in shown.values() for s in r.cost.seconds)
        if any(r.cost.seconds.get(s) for r in shown.values())
    ]
    spent = np.array([[r.cost.seconds.get(s, 0.0) for s in sections] for r in shown.values()])
    if sections and spent.any():
        _stack(right, labels, sections, spent, looks, formatting.seconds)
    right.set_xlabel("device-seconds per seed, inside the cells")
    left.invert_yaxis()
    for axis in (left, right):
        handles, found = axis.get_legend_handles_labels()
        if found:
            figure.legend(
                handles,
                found,
                loc="outside lower left" if axis is left else "outside lower right",
                ncols=4,
                frameon=False,
                fontsize=8,
            )
    figure.suptitle("Cost by phase, as run (encoding is shared by all methods and not shown)", fontsize=11)
    return figure


def _stack(
    axis: Axes, labels: list[str], parts: list[str], table: np.ndarray, looks: Mapping[str, int], text: Any
) -> None:
    """Bars of parts; a part looks the same in every panel, and like no other part."""
    start = np.zeros(len(labels))
    for number, part in enumerate(parts):
        look = looks[part]
        axis.barh(
            labels,
            table[:, number],
            left=start,
            label=part,
            color=OKABE_ITO[look % len(OKABE_ITO)],
            hatch=HATCHES[look % len(HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            height=0.65,
        )
        start += table[:, number]
    for place, total in enumerate(start):
        axis.annotate(text(total), (total, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_xlim(right=1.22 * start.max() if start.max() > 0 else 1)
    axis.xaxis.set_major_locator(MaxNLocator(5))
