"""The live line of a running sweep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rich.console import Console

    from harness.run.records import CellRecord
    from harness.sweep.planned import PlannedCell

PLAIN_EVERY_S = 10.0
"""Seconds between lines where the output is not a terminal."""


class LiveLine:
    """Counts cells and shows one line: done, failed, running, time left, best pair so far.

    The time left comes from what has run: the mean seconds of a method's cells so far for those that it still has, and,
    for a method of which none has ended, the seconds per FLOP of all others.

    Args:
        cells: Label -> cells to run now.
        done_before: Cells that were done already.
        higher_is_better: Sign of the selection metric.
        console: Where to draw.
        flops: Label -> FLOPs of one cell, where that is known beforehand.
    """

    def __init__(
        self,
        cells: Mapping[str, int],
        done_before: int,
        higher_is_better: bool,
        console: Console,
        flops: Mapping[str, float] | None = None,
    ) -> None:
        self._cells, self._flops, self._before, self._console = dict(cells), flops or {}, done_before, console
        self._total = sum(cells.values())
        self._seconds: dict[str, list[float]] = {}
        self._at_once = 1
        self._sign = 1 if higher_is_better else -1
        self._running: dict[str, PlannedCell] = {}
        self._printed = time.monotonic()
        self.bad: list[CellRecord] = []
        self.finished_now = 0
        self._best: tuple[float, str] | None = None
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._line, transient=True)

    def __enter__(self) -> LiveLine:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()
        self._console.print(self._line(), soft_wrap=True)

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
        self._seconds.setdefault(record.label, []).append(record.wall_s)
        if record.status != "done":
            self.bad.append(record)
        for pair in record.metrics if record.kind != "score" else ():
            score = self._sign * pair.score
            if self._best is None or score > self._best[0]:
                self._best = (score, f"{pair.image} x {pair.text} {pair.score:.3f} ({record.label}, validation)")
        if not self._console.is_terminal and time.monotonic() - self._printed > PLAIN_EVERY_S:
            self._printed = time.monotonic()
            self._console.print(self._line(), soft_wrap=True)

    def _line(self) -> Text:
        done = self._before + self.finished_now - len(self.bad)
        parts = [f"cells {done}/{self._before + self._total} done"]
        parts += [f"{len(self.bad)} failed", f"{len(self._running)} running"]
        if not self.finished_now and not self._running and self._total:
            parts.append("starting workers")
        if seconds := self._seconds_left():
            parts.append(f"ETA {int(seconds // 60)}:{int(seconds % 60):02d}")
        if self._best:
            parts.append(f"best {self._best[1]}")
        return Text(" · ".join(parts))

    def _seconds_left(self) -> float:
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
