"""What methods are worth for their cost: scores of connectors, and rank quality, against FLOPs or device-seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from reports.cost_axis import cost_axis
from reports.drawn.labels import Box, placed
from reports.entries import Cost, FrontierRow, Quality, staircase, undominated
from reports.figures.axes import axes_for, check_columns, legend_below, panel_figure
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


def connectors(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    quality: Literal["mean_score", "delivered"] = "mean_score",
    cost: Cost = "flops",
) -> Axes:
    """What people get for the cost: the mean test score over all pairs, or that of the connector that is handed over.

    The line joins what nothing else beats; grey: another method is at least as cheap and as good. Dashed: the
    reference's own.

    Args:
        frame: The methods of a run (``OpenRun.frames().methods``).
        ax: Where to draw; None: a new figure, with a legend.
        quality: ``mean_score`` or ``delivered``.
        cost: ``flops`` or ``seconds``.

    Raises:
        HarnessError: The frame lacks a column.
    """
    return _alone(frame, ax, quality, cost, "connectors")


def frontier(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    quality: Literal["spearman", "regret"] = "spearman",
    cost: Cost = "flops",
) -> Axes:
    """How well the pairs are ranked for the cost: rank correlation with the reference, or regret.

    The line joins what nothing else beats; grey: another method is at least as cheap and as good. Dashed: the noise
    ceiling; dotted: the regret of a random pick.

    Args:
        frame: The methods of a run (``OpenRun.frames().methods``).
        ax: Where to draw; None: a new figure, with a legend.
        quality: ``spearman`` or ``regret``.
        cost: ``flops`` or ``seconds``.

    Raises:
        HarnessError: The frame lacks a column.
    """
    return _alone(frame, ax, quality, cost, "frontier")


def _alone(frame: pd.DataFrame, ax: Axes | None, quality: Quality, cost: Cost, figure: str) -> Axes:
    check_columns(frame, ("method", cost, quality), figure, "methods")
    with axes_for(ax, (6.2, 4.6)) as axis:
        named = panel(axis, Worth.of(frame, [quality]), quality, cost)
        if ax is None:
            legend_below([axis], 4)
        name_points(panel_figure(axis), {axis: named})
    return axis


def entries_of(frame: pd.DataFrame) -> list[FrontierRow]:
    """The methods of a frame that can be placed: those whose cost is known."""
    found = []
    for row in frame.to_dict("records"):
        flops, seconds = (_number(row.get(cost)) for cost in ("flops", "seconds"))
        numbers = {name: _number(row.get(name)) for name in ("spearman", "regret", "mean_score", "delivered")}
        if row.get("pairs_scored", 0) != row.get("pairs", 0):
            numbers["mean_score"] = None  # a mean over some pairs cannot be compared with one over all
        if flops is not None or seconds is not None:
            spent = [float("nan") if value is None else value for value in (flops, seconds)]
            better = bool(row.get("higher_is_better", True))
            own = bool(row.get("reference", False))
            found.append(FrontierRow(str(row["method"]), *spent, reference=own, higher_is_better=better, **numbers))
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


@dataclass(frozen=True)
class Worth:
    """What the panels of one figure have in common.

    Attributes:
        entries: Methods that have one of its qualities.
        levels: Quality -> (value, line style, what it is) of lines across the panel.
        metric: The metric's name.
    """

    entries: list[FrontierRow]
    levels: Mapping[Quality, tuple[float, str, str]]
    metric: str

    @classmethod
    def of(cls, frame: pd.DataFrame, qualities: Sequence[Quality]) -> "Worth":
        """From the methods of a run and the qualities that are drawn."""
        entries = [e for e in entries_of(frame) if any(e.goodness(quality) is not None for quality in qualities)]
        levels: dict[Quality, tuple[float, str, str]] = {}
        for row in frame.to_dict("records"):
            if row.get("reference", False):
                own = f"{row['method']}'s own"
                mean = row.get("mean_score") if row.get("pairs_scored") == row.get("pairs") else None
                lines: list[tuple[Quality, object, str]] = [
                    ("mean_score", mean, own),
                    ("delivered", row.get("delivered"), own),
                    ("spearman", row.get("spearman"), "noise ceiling"),
                ]
                for quality, given, text in lines:
                    if (value := _number(given)) is not None:
                        levels[quality] = value, "--", text
        chance = [_number(value) for value in frame["regret_chance"].tolist()] if "regret_chance" in frame else []
        worst = max((e.regret for e in entries if e.regret is not None), default=0.0)
        if chance and chance[0] is not None and chance[0] <= 2 * worst:
            levels["regret"] = (chance[0], ":", "a random pick")
        return cls(entries, levels, str(frame["metric"].iloc[0]) if "metric" in frame else "metric")

    @property
    def looks(self) -> dict[str, tuple[str, str]]:
        """Family -> colour and marker."""
        families = list(dict.fromkeys(entry.family for entry in self.entries))
        return {f: (OKABE_ITO[n % len(OKABE_ITO)], MARKERS[n % len(MARKERS)]) for n, f in enumerate(families)}

    def title(self, quality: Quality) -> str:
        """What stands at the vertical axis."""
        return {
            "mean_score": f"test {self.metric}, mean over pairs",
            "delivered": f"test {self.metric} of the pair handed over",
            "spearman": "Spearman with the reference's test scores",
            "regret": f"regret ({self.metric}; 0 is perfect)",
        }[quality]


def panel(axis: Axes, setting: Worth, quality: Quality, cost: Cost) -> list[Named]:
    """Draw one quality against one cost; returns what may be named in it, the most important first."""
    named = _points(axis, setting, quality, cost)
    axis.set_xlabel("FLOPs per seed" if cost == "flops" else "device-seconds per seed, inside the cells")
    axis.set_ylabel(setting.title(quality))
    if quality in setting.levels:
        value, line, text = setting.levels[quality]
        axis.axhline(value, color="#555555", lw=1, ls=line, label=text)
    return named


def _points(axis: Axes, setting: Worth, quality: Quality, cost: Cost) -> list[Named]:
    """Points and the line that joins what nothing beats, on their scales."""
    entries = [e for e in setting.entries if np.isfinite(e.cost(cost))]
    known = [e for e in entries if e.goodness(quality) is not None]
    zero = _place_of_nothing(axis, [e.cost(cost) for e in entries])
    places = {e.label: (e.cost(cost) if e.cost(cost) > 0 else zero, getattr(e, quality)) for e in known}
    kept = undominated(known, cost, quality)
    for family, (colour, marker) in setting.looks.items():
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
