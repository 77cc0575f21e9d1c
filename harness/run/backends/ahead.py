"""What a backend begins with before anything else is ready. Imports nothing heavy: torch may come meanwhile."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from harness.contract.registry import Registry

AHEAD: Registry[Callable[[str | None], AbstractContextManager[None]]] = Registry(
    "backend", {"ray": "harness.run.backends.ray_cluster:started_ahead"}, group="harness.backends_ahead"
)


def started_ahead(backend: str, address: str | None) -> AbstractContextManager[None]:
    """Start what the backend will run cells on, to be used inside; at the end it goes if nobody used it.

    Args:
        backend: Name of a backend. One that has nothing to start begins with nothing.
        address: Ray cluster to join.
    """
    return AHEAD.get(backend)(address) if backend in AHEAD.names() else nullcontext()
