"""Running the stages of a pick, and saying what each of them does and came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.common import store_of
from harness.cli.embed import extract_with_bars, set_damaged_aside
from reports.formatting import count, number, short_names

if TYPE_CHECKING:
    from rich.console import Console

    from harness.contract.pairs import Pair
    from harness.run.picked import StageRecord
    from harness.run.picking import Ran
    from harness.run.records import CellRecord
    from harness.run.stages import Stage
    from harness.sweep.plan import Plan
    from harness.sweep.planned import PlannedCell


class StageRunner:
    """Embeds what a stage needs and runs its one cell, if that has not been done.

    Args:
        console: Where it is said.
        backend: What runs the cell.
        address: Ray cluster to join.
    """

    def __init__(self, console: Console, backend: str, address: str | None) -> None:
        self._console, self._backend, self._address = console, backend, address

    def __call__(self, stage: Stage, plan: Plan) -> Ran:
        """Run the stage, or read what it came to."""
        from harness.run.execute import prepare, run_missing
        from harness.run.lock import RunLock
        from harness.run.picking import Ran

        store = store_of(plan.sweep)
        splits = plan.resolved.index.splits
        rows = {split: count(len(splits[split])) for split in ("train", "validation", "test")}
        what = f"polishing {_named(plan.resolved.pairs[0])}" if stage.last else _encoders(stage)
        tested = f", {rows['test']} test" if stage.last else ""
        self._say(
            f"stage {stage.number}: {what}; {rows['train']} training, {rows['validation']} validation{tested} images"
        )
        with RunLock(store.blobs) as lock:
            set_damaged_aside(plan.resolved)
            todo = prepare(plan, store, extract_with_bars, lock=lock)
            for line in todo.healed:
                self._say(line)
            if todo.cells:
                with self._console.status(f"stage {stage.number}: making connectors"):
                    run_missing(plan, store, todo, _Unheard(), backend=self._backend, address=self._address, lock=lock)
        (cell,) = plan.cells
        return Ran(store.record(cell.key), store.manifest().elapsed_s or 0.0)

    def report(self, stage: Stage, found: StageRecord) -> None:
        """Say what the stage came to."""
        pairs = len(stage.images) * len(stage.texts)
        left = (
            f"{len(found.racing)} of {pairs} pairs left, best {_named(found.racing[0])}" if pairs > 1 else "validation"
        )
        self._say(f"         {left} {number(found.score)}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Unheard:
    """Stages have one cell: what it came to is said when the stage ends."""

    def started(self, cell: PlannedCell) -> None:
        """Nothing to say."""

    def finished(self, record: CellRecord) -> None:
        """Nothing to say."""


def _encoders(stage: Stage) -> str:
    return f"{len(stage.images)} image x {len(stage.texts)} text encoders"


def _named(pair: Pair) -> str:
    return " + ".join(short_names([name])[name] for name in pair)
