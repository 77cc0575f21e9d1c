"""Pictures for the report of a run that is only opened: its data are found by its manifest, if they are still there."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.contract.pairs import Pair
from harness.data.load import load_dataset
from harness.errors import HarnessError
from harness.run.records import Examples
from harness.run.store import RunStore
from harness.sweep.config import Sweep


def illustrate(store: RunStore, wanted: Sequence[tuple[str, Pair]]) -> Examples | None:
    """What ``write_examples`` makes after a sweep; what is stored of these connectors already is kept.

    Args:
        store: The run.
        wanted: (method, pair) whose connectors are shown.

    Returns:
        What is stored now; None where the data have no pictures, or are there no longer.
    """
    if not wanted:
        return None
    try:
        kept = store.examples()
        if kept is not None and _shown(kept) == set(wanted):
            return kept
        # The run's own place, not what the manifest says: a run may have been moved.
        written = store.manifest().sweep | {"storage": str(Path(store.where).parent)}
        sweep = Sweep.model_validate(written)
        dataset = load_dataset(sweep.data, sweep.root)
        if any(dataset.own_encoders(side) is not None for side in ("image", "text")):
            return None  # embeddings; torch is not even imported
        from harness.export.examples import write_examples
        from harness.sweep.resolve import ResolvedSweep

        return write_examples(ResolvedSweep(sweep), store, wanted)
    except (HarnessError, ValidationError, OSError):
        return None  # a report does not need them


def _shown(examples: Examples) -> set[tuple[str, Pair]]:
    found = [one for caption in examples.captions for one in caption.lists] + list(examples.captioners)
    return {(one.label, (one.image, one.text)) for one in found}
