"""What a sweep does about damage: it is set aside, named once, and made again."""

from harness.errors import Damaged
from harness.run.store import MANIFEST, RunStore
from harness.sweep.plan import Plan


def healed_manifest(store: RunStore) -> list[str]:
    """Set a damaged plan aside; the sweep writes it anew. What it said of earlier sweeps (their seconds) is lost.

    Returns:
        What was wrong, in one line; nothing when it is whole.
    """
    try:
        store.manifest()
    except Damaged as damage:
        store.set_aside(MANIFEST)
        return [aside(damage)]
    return []


def healed_cells(plan: Plan, store: RunStore, *, by_content: bool = False) -> list[str]:
    """Set damaged cells of a plan aside, so that they are missing.

    Args:
        plan: The plan.
        store: Its run.
        by_content: Compare the content of connectors too; else only their size.

    Returns:
        What was wrong, a line for each cell.
    """
    damaged = store.survey(plan.by_key.values(), connectors=by_content).damaged
    for key in damaged:
        store.set_aside_cell(key)
    return [aside(damage) for damage in damaged.values()]


def aside(damage: Damaged) -> str:
    """One line about something that was set aside."""
    return f"damaged, set aside and made again: {damage.where}: {damage.what}"
