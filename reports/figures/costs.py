"""Where FLOPs and seconds went."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports import formatting
from reports.figures.axes import axes_for, check_columns, legend_below
from reports.palette import HATCHES, OKABE_ITO

COLUMNS = ("method", "unit", "part", "value")


def costs(frame: pd.DataFrame, ax: Axes | None = None, *, unit: Literal["flops", "seconds"] = "flops") -> Axes:
    """FLOPs by phase, or device-seconds by section, per seed: a bar for each method.

    Args:
        frame: The costs of a run (``OpenRun.frames().costs``). A part has one colour in both units, so give both.
        ax: Where to draw; None: a new figure, with a legend.
        unit: ``flops`` or ``seconds``.

    Raises:
        HarnessError: The frame lacks a column.
    """
    check_columns(frame, COLUMNS, "costs", "costs")
    looks = {part: number for number, part in enumerate(dict.fromkeys(frame["part"]))}
    methods = list(dict.fromkeys(frame["method"]))
    rows = frame[frame["unit"] == unit]
    with axes_for(ax, (6.4, 2.0 + 0.42 * len(methods))) as axis:
        if (rows["value"] > 0).any():
            _stack(axis, methods, rows, looks, formatting.flops if unit == "flops" else formatting.seconds)
        axis.set_xlabel("FLOPs per seed" if unit == "flops" else "device-seconds per seed, inside the cells")
        if unit == "flops":
            axis.xaxis.set_major_formatter(
                FuncFormatter(lambda value, _: formatting.flops(value).replace("FLOP", "") if value else "0")
            )
        if not axis.yaxis_inverted():  # panels that share their axis are turned once
            axis.invert_yaxis()
        if ax is None:
            legend_below([axis], 4)
    return axis


def _stack(
    axis: Axes, methods: list[str], rows: pd.DataFrame, looks: dict[str, int], text: Callable[[float], str]
) -> None:
    """Bars of parts; a part looks the same in every panel, and like no other part."""
    start = np.zeros(len(methods))
    for part, own in rows.groupby("part", sort=False):
        spent = own.set_index("method")["value"].reindex(methods).fillna(0.0).to_numpy(float)
        look = looks[str(part)]
        axis.barh(
            methods,
            spent,
            left=start,
            label=str(part),
            color=OKABE_ITO[look % len(OKABE_ITO)],
            hatch=HATCHES[look % len(HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            height=0.65,
        )
        start += spent
    for place, total in enumerate(start):
        axis.annotate(text(float(total)), (total, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_xlim(right=1.22 * start.max() if start.max() > 0 else 1)
    axis.xaxis.set_major_locator(MaxNLocator(5))
