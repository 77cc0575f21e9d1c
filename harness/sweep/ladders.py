"""Ladders: one method at several budgets."""

from collections.abc import Mapping
from typing import Any

BUDGET_KEYS = ("epochs", "updates_per_pair", "flops", "seconds")


def climbed(methods: Mapping[str, Any]) -> dict[str, Any]:
    """A method with a ``ladder`` (one budget with a list of values) becomes one method per value: ``label@value``."""
    found: dict[str, Any] = {}
    for label, entry in methods.items():
        if not isinstance(entry, Mapping) or "ladder" not in entry:
            steps = {label: entry}
        else:
            rest = {key: value for key, value in entry.items() if key != "ladder"}
            rungs = _steps_of(label, entry)
            steps = {f"{label}@{v:g}": {**rest, key: v} for key, v in rungs}
            if len(steps) < len(rungs):
                raise ValueError(f"{label}: two values of a ladder differ by less than a label's six digits")
        if twice := sorted(steps.keys() & found.keys()):
            raise ValueError(f"methods: label {twice[0]!r} stands twice")
        found |= steps
    return found


def _steps_of(label: str, entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    ladder = entry["ladder"]
    if not isinstance(ladder, Mapping) or len(ladder) != 1 or not set(ladder) <= set(BUDGET_KEYS):
        raise ValueError(f"{label}: a ladder is one of {', '.join(BUDGET_KEYS)} with a list of values")
    ((key, values),) = ladder.items()
    numbers = isinstance(values, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not values or not numbers or len(set(values)) != len(values):
        raise ValueError(f"{label}: a ladder's {key} must be a list of different numbers")
    if given := [name for name in BUDGET_KEYS if entry.get(name) is not None]:
        raise ValueError(f"{label}: give a ladder or {given[0]}, not both")
    return [(key, value) for value in values]
