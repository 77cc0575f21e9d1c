"""Counting the cells of a running sweep, and the time that is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from harness.run.records import CellRecord
    from harness.sweep.planned import PlannedCell


@dataclass(frozen=True)
class Waiting:
    """Cells that are to run now.

    Attributes:
        cells: Label -> cells.
        done_before: Cells that were done already.
        higher_is_better: Sign of the selection metric.
        flops: Label -> FLOPs of one cell, where that is known beforehand; asked for where it is used.
    """

    cells: Mapping[str, int]
    done_before: int
    higher_is_better: bool
    flops: Callable[[], Mapping[str, float]] = dict


class Tally:
    """Counts cells: done, failed, running, time left, best pair so far.

    The time left comes from what has run: the mean seconds of a method's cells so far for those that it still has, and,
    for a method of which none has ended, the seconds per FLOP of all others.

    Args:
        waiting: What is to run.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._cells, self._flops, self._before = dict(waiting.cells), waiting.flops(), waiting.done_before
        self._total = sum(waiting.cells.values())
        self._seconds: dict[str, list[float]] = {}
        self._at_once = 1
        self._sign = 1 if waiting.higher_is_better else -1
        self._running: dict[str, PlannedCell] = {}
        self.bad: list[CellRecord] = []
        self.finished_now = 0
        self._best: tuple[float, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """The end, also an early one."""

    def started(self, cell: PlannedCell) -> None:
        """A cell began to run."""
        self._running[cell.key] = cell
        self._at_once = max(self._at_once, len(self._running))
        # Later rungs are decided on the way, so they were not counted at the start.
        self._total = max(self._total, self.finished_now + len(self._running))

    def finished(self, record: CellRecord) -> None:
        """A cell's record is on disk."""
        self._running.pop(record.key, None)
        self.finished_now += 1
        self._total = max(self._total, self.finished_now)
        self._seconds.setdefault(record.label, []).append(record.wall_s)
        if record.status != "done":
            self.bad.append(record)
        for pair in record.metrics if record.kind != "score" else ():
            score = self._sign * pair.score
            if self._best is None or score > self._best[0]:
                self._best = (score, f"{pair.image} x {pair.text} {pair.score:.3f} ({record.label}, validation)")

    @property
    def done(self) -> int:
        """Cells that are done, of this sweep and of earlier ones."""
        return self._before + self.finished_now - len(self.bad)

    @property
    def cells(self) -> int:
        """All cells, as far as they are decided."""
        return self._before + self._total

    @property
    def running(self) -> int:
        """Cells that are running."""
        return len(self._running)

    @property
    def line(self) -> str:
        """The standing on one line."""
        parts = [f"cells {self.done}/{self.cells} done"]
        parts += [f"{len(self.bad)} failed", f"{self.running} running"]
        if not self.finished_now and not self._running and self._total:
            parts.append("starting workers")
        if seconds := self.seconds_left:
            parts.append(f"ETA {int(seconds // 60)}:{int(seconds % 60):02d}")
        if self._best:
            parts.append(f"best {self._best[1]}")
        return " · ".join(parts)

    @property
    def seconds_left(self) -> float:
        """Seconds until all is done, as far as what has run can tell; 0 where it cannot."""
        took = sum(sum(seconds) for seconds in self._seconds.values())
        spent = sum(self._flops.get(label, 0.0) * len(seconds) for label, seconds in self._seconds.items())
        each = took / max(self.finished_now, 1)
        total = 0.0
        for label, planned in self._cells.items():
            seconds = self._seconds.get(label, [])
            mean = sum(seconds) / len(seconds) if seconds else self._flops.get(label, 0.0) * took / (spent or 1.0)
            total += max(planned - len(seconds), 0) * (mean or each)
        return total / min(self._at_once, max(self._total - self.finished_now, 1))
