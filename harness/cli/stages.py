"""Running the stages of a pick, and saying what each of them does and came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.embed import extract_with_bars
from reports.formatting import count, number, short_names

if TYPE_CHECKING:
    from rich.console import Console

    from harness.contract.pairs import Pair
    from harness.run.picked import StageRecord
    from harness.run.picking import Ran
    from harness.run.stages import Stage
    from harness.sweep.plan import Plan
    from harness.sweep.resolve import ResolvedSweep


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
        from harness.run.stage_runs import run_stage

        splits = plan.resolved.index.splits
        rows = {split: count(len(splits[split])) for split in ("train", "validation", "test")}
        what = f"polishing {_named(plan.resolved.pairs[0])}" if stage.last else _encoders(stage)
        tested = f", {rows['test']} test" if stage.last else ""
        self._say(
            f"stage {stage.number}: {what}; {rows['train']} training, {rows['validation']} validation{tested} images"
        )
        with self._console.status(f"stage {stage.number}: making connectors") as status:

            def extract(resolved: ResolvedSweep) -> object:
                status.stop()  # bars take its place
                try:
                    return extract_with_bars(resolved)
                finally:
                    status.start()

            return run_stage(plan, extract, backend=self._backend, address=self._address, told=self._say)

    def report(self, stage: Stage, found: StageRecord) -> None:
        """Say what the stage came to."""
        pairs = len(stage.images) * len(stage.texts)
        left = (
            f"{len(found.racing)} of {pairs} pairs left, best {_named(found.racing[0])}" if pairs > 1 else "validation"
        )
        self._say(f"         {left} {number(found.score)}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _encoders(stage: Stage) -> str:
    return f"{len(stage.images)} image x {len(stage.texts)} text encoders"


def _named(pair: Pair) -> str:
    return " + ".join(short_names([name])[name] for name in pair)
