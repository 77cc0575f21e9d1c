"""What a cell spends: FLOPs by phase, seconds by section of the code, updates and samples."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PHASES = ("connector", "logits", "hypernet", "solve", "score", "optimizer", "eval", "wasted")
"""Phases that make up a method's total FLOPs."""

SHARED_PHASES = ("encode", "runner_eval")
"""Phases that every method shares; they stand beside the total."""


@dataclass
class Ledger:
    """What a cell spends, split by phase. Seconds are kept by section of the code, measured on the host."""

    flops: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    updates: int = 0
    samples: int = 0
    _whole: Ledger | None = field(default=None, repr=False)

    def part(self) -> Ledger:
        """An empty ledger for a part of the work: what is booked there is booked here as well."""
        return Ledger(_whole=self)

    def add(self, phase: str, flops: float) -> None:
        """Book FLOPs.

        Raises:
            ValueError: No such phase.
        """
        if phase not in PHASES and phase not in SHARED_PHASES:
            raise ValueError(f"unknown phase {phase!r}; phases: {', '.join(PHASES + SHARED_PHASES)}")
        self.flops[phase] += flops
        if self._whole:
            self._whole.add(phase, flops)

    def add_updates(self, pairs: int, batch_size: int) -> None:
        """Book one step in which so many pairs took part."""
        self.add_counts(pairs, pairs * batch_size)

    def add_counts(self, updates: int, samples: int) -> None:
        """Book updates and samples."""
        self.updates += updates
        self.samples += samples
        if self._whole:
            self._whole.add_counts(updates, samples)

    def add_seconds(self, section: str, seconds: float) -> None:
        """Book seconds in a section of the code."""
        self.seconds[section] += seconds
        if self._whole:
            self._whole.add_seconds(section, seconds)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Book FLOPs spent inside as ``runner_eval``: what the harness asks for is no part of the method's total."""
        before = dict(self.flops)
        with self._whole.beside() if self._whole else nullcontext():
            yield
        for phase in PHASES:
            if spent := self.flops.get(phase, 0.0) - before.get(phase, 0.0):
                self.flops[phase] = before.get(phase, 0.0)
                self.flops["runner_eval"] += spent

    @property
    def total(self) -> float:
        """FLOPs of the method itself: all but what every method shares."""
        return sum(self.flops.get(phase, 0.0) for phase in PHASES)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to a section."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add_seconds(name, time.perf_counter() - start)
