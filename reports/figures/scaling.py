"""How cost and quality change with the size of a problem, over several runs."""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.exponents import GROWING, OTHER, Size, exponents
from reports.figures.axes import axes_for, check_columns
from reports.palette import MARKERS, OKABE_ITO

NAMES = {
    "pairs": "pairs",
    "train_rows": "training images",
    "flops": "FLOPs per seed",
    "seconds": "device-seconds per seed, inside the cells",
}


def scaling(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    size: Size = "pairs",
    quantity: Literal["flops", "seconds", "mean_gap"] = "flops",
) -> Axes:
    """FLOPs, seconds or the mean gap of every method against the number of pairs or of training rows.

    Runs are joined where the other size is the same. The legend says the exponent of the line through the logarithms,
    the smallest and largest slope between neighbouring sizes, and the sizes that it rests on.

    Args:
        frame: From ``reports.exponents.scaling_frame``: the methods of several runs, with ``run`` and ``train_rows``.
        ax: Where to draw; None: a new figure.
        size: ``pairs`` or ``train_rows``.
        quantity: ``flops``, ``seconds`` or ``mean_gap`` (with its interval; positive is worse than the reference).

    Raises:
        HarnessError: The frame lacks a column.
    """
    check_columns(frame, ("method", size, OTHER[size], quantity), "scaling", "methods")
    looks = {label: number for number, label in enumerate(dict.fromkeys(frame["method"]))}
    shown = frame[frame[quantity] > 0] if quantity in GROWING else frame[frame[quantity].notna()]
    said = {(e.method, e.at): e.says for e in exponents(shown) if (e.size, e.quantity) == (size, quantity)}
    with axes_for(ax, (6.2, 4.4)) as axis:
        for (method, at), rows in shown.groupby(["method", OTHER[size]], sort=False):
            rows, look = rows.sort_values(size), looks[str(method)]
            several = len(set(shown.loc[shown["method"] == method, OTHER[size]])) > 1
            name = f"{method} at {at:g} {NAMES[OTHER[size]]}" if several else str(method)
            text = said.get((str(method), float(at)))  # type: ignore[arg-type]
            style = {"color": OKABE_ITO[look % len(OKABE_ITO)], "marker": MARKERS[look % len(MARKERS)], "ms": 5}
            axis.plot(rows[size], rows[quantity], label=f"{name}: {text}" if text else name, lw=1.2, **style)
            if f"{quantity}_low" in rows:
                ends = rows[quantity] - rows[f"{quantity}_low"], rows[f"{quantity}_high"] - rows[quantity]
                spread = np.nan_to_num(np.stack(ends)).clip(min=0)
                axis.errorbar(rows[size], rows[quantity], spread, color=style["color"], lw=0.8, ls="", capsize=2)
        axis.set_xscale("log")
        places = sorted(set(shown[size]))
        axis.set_xticks(places, [f"{place:,.0f}" for place in places])
        axis.minorticks_off()
        axis.set_xlabel(NAMES[size])
        axis.grid(alpha=0.25)
        if quantity in GROWING:
            axis.set_yscale("log")
            axis.set_ylabel(NAMES[quantity])
        else:
            axis.axhline(0, color="#555555", lw=1, ls="--")
            axis.set_ylabel(f"mean gap ({frame['metric'].iloc[0] if 'metric' in frame else 'metric'}; positive: worse)")
        if len(shown):  # above the panel, where it covers no line
            title = "exponent (slopes between neighbours), sizes" if said else None
            place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
            axis.legend(fontsize=7, frameon=False, title=title, title_fontsize=7, ncols=2, **place)
    return axis
