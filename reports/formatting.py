"""Short names for long encoder ids, and numbers as a reader wants them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence


def short_names(ids: Sequence[str], width: int = 26) -> dict[str, str]:
    """Shorten ids as far as they stay distinct.

    In turn: drop the scheme (``timm:``), drop the weights' tag (``.augreg_in21k`` or ``@laion2b``), cut the middle out.

    Args:
        ids: Encoder ids of one modality.
        width: Longest name wanted, in characters.
    """
    steps: list[Callable[[str], str]] = [
        lambda name: name.partition(":")[2] or name,
        lambda name: name if len(name) <= width else name.partition("@")[0].partition(".")[0],
        lambda name: name if len(name) <= width else f"{name[: width - 9]}…{name[-8:]}",
    ]
    names = dict(zip(ids, ids, strict=True))
    for step in steps:
        shorter = {one: step(name) for one, name in names.items()}
        # A name that stays long may be what another one was shortened to: whoever shares a name goes back to the last.
        while shared := {name for name, times in Counter(shorter.values()).items() if times > 1}:
            shorter = {one: names[one] if name in shared else name for one, name in shorter.items()}
        names = shorter
    return names


def number(value: float | int | None, digits: int = 3) -> str:
    """A score or statistic; a dash when there is none. What rounds to zero has no sign."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}" if abs(value) < 100 else f"{value:,.1f}"


def interval(ends: tuple[float, float] | None) -> str:
    """``[low, high]``, or nothing."""
    if ends is None or not all(math.isfinite(end) for end in ends):
        return ""
    return f"[{number(ends[0])}, {number(ends[1])}]"


def with_interval(value: float | int | None, ends: tuple[float, float] | None) -> str:
    """Value and interval."""
    return f"{number(value)} {interval(ends)}".strip()


PREFIXES = (("Z", 1e21), ("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
"""SI prefixes and what they stand for, the largest first."""


def scaled(value: float, unit: str = "") -> str:
    """Three digits with an SI prefix: ``12.3 G``, or with a unit ``12.3 GFLOP``."""
    rounded = float(f"{value:.3g}")  # first, so that 999.9 million is 1 G and not 1e+03 M
    prefix, size = next(((prefix, size) for prefix, size in PREFIXES if abs(rounded) >= size), ("", 1.0))
    return f"{rounded / size:.3g} {prefix}{unit}".rstrip()


def flops(value: float | int | None) -> str:
    """FLOPs with an SI prefix: ``12.3 GFLOP``."""
    return "–" if value is None or not math.isfinite(value) else scaled(value, "FLOP")


def times(value: float | int | None) -> str:
    """A cost ratio: ``10.1x``."""
    if value is None or not math.isfinite(value):
        return "–"
    if value >= 1e6:
        return f"{value:.0e}x"
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def seconds(value: float | int | None) -> str:
    """A duration: ``850 ms``, ``12.3 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60)} min"


def count(value: float | int | None) -> str:
    """A count with thousands separated; fractions only when there are any, and never rounded to nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    if 0 < abs(value) < 1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"
