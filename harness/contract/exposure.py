"""How much training pairs get: few updates, or unlike ones, are said before a sweep runs and in its report."""

from collections.abc import Mapping
from dataclasses import dataclass

FEW_UPDATES = 50
"""Updates per pair below which a connector that starts at random is hardly trained, at any learning rate."""

UNLIKE = 1.5
"""Ratio of updates per pair from which methods with the same number of epochs are trained unlike."""


@dataclass(frozen=True)
class Exposure:
    """One method's training.

    Attributes:
        budget: Its budget as written: unit -> limit.
        updates_per_pair: What that gives each pair, mean over pairs; 0 or None without steps.
    """

    budget: Mapping[str, float]
    updates_per_pair: float | None


def updates_text(updates: float | None) -> str:
    """Updates per pair for people: 1.3 stays 1.3 and 0.04 stays 0.04; a dash for None."""
    if updates is None:
        return "-"
    return f"{updates:,.0f}" if updates >= 10 or updates == round(updates) else f"{updates:.2g}"


def few_updates(label: str, exposure: Exposure) -> str | None:
    """A warning for a reference that is hardly trained; None where it is, or does not train in steps."""
    updates = exposure.updates_per_pair
    if not updates or updates >= FEW_UPDATES:
        return None
    return (
        f"{label}, the reference, gives each pair {updates_text(updates)} updates: that is hardly any training, and "
        "everything is compared with it. Give it more epochs or a smaller batch."
    )


def unlike_updates(methods: Mapping[str, Exposure]) -> list[str]:
    """A warning where a number of epochs means unlike training for the methods that were given it; one for them all.

    Args:
        methods: Label -> training.
    """
    groups: dict[float, dict[str, float]] = {}
    for label, exposure in methods.items():
        epochs, updates = exposure.budget.get("epochs"), exposure.updates_per_pair
        if epochs is not None and updates:
            groups.setdefault(epochs, {})[label] = updates
    unlike = [epochs for epochs, own in groups.items() if max(own.values()) >= UNLIKE * min(own.values())]
    if not unlike:
        return []
    *others, most = sorted(unlike)
    each = ", ".join(f"{updates_text(n)} for {label}" for label, n in groups[most].items())
    given = "1 epoch is" if most == 1 else f"{most:g} epochs are"
    too = f"; so it is at {', '.join(f'{epochs:g}' for epochs in others)}" if others else ""
    return [
        f"{given} not the same training: updates per pair are {each}{too}. A step of a joint method trains only "
        "some of the pairs, and some methods train some pairs only."
    ]
