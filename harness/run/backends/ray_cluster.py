"""Joining a Ray cluster, or starting one here, and what it must have."""

import logging
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from harness.contract.plugins import shipped_folder
from harness.errors import HarnessError
from harness.run.backends.code import SHIP, packed
from harness.run.interrupts import hear_again
from harness.sweep.planned import PlannedCell

# Read when ray is imported: quiet, no per-trial log files, and signals are ours to handle.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # the sweep tells them
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # it answers SIGTERM with a dump of its stack

import ray

CONNECT_S = 5.0
"""Seconds that a cluster's port is given to answer."""


class _Session(threading.Thread):
    """Ray, started in a thread that lives as long as it does: Linux ends Ray's processes with the thread they are of.

    Meanwhile the main thread goes on, and hears signals: Ray half started would leave processes behind.

    Args:
        options: Of ``ray.init``.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(name="ray", daemon=True)
        self._options = options
        self._up, self._over = threading.Event(), threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        """Start, and wait for the end."""
        try:
            logging.getLogger("ray._private.worker").setLevel(logging.ERROR)  # it misses SIGTERM, which is ours
            ray.init(**self._options)
        except Exception as error:
            self._error = error
        self._up.set()
        self._over.wait()

    def wait(self) -> None:
        """Wait until Ray is there.

        Raises:
            HarnessError: It is not.
        """
        self._up.wait()
        hear_again()
        if isinstance(self._error, ConnectionError | ValueError | RuntimeError):
            raise HarnessError(
                f"no Ray cluster answers at {self._options['address']!r}: {self._error}",
                where="--address",
                fix="start one with ray start --head, or leave --address out",
            ) from self._error
        if self._error:
            raise self._error

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._up.wait()
        if self._error is None:
            ray.shutdown()
        self._over.set()


_ahead: list[_Session] = []
"""The session that ``started_ahead`` has begun and no ``cluster`` has taken yet."""


@contextmanager
def started_ahead(address: str | None) -> Iterator[None]:
    """Begin to start Ray here while other things are done, for a ``cluster`` inside; joining one takes no time."""
    if address is not None or ray.is_initialized():
        yield
        return
    _ahead.append(_Session(_options(None)))
    _ahead[0].start()
    try:
        yield
    finally:
        while _ahead:
            _ahead.pop().close()


@contextmanager
def cluster(address: str | None, code: str = SHIP) -> Iterator[None]:
    """Join the cluster, or start one here for the length of the sweep.

    Args:
        address: The cluster; None starts one, whose workers import what this process does.
        code: What the workers of a cluster that is joined import: ``ship``, ``installed`` or a wheel.
    """
    shipping = ExitStack()
    if _ahead and address is None:
        session = _ahead.pop()
    elif ray.is_initialized():
        yield
        return
    else:
        options = _options(address)
        if address is not None:
            _check_address(address)
            use_token()
            if shipped_folder() is None:  # else this is a job of the cluster, and its workers import what it does
                options["runtime_env"] = {"working_dir": str(shipping.enter_context(packed(code)))}
        session = _Session(options)
        session.start()
    try:
        with shipping:
            session.wait()
        yield
    finally:
        session.close()


def _options(address: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is not None:
        return options | {"address": address}
    if " " in sys.executable:
        # Ray starts workers through a shell without quoting the interpreter's path.
        options |= {"runtime_env": {"py_executable": shlex.quote(sys.executable)}}
    return options | {"include_dashboard": False, "address": "local"}


def _check_address(address: str) -> None:
    """Fail at once where nothing listens; Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        if address != "auto":
            raise HarnessError(f"{address!r} is not written HOST:PORT", where="--address", fix="e.g. 10.0.0.1:6379")
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise HarnessError(
            f"nothing answers at {address}: {error.strerror or error}",
            where="--address",
            fix="start a cluster with ray start --head, or leave --address out",
        ) from error


def use_token() -> None:
    """Authenticate with this user's Ray token if there is one, as ``ray start`` does.

    Ray itself does so only for ``auto``. Where it has no tokens (before 2.59) there is nothing to do.
    """
    with suppress(ImportError):
        from ray._private.authentication import authentication_token_setup as tokens

        tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def check_resources(cells: Sequence[PlannedCell]) -> None:
    """Refuse a cell that no node of the cluster can hold; Ray would wait for one forever.

    Raises:
        HarnessError: There is such a cell.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for cell in cells:
        if not any(node.get("CPU", 0) >= cell.cpus and node.get("GPU", 0) >= cell.gpus for node in nodes):
            raise HarnessError(
                f"asks for {cell.cpus:g} CPU and {cell.gpus:g} GPU, which no node of the Ray cluster has",
                where=f"methods.{cell.label}.resources",
                fix="ask for less, or join a larger cluster with --address",
            )
