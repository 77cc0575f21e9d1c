"""Score of every pair under one method."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from reports import formatting
from reports.figures.axes import axes_for, check_columns, of_method, panel_figure
from reports.order import by_main_effects
from reports.ranking import oriented

WIDEST = 14.0
"""Widest panel, in inches."""
DENSE_TEXTS = 16
"""Heatmaps of more columns than this have small cells."""
ANNOTATED_PAIRS = 60
"""Heatmaps of more cells than this go without numbers."""
COLUMNS = ("image", "text", "method", "score", "test", "picked", "score_higher_is_better", "higher_is_better")


def heatmap(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    method: str | None = None,
    order: tuple[list[str], list[str]] | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Test score of every pair under one method, mean over seeds; the pick is framed, pairs without a result are grey.

    A method without connectors is drawn by its own scores.

    Args:
        frame: The pairs of a run (``OpenRun.frames().pairs``).
        ax: Where to draw; None: a new figure.
        method: Its label; may be None where the frame has one method.
        order: Image and text encoders, as they stand in rows and columns; None: by their main effects, best first.
        limits: Ends of the colour scale; None: those of the scores.

    Raises:
        HarnessError: The frame lacks a column or the method.
    """
    check_columns(frame, COLUMNS, "heatmap", "pairs")
    rows, label = of_method(frame, method, "heatmap")
    own = not np.isfinite(rows["test"].to_numpy(float)).any()
    values = rows["score" if own else "test"].to_numpy(float)
    higher = bool(rows["score_higher_is_better" if own else "higher_is_better"].iloc[0])
    pairs = list(zip(rows["image"], rows["text"], strict=True))
    images, texts = order or by_main_effects(pairs, oriented(values, higher_is_better=higher))
    table = np.full((len(images), len(texts)), np.nan)
    for (image, text), value in zip(pairs, values, strict=True):
        table[images.index(image), texts.index(text)] = value
    with axes_for(ax, panel_size(images, texts)) as axis:
        colours = mpl.colormaps["cividis" if higher else "cividis_r"].with_extremes(bad="#dddddd")
        low, high = limits or (None, None)
        picture = axis.imshow(table, cmap=colours, aspect="auto", vmin=low, vmax=high)
        if table.size <= ANNOTATED_PAIRS:
            _annotate(axis, table, picture)
        _names(axis, images, texts)
        for (image, text), picked in zip(pairs, rows["picked"], strict=True):
            if picked:
                corner = texts.index(text) - 0.5, images.index(image) - 0.5
                axis.add_patch(Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=2.5))
        axis.set_title(label + (" (its own score)" if own else ""))
        # Each panel has its own bar, though several may show one scale: a common one would lie over other panels.
        bar = panel_figure(axis).colorbar(picture, ax=axis, shrink=0.8)
        bar.ax.tick_params(labelsize=7)
    return axis


def panel_size(images: list[str], texts: list[str]) -> tuple[float, float]:
    """Width and height of a panel, in inches: large grids get small cells, so that methods still stand side by side."""
    dense = len(texts) > DENSE_TEXTS
    column = 0.62 if len(texts) <= 8 else 0.16 if dense else 0.36
    row = 0.32 if len(images) <= 16 else 0.16 if dense else 0.22
    longest = max(map(len, formatting.short_names(images).values()))
    return min(WIDEST, 1.2 + (0.05 if dense else 0.075) * longest + column * len(texts)), 1.5 + row * len(images)


def _names(axis: Axes, images: list[str], texts: list[str]) -> None:
    dense = len(texts) > DENSE_TEXTS
    short_i, short_t = formatting.short_names(images), formatting.short_names(texts, 22)
    turned: dict[str, Any] = {"rotation": 90 if dense else 35, "ha": "right", "rotation_mode": "anchor"}
    turned |= {"va": "center"} if dense else {}
    axis.set_xticks(range(len(texts)), [short_t[t] for t in texts], **turned)
    axis.set_yticks(range(len(images)), [short_i[i] for i in images])
    axis.tick_params(length=0)
    if dense:
        axis.tick_params(labelsize=6)
    axis.spines[:].set_visible(False)


def _annotate(axis: Axes, table: Float[np.ndarray, "images texts"], picture: Any) -> None:
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            red, green, blue, _ = picture.cmap(picture.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            text = f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
