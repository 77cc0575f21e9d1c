"""Costs along the x axis of a matplotlib figure: a log scale that always carries numbers."""

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports import formatting
from reports.drawn.ticks import log_ticks
from reports.entries import Cost

NEAR_ZERO = 5.0
"""Ticks stand at least this many times the place of zero away from it."""


def cost_axis(axis: Axes, cost: Cost, zero: float | None = None) -> None:
    """Cost along x on a log scale, with at least two numbers, however alike the costs are.

    Args:
        axis: The panel, drawn.
        cost: FLOPs or seconds.
        zero: Where what costs nothing stands: it is marked 0, and has no other tick beside it.
    """
    axis.set_xscale("log")
    axis.grid(alpha=0.25)
    low, high = axis.get_xlim()
    places = log_ticks(low if zero is None else NEAR_ZERO * zero, high)
    texts = {place: _text(place, cost) for place in places} | ({} if zero is None else {zero: "0"})
    axis.xaxis.set_major_locator(FixedLocator(sorted(texts)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: texts.get(value, "")))


def _text(value: float, cost: Cost) -> str:
    return formatting.flops(value).replace("FLOP", "").strip() if cost == "flops" else formatting.seconds(value)
