"""Running one cell: fit, the common evaluation, and its record in the store. The same on every backend."""

import time
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np
from safetensors.torch import save

from harness.connectors.stored import to_bytes
from harness.contract.connector import Connector
from harness.contract.fit import Fit
from harness.contract.ledger import Ledger
from harness.contract.pairs import Pair
from harness.errors import Diverged, HarnessError
from harness.run.attempts import FIT, WASTED, Attempt
from harness.run.banks import banks_of
from harness.run.cell_records import cell_record
from harness.run.evaluation import evaluate
from harness.run.interrupts import may_be_asked
from harness.run.keeping import CellKeeper
from harness.run.problems import checked_connectors, problem_of
from harness.run.records import CellRecord, CheckpointRecord, LostPair, PairMetrics, Status, TuningRecord
from harness.run.stopping import RETRIED
from harness.run.store import RunStore
from harness.run.texts import one_line, told
from harness.run.threads import exact_threads
from harness.run.watchdog import CellTimeout, alarmed, doomed
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell


@dataclass
class Outcome:
    """What has come of a cell so far.

    Attributes:
        status: How it ended.
        fit: What the method returned, if it got that far.
        connectors: Connectors of its pairs.
        metrics: Numbers of each pair.
        queries: What each test query gave.
        error: One line: what went wrong.
        traceback: Of an unexpected error.
        diverged_step: Step at which training broke down.
        interrupted: Whether a ``KeyboardInterrupt`` ended it.
    """

    status: Status = "done"
    fit: Fit | None = None
    connectors: dict[Pair, Connector] = field(default_factory=dict)
    metrics: list[PairMetrics] = field(default_factory=list)
    queries: dict[str, np.ndarray] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None
    diverged_step: int | None = None
    interrupted: bool = False


def run_cell(
    plan: Plan, store: RunStore, cell: PlannedCell, *, own_process: bool = False, words: TextIO | None = None
) -> CellRecord:
    """Run one cell and write its record, also when it fails, diverges or takes too long.

    Only an interrupt leaves no record: the cell is then still missing.

    Args:
        plan: The plan.
        store: Its run.
        cell: The cell.
        own_process: Whether this process is there for the cell: it may be ended to stop it, and whoever wants to
            interrupt does so by killing it.
        words: Where such a process writes what ended it, as far as it can.

    Raises:
        StorageFailed: The record cannot be written.
    """
    ledger, start = Ledger(), time.perf_counter()
    attempt = Attempt(store, cell.key, ledger)
    keeper = CellKeeper(plan, store, cell, attempt)

    def give_up(why: str) -> None:
        ledger.seconds[FIT] = spent = time.perf_counter() - start + attempt.recovered_s
        attempt.book_wasted()
        wall_s = spent + ledger.seconds.get(WASTED, 0.0)
        store.write_cell(cell_record(plan, cell, "timeout", ledger, error=why, wall_s=wall_s, device_s=spent))

    limit_s = plan.methods[cell.label].config.resources.timeout_s
    guard = doomed(limit_s, give_up, words) if own_process else alarmed(limit_s)
    if not own_process:
        attempt.begin()
    with exact_threads(cell.cpus):
        outcome = _outcome(plan, store, cell, ledger, attempt, keeper, guard)
        if outcome.interrupted and not own_process and may_be_asked():
            raise KeyboardInterrupt
    attempt.book_wasted()
    fit, done = outcome.fit, outcome.status == "done"
    record = cell_record(
        plan,
        cell,
        outcome.status,
        ledger,
        metrics=outcome.metrics,
        curve=_curve(cell, fit),
        batch_size=fit.batch_size if fit else None,
        pairs_per_step=fit.pairs_per_step if fit else None,
        updates_per_pair=fit.updates_per_pair if fit else ledger.updates / len(cell.pairs),
        samples_per_pair=fit.samples_per_pair if fit else ledger.samples / len(cell.pairs),
        trained_params=fit.trained_params if fit else 0,
        wall_s=time.perf_counter() - start + attempt.recovered_s + ledger.seconds.get(WASTED, 0.0),
        device_s=ledger.seconds.get(FIT, 0.0),
        diverged_step=outcome.diverged_step,
        lost=[
            LostPair(image=pair[0], text=pair[1], step=why.step, error=one_line(str(why)))
            for pair, why in (fit.lost.items() if fit else ())
        ],
        racing=list(fit.racing) if fit else [],
        error=outcome.error,
        traceback=outcome.traceback,
        warnings=[*(fit.warnings if fit else ()), *keeper.said],
        tuning=_tuning(cell, fit),
        banks=banks_of(plan, cell),
    )
    connectors = _connectors(cell, outcome.connectors) if done else None
    state = save(dict(fit.state)) if done and fit and fit.state else None
    store.check_there()
    written = store.write_cell(record, outcome.queries, connectors, state)
    if written.status not in RETRIED:
        keeper.end()
    return written


def _outcome(
    plan: Plan,
    store: RunStore,
    cell: PlannedCell,
    ledger: Ledger,
    attempt: Attempt,
    keeper: CellKeeper,
    guard: AbstractContextManager[None],
) -> Outcome:
    """Fit and evaluate; whatever goes wrong becomes the outcome."""
    outcome = Outcome()
    try:
        with guard:
            problem, progress = problem_of(plan, store, cell, ledger, attempt, keeper)
            ready = plan.methods[cell.label]
            with ledger.section(FIT):
                fit = ready.method.fit(problem, ready.budget, seed=cell.seed, progress=progress)
            outcome.fit = fit
            if fit.diverged:
                raise fit.diverged
            outcome.connectors = checked_connectors(problem, fit)
            outcome.metrics, outcome.queries = evaluate(plan.resolved, problem, fit, outcome.connectors)
    except Diverged as broken:
        outcome.status, outcome.error, outcome.diverged_step = "diverged", str(broken), broken.step
    except CellTimeout as late:
        outcome.status, outcome.error = "timeout", str(late)
    except HarnessError as wrong:
        outcome.status, outcome.error = "failed", str(wrong)
    except BaseException as crash:  # SystemExit too: a method does not end the sweep
        outcome.status, outcome.error, outcome.traceback = "failed", told(crash), traceback.format_exc()
        outcome.interrupted = isinstance(crash, KeyboardInterrupt)
    return outcome


def _curve(cell: PlannedCell, fit: Fit | None) -> list[CheckpointRecord]:
    return [
        CheckpointRecord(
            step=point.step,
            epoch=point.epoch,
            updates_per_pair=point.updates_per_pair,
            samples_per_pair=point.samples_per_pair,
            flops=point.flops,
            seconds=point.seconds,
            scores=[point.scores.get(pair) for pair in cell.pairs],
        )
        for point in (fit.curve if fit else ())
    ]


def _tuning(cell: PlannedCell, fit: Fit | None) -> TuningRecord | None:
    if fit is None or fit.tuning is None:
        return None
    tuning = fit.tuning
    picked = [tuning.picked.get(pair) for pair in cell.pairs]
    return TuningRecord(tried=list(tuning.tried), picked=picked, shared=tuning.shared, flops=tuning.flops)


def _connectors(cell: PlannedCell, made: Mapping[Pair, Connector]) -> bytes | None:
    numbered = {number: made[pair] for number, pair in enumerate(cell.pairs) if pair in made}
    return to_bytes(numbered, dict(enumerate(cell.pairs))) if numbered else None
