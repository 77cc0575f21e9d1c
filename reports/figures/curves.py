"""Learning curves: score and rank quality against FLOPs."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.cost_axis import cost_axis
from reports.figures.axes import axes_for, check_columns, legend_below
from reports.palette import MARKERS, OKABE_ITO

COLUMNS = ("method", "flops", "epoch", "metric", "noise_ceiling")


def curves(frame: pd.DataFrame, ax: Axes | None = None, *, quality: Literal["score", "spearman"] = "score") -> Axes:
    """Every method's curve against FLOPs per seed, mean over seeds; small numbers at the points are epochs.

    Args:
        frame: The curves of a run (``OpenRun.frames().curves``).
        ax: Where to draw; None: a new figure, with a legend.
        quality: ``score``: mean validation score over pairs. ``spearman``: rank correlation with the reference's test
            scores at its full budget; dashed is the noise ceiling, dotted is chance.

    Raises:
        HarnessError: The frame lacks a column.
    """
    check_columns(frame, (*COLUMNS, quality), "curves", "curves")
    with axes_for(ax, (6.2, 4.4)) as axis:
        spent: list[float] = []
        for number, (label, rows) in enumerate(frame.groupby("method", sort=False)):
            heights, flops, epochs = (rows[name].astype(float).tolist() for name in (quality, "flops", "epoch"))
            known = np.isfinite(heights)
            if not known.any():
                continue
            colour, marker = OKABE_ITO[number % len(OKABE_ITO)], MARKERS[number % len(MARKERS)]
            axis.plot(flops, heights, label=str(label), color=colour, marker=marker, ms=4, lw=1.3)
            spent += [x for x, there in zip(flops, known, strict=True) if there]
            mark_epochs(axis, flops, epochs, heights, below=number % 2 == 1)
        if quality == "score":
            axis.set_ylabel(f"validation {frame['metric'].iloc[0]}, mean over pairs")
            axis.set_title("Score against FLOPs")
        else:
            axis.set_ylabel("Spearman with the reference's test scores")
            axis.set_title("Rank quality against FLOPs")
            axis.axhline(0, color="#999999", lw=0.8, ls=":")
            if np.isfinite(ceiling := float(frame["noise_ceiling"].iloc[0])):
                axis.axhline(ceiling, color="#555555", lw=1, ls="--", label="noise ceiling")
            axis.set_ylim(top=1.04)
        if max(spent, default=0) > 0:  # else nothing to scale: no cell with a cost has finished
            flops_axis(axis)
        if ax is None:
            legend_below([axis])
    return axis


def flops_axis(axis: Axes) -> None:
    """FLOPs along x, on a log scale."""
    cost_axis(axis, "flops")
    axis.set_xlabel("FLOPs per seed, all pairs (small numbers: epochs)")


def mark_epochs(
    axis: Axes, flops: Sequence[float], epochs: Sequence[float], heights: Sequence[float], *, below: bool
) -> None:
    """Label epochs, only where a label has room (log axis: a quarter of an octave apart)."""
    last, whole = 0.0, len(flops) - 1
    for number, (spent, epoch, height) in enumerate(zip(flops, epochs, heights, strict=True)):
        final = number == whole
        if epoch > 0 and np.isfinite(height) and (final or spent > 1.6 * last):
            if not final and flops[whole] < 1.6 * spent:
                continue
            axis.annotate(
                f"{epoch:.3g}",
                (spent, height),
                (0, -11 if below else 5),
                textcoords="offset points",
                fontsize=7,
                color="#333333",
                ha="center",
            )
            last = spent
