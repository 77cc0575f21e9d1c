"""The frontier's figures: scores of connectors, and rank quality, against FLOPs and against device-seconds."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from reports.analysis import Analysis
from reports.cost_axis import cost_axis
from reports.drawn.labels import Box, placed
from reports.frontier import COSTS, FEWEST, Cost, FrontierRow, Quality, placed_entries, staircase, undominated
from reports.palette import MARKERS, OKABE_ITO

Named: TypeAlias = tuple[str, float, float, bool]
"""A name, its place in data, and whether it is to be written: all of them are kept clear of names."""

GREY = "#b4b4b4"
SIZE = 7.5
"""Of the names beside points, in points."""
NAMED_ALL = 10
"""Entries that are all named; of more only those that nothing beats at their cost."""
HEADROOM = 0.08
TOP = 1.05
"""Just above the best Spearman correlation: where the scale of ``_spread`` would end."""


def connectors(analysis: Analysis) -> Figure | None:
    """What people get for the cost: mean score over all pairs, and the score of the connector that is handed over."""
    metric = analysis.manifest.selection.metric
    labels: dict[Quality, str] = {
        "mean_score": f"test {metric}, mean over pairs",
        "delivered": f"test {metric} of the pair handed over",
    }
    title = "What connectors cost (grey: another entry is at least as cheap and as good)"
    found = _figure(analysis, labels, title, 2)
    if found is None:
        return None
    figure, named = found
    reference = analysis.reference
    if reference is not None:
        row = reference.summary
        whole = reference.connectors == analysis.summary.n_pairs
        for number, value in enumerate((row.mean_score if whole else None, row.delivered.value)):
            for panel in figure.axes[2 * number : 2 * number + 2]:
                if value is None:
                    continue
                panel.axhline(value, color="#555555", lw=1, ls="--", label=f"{reference.label}'s own")
    _legend(figure)
    name_points(figure, named)
    return figure


def frontier(analysis: Analysis) -> Figure | None:
    """How well the pairs are ranked for the cost: rank correlation with the reference, and regret."""
    if analysis.reference is None:
        return None
    metric = analysis.manifest.selection.metric
    labels: dict[Quality, str] = {
        "spearman": "Spearman with the reference's test scores",
        "regret": f"regret ({metric}; 0 is perfect)",
    }
    title = "What rank quality costs (grey: another entry is at least as cheap and as good)"
    found = _figure(analysis, labels, title, FEWEST)
    if found is None:
        return None
    figure, named = found
    ceiling = analysis.summary.noise_ceiling.spearman
    chance = next((r.comparison.regret.chance for r in analysis.methods.values()), float("nan"))
    worst = max((e.regret for e in placed_entries(analysis) if e.regret is not None), default=0.0)
    for axis in figure.axes[:2]:
        if ceiling is not None:
            axis.axhline(ceiling, color="#555555", lw=1, ls="--", label="noise ceiling")
    for axis in figure.axes[2:]:
        if np.isfinite(chance) and chance <= 2 * worst:
            axis.axhline(chance, color="#555555", lw=1, ls=":", label="a random pick")
    _legend(figure)
    name_points(figure, named)
    return figure


def _figure(
    analysis: Analysis, labels: Mapping[Quality, str], title: str, fewest: int
) -> tuple[Figure, dict[Axes, list[Named]]] | None:
    """One row of panels for each quality, FLOPs on the left and seconds on the right."""
    entries = [e for e in placed_entries(analysis) if any(e.goodness(quality) is not None for quality in labels)]
    if len(entries) < fewest:
        return None
    families = list(dict.fromkeys(e.family for e in entries))
    style = {f: (OKABE_ITO[n % len(OKABE_ITO)], MARKERS[n % len(MARKERS)]) for n, f in enumerate(families)}
    figure = Figure(figsize=(11, 8.2))
    axes = figure.subplots(len(labels), 2, sharex="col", sharey="row")
    named: dict[Axes, list[Named]] = {}
    for row, (quality, text) in zip(axes, labels.items(), strict=True):
        row[0].set_ylabel(text)
        for axis, cost in zip(row, COSTS, strict=True):
            named[axis] = _panel(axis, entries, cost, quality, style)
    for axis, cost in zip(axes[-1], COSTS, strict=True):
        axis.set_xlabel("FLOPs per seed" if cost == "flops" else "device-seconds per seed, inside the cells")
    figure.suptitle(title, fontsize=11)
    return figure, named


def _legend(figure: Figure) -> None:
    """One legend for all panels, below them."""
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        handles |= {text: handle for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=6, frameon=False)


def _panel(
    axis: Axes, entries: Sequence[FrontierRow], cost: Cost, quality: Quality, style: dict[str, tuple[str, str]]
) -> list[Named]:
    """Draw one panel; returns what may be named in it, the most important first."""
    known = [e for e in entries if e.goodness(quality) is not None]
    zero = _place_of_nothing(axis, [e.cost(cost) for e in entries])
    places = {e.label: (e.cost(cost) if e.cost(cost) > 0 else zero, getattr(e, quality)) for e in known}
    kept = undominated(known, cost, quality)
    for family, (colour, marker) in style.items():
        own = sorted((e for e in known if e.family == family), key=lambda e: e.cost(cost))
        if len(own) > 1:
            axis.plot(*zip(*(places[e.label] for e in own), strict=True), color=colour, lw=0.7, alpha=0.35, zorder=1)
        shown = [places[e.label] for e in own if e.label in kept]
        hidden = [places[e.label] for e in own if e.label not in kept]
        # An empty series still makes the legend's entry in the method's own colour.
        x, y = zip(*shown, strict=True) if shown else ((), ())
        axis.plot(x, y, ls="", marker=marker, color=colour, ms=7, mec="black", mew=0.5, label=family, zorder=4)
        if hidden:
            axis.plot(*zip(*hidden, strict=True), ls="", marker=marker, color=GREY, ms=5.5, zorder=3)
    steps = [places[e.label] for e in staircase(known, cost, quality)]
    if steps:
        axis.step(*zip(*steps, strict=True), where="post", color="black", lw=1.1, zorder=2)
    cost_axis(axis, cost, zero if any(e.cost(cost) <= 0 for e in entries) else None)
    heights = [y for _, y in places.values()]
    if quality == "spearman":
        axis.set_yscale("function", functions=(_spread, _gathered))
        axis.yaxis.set_major_locator(FixedLocator([-1, -0.5, 0, 0.5, 0.8, 0.9, 0.95, 1]))
        axis.set_ylim(min(heights, default=0.0) - 0.1, 1.01)
    elif quality == "regret":
        most = max(max(heights, default=0.0), 1e-3)
        axis.set_ylim(-HEADROOM * most, (1 + 2 * HEADROOM) * most)
    else:
        axis.margins(y=2 * HEADROOM)
    first = sorted(known, key=lambda e: (not e.reference, e.label not in kept))
    few = len(known) <= NAMED_ALL
    return [(e.label, *places[e.label], few or e.label in kept or e.reference) for e in first]


def _place_of_nothing(axis: Axes, costs: Sequence[float]) -> float:
    """Where entries that cost nothing stand: in a band of their own left of the log axis, which has no zero."""
    spent = [cost for cost in costs if cost > 0] or [1.0]
    place = min(spent) / 10
    if any(cost <= 0 for cost in costs):
        axis.axvspan(place / 2, place * 2, color="#000000", alpha=0.07, lw=0)
        axis.set_xlim(place / 2, max(spent) * 2)
    return place


def _spread(spearman: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """A scale on which 0.9 and 0.95 are as far apart as 0.5 and 0.8: good rankings differ near 1."""
    return -np.log10(TOP - np.minimum(spearman, TOP - 1e-6))


def _gathered(height: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The inverse of ``_spread``."""
    return TOP - 10.0**-height


def name_points(figure: Figure, named: Mapping[Axes, Sequence[Named]]) -> None:
    """Write names beside points, none over another name or point; those without room are left out.

    Args:
        figure: With all that takes part in its layout.
        named: Panel -> its points, the most important first.
    """
    figure.draw_without_rendering()  # where points are is known only after the layout
    inch = figure.dpi
    for axis, points in named.items():
        height = float(figure.bbox.height)  # boxes count downwards
        at = (axis.transData.transform((x, y)) for _, x, y, _ in points)
        flipped = [(float(x), height - float(y)) for x, y in at]
        left, bottom, right, top = map(float, axis.get_window_extent().extents)
        bounds = Box(left + 2, height - top - 8, right + 0.4 * inch, height - bottom - 2)
        sizes = [(SIZE * 0.62 * len(name) * inch / 72, SIZE * 1.35 * inch / 72) for name, *_ in points]
        asked = [number for number, point in enumerate(points) if point[3]]
        rest = [flipped[number] for number in range(len(points)) if number not in asked]
        places = placed([flipped[n] for n in asked], [sizes[n] for n in asked], bounds, rest, radius=8.0)
        for number, place in zip(asked, places, strict=True):
            if place is None:
                continue
            found, far = place
            offset = (found.left - flipped[number][0], flipped[number][1] - found.bottom)
            name, x, y, _ = points[number]
            written = axis.annotate(
                name,
                (x, y),
                (offset[0] * 72 / inch, offset[1] * 72 / inch + 1),
                textcoords="offset points",
                fontsize=SIZE,
                zorder=5,
                bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.7},
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "#777777"} if far else None,
            )
            written.set_in_layout(False)
