"""Ray Tune runs the cells across workers; the only room that imports ray.

Tune schedules what the store lacks and nothing else: its own experiment state is thrown away, because restoring it
would run finished trials again. A worker writes its cell to the store itself.
"""

import logging
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.backends.base import BackendOptions, Listener
from harness.errors import HarnessError
from harness.plan import Plan, method_name
from harness.rungs import next_wave
from harness.store import CellRecord, LedgerRecord, PlannedCell

# Read when ray is imported: quiet, no per-trial log files, and Ctrl-C is ours to handle.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune
from ray.tune import PlacementGroupFactory

CONNECT_S = 5.0
"""Seconds that a cluster's port is given to answer."""

WORKER_RETRIES = 1
"""Times a cell is tried again when its worker process dies under it."""


def run(plan: Plan, cells: Sequence[PlannedCell], listener: Listener, options: BackendOptions) -> None:
    """Run the cells on a Ray cluster, each with the CPUs and GPUs that its method asks for."""
    shutil.rmtree(plan.store.path / "tune", ignore_errors=True)  # what a killed sweep left
    with _cluster(options.address):
        _check_resources(cells)
        while cells:
            _wave(plan, cells, listener)
            cells = next_wave(plan, cells)


def _wave(plan: Plan, cells: Sequence[PlannedCell], listener: Listener) -> None:
    """Run cells that need not wait for each other."""
    scratch = plan.store.path / "tune"
    by_key = {cell.key: cell for cell in cells}
    tuner = tune.Tuner(
        tune.with_resources(_trial, lambda config: _resources(by_key[config["key"]])),
        param_space={"run": str(plan.store.path), "key": tune.grid_search([cell.key for cell in cells])},
        tune_config=tune.TuneConfig(reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id),
        run_config=tune.RunConfig(
            name="cells",
            storage_path=str(scratch),
            callbacks=[_Callback(plan, by_key, listener)],
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _trial(config: dict[str, Any]) -> None:
    """Run one cell in a worker process."""
    from harness.cells import reopen_plan, run_cell

    plan = reopen_plan(Path(config["run"]))
    cell = next(cell for cell in plan.cells if cell.key == config["key"])
    record = run_cell(plan, cell)
    tune.report({"status": record.status})


def _resources(cell: PlannedCell) -> PlacementGroupFactory:
    bundle = {"CPU": cell.cpus} | ({"GPU": cell.gpus} if cell.gpus else {})
    return PlacementGroupFactory([bundle])


class _Callback(tune.Callback):
    """Passes Tune's events on to the listener."""

    def __init__(self, plan: Plan, cells: dict[str, PlannedCell], listener: Listener) -> None:
        self._plan, self._cells, self._listener = plan, cells, listener

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into an experiment state that is never restored."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.started(self._cells[trial.config["key"]])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.finished(self._plan.store.record(trial.config["key"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        cell = self._cells[trial.config["key"]]
        if not self._plan.store.cell_path(cell.key).is_file():
            self._plan.store.write_cell(_lost(self._plan, cell, trial))
        self._listener.finished(self._plan.store.record(cell.key))


def _lost(plan: Plan, cell: PlannedCell, trial: Any) -> CellRecord:
    """The record of a cell whose worker failed or died (out of memory, say) before it could write one."""
    entry = plan.entries[cell.label]
    trace = Path(trial.error_file).read_text() if trial.error_file and Path(trial.error_file).is_file() else ""
    last = trace.rpartition("Failure #")[2].strip()
    raised = 'File "' in last  # an exception outside of run_cell, with its traceback, and not a process that died
    end = (last.splitlines() or [""])[-1].strip()
    return CellRecord(
        key=cell.key,
        label=cell.label,
        method=method_name(entry.config),
        kind=entry.method.kind,
        version=entry.method.version,
        seed=cell.seed,
        pairs=cell.pairs,
        status="failed",
        ledger=LedgerRecord(flops={}, seconds={}, updates=0, samples=0),
        cpus=cell.cpus,
        gpus=cell.gpus,
        error=end if raised else f"the worker process died (out of memory?): {end}",
        traceback=trace or None,
    )


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
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
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise HarnessError(
            f"no Ray cluster answers at {address!r}: {error}",
            where="--address",
            fix="start one with ray start --head, or leave --address out",
        ) from error
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


def _check_resources(cells: Sequence[PlannedCell]) -> None:
    """Refuse a cell that no node of the cluster can hold; Ray would wait for one forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for cell in cells:
        if not any(node.get("CPU", 0) >= cell.cpus and node.get("GPU", 0) >= cell.gpus for node in nodes):
            raise HarnessError(
                f"asks for {cell.cpus:g} CPU and {cell.gpus:g} GPU, which no node of the Ray cluster has",
                where=f"methods.{cell.label}.resources",
                fix="ask for less, or join a larger cluster with --address",
            )
