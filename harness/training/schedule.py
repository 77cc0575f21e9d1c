"""How long a training goes on, and after which steps its connectors are scored."""

import math
import time
from collections.abc import Collection

from harness.errors import HarnessError

ROUNDING = 1e-6
"""Slack in counting whole passes, whose length in steps is a fraction."""

UNREPRODUCIBLE = "stopped by the clock: another machine, or a busier one, would have made other numbers"
"""Warning of every Fit under a budget of seconds."""


class Horizon:
    """How much of a budget is spent, in steps where their number is known, else by the clock.

    Args:
        seconds: The budget, when it is one of seconds. The clock starts here.
        steps: Steps of the whole budget, when they are known.
    """

    def __init__(self, seconds: float | None, steps: int | None) -> None:
        self.seconds, self.steps = seconds, steps
        self.start = time.perf_counter()

    def share(self, step: int) -> float:
        """Share of the budget that is spent in the middle of this step (by the clock: now), 0 to 1."""
        if self.steps is not None:
            return (step - 0.5) / self.steps
        return min(1.0, self.elapsed() / (self.seconds or 1.0))

    def over(self) -> bool:
        """Whether the seconds are spent."""
        return self.seconds is not None and self.elapsed() >= self.seconds

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def expected(self, step: int) -> int:
        """Steps that the seconds will suffice for at the pace of the first ``step``."""
        return max(step, round(step / max(self.share(step), 1e-9)))


def checkpoint_steps(steps: int, steps_per_pass: float) -> list[int]:
    """Steps after which the pairs are scored: when each has seen 1, 2, 4, 8, ... passes of the data, and the end.

    So a joint method is scored at the updates per pair at which the grid is.

    Args:
        steps: Of the whole training.
        steps_per_pass: Steps in which each pair sees as many samples as one epoch has: epoch / share of the pairs.
    """
    ends = {steps}
    passes = 1
    while (end := _end_of_pass(passes, steps_per_pass)) < steps:
        ends.add(end)
        passes *= 2
    return sorted(ends)


def is_checkpoint(step: int, steps_per_pass: float) -> bool:
    """Whether the pairs' 1st, 2nd, 4th, 8th, ... pass of the data ends with this step."""
    passes = int(step / steps_per_pass + ROUNDING)
    return passes.bit_count() == 1 and step == _end_of_pass(passes, steps_per_pass)


def _end_of_pass(passes: int, steps_per_pass: float) -> int:
    return math.ceil(passes * steps_per_pass - ROUNDING)


def steps_at(updates: Collection[float], share: float) -> frozenset[int]:
    """The steps after which each pair has had so many updates, rounded.

    Args:
        updates: Numbers of updates per pair.
        share: Share of the pairs that take part in a step.
    """
    return frozenset(max(1, round(number / share)) for number in updates)


def check_rung(done_before: int, last: int | None) -> None:
    """Refuse a rung that ends where the one before it did.

    Raises:
        HarnessError: It does.
    """
    if last is not None and done_before >= last:
        raise HarnessError(f"a rung that ends at step {last} adds nothing to the one before", fix="raise the budget")
