"""What ``--json-lines`` prints: one JSON object per event, each on a line of standard output."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from harness.cli.tally import Tally, Waiting
from harness.contract.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import TextIO

    from harness.run.records import CellRecord
    from harness.run.store import RunStore

ETA_EVERY_S = 1.0
"""Seconds between two ``eta`` events at least."""


class Started(Record):
    """Cells will run now.

    Attributes:
        event: ``started``.
        run: Name of the run.
        cells: Cells of the plan.
        done: Cells that were done already.
        to_run: Cells to run now; methods that stop trailing pairs ask for more on the way.
    """

    event: Literal["started"] = "started"
    run: str
    cells: int
    done: int
    to_run: int


class CellEnded(Record):
    """A cell has ended, and its record is in the store.

    Attributes:
        event: ``cell``.
        key: The cell's key: the name of its files in the run.
        method: Its label in the sweep file.
        image: Image encoder of its pair, of several the first one's.
        text: Text encoder of its pair, of several the first one's.
        pairs: Number of its pairs.
        seed: Its seed.
        status: ``done``, ``failed``, ``diverged`` or ``timeout``.
        score: Validation score of its best pair; null where it has none.
        seconds: Seconds inside of the cell.
        error: What went wrong, on one line; null for a cell that is done.
        log: File of what its method said; null where it said nothing.
    """

    event: Literal["cell"] = "cell"
    key: str
    method: str
    image: str
    text: str
    pairs: int
    seed: int
    status: str
    score: float | None
    seconds: float
    error: str | None
    log: str | None


class Eta(Record):
    """The standing, after a cell and at most once a second.

    Attributes:
        event: ``eta``.
        done: Cells that are done, also by earlier sweeps.
        failed: Cells of this sweep that ended in another way.
        running: Cells that are running.
        cells: All cells, as far as they are decided.
        seconds: Seconds until all is done, as far as what has run can tell.
    """

    event: Literal["eta"] = "eta"
    done: int
    failed: int
    running: int
    cells: int
    seconds: float


class StageBegun(Record):
    """A stage of ``harness pick`` begins.

    Attributes:
        event: ``stage``.
        number: From 1.
        run: The stage's run.
        images: Image encoders that are left.
        texts: Text encoders that are left.
        train: Training images.
        validation: Validation images.
        last: Whether the connector is polished and measured on test data.
    """

    event: Literal["stage"] = "stage"
    number: int
    run: str
    images: int
    texts: int
    train: int
    validation: int
    last: bool


class Done(Record):
    """The last event of a command that got as far as running cells, or had none to run.

    Attributes:
        event: ``done``.
        run: Name of the run; of ``harness pick`` the last stage's.
        ended: ``finished``; ``interrupted`` by a signal; ``stopped`` by an error, which is on standard error.
        done: Cells that are done, also by earlier sweeps.
        failed: Cells of this command that ended in another way.
        cells: All cells.
        seconds: Seconds since the ``started`` event.
        report: The report's page; null where none was written.
        image: Image encoder that ``harness pick`` chose; else null.
        text: Text encoder that it chose; else null.
        score: Its validation score; else null.
        model: Folder of the model that it exported; else null.
    """

    event: Literal["done"] = "done"
    run: str
    ended: Literal["finished", "interrupted", "stopped"]
    done: int
    failed: int
    cells: int
    seconds: float
    report: str | None = None
    image: str | None = None
    text: str | None = None
    score: float | None = None
    model: str | None = None


Event = Annotated[Started | CellEnded | Eta | StageBegun | Done, Field(discriminator="event")]


def events_schema() -> dict[str, Any]:
    """The JSON schema of a line."""
    return TypeAdapter(Event).json_schema()


_out: list[TextIO] = []
"""Where events go while ``only_events`` is entered: the standard output as it was."""


@contextmanager
def only_events() -> Iterator[None]:
    """Keep standard output for events: what anything else prints there, as Ray does of lost workers, goes to stderr."""
    _out.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _out.pop()


def emit(event: Record) -> None:
    """Print an event, at once."""
    out = _out[-1] if _out else sys.stdout
    out.write(event.model_dump_json() + "\n")
    out.flush()


def cell_ended(record: CellRecord, store: RunStore, *, higher_is_better: bool) -> CellEnded:
    """The event of a cell's end."""
    image, text = record.pairs[0]
    best = max if higher_is_better or record.kind == "score" else min
    return CellEnded(
        key=record.key,
        method=record.label,
        image=image,
        text=text,
        pairs=len(record.pairs),
        seed=record.seed,
        status=record.status,
        score=best((entry.score for entry in record.metrics), default=None),
        seconds=record.wall_s,
        error=record.error,
        log=store.log_of(record.key),
    )


class CellEvents(Tally):
    """Prints an event at the end of each cell, and nothing else.

    Args:
        store: The run.
        higher_is_better: Sign of the selection metric.
    """

    def __init__(self, store: RunStore, *, higher_is_better: bool) -> None:
        super().__init__(Waiting({}, 0, higher_is_better))
        self._store, self._higher = store, higher_is_better

    def finished(self, record: CellRecord) -> None:
        """A cell's record is on disk."""
        super().finished(record)
        emit(cell_ended(record, self._store, higher_is_better=self._higher))


class JsonLines(Tally):
    """Counts cells and prints events.

    Args:
        waiting: What is to run.
        store: The run.
        name: Its name.
    """

    def __init__(self, waiting: Waiting, store: RunStore, name: str) -> None:
        super().__init__(waiting)
        self._store, self._name, self._higher = store, name, waiting.higher_is_better
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> JsonLines:
        emit(Started(run=self._name, cells=self.cells, done=self._before, to_run=self._total))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            emit(self.end("interrupted" if issubclass(kind, KeyboardInterrupt) else "stopped"))

    def finished(self, record: CellRecord) -> None:
        """A cell's record is on disk."""
        super().finished(record)
        emit(cell_ended(record, self._store, higher_is_better=self._higher))
        if (now := time.monotonic()) - self._told >= ETA_EVERY_S or not self._running:
            self._told = now
            bad = len(self.bad)
            eta = self.seconds_left
            emit(Eta(done=self.done, failed=bad, running=self.running, cells=self.cells, seconds=eta))

    def end(self, ended: Literal["finished", "interrupted", "stopped"], report: str | None = None) -> Done:
        """The last event."""
        seconds, bad = time.monotonic() - self._begun, len(self.bad)
        return Done(
            run=self._name,
            ended=ended,
            done=self.done,
            failed=bad,
            cells=self.cells,
            seconds=seconds,
            report=report,
        )
