"""Ray Tune runs the cells across workers; the only room that imports ray.

Tune schedules what the store lacks and nothing else: its own experiment state is thrown away, because restoring it
would run finished trials again. A worker writes its cell to the store itself.
"""

import logging
import math
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from harness.backends.base import BackendOptions, Listener, has_scheduler
from harness.errors import HarnessError
from harness.method import AsyncPolicy
from harness.plan import Plan, method_name
from harness.rungs import before, chain, next_wave, stop
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
from ray.tune.schedulers import ASHAScheduler

CONNECT_S = 5.0
"""Seconds that a cluster's port is given to answer."""

SCORE, SPENT, RUNG = "score", "spent", "rung"
"""What a race's trials report: the validation score, what was spent on the pair, and the key of the rung's cell."""

WORKER_RETRIES = 1
"""Times a cell is tried again when its worker process dies under it."""


@has_scheduler
def run(plan: Plan, cells: Sequence[PlannedCell], listener: Listener, options: BackendOptions) -> None:
    """Run the cells on a Ray cluster, each with the CPUs and GPUs that its method asks for."""
    shutil.rmtree(plan.store.path / "tune", ignore_errors=True)  # what a killed sweep left
    with _noted_interrupts(), _cluster(options.address):
        _check_resources(cells)
        while cells:
            races: dict[tuple[str, int], list[PlannedCell]] = {}
            for cell in cells:
                if isinstance(plan.entries[cell.label].method, AsyncPolicy):
                    races.setdefault((cell.label, cell.seed), []).append(cell)
            racing = {cell.key for race in races.values() for cell in race}
            if together := [cell for cell in cells if cell.key not in racing]:
                _wave(plan, together, listener)
            for race in races.values():
                _race(plan, race, listener)
            cells = next_wave(plan, cells)


_interrupted = threading.Event()
"""Set by Ctrl-C while a sweep runs."""


@contextmanager
def _noted_interrupts() -> Iterator[None]:
    """Remember a Ctrl-C: its KeyboardInterrupt is lost where it happens to be raised inside a library's clean-up."""

    def note(number: int, frame: FrameType | None) -> None:
        _interrupted.set()
        signal.default_int_handler(number, frame)

    _interrupted.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wave(plan: Plan, cells: Sequence[PlannedCell], listener: Listener) -> None:
    """Run cells that need not wait for each other."""
    by_key = {cell.key: cell for cell in cells}
    trainable = tune.with_resources(_trial, lambda config: _resources(by_key[config["key"]]))
    _fit(plan, trainable, cells, _Callback(plan, by_key, listener))


def _race(plan: Plan, cells: Sequence[PlannedCell], listener: Listener) -> None:
    """Run pairs of one method and seed against each other, each from this rung cell on, until ASHA stops it."""
    scheduler = _asha(plan, cells[0].label)
    _recall(plan, cells, scheduler)
    trainable = tune.with_resources(_Rungs, _resources(cells[0]))
    _fit(plan, trainable, cells, _RaceCallback(plan, {cell.key: cell for cell in cells}, listener), scheduler)


def _asha(plan: Plan, label: str) -> ASHAScheduler:
    """Tune's ASHA with its milestones at the ends of this method's rungs."""
    entry = plan.entries[label]
    assert isinstance(entry.method, AsyncPolicy)
    factor = entry.method.reduction_factor
    return ASHAScheduler(
        time_attr=SPENT,
        metric=SCORE,
        mode="max" if plan.higher_is_better else "min",
        grace_period=1,
        reduction_factor=factor,
        max_t=factor ** (len(entry.rungs) - 1),  # type: ignore[arg-type]  # any number serves
    )


def _recall(plan: Plan, cells: Sequence[PlannedCell], scheduler: ASHAScheduler) -> None:
    """Tell the scheduler what rungs that ran in an earlier sweep scored; a pair's last one its trial reports itself."""
    own = (cells[0].label, cells[0].seed)
    reported = {below.key for cell in cells if (below := before(plan, cell))}
    for number, cell in enumerate(c for c in plan.cells if (c.label, c.seed) == own and c.key not in reported):
        record = plan.store.record(cell.key) if plan.store.cell_path(cell.key).is_file() else None
        if record and record.status == "done":
            past: Any = SimpleNamespace(trial_id=f"past {number}")
            scheduler.on_trial_add(None, past)  # type: ignore[arg-type]  # ASHA does not look at the controller
            scheduler.on_trial_result(None, past, _told(plan, cell, record))  # type: ignore[arg-type]


def _told(plan: Plan, cell: PlannedCell, record: CellRecord) -> dict[str, Any]:
    """What the scheduler is told of a rung: the pair's score, NaN without one, and what has been spent."""
    policy = plan.entries[cell.label].method
    assert isinstance(policy, AsyncPolicy)
    done = record.status == "done"
    # In units of the first rung, so that Tune's milestones (powers of the factor) are the ends of the rungs.
    spent = policy.reduction_factor ** (cell.rung or 0)
    return {SPENT: spent, SCORE: record.metrics[0].score if done else math.nan, RUNG: cell.key}


def _fit(
    plan: Plan,
    trainable: Any,
    cells: Sequence[PlannedCell],
    callback: tune.Callback,
    scheduler: ASHAScheduler | None = None,
) -> None:
    """One Tune experiment with a trial per cell; its own files are thrown away."""
    scratch = plan.store.path / "tune"
    tuner = tune.Tuner(
        trainable,
        param_space={"run": str(plan.store.path), "key": tune.grid_search([cell.key for cell in cells])},
        tune_config=tune.TuneConfig(
            scheduler=scheduler, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(
            name="cells",
            storage_path=str(scratch),
            callbacks=[callback],
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


class _Rungs(tune.Trainable):
    """One pair's rung cells in a worker process, one a step: between two steps Tune's scheduler may stop it."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin at the configured cell, after a lost worker at the first that has not run."""
        self._run, self._key = Path(config["run"]), str(config["key"])
        self._passed = -1

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with another pair in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run the next rung; the first time, report the rung that ran last in an earlier sweep, if there is one."""
        from harness.cells import reopen_plan, run_cell

        plan = reopen_plan(self._run)
        first = next(cell for cell in plan.cells if cell.key == self._key)
        below = before(plan, first)
        rungs = [*([below] if below else []), *chain(plan, first)]
        self._passed += 1
        cell = rungs[self._passed]
        ran = plan.store.cell_path(cell.key).is_file()
        record = plan.store.record(cell.key) if ran else None
        if record is None or record.status in ("skipped", "failed", "timeout"):
            record = run_cell(plan, cell)
        return {**_told(plan, cell, record), "done": cell is rungs[-1] or record.status != "done"}


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

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if _interrupted.is_set():
            raise KeyboardInterrupt

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.started(self._cells[trial.config["key"]])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.finished(self._plan.store.record(trial.config["key"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        cell = self._cells[trial.config["key"]]
        if not self._plan.store.cell_path(cell.key).is_file():
            self._plan.store.write_cell(_lost(self._plan, cell, trial))
        self._listener.finished(self._plan.store.record(cell.key))


class _RaceCallback(_Callback):
    """The same for races, whose trials are several cells; records what the scheduler stops."""

    def __init__(self, plan: Plan, cells: dict[str, PlannedCell], listener: Listener) -> None:
        super().__init__(plan, cells, listener)
        self._told: set[str] = set()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        first = self._cells[trial.config["key"]]
        own = chain(self._plan, first)
        ended = next((cell for cell in own if cell.key == result[RUNG]), None)
        if ended and ended.key not in self._told:  # a trial that lost its worker reports once more
            self._told.add(ended.key)
            self._listener.finished(self._plan.store.record(ended.key))
        ahead = own[own.index(ended) + 1 :] if ended else own
        if not result["done"]:
            if ended:
                self._listener.started(ahead[0])
        elif ahead:
            below = ended or before(self._plan, first)
            assert below is not None
            stop(self._plan, below)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Every rung has been told of."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for cell in chain(self._plan, self._cells[trial.config["key"]]):
            if not self._plan.store.cell_path(cell.key).is_file():
                self._plan.store.write_cell(_lost(self._plan, cell, trial))
                self._listener.finished(self._plan.store.record(cell.key))
                return


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
