"""The live line of a running sweep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from harness.cli.tally import Tally

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from harness.cli.tally import Waiting
    from harness.sweep.planned import PlannedCell

PLAIN_EVERY_S = 10.0
"""Seconds between lines where the output is not a terminal."""


class LiveLine(Tally):
    """Counts cells and shows one line: done, failed, running, time left, best pair so far.

    Args:
        waiting: What is to run.
        console: Where to draw.
    """

    def __init__(self, waiting: Waiting, console: Console) -> None:
        super().__init__(waiting)
        self._console = console
        self._printed = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._text, transient=True)

    def __enter__(self) -> LiveLine:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()
        self._console.print(self._text(), soft_wrap=True)

    def started(self, cell: PlannedCell) -> None:
        """A cell began to run: a plain line is printed now, and not when the one before it ended, so that it counts."""
        super().started(cell)
        if not self._console.is_terminal and time.monotonic() - self._printed > PLAIN_EVERY_S:
            self._printed = time.monotonic()
            self._console.print(self._text(), soft_wrap=True)

    def _text(self) -> Text:
        return Text(self.line)


class EndLine(Tally):
    """Counts cells and prints one line at the end.

    Args:
        waiting: What is to run.
        console: Where to print.
    """

    def __init__(self, waiting: Waiting, console: Console) -> None:
        super().__init__(waiting)
        self._console = console

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._console.print(Text(self.line), soft_wrap=True)
