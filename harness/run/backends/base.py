"""What runs cells: one class per backend, found by name."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Protocol

from harness.contract.registry import Registry
from harness.contract.stopping import AsyncPolicy
from harness.data.embedding import OpenEmbedder, here
from harness.errors import HarnessError
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.sweep.config import Sweep
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell


class Listener(Protocol):
    """Is told, in the driver process, when cells begin and end."""

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
        code: What workers of a cluster that is joined import: ``ship`` (what this process imports), ``installed`` (what
            they have) or the path of a wheel.
    """

    address: str | None = None
    code: str = "ship"


class Backend(ABC):
    """What runs cells.

    Attributes:
        has_scheduler: Whether it can carry out an ``AsyncPolicy``.
    """

    has_scheduler: ClassVar[bool] = False

    @abstractmethod
    def run(
        self, plan: Plan, store: RunStore, cells: Sequence[PlannedCell], listener: Listener, options: BackendOptions
    ) -> None:
        """Run these cells, then wave by wave what ``next_wave`` of ``harness.run.stopping`` asks for after them.

        Every cell leaves a record in the store, also one that failed or diverged. A backend with a scheduler runs the
        pairs of an ``AsyncPolicy`` on from these cells, each rung after the one before, and records with ``stop`` which
        it stopped.
        """

    def embedding(self, sweep: Sweep, options: BackendOptions) -> AbstractContextManager[OpenEmbedder]:
        """What embeds the rows that banks lack, to be used inside; by default this process."""
        del sweep, options
        return nullcontext(here)


def backend_for(name: str, plan: Plan, labels: Collection[str]) -> Backend:
    """The backend of this name, if it can run these methods of the plan.

    Raises:
        HarnessError: It is unknown, or has no scheduler and a method needs one.
    """
    backend = BACKENDS.get(name)()
    for label, ready in plan.methods.items():
        if label in labels and isinstance(ready.method, AsyncPolicy) and not backend.has_scheduler:
            raise HarnessError(
                f"{label!r} stops pairs as results come in, for which the backend {name!r} has no scheduler",
                where="--backend",
                fix="use --backend ray, or ape_halving",
            )
    return backend


BACKENDS: Registry[type[Backend]] = Registry(
    "backend",
    {"serial": "harness.run.backends.serial:Serial", "ray": "harness.run.backends.ray_tune:RayTune"},
    group="harness.backends",
)
