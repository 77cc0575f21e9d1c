"""What every figure begins with: its axes, the style of a new one, and a look at the columns it is given."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.errors import HarnessError

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "report",
}


@contextmanager
def axes_for(ax: Axes | None, size: tuple[float, float]) -> Iterator[Axes]:
    """Where a figure is drawn: the axes that were given, in the caller's style, or those of a new figure in ours.

    Args:
        ax: The caller's; None: a new figure of pyplot, so that a notebook shows it.
        size: Width and height of a new figure, in inches.
    """
    if ax is not None:
        yield ax
        return
    from matplotlib import pyplot as plt

    with mpl.rc_context(STYLE):
        _, made = plt.subplots(figsize=size)
        yield made


def check_columns(frame: pd.DataFrame, needed: Sequence[str], figure: str, source: str) -> None:
    """Refuse a frame that a figure cannot be drawn from.

    Args:
        frame: What was given.
        needed: Columns that the figure reads.
        figure: Name of the function.
        source: The frame of ``OpenRun.frames()`` that has them.

    Raises:
        HarnessError: A column is not there, or the frame is empty.
    """
    fix = f"harness.open_run(folder).frames().{source} has what it takes"
    if missing := [name for name in needed if name not in frame.columns]:
        raise HarnessError(f"the frame has no column {', '.join(missing)}", where=f"reports.{figure}", fix=fix)
    if frame.empty:
        raise HarnessError("the frame has no rows", where=f"reports.{figure}", fix=fix)


def of_method(frame: pd.DataFrame, method: str | None, figure: str) -> tuple[pd.DataFrame, str]:
    """The rows of one method, and its label.

    Raises:
        HarnessError: No such method, or none was named and the frame has several.
    """
    labels = list(dict.fromkeys(frame["method"]))
    if method is None and len(labels) > 1:
        raise HarnessError("the frame has several methods", where=f"reports.{figure}", fix=f"method={labels[0]!r}")
    chosen = labels[0] if method is None else method
    if chosen not in labels:
        raise HarnessError(f"no method {chosen!r}", where=f"reports.{figure}", fix=f"known: {', '.join(labels)}")
    return frame[frame["method"] == chosen], chosen


def panel_figure(ax: Axes) -> Figure:
    """The figure that axes are in.

    Raises:
        HarnessError: They are in none any more.
    """
    figure = ax.get_figure(root=True)
    if not isinstance(figure, Figure):
        raise HarnessError("these axes are in no figure", where="ax", fix="take axes of plt.subplots()")
    return figure


def legend_below(axes: Sequence[Axes], columns: int = 5, title: str | None = None) -> None:
    """One legend for panels of a figure, below them."""
    handles: dict[str, Any] = {}
    for axis in axes:
        handles |= {text: handle for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles:
        panel_figure(axes[0]).legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=columns,
            title=title,
            frameon=False,
        )
