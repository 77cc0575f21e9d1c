"""Running one cell: fit, the common evaluation, and its record on disk. The same on every backend."""

import dataclasses
import math
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from threadpoolctl import threadpool_limits

from harness.config import Sweep
from harness.connectors import Layers, finite, to_state
from harness.errors import Diverged, HarnessError
from harness.flops import Ledger
from harness.losses import LOSSES
from harness.method import Fit, Pair, Problem, Rung
from harness.metrics import METRICS, QUERIES, from_ranks, higher_is_better, queries_of
from harness.plan import Entry, Plan, make_plan, method_name
from harness.provenance import provenance
from harness.rungs import before
from harness.store import CellRecord, CheckpointRecord, LostPair, PairMetrics, PlannedCell, RunStore
from harness.workspace import Workspace


class CellTimeout(Exception):
    """A cell ran longer than its method's ``resources.timeout_s``."""


def run_cell(plan: Plan, cell: PlannedCell) -> CellRecord:
    """Run one cell and write its record, whatever comes of it.

    Only an interrupt leaves no record: the cell is then still missing.
    """
    entry = plan.entries[cell.label]
    ledger = Ledger()
    start = time.perf_counter()
    fit, metrics, ranks = None, [], {}
    status, error, trace, diverged_step = "done", None, None, None
    with exact_threads(cell.cpus):
        try:
            problem, fit = _fit(plan, entry, cell, ledger, start)
            if fit.diverged:
                raise fit.diverged
            metrics, ranks = _evaluate(plan, cell, problem, fit)
        except Diverged as problem_found:
            status, error, diverged_step = "diverged", str(problem_found), problem_found.step
        except CellTimeout as late:
            status, error = "timeout", str(late)
        except HarnessError as wrong:
            status, error = "failed", str(wrong)
        except Exception as crash:
            first_line = (str(crash).strip().splitlines() or [""])[0]
            status, error, trace = "failed", f"{type(crash).__name__}: {first_line}", traceback.format_exc()
    record = CellRecord(
        key=cell.key,
        label=cell.label,
        method=method_name(entry.config),
        kind=entry.method.kind,
        version=entry.method.version,
        seed=cell.seed,
        pairs=cell.pairs,
        status=status,
        metrics=metrics,
        curve=_curve(cell, fit),
        ledger=ledger.record(),
        batch_size=fit.batch_size if fit else None,
        pairs_per_step=fit.pairs_per_step if fit else None,
        updates_per_pair=fit.updates_per_pair if fit else ledger.updates / len(cell.pairs),
        samples_per_pair=fit.samples_per_pair if fit else ledger.samples / len(cell.pairs),
        trained_params=fit.trained_params if fit else 0,
        wall_s=time.perf_counter() - start,
        device_s=ledger.seconds.get("fit", 0.0),
        cpus=cell.cpus,
        gpus=cell.gpus,
        diverged_step=diverged_step,
        lost=[
            LostPair(image=pair[0], text=pair[1], step=why.step, error=str(why))
            for pair, why in (fit.lost.items() if fit else ())
        ],
        error=error,
        traceback=trace,
        warnings=list(fit.warnings) if fit else [],
        provenance=provenance(),
    )
    connectors = _serialised(cell, fit.connectors) if status == "done" and fit and fit.connectors else None
    state = save(dict(fit.state)) if status == "done" and fit and fit.state else None
    plan.store.write_cell(record, ranks, connectors, state)
    return record


@lru_cache(maxsize=2)
def _reopened(path: str, changed_ns: int) -> Plan:
    del changed_ns  # only tells that the manifest was replaced
    # The run's own place, not what the manifest says: a worker has another working folder, a cluster another mount.
    written = RunStore(path).manifest().sweep | {"storage": str(Path(path).parent)}
    return make_plan(Workspace(Sweep.model_validate(written)))


def reopen_plan(run: Path) -> Plan:
    """The plan of a run, from its manifest; what a worker process starts from, kept while the manifest stays."""
    return _reopened(str(run), (run / "manifest.json").stat().st_mtime_ns)


@contextmanager
def exact_threads(cpus: float) -> Iterator[None]:
    """Compute with exactly this many threads, so that numbers do not depend on where a cell runs."""
    threads, before = max(1, int(cpus)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def _device(cell: PlannedCell) -> torch.device:
    if not cell.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise HarnessError(
            "the cell asks for a GPU and there is none here",
            where=f"methods.{cell.label}.resources",
            fix="set gpu: 0, or run on a machine with a GPU",
        )
    return torch.device("cuda")


def _fit(plan: Plan, entry: Entry, cell: PlannedCell, ledger: Ledger, start: float) -> tuple[Problem, Fit]:
    workspace, pairs, device = plan.workspace, tuple(cell.pairs), _device(cell)
    selection = workspace.sweep.selection
    task = workspace.bind(workspace.selection_task, pairs, "validation", device)
    queries = queries_of(task.kind, selection.metric)

    def scorer(pair: Pair, layers: Layers) -> float:
        return METRICS[task.kind][selection.metric](task.ranks(pair, layers, queries))

    def progress(step: int, steps: int) -> None:
        limit = entry.config.resources.timeout_s
        if limit is not None and time.perf_counter() - start > limit:
            raise CellTimeout(f"stopped after {limit:g} s at step {step} of {steps}")

    problem = Problem(
        sizes=workspace.sizes(pairs),
        train=workspace.open(pairs, "train"),
        validation=workspace.open(pairs, "validation"),
        loss=LOSSES.get(workspace.sweep.connector.loss, workspace.sweep.root),
        device=device,
        ledger=ledger,
        scorer=scorer,
        higher_is_better=higher_is_better(selection.metric),
        chance=lambda rng: METRICS[task.kind][selection.metric](task.random_ranks(rng, queries)),
        rung=_rung(plan, entry, cell),
    )
    torch.manual_seed(cell.seed)
    with ledger.section("fit"):
        fit = entry.method.fit(problem, entry.budget, seed=cell.seed, progress=progress)
    if fit.diverged:
        return problem, fit
    kept = [pair for pair in pairs if pair not in fit.lost]
    bad = [pair for pair in kept if not math.isfinite(fit.scores.get(pair, math.nan))]
    if bad:
        raise ValueError(f"no finite score for {len(bad)} of {len(kept)} pairs, first {bad[0]}")
    if fit.connectors is not None:
        made = [pair for pair in kept if pair not in fit.predicted]
        bad = [pair for pair in made if pair not in fit.connectors or not finite(fit.connectors[pair])]
        if bad:
            raise ValueError(f"no finite connector of {len(bad)} of {len(made)} pairs, first {bad[0]}")
    return problem, fit


def _rung(plan: Plan, entry: Entry, cell: PlannedCell) -> Rung | None:
    """Where a rung cell stops, and what the pair's rung before left; a lost state means to start again."""
    if cell.rung is None:
        return None
    below = before(plan, cell)
    path = plan.store.state_path(below.key) if below else None
    try:
        state = load_file(path) if path and path.is_file() else None
    except SafetensorError:
        state = None
    return Rung(entry.rungs[cell.rung], state)


def _evaluate(
    plan: Plan, cell: PlannedCell, problem: Problem, fit: Fit
) -> tuple[list[PairMetrics], dict[str, np.ndarray]]:
    """The common evaluation of every connector on validation and test, outside the method's total."""
    pairs, ledger = problem.pairs, problem.ledger
    numbers: dict[str, dict[Pair, dict[str, dict[str, float]]]] = {"validation": {}, "test": {}}
    ranks: dict[str, np.ndarray] = {}
    with ledger.section("runner_eval"):
        for split, found in numbers.items() if fit.connectors else ():
            for task_data in plan.workspace.tasks:
                task = plan.workspace.bind(task_data, pairs, split, problem.device)
                queries = QUERIES[task.kind]
                for number, pair in enumerate(pairs):
                    if pair not in (fit.connectors or {}):
                        continue
                    layers = (fit.connectors or {})[pair]
                    of_pair = task.ranks(pair, layers, queries)
                    sizes = dataclasses.replace(problem.sizes, hidden_layers=len(layers) - 1)
                    ledger.add("runner_eval", task.flops(sizes, pair, queries))
                    found.setdefault(pair, {})[task.label] = from_ranks(task.kind, of_pair)
                    if split == "test":
                        ranks |= {f"{number}/{task.label}/{query}": of_pair[query] for query in queries}
                if split == "test":
                    ranks |= {f"{task.label}/{query}/unit": unit for query, unit in task.units().items()}
    metrics = [
        PairMetrics(
            image=pair[0],
            text=pair[1],
            score=fit.scores[pair],
            validation=numbers["validation"].get(pair, {}),
            test=numbers["test"].get(pair, {}),
        )
        for pair in pairs
        if pair not in fit.lost
    ]
    return metrics, ranks


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


def _serialised(cell: PlannedCell, connectors: Mapping[Pair, Layers]) -> bytes:
    """One safetensors file: ``<pair number>.layers.<n>.weight`` and ``.bias``, the pairs in its metadata."""
    tensors = {
        f"{number}.{name}": tensor
        for number, pair in enumerate(cell.pairs)
        if pair in connectors
        for name, tensor in to_state(connectors[pair]).items()
    }
    return save(tensors, metadata={f"pair.{n}": f"{i}\t{t}" for n, (i, t) in enumerate(cell.pairs)})
