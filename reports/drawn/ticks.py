"""Where axes are marked: round values, and always at least two of them."""

import math

MOST = 6


def linear_ticks(low: float, high: float) -> list[float]:
    """Round values from ``low`` to ``high``, two to six of them."""
    raw = (high - low) / (MOST - 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * (1 - 1e-9))
    for width in (step, step / 2, step / 4, step / 5):
        found = [n * width for n in range(math.ceil(low / width - 1e-9), math.floor(high / width + 1e-9) + 1)]
        if len(found) >= 2:
            return found
    return [low, high]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; within few decades also twos and fives, within less than one any round values."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**n for n in range(first, last + 1)]
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        found = [step * decade for decade in decades for step in steps if low <= step * decade <= high]
        if len(found) >= 3:
            return found[:: -(-len(found) // MOST)]
    return linear_ticks(low, high)
