"""The frontier's figure: rank quality and regret against FLOPs and against device-seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from reports import formatting
from reports.analysis import Analysis
from reports.frontier import COSTS, QUALITIES, Cost, FrontierRow, Quality, frontier_entries, staircase, undominated
from reports.palette import MARKERS, OKABE_ITO

GREY = "#b4b4b4"
HEADROOM = 0.08
TOP = 1.05
"""Just above the best Spearman correlation: where the scale of ``_spread`` would end."""


def frontier(analysis: Analysis) -> Figure | None:
    """Every entry as run; those that another one dominates in a panel are grey there, the others joined by a line."""
    entries = frontier_entries(analysis)
    if not entries:
        return None
    families = list(dict.fromkeys(e.family for e in entries))
    style = {f: (OKABE_ITO[n % len(OKABE_ITO)], MARKERS[n % len(MARKERS)]) for n, f in enumerate(families)}
    figure = Figure(figsize=(11, 8.2))
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, quality in zip(axes, QUALITIES, strict=True):
        for axis, cost in zip(row, COSTS, strict=True):
            _panel(axis, entries, cost, quality, style)
    metric = analysis.manifest.selection.metric
    axes[0, 0].set_ylabel("Spearman with the reference's test scores")
    axes[1, 0].set_ylabel(f"regret ({metric}; 0 is perfect)")
    ceiling = analysis.summary.noise_ceiling.spearman
    chance = next((r.comparison.regret.chance for r in analysis.methods.values()), float("nan"))
    for axis in axes[0]:
        if ceiling is not None:
            axis.axhline(ceiling, color="#555555", lw=1, ls="--", label="noise ceiling")
    for axis in axes[1]:
        worst = max((e.regret for e in entries if e.regret is not None), default=0.0)
        if np.isfinite(chance) and chance <= 2 * worst:
            axis.axhline(chance, color="#555555", lw=1, ls=":", label="a random pick")
    for axis, cost in zip(axes[1], COSTS, strict=True):
        axis.set_xlabel("FLOPs per seed" if cost == "flops" else "device-seconds per seed, inside the cells")
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        handles |= {text: handle for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle("What rank quality costs (grey: another entry is at least as cheap and as good)", fontsize=11)
    return figure


def _panel(
    axis: Axes, entries: Sequence[FrontierRow], cost: Cost, quality: Quality, style: dict[str, tuple[str, str]]
) -> None:
    known = [e for e in entries if e.goodness(quality) is not None]
    least = min((e.cost(cost) for e in known if e.cost(cost) > 0), default=1.0)
    # What costs nothing has no place on a log axis: half a decade left of the cheapest that does.
    places = {e.label: (e.cost(cost) if e.cost(cost) > 0 else least / 3, getattr(e, quality)) for e in known}
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
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(10, numticks=8))
    axis.xaxis.set_minor_formatter(NullFormatter())
    flops = cost == "flops"
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda v, _: formatting.flops(v).replace("FLOP", "") if flops else f"{v:g} s")
    )
    axis.grid(alpha=0.25)
    if quality == "spearman":
        axis.set_yscale("function", functions=(_spread, _gathered))
        axis.yaxis.set_major_locator(FixedLocator([-1, -0.5, 0, 0.5, 0.8, 0.9, 0.95, 1]))
        axis.set_ylim(min(y for _, y in places.values()) - 0.1, 1.01)
    else:
        most = max(y for _, y in places.values())
        axis.set_ylim(-HEADROOM * max(most, 1e-3), (1 + 2 * HEADROOM) * max(most, 1e-3))
    _name(axis, [(e.label, *places[e.label]) for e in known if e.label in kept])


def _spread(spearman: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """A scale on which 0.9 and 0.95 are as far apart as 0.5 and 0.8: good rankings differ near 1."""
    return -np.log10(TOP - np.minimum(spearman, TOP - 1e-6))


def _gathered(height: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The inverse of ``_spread``."""
    return TOP - 10.0**-height


def _name(axis: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write the labels beside their points, alternately above and below where neighbours are close."""
    for number, (label, x, y) in enumerate(sorted(points, key=lambda point: point[1])):
        above = number % 2 == 0
        axis.annotate(
            label,
            (x, y),
            (4, 7 if above else -11),
            textcoords="offset points",
            fontsize=7.5,
            zorder=5,
            bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.7},
        )
