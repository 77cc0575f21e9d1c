"""A run swept again with another plan: nothing that is finished may silently leave the report."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import Damaged, HarnessError
from harness.run.records import Manifest
from harness.run.store import RunStore
from harness.sweep.plan import Plan

BESIDE = frozenset({"source", "storage", "flop_convention", "name", "smoke", "pick", "trackers"})
"""Fields of a sweep that change neither its cells nor its report."""

MOST = 5
"""Changes that are named one by one."""


def check_same_plan(before: Manifest | None, plan: Plan, store: RunStore) -> list[str]:
    """Refuse a plan that drops finished cells of the same name's run because the sweep was changed.

    What is only added (methods, seeds, encoders of methods that train pair by pair) keeps every finished cell, and what
    changes the report alone (the reference, constraints) does too. Cells that are out of date because a method has a
    new version are another matter: the sweep is the same, and they are run again.

    Args:
        before: The run's plan so far; None for a new run.
        plan: The plan that is about to replace it.
        store: The run.

    Returns:
        What has changed, a line each.

    Raises:
        HarnessError: Finished cells would be dropped.
    """
    sweep = plan.sweep
    if before is None or sweep.smoke:
        return []
    changes = list(_changes(before.sweep, json.loads(sweep.model_dump_json())))
    left_out = store.finished(cell.key for cell in before.cells) - plan.by_key.keys()
    gone = [key for key in left_out if _done(store, key)]
    if changes and gone:
        named = "; ".join(changes[:MOST]) + (f"; and {len(changes) - MOST} more" if len(changes) > MOST else "")
        raise HarnessError(
            f"the run {sweep.name!r} was swept with another plan, and {len(gone)} of its finished cells are not in "
            f"this one: {named}",
            where=store.where,
            fix=f"give this plan a name of its own, e.g. --set name={sweep.name}_2",
        )
    return changes


def _done(store: RunStore, key: str) -> bool:
    try:
        return store.record(key).status == "done"
    except Damaged:  # nothing to lose
        return False


def _changes(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """Field by field, what two resolved sweeps have different: ``methods.ape.lr: 0.005 -> 0.01``."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            if not place and key in BESIDE:
                continue
            below = f"{place}.{key}" if place else str(key)
            if key not in now:
                yield f"{_written(below)} removed (it was {_short(before[key])})"
            elif key not in before:
                if now[key] is not None:  # else a field that older versions did not have, and that asks for nothing
                    yield f"{_written(below)} added"
            else:
                yield from _changes(before[key], now[key], below)
    elif before != now:
        yield f"{_written(place)}: {_short(before)} -> {_short(now)}"


def _written(place: str) -> str:
    """A field as the sweep file has it: a method's settings and budget stand side by side there."""
    parts = place.split(".")
    if parts[0] == "methods" and len(parts) > 3 and parts[2] in ("config", "budget"):
        del parts[2]
    return ".".join(parts)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
