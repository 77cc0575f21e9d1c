"""What runs cells: one function per backend, found by name."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from harness.errors import HarnessError
from harness.method import AsyncPolicy
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

Every cell leaves a record in ``plan.store``, whatever comes of it. A backend with a scheduler runs the pairs of an
``AsyncPolicy`` on from these cells, each rung after the one before, and tells ``harness.rungs.stop`` which it stopped.
"""


def has_scheduler(backend: Backend) -> Backend:
    """Marks a backend that can carry out an ``AsyncPolicy``."""
    backend.has_scheduler = True  # type: ignore[attr-defined]
    return backend


def check_backend(name: str, plan: Plan, labels: Collection[str]) -> Backend:
    """The backend of this name, if it can run these methods of the plan.

    Raises:
        HarnessError: It is unknown, or has no scheduler and a method needs one.
    """
    backend = BACKENDS.get(name)
    for label, entry in plan.entries.items():
        if label in labels and isinstance(entry.method, AsyncPolicy) and not getattr(backend, "has_scheduler", False):
            raise HarnessError(
                f"{label!r} stops pairs as results come in, for which the backend {name!r} has no scheduler",
                where="--backend",
                fix="use --backend ray, or ape_halving",
            )
    return backend


BACKENDS: Registry[Backend] = Registry(
    "backend",
    {"serial": "harness.backends.serial:run", "ray": "harness.backends.ray_tune:run"},
    group="harness.backends",
)
