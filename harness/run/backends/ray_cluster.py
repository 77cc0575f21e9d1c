"""Joining a Ray cluster, or starting one here, and what it must have."""

import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from harness.errors import HarnessError
from harness.run.interrupts import hear_again
from harness.sweep.planned import PlannedCell

# Read when ray is imported: quiet, no per-trial log files, and signals are ours to handle.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # it answers SIGTERM with a dump of its stack

import ray

CONNECT_S = 5.0
"""Seconds that a cluster's port is given to answer."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join the cluster, or start one here for the length of the sweep."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        options |= {"include_dashboard": False, "address": "local"}
        if " " in sys.executable:
            # Ray starts workers through a shell without quoting the interpreter's path.
            options |= {"runtime_env": {"py_executable": shlex.quote(sys.executable)}}
    else:
        _check_address(address)
        _use_token()
    try:
        ray.init(**{"address": address, **options})
    except SystemExit:  # what Ray makes of a SIGTERM meanwhile
        raise KeyboardInterrupt from None
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise HarnessError(
            f"no Ray cluster answers at {address!r}: {error}",
            where="--address",
            fix="start one with ray start --head, or leave --address out",
        ) from error
    finally:
        hear_again()
    try:
        yield
    finally:
        ray.shutdown()


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


def _use_token() -> None:
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
