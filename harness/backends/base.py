"""What runs cells: one function per backend, found by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from harness.plan import Plan
from harness.registry import Registry
from harness.store import CellRecord, PlannedCell


class Listener(Protocol):
    """Told what happens to cells, in the driver process."""

    def started(self, cell: PlannedCell) -> None:
        """A cell began to run."""
        ...

    def finished(self, record: CellRecord) -> None:
        """A cell's record is on disk."""
        ...


@dataclass(frozen=True)
class BackendOptions:
    """Settings of backends.

    Attributes:
        address: Ray cluster to join; None starts one on this machine.
    """

    address: str | None = None


Backend: TypeAlias = Callable[[Plan, Sequence[PlannedCell], Listener, BackendOptions], None]
"""Run these cells, then wave by wave what ``harness.rungs.next_wave`` asks for after them, until it asks for nothing.

Every cell leaves a record in ``plan.store``, whatever comes of it.
"""

BACKENDS: Registry[Backend] = Registry(
    "backend",
    {"serial": "harness.backends.serial:run", "ray": "harness.backends.ray_tune:run"},
    group="harness.backends",
)
