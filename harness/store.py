"""A run on disk: its manifest, its finished cells, what is missing and what failed.

Layout (``schema`` 1)::

    manifest.json            the plan: resolved sweep, cells, encoders, provenance
    cells/<key>.json         one finished cell (CellRecord)
    cells/<key>.npz          ranks of the right answers on the test split
    connectors/<key>.safetensors

Nothing here imports torch, so a report can be made where torch is not installed.
"""

import io
import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import HarnessError

SCHEMA = 1

PHASES = ("connector", "logits", "hypernet", "solve", "score", "optimizer", "eval", "wasted")
"""Phases that make up a method's total FLOPs."""

SHARED_PHASES = ("encode", "runner_eval")
"""Phases that every method shares; they stand beside the total."""

Status = Literal["done", "failed", "diverged", "timeout", "skipped"]
"""``skipped``: a policy stopped the pair at an earlier rung; nothing was run and nothing is missing."""


class Record(BaseModel):
    """Base of everything written as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class PairMetrics(Record):
    """Numbers of one pair: task numbers only, so that two runs of one cell can be compared for equality.

    Attributes:
        image: Image encoder id.
        text: Text encoder id.
        score: What the method ranks this pair by: its validation selection metric, or a training-free score.
        validation: Task label -> metric -> value on the validation split (empty for a method without connectors).
        test: The same on the test split.
    """

    image: str
    text: str
    score: float
    validation: dict[str, dict[str, float]] = {}
    test: dict[str, dict[str, float]] = {}


class LostPair(Record):
    """A pair of a joint cell whose training broke down while the others' went on: it has no metrics."""

    image: str
    text: str
    step: int
    error: str


class CheckpointRecord(Record):
    """One point of a method's curve.

    Attributes:
        step: Optimiser steps so far.
        epoch: Epochs so far.
        updates_per_pair: Mean updates per pair so far.
        samples_per_pair: Mean samples per pair so far.
        flops: The method's total FLOPs so far (for this cell).
        seconds: Seconds so far (for this cell).
        scores: ``[pairs]`` the method's score of each of the cell's pairs, in the order of ``CellRecord.pairs``; None
            for a pair that has been lost.
    """

    step: int
    epoch: float
    updates_per_pair: float
    samples_per_pair: float
    flops: float
    seconds: float
    scores: list[float | None]


class LedgerRecord(Record):
    """What a cell spent.

    Attributes:
        flops: Phase -> FLOPs, over PHASES and SHARED_PHASES (``encode`` is kept in the manifest, not here).
        seconds: Phase or section -> seconds.
        updates: Pair-updates done: steps x pairs per step.
        samples: Pair-samples seen: updates x batch size.
    """

    flops: dict[str, float]
    seconds: dict[str, float]
    updates: int
    samples: int

    @property
    def total(self) -> float:
        """The method's own FLOPs."""
        return sum(self.flops.get(phase, 0.0) for phase in PHASES)


class CellRecord(Record):
    """One finished cell. See ``PairMetrics`` for ``metrics`` and ``CheckpointRecord`` for ``curve``.

    Attributes:
        key: sha256 of what changes the numbers.
        label: The method's label in the sweep file.
        method: Registered name of the method.
        kind: ``per_pair``, ``joint`` or ``score``.
        version: The method's version.
        seed: The seed.
        pairs: ``[(image id, text id)]`` of the cell.
        status: ``done``, or why not.
        metrics: One entry per pair that has numbers (empty when failed).
        curve: Checkpoints, in order.
        ledger: What was spent, also by a cell that failed.
        batch_size: Samples per update, None for methods without batches.
        pairs_per_step: Pairs that take part in one step.
        updates_per_pair: Updates each pair received (mean).
        samples_per_pair: Samples each pair saw (mean).
        trained_params: Parameters that the method trained.
        wall_s: Seconds inside the cell.
        device_s: Seconds inside ``fit`` on the compute device.
        cpus: CPUs held.
        gpus: GPUs held.
        diverged_step: Step at which training broke down.
        lost: Pairs that diverged on their own.
        error: One line: what went wrong.
        traceback: Its traceback, for the log.
        warnings: Things a reader should know.
        provenance: Host, versions, commit, time.
    """

    schema_version: int = SCHEMA
    key: str
    label: str
    method: str
    kind: Literal["per_pair", "joint", "score"]
    version: int
    seed: int
    pairs: list[tuple[str, str]]
    status: Status
    metrics: list[PairMetrics] = []
    curve: list[CheckpointRecord] = []
    ledger: LedgerRecord
    batch_size: int | None = None
    pairs_per_step: int | None = None
    updates_per_pair: float = 0.0
    samples_per_pair: float = 0.0
    trained_params: int = 0
    wall_s: float = 0.0
    device_s: float = 0.0
    cpus: float = 1.0
    gpus: float = 0.0
    diverged_step: int | None = None
    lost: list[LostPair] = []
    error: str | None = None
    traceback: str | None = None
    warnings: list[str] = []
    provenance: dict[str, Any] = {}


class PlannedCell(Record):
    """One schedulable unit of work of the plan. ``rung``: of a method that stops trailing pairs, from 0; else None."""

    key: str
    label: str
    seed: int
    pairs: list[tuple[str, str]]
    cpus: float
    gpus: float
    rung: int | None = None


class PlannedMethod(Record):
    """A method of the plan: registered name, kind, version and resolved config (defaults filled in)."""

    method: str
    kind: Literal["per_pair", "joint", "score"]
    version: int
    config: dict[str, Any]
    budget: dict[str, float]
    source: str = ""
    """sha256 of the method's module, to notice a change without a raised version."""


class Latency(Record):
    """How long an encoder takes for one sample.

    Attributes:
        seconds_per_sample: Median over the batches of an extraction of the time per sample; or as stated.
        batch_size: Samples of these batches; None when stated.
        device: Where they were computed; None when stated.
    """

    seconds_per_sample: float
    batch_size: int | None = None
    device: str | None = None


class EncoderRecord(Record):
    """Facts about one encoder of the run. ``encode_flops`` and ``encode_s`` cover all rows of the dataset."""

    id: str
    modality: Literal["image", "text"]
    dim: int
    params: int | None = None
    license: str | None = None
    revision: str = ""
    flops_per_sample: float | None = None
    encode_flops: float | None = None
    encode_s: float | None = None
    latency: Latency | None = None


class TaskRecord(Record):
    """A task of the run: its label, kind and resolved config."""

    label: str
    kind: str
    config: dict[str, Any] = {}


class SelectionRecord(Record):
    """The selection metric, and the limits of ``harness.config.Constraints`` that are set."""

    task: str
    metric: str
    higher_is_better: bool
    constraints: dict[str, Any] = {}


class Manifest(Record):
    """The plan of a run."""

    schema_version: int = SCHEMA
    name: str
    sweep: dict[str, Any]
    image_encoders: list[EncoderRecord]
    text_encoders: list[EncoderRecord]
    pairs: list[tuple[str, str]]
    methods: dict[str, PlannedMethod]
    reference: str | None
    seeds: list[int]
    tasks: list[TaskRecord]
    selection: SelectionRecord
    connector: dict[str, Any]
    rows: dict[str, int]
    """``{"train": images, "validation": images, "test": images, "captions": all captions, "skipped": images}``."""
    cells: list[PlannedCell]
    elapsed_s: float | None = None
    provenance: dict[str, Any] = {}


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; the temporary name never ends in ``.json``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class RunStore:
    """One run's folder. Opening it reads nothing.

    Args:
        path: ``<storage>/<name>``.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()

    def cell_path(self, key: str) -> Path:
        """Where a finished cell's record lies."""
        return self.path / "cells" / f"{key}.json"

    def ranks_path(self, key: str) -> Path:
        """Where a finished cell's test ranks lie."""
        return self.path / "cells" / f"{key}.npz"

    def connectors_path(self, key: str) -> Path:
        """Where a finished cell's connectors lie."""
        return self.path / "connectors" / f"{key}.safetensors"

    def state_path(self, key: str) -> Path:
        """Where a rung cell's training state lies until the pair's next rung has run or is skipped."""
        return self.path / "connectors" / f"{key}.state.safetensors"

    def manifest(self) -> Manifest:
        """Read the plan.

        Raises:
            HarnessError: No run here, or its manifest is damaged or of another schema.
        """
        path = self.path / "manifest.json"
        if not path.is_file():
            raise HarnessError(
                "no run here", where=str(self.path), fix="harness ls runs; harness sweep SWEEP makes one"
            )
        return _parse(Manifest, path)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the plan."""
        write_atomic(self.path / "manifest.json", manifest.model_dump_json(indent=1).encode())

    def finished(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys whose record is on disk, whatever their status."""
        return {key for key in keys if self.cell_path(key).is_file()}

    def record(self, key: str) -> CellRecord:
        """Read one finished cell.

        Raises:
            HarnessError: The file is missing or damaged.
        """
        return _parse(CellRecord, self.cell_path(key))

    def records(self, manifest: Manifest) -> dict[str, CellRecord]:
        """All finished cells of the plan, by key."""
        keys = self.finished(cell.key for cell in manifest.cells)
        return {cell.key: self.record(cell.key) for cell in manifest.cells if cell.key in keys}

    def ranks(self, key: str) -> dict[str, np.ndarray]:
        """Ranks of the right answers on the test split.

        Returns:
            ``"<pair number>/<task label>/<query kind>"`` -> ``[queries]`` int32 ranks, and for every task
            ``"<task label>/<query kind>/unit"`` -> ``[queries]`` int32 test image that each query belongs to
            (what a bootstrap over test images resamples). Empty when the cell has none.
        """
        path = self.ranks_path(key)
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            fix = "delete the cell's files and sweep again"
            raise HarnessError(f"cannot be read: {error}", where=str(path), fix=fix) from error

    def write_cell(
        self,
        record: CellRecord,
        ranks: Mapping[str, np.ndarray] | None = None,
        connectors: bytes | None = None,
        state: bytes | None = None,
    ) -> None:
        """Write a finished cell: its arrays first, its record last, each atomically.

        Args:
            record: The cell.
            ranks: Arrays as ``ranks`` returns them.
            connectors: A serialised safetensors file.
            state: Another one: what the pair's next rung resumes from.
        """
        if state is not None:
            write_atomic(self.state_path(record.key), state)
        if connectors is not None:
            write_atomic(self.connectors_path(record.key), connectors)
        if ranks:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **ranks)  # type: ignore[arg-type]
            write_atomic(self.ranks_path(record.key), buffer.getvalue())
        write_atomic(self.cell_path(record.key), record.model_dump_json(indent=1).encode())

    def drop_cell(self, key: str) -> None:
        """Forget a cell, so that it is run again."""
        for path in (self.cell_path(key), self.ranks_path(key), self.connectors_path(key), self.state_path(key)):
            path.unlink(missing_ok=True)


R = TypeVar("R", bound=Record)


def _parse(model: type[R], path: Path) -> R:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot be read: {error}", where=str(path), fix="delete it, sweep again") from error
    if not isinstance(data, dict):
        raise HarnessError("is not a record", where=str(path), fix="delete it, sweep again")
    if data.get("schema_version", SCHEMA) != SCHEMA:
        raise HarnessError(
            f"is of schema {data['schema_version']}, this version reads {SCHEMA}", where=str(path), fix="make a new run"
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise HarnessError(
            f"field {field}: {first['msg']}", where=str(path), fix="delete it and sweep again"
        ) from error
