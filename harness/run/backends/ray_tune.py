"""Ray Tune runs the cells across workers. Only this folder imports ray.

Tune schedules what the store lacks and nothing else: its own experiment state is thrown away, because restoring it
would run finished trials again. A worker writes its cell to the store itself.
"""

import hashlib
import logging
import shutil
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from ray import tune
from ray.tune import PlacementGroupFactory
from ray.tune.schedulers import ASHAScheduler

from harness.contract.ledger import Ledger
from harness.contract.stopping import AsyncPolicy
from harness.data.embedding import OpenEmbedder
from harness.errors import HarnessError, StorageFailed
from harness.run.attempts import Attempt
from harness.run.backends.base import Backend, BackendOptions, Listener
from harness.run.backends.last_words import crash, how_it_died, hung
from harness.run.backends.ray_cluster import check_resources, cluster
from harness.run.backends.ray_worker import RUNG, SCORE, SPENT, UNWRITTEN, Rungs, reported, trial
from harness.run.cell_records import cell_record
from harness.run.interrupts import interrupted, stoppable
from harness.run.records import CellRecord
from harness.run.stopping import next_wave, stop
from harness.run.store import RunStore
from harness.run.watchdog import late
from harness.sweep.config import Sweep
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell

SCRATCH = ".tune"
"""What the folders of a run for Tune's own files begin with: one for each wave, which every node must see.

A killed sweep leaves one; ``Blobs.tidy`` removes hidden folders before the next sweep begins.
"""

WORKER_RETRIES = 1
"""Times a cell is tried again when its worker process dies under it."""


class RayTune(Backend):
    """Cells as trials of Ray Tune, each with the CPUs and GPUs that its method asks for."""

    has_scheduler: ClassVar[bool] = True

    def run(
        self, plan: Plan, store: RunStore, cells: Sequence[PlannedCell], listener: Listener, options: BackendOptions
    ) -> None:
        """Run the cells on a Ray cluster."""
        with stoppable():
            try:
                with cluster(options.address, options.code):
                    check_resources(cells)
                    _waves(plan, store, cells, listener)
            except Exception:
                if interrupted():  # a cluster that heard the signal too is gone already
                    raise KeyboardInterrupt from None
                raise

    def embedding(self, sweep: Sweep, options: BackendOptions) -> AbstractContextManager[OpenEmbedder]:
        """By actors on a cluster that is joined, or if the sweep asks for workers."""
        if options.address is None and sweep.bank.workers is None:
            return super().embedding(sweep, options)
        from harness.run.backends.ray_extract import by_actors

        return by_actors(sweep, options.address, options.code)


def _waves(plan: Plan, store: RunStore, cells: Sequence[PlannedCell], listener: Listener) -> None:
    """Run these cells, then what they make possible, until nothing is left."""
    while cells:
        races: dict[tuple[str, int], list[PlannedCell]] = {}
        for cell in cells:
            if isinstance(plan.methods[cell.label].method, AsyncPolicy):
                races.setdefault((cell.label, cell.seed), []).append(cell)
        racing = {cell.key for race in races.values() for cell in race}
        if together := [cell for cell in cells if cell.key not in racing]:
            _wave(plan, store, together, listener)
        for race in races.values():
            _race(plan, store, race, listener)
        cells = next_wave(plan, store, cells)


def _wave(plan: Plan, store: RunStore, cells: Sequence[PlannedCell], listener: Listener) -> None:
    """Run cells that need not wait for each other."""
    by_key = {cell.key: cell for cell in cells}  # Tune pickles what the function holds: cells, and not the plan
    trainable = tune.with_resources(trial, lambda config: _resources(by_key[config["key"]]))
    _fit(store, trainable, cells, _Callback(plan, store, listener))


def _race(plan: Plan, store: RunStore, cells: Sequence[PlannedCell], listener: Listener) -> None:
    """Run pairs of one method and seed against each other, each from this rung cell on, until ASHA stops it."""
    scheduler = _asha(plan, cells[0].label)
    _recall(plan, store, cells, scheduler)
    trainable = tune.with_resources(Rungs, _resources(cells[0]))
    _fit(store, trainable, cells, _RaceCallback(plan, store, listener), scheduler)


def _asha(plan: Plan, label: str) -> ASHAScheduler:
    """Tune's ASHA with its milestones at the ends of this method's rungs."""
    ready = plan.methods[label]
    assert isinstance(ready.method, AsyncPolicy), "only such methods race"
    factor = ready.method.reduction_factor
    return ASHAScheduler(
        time_attr=SPENT,
        metric=SCORE,
        mode="max" if plan.resolved.higher_is_better else "min",
        grace_period=1,
        reduction_factor=factor,
        max_t=factor ** (len(ready.rungs) - 1),  # type: ignore[arg-type]  # any number serves
    )


def _recall(plan: Plan, store: RunStore, cells: Sequence[PlannedCell], scheduler: ASHAScheduler) -> None:
    """Report the scores of an earlier sweep's rungs to the scheduler; each pair's last one its own trial reports."""
    own = (cells[0].label, cells[0].seed)
    by_trials = {below.key for cell in cells if (below := plan.rung_before(cell))}
    earlier = [cell for cell in plan.cells if (cell.label, cell.seed) == own and cell.key not in by_trials]
    for number, cell in enumerate(earlier):
        record = store.record(cell.key) if store.has(cell.key) else None
        if record and record.status == "done":
            past: Any = SimpleNamespace(trial_id=f"past {number}")
            scheduler.on_trial_add(None, past)  # type: ignore[arg-type]  # ASHA does not look at the controller
            scheduler.on_trial_result(None, past, reported(plan, cell, record))  # type: ignore[arg-type]


def _fit(
    store: RunStore,
    trainable: Any,
    cells: Sequence[PlannedCell],
    callback: tune.Callback,
    scheduler: ASHAScheduler | None = None,
) -> None:
    """One Tune experiment with a trial per cell; its own files are thrown away."""
    scratch = Path(store.where) / f"{SCRATCH}-{uuid.uuid4().hex[:8]}"
    manifest = store.manifest().model_dump_json(exclude={"elapsed_s"})
    tuner = tune.Tuner(
        trainable,
        param_space={
            "run": store.where,
            "words": str(scratch / "words"),
            "stamp": hashlib.sha256(manifest.encode()).hexdigest(),
            "key": tune.grid_search([cell.key for cell in cells]),
        },
        tune_config=tune.TuneConfig(
            scheduler=scheduler, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(
            name="cells",
            storage_path=str(scratch),
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # cells lie in the store
            verbose=0,
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it says of failed trials, the sweep says
    try:
        tuner.fit()
    except Exception as error:
        # Tune wraps what a callback raises, and its own files are in the storage too.
        if isinstance(error, HarnessError):
            raise
        if (own := _cause(error)) is not None:
            raise own from error
        store.check_writable()
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _cause(error: BaseException | None) -> HarnessError | None:
    """The error of ours that another one came from."""
    while error is not None and not isinstance(error, HarnessError):
        error = error.__cause__ or error.__context__
    return error


def _resources(cell: PlannedCell) -> PlacementGroupFactory:
    bundle = {"CPU": cell.cpus} | ({"GPU": cell.gpus} if cell.gpus else {})
    return PlacementGroupFactory([bundle])


class _Callback(tune.Callback):
    """Passes Tune's events on to the listener."""

    def __init__(self, plan: Plan, store: RunStore, listener: Listener) -> None:
        self._plan, self._store, self._listener = plan, store, listener
        self._failed: HarnessError | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into an experiment state that is never restored."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if interrupted():
            raise KeyboardInterrupt
        if self._failed is not None:
            raise self._failed

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if UNWRITTEN in result:
            what, where, fix = result[UNWRITTEN]
            raise StorageFailed(what, where=where, fix=fix)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.started(self._cell(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        try:
            self._listener.finished(self._store.record(trial.config["key"]))
        except HarnessError as error:  # which Tune would only log here, with its traceback
            self._failed = error

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        cell = self._cell(trial)
        self._store.check_there()
        if not self._store.has(cell.key):
            self._store.write_cell(_lost(self._plan, self._store, cell, trial))
        self._listener.finished(self._store.record(cell.key))

    def _cell(self, trial: Any) -> PlannedCell:
        return self._plan.by_key[trial.config["key"]]


class _RaceCallback(_Callback):
    """Like ``_Callback``, for races, whose trials are several cells; records which pairs the scheduler stops."""

    def __init__(self, plan: Plan, store: RunStore, listener: Listener) -> None:
        super().__init__(plan, store, listener)
        self._announced: set[str] = set()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        super().on_trial_result(iteration, trials, trial, result)
        first = self._cell(trial)
        own = self._plan.rungs_from(first)
        ended = next((cell for cell in own if cell.key == result[RUNG]), None)
        if ended and ended.key not in self._announced:  # a trial that lost its worker reports once more
            self._announced.add(ended.key)
            self._listener.finished(self._store.record(ended.key))
        ahead = own[own.index(ended) + 1 :] if ended else own
        if not result["done"]:
            if ended:
                self._listener.started(ahead[0])
        elif ahead:
            below = ended or self._plan.rung_before(first)
            assert below is not None, "a trial reports its own rung or the one before"
            stop(self._plan, self._store, below)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Every rung has been announced."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._store.check_there()
        for cell in self._plan.rungs_from(self._cell(trial)):
            if not self._store.has(cell.key):
                self._store.write_cell(_lost(self._plan, self._store, cell, trial))
                self._listener.finished(self._store.record(cell.key))
                return


def _lost(plan: Plan, store: RunStore, cell: PlannedCell, trial: Any) -> CellRecord:
    """The record of a cell whose worker failed or died before it could write one."""
    ledger = Ledger()
    Attempt(store, cell.key, ledger).book_wasted()
    trace = Path(trial.error_file).read_text() if trial.error_file and Path(trial.error_file).is_file() else ""
    words = Path(trial.config["words"])
    if hung(words, cell.key):
        limit_s = plan.methods[cell.label].config.resources.timeout_s or 0.0
        return cell_record(plan, cell, "timeout", ledger, error=late(limit_s))
    error = crash(words, cell.key) or how_it_died(trace.rpartition("Failure #")[2].strip())
    return cell_record(plan, cell, "failed", ledger, error=error, traceback=trace or None)
