"""At which other methods' ends a method is scored, so that both can be compared at the same updates per pair."""

from collections.abc import Mapping


def ends_of(reference: str | None, updates: Mapping[str, float]) -> dict[str, tuple[float, ...]]:
    """Label -> where the methods end that it is compared with, in updates per pair, short of its own end.

    Every method is compared with the reference and with nothing else: the reference is scored where the others end,
    and they where the reference does.

    Args:
        reference: Its label; None: there is none, and nothing is compared.
        updates: Label -> updates per pair in all, of methods for which they are known and the same for all pairs.
    """
    if reference is None or reference not in updates:
        return {}
    met = {label: [reference] if label != reference else [other for other in updates] for label in updates}
    return {
        label: tuple(sorted({updates[other] for other in others if 0 < updates[other] < updates[label]}))
        for label, others in met.items()
    }
