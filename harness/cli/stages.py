"""Running the stages of a pick, and saying what each of them does and came to."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from harness.cli.common import stderr
from harness.cli.embed import extract_with_bars
from harness.cli.tally import Tally, Waiting
from reports.formatting import count, number, short_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import typer
    from rich.status import Status

    from harness.contract.pairs import Pair
    from harness.run.picked import PickRecord, StageRecord
    from harness.run.picking import Ran
    from harness.run.stages import Stage
    from harness.sweep.plan import Plan
    from harness.sweep.resolve import ResolvedSweep


class StageRunner:
    """Embeds what a stage needs and runs its one cell, if that has not been done; says what it does.

    Args:
        backend: What runs the cell.
        address: Ray cluster to join.
    """

    loud = True
    """Whether the verdict is printed for people."""

    def __init__(self, backend: str, address: str | None) -> None:
        self._backend, self._address = backend, address

    def __call__(self, stage: Stage, plan: Plan) -> Ran:
        """Run the stage, or read what it came to."""
        from harness.run.stage_runs import run_stage

        self._begin(stage, plan)
        with self._status(stage) as status:

            def extract(resolved: ResolvedSweep) -> object:
                if status is None:
                    return resolved.extraction.missing(list(resolved.banks.values()))
                status.stop()  # bars take its place
                try:
                    return extract_with_bars(resolved)
                finally:
                    status.start()

            return run_stage(
                plan,
                extract,
                backend=self._backend,
                address=self._address,
                told=self._say,
                listener=self._listener(plan),
            )

    def report(self, stage: Stage, found: StageRecord) -> None:
        """Say what the stage came to."""
        pairs = len(stage.images) * len(stage.texts)
        left = (
            f"{len(found.racing)} of {pairs} pairs left, best {_named(found.racing[0])}" if pairs > 1 else "validation"
        )
        self._say(f"         {left} {number(found.score)}")

    def picked(self, record: PickRecord, model: str, report: str, said: Sequence[str]) -> None:
        """Say what the pick came to, where it is not printed for people."""

    def _begin(self, stage: Stage, plan: Plan) -> None:
        splits = plan.resolved.index.splits
        rows = {split: count(len(splits[split])) for split in ("train", "validation", "test")}
        what = f"polishing {_named(plan.resolved.pairs[0])}" if stage.last else _encoders(stage)
        tested = f", {rows['test']} test" if stage.last else ""
        self._say(
            f"stage {stage.number}: {what}; {rows['train']} training, {rows['validation']} validation{tested} images"
        )

    def _status(self, stage: Stage) -> AbstractContextManager[Status | None]:
        return stderr.status(f"stage {stage.number}: making connectors")

    def _listener(self, plan: Plan) -> Tally:
        return Tally(Waiting({}, 0, plan.resolved.higher_is_better))

    def _say(self, text: str) -> None:
        stderr.print(text, markup=False, highlight=False, soft_wrap=True)


class QuietRunner(StageRunner):
    """Says one line at the end."""

    loud = False

    def picked(self, record: PickRecord, model: str, report: str, said: Sequence[str]) -> None:
        """The pair, its score, and where the model is."""
        super()._say(f"{_named(record.pair)} {record.metric} {number(record.validation)} (validation); model: {model}")

    def _status(self, stage: Stage) -> AbstractContextManager[Status | None]:
        return nullcontext()

    def _say(self, text: str) -> None:
        """Nothing."""


class EventRunner(QuietRunner):
    """Prints events of ``harness.cli.events``."""

    def __init__(self, backend: str, address: str | None) -> None:
        super().__init__(backend, address)
        self._tallies: list[Tally] = []
        self._start = time.monotonic()

    def picked(self, record: PickRecord, model: str, report: str, said: Sequence[str]) -> None:
        """The last event."""
        from harness.cli.events import Done, emit

        cells = len(record.stages)
        emit(
            Done(
                run=record.run,
                ended="finished",
                done=cells,
                failed=sum(len(tally.bad) for tally in self._tallies),
                cells=cells,
                seconds=time.monotonic() - self._start,
                report=report,
                image=record.pair[0],
                text=record.pair[1],
                score=record.validation,
                model=model,
            )
        )

    def _begin(self, stage: Stage, plan: Plan) -> None:
        from harness.cli.events import StageBegun, emit

        splits = plan.resolved.index.splits
        emit(
            StageBegun(
                number=stage.number,
                run=plan.sweep.name,
                images=len(stage.images),
                texts=len(stage.texts),
                train=len(splits["train"]),
                validation=len(splits["validation"]),
                last=stage.last,
            )
        )

    def _listener(self, plan: Plan) -> Tally:
        from harness.cli.common import store_of
        from harness.cli.events import CellEvents

        self._tallies.append(CellEvents(store_of(plan.sweep), higher_is_better=plan.resolved.higher_is_better))
        return self._tallies[-1]


def runner_of(context: typer.Context, quiet: bool, json_lines: bool, backend: str, address: str | None) -> StageRunner:
    """What runs stages and says as much as these options ask for."""
    if json_lines:
        from harness.cli.events import only_events

        context.with_resource(only_events())
    kind = EventRunner if json_lines else QuietRunner if quiet else StageRunner
    return kind(backend, address)


def _encoders(stage: Stage) -> str:
    return f"{len(stage.images)} image x {len(stage.texts)} text encoders"


def _named(pair: Pair) -> str:
    return " + ".join(short_names([name])[name] for name in pair)
