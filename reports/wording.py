"""Words for pairs, scores and budgets: the same in every sentence and table."""

from collections.abc import Sequence

from reports import formatting
from reports.delivered import Resampled
from reports.schema import Pair, Spent


def pair_name(pair: Pair) -> str:
    """A pair in running text, its ids without their schemes."""
    return " + ".join(encoder.partition(":")[2] or encoder for encoder in pair)


def several(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are: ``a, b, c and 4 more``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(number: int, noun: str) -> str:
    """``1 pair``, ``12 pairs``."""
    return f"{formatting.count(number)} {noun}{'' if number == 1 else 's'}"


def every_seed(seeds: int) -> str:
    """``both seeds``, ``all 3 seeds``."""
    return {1: "its seed", 2: "both seeds"}.get(seeds, f"all {seeds} seeds")


def budget_text(budget: Spent) -> str:
    """A budget in few words: ``batch 128, 210 updates and 26,880 samples per pair, 1.2 TFLOP``."""
    parts = []
    if budget.batch_size is not None:
        parts.append(f"batch {formatting.count(budget.batch_size)}")
    if budget.updates_per_pair:
        samples = formatting.count(budget.samples_per_pair)
        parts.append(f"{formatting.count(budget.updates_per_pair)} updates and {samples} samples per pair")
    if budget.flops is not None:
        parts.append(formatting.flops(budget.flops))
    return ", ".join(parts) or "–"


def estimated(estimate: Resampled) -> str:
    """Value and interval."""
    return formatting.with_interval(estimate.value, estimate.ci95)


def score_with_ends(estimate: Resampled) -> str:
    """A score in plain words: ``0.432 (between 0.40 and 0.46)``."""
    text = formatting.number(estimate.value)
    low, high = estimate.ci95
    return f"{text} (between {formatting.number(low)} and {formatting.number(high)})" if low == low else text
