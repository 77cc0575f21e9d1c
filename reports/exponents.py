"""How FLOPs and seconds grow with the number of pairs and of training rows, from several runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float

from reports.analysis import Analysis
from reports.tidy import method_frame

Size: TypeAlias = Literal["pairs", "train_rows"]
Growing: TypeAlias = Literal["flops", "seconds"]
SIZES: tuple[Size, ...] = ("pairs", "train_rows")
GROWING: tuple[Growing, ...] = ("flops", "seconds")
OTHER: Mapping[Size, Size] = {"pairs": "train_rows", "train_rows": "pairs"}
"""What must be the same for runs to be joined: a line is of one number of rows, or of one number of pairs."""


@dataclass(frozen=True)
class Exponent:
    """``quantity`` grows as ``size`` to this power, for one method.

    Attributes:
        method: Its label.
        quantity: ``flops`` or ``seconds``.
        size: ``pairs`` or ``train_rows``.
        at: The other size, which is the same in all of these runs.
        value: Slope of the least-squares line through the logarithms.
        low: Smallest slope between neighbouring sizes; NaN with two sizes, where there is one slope only.
        high: The largest.
        first: The smallest size.
        last: The largest: nothing is said of sizes beyond.
        runs: How many runs it rests on.
    """

    method: str
    quantity: Growing
    size: Size
    at: float
    value: float
    low: float
    high: float
    first: float
    last: float
    runs: int

    @property
    def says(self) -> str:
        """``1.02 (0.98 to 1.05), 4 to 900``."""
        value, low, high = (f"{round(number, 2) + 0.0:.2f}" for number in (self.value, self.low, self.high))  # no -0.00
        spread = f" ({low} to {high})" if np.isfinite(self.low) else ""
        return f"{value}{spread}, {self.first:g} to {self.last:g}"


def scaling_frame(analyses: Mapping[str, Analysis]) -> pd.DataFrame:
    """The methods of several runs (``Frames.methods``), with ``run`` and ``train_rows``."""
    frames = [
        method_frame(analysis).assign(run=run, train_rows=analysis.manifest.rows["train"])
        for run, analysis in analyses.items()
    ]
    return pd.concat(frames, ignore_index=True)


def sizes_that_differ(frame: pd.DataFrame) -> list[Size]:
    """Sizes along which some method has been run at two places or more, the other size being equal."""
    return [size for size in SIZES if len(frame) and frame.groupby(["method", OTHER[size]])[size].nunique().max() > 1]


def exponents(frame: pd.DataFrame) -> list[Exponent]:
    """Every exponent that the runs allow.

    Args:
        frame: From ``scaling_frame``.
    """
    found = []
    for size in sizes_that_differ(frame):
        for quantity in GROWING:
            rows = frame[frame[quantity] > 0]  # NaN: no seed is complete; what costs nothing has no logarithm
            for (method, at), own in rows.groupby(["method", OTHER[size]], sort=False):
                if len(set(own[size])) > 1:
                    found.append(_fitted(str(method), quantity, size, float(at), own))  # type: ignore[arg-type]
    return found


def exponent_frame(found: Sequence[Exponent]) -> pd.DataFrame:
    """One row an exponent."""
    return pd.DataFrame([asdict(one) for one in found])


def _fitted(method: str, quantity: Growing, size: Size, at: float, rows: pd.DataFrame) -> Exponent:
    logs = np.log(rows[quantity].to_numpy(float))
    means = pd.Series(logs).groupby(np.log(rows[size].to_numpy(float))).mean()
    x, y = means.index.to_numpy(float), means.to_numpy(float)
    value = float(np.polyfit(x, y, 1)[0])
    low, high = _ends(x, y) if len(x) > 2 else (float("nan"), float("nan"))
    first, last = float(rows[size].min()), float(rows[size].max())
    return Exponent(method, quantity, size, at, value, low, high, first, last, len(rows))


def _ends(x: Float[np.ndarray, " sizes"], y: Float[np.ndarray, " sizes"]) -> tuple[float, float]:
    slopes = np.diff(y) / np.diff(x)
    return float(slopes.min()), float(slopes.max())
