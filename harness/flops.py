"""Counting FLOPs: closed forms, fvcore for forwards, and torch's FlopCounterMode for one eager step.

One FLOP is one addition or multiplication: a multiply-accumulate is two. Like both counters, the closed forms
count matrix products only; element-wise work (normalisation, softmax, ReLU) is left out. AdamW, which is nothing but
element-wise, is counted on its own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.store import PHASES, SHARED_PHASES, LedgerRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from harness.connectors import ConnectorShape

ADAMW_FLOPS_PER_PARAM = 14
"""Decay 1, first moment 3, second moment 4, denominator 3, step 3 (Loshchilov & Hutter 2019, algorithm 2)."""


def connector_forward(shape: ConnectorShape, rows: int) -> float:
    """FLOPs of mapping ``rows`` rows: 2 rows in out per layer."""
    return float(sum(2 * rows * i * o for i, o in shape.layers))


def connector_backward(shape: ConnectorShape, rows: int) -> float:
    """FLOPs of the gradient: every layer's weight, every layer's input but the first (the inputs are frozen)."""
    return float(sum((2 if number else 1) * 2 * rows * i * o for number, (i, o) in enumerate(shape.layers)))


def connector_step(shape: ConnectorShape, rows: int) -> float:
    """FLOPs of one forward and backward."""
    return connector_forward(shape, rows) + connector_backward(shape, rows)


def logits_step(rows: int, dim: int) -> float:
    """FLOPs of one logits product and its gradient with respect to the mapped side: 4 rows^2 dim."""
    return 4.0 * rows * rows * dim


def linear_step(rows: int, fan_in: int, fan_out: int, *, input_gradient: bool = True) -> float:
    """FLOPs of one trained linear layer, forward and backward."""
    return (6.0 if input_gradient else 4.0) * rows * fan_in * fan_out


def adamw_step(params: int) -> float:
    """FLOPs of one AdamW step."""
    return float(ADAMW_FLOPS_PER_PARAM * params)


def forward_flops(module: torch.nn.Module, *inputs: torch.Tensor) -> float:
    """Forward FLOPs of a module: fvcore's multiply-accumulates, doubled.

    Raises:
        HarnessError: fvcore met a matrix product that it cannot count; the number would be too low.
    """
    import logging

    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(module, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    total = 2.0 * analysis.total()
    matmul_like = [
        op
        for op in analysis.unsupported_ops()
        if any(part in op for part in ("mm", "matmul", "attention", "conv", "einsum", "linear")) and "comma" not in op
    ]
    if matmul_like:
        raise HarnessError(
            f"fvcore cannot count {', '.join(matmul_like)}", where=type(module).__name__, fix="use eager attention"
        )
    return total


def counted(step: Callable[[], object]) -> float:
    """FLOPs of one eager call, forward and backward, by torch's FlopCounterMode. Runs the call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


@dataclass
class Ledger:
    """What a cell spends, split by phase. Seconds are kept by section of the code, measured on the host."""

    flops: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    updates: int = 0
    samples: int = 0

    def add(self, phase: str, flops: float) -> None:
        """Book FLOPs.

        Raises:
            ValueError: No such phase.
        """
        if phase not in PHASES and phase not in SHARED_PHASES:
            raise ValueError(f"unknown phase {phase!r}; phases: {', '.join(PHASES + SHARED_PHASES)}")
        self.flops[phase] += flops

    def include(self, other: Ledger) -> None:
        """Add what a part of the work has booked for itself."""
        for phase, flops in other.flops.items():
            self.flops[phase] += flops
        for name, seconds in other.seconds.items():
            self.seconds[name] += seconds
        self.updates += other.updates
        self.samples += other.samples

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
            self.seconds[name] += time.perf_counter() - start

    def record(self) -> LedgerRecord:
        """As stored."""
        return LedgerRecord(
            flops={phase: self.flops[phase] for phase in (*PHASES, *SHARED_PHASES) if self.flops.get(phase)},
            seconds=dict(self.seconds),
            updates=self.updates,
            samples=self.samples,
        )
