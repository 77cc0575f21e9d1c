"""A method's ranking against the reference's."""

import pandas as pd
from matplotlib.axes import Axes

from reports import formatting
from reports.figures.axes import axes_for, check_columns, legend_below, of_method
from reports.palette import MARKERS, OKABE_ITO

COLUMNS = ("image", "text", "method", "place", "reference", "reference_place", "not_separated")
LARGE = 100
"""More pairs than this have small marks."""


def ranks(frame: pd.DataFrame, ax: Axes | None = None, *, method: str | None = None) -> Axes:
    """Place of every pair by a method's validation scores against its place by the reference's test scores.

    On the diagonal both agree. Shaded: the pairs that the reference does not separate from its best. Colours and marks
    are text encoders, where there are few enough of them to be told apart.

    Args:
        frame: The pairs of a run (``OpenRun.frames().pairs``).
        ax: Where to draw; None: a new figure, with a legend.
        method: Its label; may be None where the frame has one method.

    Raises:
        HarnessError: The frame lacks a column or the method.
    """
    check_columns(frame, COLUMNS, "ranks", "pairs")
    rows, label = of_method(frame, method, "ranks")
    texts = list(dict.fromkeys(rows["text"]))
    short, many, n = formatting.short_names(texts, 22), too_many(texts), len(rows)
    with axes_for(ax, (4.2, 4.4)) as axis:
        if (close := int(rows["not_separated"].sum())) > 1:
            axis.axvspan(0.5, close + 0.5, color="#000000", alpha=0.07, lw=0)
        axis.plot([1, n], [1, n], color="#999999", lw=1, zorder=1)
        for number, text in enumerate(texts):
            own = rows[rows["text"] == text]
            axis.scatter(
                own["reference_place"],
                own["place"],
                label=None if many else short[text],
                color=OKABE_ITO[0 if many else number % len(OKABE_ITO)],
                marker="o" if many else MARKERS[number],
                s=30 if n <= LARGE else 12,
                edgecolors="black",
                linewidths=0.4,
                zorder=2,
            )
        axis.set_xlim(0.5, n + 0.5)
        axis.set_ylim(0.5, n + 0.5)
        ticks = list(range(1, n + 1, max(1, round(n / 5))))
        axis.set_xticks(ticks)
        axis.set_yticks(ticks)
        axis.set_title(label)
        axis.set_xlabel(f"place by {rows['reference'].iloc[0]} (test; 1 = best)")
        axis.set_ylabel(f"place by {label} (validation)")
        if ax is None:
            legend_below([axis], 3, "text encoder")
    return axis


def too_many(texts: list[str]) -> bool:
    """Whether there are more text encoders than marks that can be told apart."""
    return len(texts) > len(MARKERS)
