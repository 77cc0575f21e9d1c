"""Sweep file -> cells with keys: what is to be done, what is done already, and what it will cost."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.config import MethodConfig, Sweep, build_config, place
from harness.constraints import MEASURED, may_meet
from harness.data.base import Index
from harness.encoders.base import EncoderInfo
from harness.errors import HarnessError
from harness.losses import LOSSES
from harness.method import (
    METHODS,
    AsyncPolicy,
    Budget,
    Convention,
    Estimate,
    Method,
    Pair,
    Policy,
    estimate_of,
    takes_budget,
)
from harness.metrics import higher_is_better
from harness.provenance import provenance, source_digest
from harness.rungs import READY, verdicts
from harness.store import (
    EncoderRecord,
    Latency,
    Manifest,
    PlannedCell,
    PlannedMethod,
    RunStore,
    SelectionRecord,
    TaskRecord,
)
from harness.workspace import Workspace

KINDS = ("per_pair", "joint", "score")

RETRIED = frozenset({"failed", "timeout"})
"""Statuses that the next sweep tries again; a divergence is the seed's own result and would repeat."""


@dataclass(frozen=True)
class Entry:
    """One method of the sweep, ready to run."""

    label: str
    method: Method
    budget: Budget
    config: MethodConfig
    rungs: tuple[Budget, ...] = ()
    """Where the rungs end, for a method that stops trailing pairs."""

    @property
    def name(self) -> str:
        """The method's name without the folder of a plug-in file."""
        return method_name(self.config)


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        workspace: The resolved sweep.
        entries: Its methods by label.
        cells: All cells; joint ones first, because they take longest.
    """

    workspace: Workspace
    entries: Mapping[str, Entry]
    cells: tuple[PlannedCell, ...]

    @property
    def store(self) -> RunStore:
        """Where the run lies."""
        return RunStore(self.workspace.sweep.storage_path / self.workspace.sweep.name)

    @property
    def higher_is_better(self) -> bool:
        """Sign of the selection metric."""
        return higher_is_better(self.workspace.sweep.selection.metric)

    def missing(self) -> list[PlannedCell]:
        """Cells to run now: not on disk, or failed or timed out last time. Rungs that are undecided yet come later."""
        store, rungs = self.store, verdicts(self)
        by_key = {cell.key: cell for cell in self.cells}  # labels of equal methods share their cells
        finished = store.finished(by_key)
        return [
            cell
            for key, cell in by_key.items()
            if rungs.get(key, READY) == READY
            and (key not in finished or store.record(key).status in (*RETRIED, "skipped"))
        ]

    def check(self) -> None:
        """Find what would stop a cell, before compute is spent: empty splits, batches larger than the data, ...

        Raises:
            HarnessError: The first thing found.
        """
        self.workspace.check()
        self.check_constraints()
        for entry in self.entries.values():
            _estimate(self.workspace, entry, _groups(entry.method, self.workspace.pairs)[0])

    def check_constraints(self, *, on_paper: bool = False) -> None:
        """Find constraints that no pair can meet, from what is known before anything is extracted.

        Args:
            on_paper: The encoders are stand-ins, of which more may be known later.

        Raises:
            HarnessError: No pair can.
        """
        workspace, given = self.workspace, self.workspace.sweep.selection.constraints.model_dump(exclude_none=True)
        if not given:
            return
        images = [_encoder_record(workspace, info) for _, info in workspace.images.values()]
        texts = [_encoder_record(workspace, info) for _, info in workspace.texts.values()]
        pairs = list(itertools.product(images, texts))
        unknown = frozenset(given) if on_paper else MEASURED
        if not any(may_meet(pair, given, unknown=unknown) for pair in pairs):
            raise HarnessError(
                f"none of the {len(pairs)} pairs can meet the constraints",
                where=place(workspace.sweep.source, "selection.constraints"),
                fix="loosen them, or state params or license of the encoders where they are not known",
            )


def make_plan(workspace: Workspace) -> Plan:
    """Cells of every method, with keys. Checks methods, configs and budgets.

    Raises:
        HarnessError: A method, its config, its budget or the loss is wrong.
    """
    sweep = workspace.sweep
    with _located(sweep, "connector.loss"):
        LOSSES.get(sweep.connector.loss, sweep.root)
    entries = {label: _entry(sweep, label, config, len(workspace.pairs)) for label, config in sweep.methods.items()}
    ordered = sorted(entries.values(), key=lambda entry: entry.method.kind == "per_pair")
    cells = tuple(
        PlannedCell(
            key=_key(workspace, entry, pairs, seed, rung),
            label=entry.label,
            seed=seed,
            pairs=list(pairs),
            cpus=entry.config.resources.cpu,
            gpus=entry.config.resources.gpu,
            rung=rung,
        )
        for entry in ordered
        for seed in sweep.seeds
        for rung in (range(len(entry.rungs)) if entry.rungs else (None,))
        for pairs in _groups(entry.method, workspace.pairs)
    )
    _refuse_namesakes(sweep, entries, cells)
    return Plan(workspace, entries, cells)


def _refuse_namesakes(sweep: Sweep, entries: Mapping[str, Entry], cells: tuple[PlannedCell, ...]) -> None:
    """Two plug-in files of one name would be taken for one method, and share its cells."""
    makers: dict[str, Entry] = {}
    for cell in cells:
        first, entry = makers.setdefault(cell.key, entries[cell.label]), entries[cell.label]
        if type(first.method) is not type(entry.method):
            raise HarnessError(
                f"is taken for {first.label!r}: both are {method_name(entry.config)!r} of the same version and config",
                where=place(sweep.source, f"methods.{cell.label}"),
                fix="rename one of the files, or raise the version of one",
            )


def _groups(method: Method, pairs: tuple[Pair, ...]) -> list[tuple[Pair, ...]]:
    # In one order, so that a joint cell does not depend on the order of the sweep file.
    return [(pair,) for pair in pairs] if method.kind == "per_pair" else [tuple(sorted(pairs))]


def _entry(sweep: Sweep, label: str, config: MethodConfig, pairs: int) -> Entry:
    with _located(sweep, f"methods.{label}"):
        cls = METHODS.get(config.method, sweep.root)
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise HarnessError(f"{config.method!r} is not a method", fix="write a frozen dataclass")
        method = build_config(cls, config.config, where=f"methods.{label}")
        if not isinstance(method, Method) or method.kind not in KINDS:
            raise HarnessError(f"{config.method!r} is not a method", fix=f"it needs kind ({KINDS}), version and fit")
        if len(config.budget) > 1:
            raise HarnessError(f"two budgets: {', '.join(config.budget)}", fix="give one of them")
        if not config.budget and takes_budget(method):
            raise HarnessError("has no budget", fix="give epochs, updates_per_pair, flops or seconds")
        if config.budget and not takes_budget(method):
            raise HarnessError(f"takes no budget, but {next(iter(config.budget))} is given", fix="leave it out")
        budget = Budget(**(dict(config.budget) or {"epochs": 1}))
        rungs = tuple(method.rungs(pairs, budget)) if isinstance(method, Policy | AsyncPolicy) else ()
    return Entry(label, method, budget, config, rungs)


@contextmanager
def _located(sweep: Sweep, field: str) -> Iterator[None]:
    """Errors inside name the sweep file and the line of their field, or else of this one."""
    try:
        yield
    except HarnessError as error:
        where = place(sweep.source, error.where or field)
        raise HarnessError(error.what, where=where, fix=error.fix) from error


def _estimate(
    workspace: Workspace, entry: Entry, pairs: tuple[Pair, ...], convention: Convention = "ours"
) -> Estimate | None:
    with _located(workspace.sweep, f"methods.{entry.label}"):
        return estimate_of(entry.method, workspace.sizes(pairs), entry.budget, convention)


def _estimate_rungs(workspace: Workspace, entry: Entry) -> Estimate | None:
    own: Any = getattr(entry.method, "estimate_rungs", None)
    return own([workspace.sizes((pair,)) for pair in workspace.pairs], entry.budget) if own else None


def method_name(config: MethodConfig) -> str:
    """The method's name without the folder of a plug-in file."""
    return _without_folder(config.method)


def _without_folder(name: str) -> str:
    return name.rpartition("/")[2]


def _key(workspace: Workspace, entry: Entry, pairs: tuple[Pair, ...], seed: int, rung: int | None) -> str:
    """sha256 over canonical JSON of what changes the cell's numbers, and of nothing that does not."""
    sweep = workspace.sweep
    images, texts = dict.fromkeys(i for i, _ in pairs), dict.fromkeys(t for _, t in pairs)
    content: dict[str, Any] = {
        "method": [method_name(entry.config), entry.method.version, dataclasses.asdict(entry.method)],  # type: ignore[call-overload]
        "budget": dict(entry.config.budget),
        "pairs": pairs,
        "seed": seed,
        "connector": {**sweep.connector.model_dump(), "loss": _without_folder(sweep.connector.loss)},
        "selection": sweep.selection.model_dump(include={"task", "metric"}),
        "banks": [workspace.bank(workspace.dataset, "image", image).identity for image in images]
        + [workspace.bank(workspace.dataset, "text", text).identity for text in texts],
        "rows": _rows_identity(workspace.index),
        "tasks": sorted(_task_identity(workspace, n, list(images), list(texts)) for n in range(len(sweep.tasks))),
    }
    if getattr(entry.method, "reads_params", False):
        sizes = workspace.sizes(pairs)
        content["params"] = [dict(sizes.image_params), dict(sizes.text_params)]
    if rung is not None:
        content["rung"] = [value for value in vars(entry.rungs[rung]).values() if value is not None]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _task_identity(workspace: Workspace, number: int, images: list[str], texts: list[str]) -> list[Any]:
    task = workspace.tasks[number]
    if task.prompts is None and task.config.data is None:
        return [task.config.label, task.config.kind]
    rows = _rows_identity(task.dataset.index())
    banks = [workspace.bank(task.dataset, "image", image).identity for image in images]
    banks += [workspace.bank(task.prompts or task.dataset, "text", text).identity for text in texts]
    return [task.config.label, task.config.kind, banks, rows]


def _rows_identity(index: Index) -> str:
    """Digest of which rows are in which split, and of their labels."""
    sha = hashlib.sha256()
    labels = [("labels", index.labels)] if index.labels is not None else []
    for name, rows in (*sorted(index.splits.items()), *labels):
        sha.update(f"{name}:{len(rows)}".encode())
        sha.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    return sha.hexdigest()


def make_manifest(plan: Plan) -> Manifest:
    """The plan as stored with the run."""
    workspace, sweep = plan.workspace, plan.workspace.sweep
    index = workspace.index
    return Manifest(
        name=sweep.name,
        sweep=json.loads(sweep.model_dump_json()),
        image_encoders=[_encoder_record(workspace, info) for _, info in workspace.images.values()],
        text_encoders=[_encoder_record(workspace, info) for _, info in workspace.texts.values()],
        pairs=list(workspace.pairs),
        methods={
            label: PlannedMethod(
                method=method_name(entry.config),
                kind=entry.method.kind,
                version=entry.method.version,
                config=json.loads(json.dumps(dataclasses.asdict(entry.method))),  # type: ignore[call-overload]
                budget={str(limit): value for limit, value in entry.config.budget.items()},
                source=source_digest(type(entry.method)),
            )
            for label, entry in plan.entries.items()
        },
        reference=sweep.reference,
        seeds=sweep.seeds,
        tasks=[
            TaskRecord(label=task.label, kind=task.kind, config=task.model_dump(exclude={"label", "kind"}))
            for task in sweep.tasks
        ],
        selection=SelectionRecord(
            task=sweep.selection.task,
            metric=sweep.selection.metric,
            higher_is_better=higher_is_better(sweep.selection.metric),
            constraints=sweep.selection.constraints.model_dump(exclude_none=True),
        ),
        connector=sweep.connector.model_dump(),
        rows={
            **{split: len(rows) for split, rows in index.splits.items()},
            "captions": index.n_captions,
            "skipped": len(index.skipped),
        },
        cells=list(plan.cells),
        provenance=provenance(),
    )


def _encoder_record(workspace: Workspace, info: EncoderInfo) -> EncoderRecord:
    request = workspace.bank(workspace.dataset, info.modality, info.id)
    meta = request.read_meta()
    return EncoderRecord(
        id=info.id,
        modality=info.modality,
        dim=info.dim,
        params=info.params,
        license=info.license,
        revision=info.revision,
        flops_per_sample=(meta.encode_flops / meta.count if meta and meta.encode_flops else info.flops_per_sample),
        encode_flops=meta.encode_flops if meta else None,
        encode_s=meta.encode_seconds if meta else None,
        # Stated goes before measured: it may be of the hardware that matters.
        latency=(
            Latency(seconds_per_sample=info.seconds_per_sample)
            if info.seconds_per_sample is not None
            else meta.latency
            if meta
            else None
        ),
    )


@dataclass(frozen=True)
class MethodEstimate:
    """What the plan says of one method, per seed (None: the method cannot tell).

    Attributes:
        cells: Cells of all seeds.
        done: Those that are done.
        flops: Phase -> FLOPs and ``total``, under the sweep's ``flop_convention``.
        flops_ours: The same under ``ours``.
        updates_per_pair: Mean over the pairs.
        trained_params: Parameters that the method trains.
    """

    cells: int
    done: int
    flops: dict[str, float] | None
    flops_ours: dict[str, float] | None
    updates_per_pair: float | None
    trained_params: int | None


def estimates(plan: Plan) -> dict[str, MethodEstimate]:
    """Cells, those done, and the closed-form cost of every method, averaged over the seeds."""
    finished = plan.store.finished(cell.key for cell in plan.cells)
    convention = plan.workspace.sweep.flop_convention
    found = {}
    for label, entry in plan.entries.items():
        cells = [cell for cell in plan.cells if cell.label == label]
        done = sum(cell.key in finished for cell in cells)
        groups = [plan.workspace.pairs] if entry.rungs else _groups(entry.method, plan.workspace.pairs)
        ours = _counts(plan.workspace, entry, groups, "ours")
        shown = ours if convention == "ours" else _counts(plan.workspace, entry, groups, convention)
        if ours is None or shown is None:
            found[label] = MethodEstimate(len(cells), done, None, None, None, None)
            continue
        weights = [len(pairs) for pairs in groups]
        updates = sum(c.updates_per_pair * w for c, w in zip(shown, weights, strict=True)) / sum(weights)
        found[label] = MethodEstimate(
            cells=len(cells),
            done=done,
            flops=_by_phase(shown),
            flops_ours=_by_phase(ours),
            updates_per_pair=updates,
            trained_params=sum(count.trained_params for count in shown),
        )
    return found


def _counts(
    workspace: Workspace, entry: Entry, groups: list[tuple[Pair, ...]], convention: Convention
) -> list[Estimate] | None:
    """Of each group of pairs; None if the method cannot tell one of them."""
    if entry.rungs:
        counts = [_estimate_rungs(workspace, entry)]
    else:
        counts = [_estimate(workspace, entry, pairs, convention) for pairs in groups]
    known = [count for count in counts if count is not None]
    return known if len(known) == len(counts) else None


def _by_phase(counts: list[Estimate]) -> dict[str, float]:
    phases = {phase for count in counts for phase in count.flops}
    flops = {phase: sum(count.flops.get(phase, 0.0) for count in counts) for phase in sorted(phases)}
    return {**flops, "total": sum(flops.values())}
