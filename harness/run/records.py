"""What a run writes down: the plan, finished cells, and what they spent.

Nothing here imports torch, so a report can be made where torch is not installed.
"""

from typing import Any, Literal

from harness.contract.ledger_record import LedgerRecord
from harness.contract.metric import Metric
from harness.contract.record import Record
from harness.sweep.planned import EncoderRecord, PlannedCell

SCHEMA = 2

Status = Literal["done", "failed", "diverged", "timeout", "skipped"]
"""``skipped``: a policy stopped the pair at an earlier rung; nothing was run and nothing is missing."""


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


class TuningRecord(Record):
    """The learning rates of a cell, and what it cost to choose between them.

    Attributes:
        tried: Peak rates that were tried, rising. One: nothing was tuned.
        picked: ``[pairs]`` peak rate of each pair's connector, in the order of ``CellRecord.pairs``; None for a pair
            without a connector.
        shared: Whether one rate was picked for all pairs together.
        flops: FLOPs spent at rates that were not picked, a part of the ledger's total.
    """

    tried: list[float]
    picked: list[float | None]
    shared: bool = False
    flops: float = 0.0


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
        updates_per_pair: Mean updates per pair so far, at one learning rate.
        samples_per_pair: Mean samples per pair so far, at one learning rate.
        flops: The method's total FLOPs so far (for this cell), at all learning rates.
        seconds: Seconds so far (for this cell).
        scores: ``[pairs]`` the method's score of each of the cell's pairs, in the order of ``CellRecord.pairs``, at the
            learning rate that is picked at the end; None for a pair that has been lost.
    """

    step: int
    epoch: float
    updates_per_pair: float
    samples_per_pair: float
    flops: float
    seconds: float
    scores: list[float | None]


class StoredFile(Record):
    """What a file of a cell held when it was written."""

    sha256: str
    bytes: int


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
        updates_per_pair: Updates each pair received (mean), at the learning rate that was kept.
        samples_per_pair: Samples each pair saw (mean), at the learning rate that was kept.
        trained_params: Parameters that the method trained, at one learning rate.
        wall_s: Seconds inside the cell.
        device_s: Seconds inside ``fit`` on the compute device.
        cpus: CPUs held.
        gpus: GPUs held.
        diverged_step: Step at which training broke down.
        lost: Pairs that diverged on their own.
        racing: Pairs that the method holds to be in the race for the best one, best first; empty if it does not race.
        error: One line: what went wrong.
        traceback: Its traceback, for the log.
        warnings: Things a reader should know.
        tuning: Learning rates that were tried and kept; None for a method without one.
        banks: Bank (``<dataset> <modality> <encoder id>``) -> sha256 of the embeddings that the cell was made from.
        provenance: Host, versions, commit, time.
        files: Ending of a file's name (``npz``, ``safetensors``, ``state.safetensors``) -> what it held; filled in by
            the store. Empty in records of older versions, whose files are read without comparing.
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
    racing: list[tuple[str, str]] = []
    error: str | None = None
    traceback: str | None = None
    warnings: list[str] = []
    tuning: TuningRecord | None = None
    banks: dict[str, str] = {}
    provenance: dict[str, Any] = {}
    files: dict[str, StoredFile] = {}


class PlannedMethod(Record):
    """A method of the plan: registered name, kind, version and resolved config (defaults filled in)."""

    method: str
    kind: Literal["per_pair", "joint", "score"]
    version: int
    config: dict[str, Any]
    budget: dict[str, float]
    is_grid: bool = False
    """It trains every pair for itself, and to the end."""
    sources: dict[str, str] = {}
    """Module -> digest of its source, of every module that makes the numbers: tells a change without a new version."""


class TaskRecord(Record):
    """A task of the run.

    Attributes:
        label: Its name in the sweep file.
        kind: Its registered name.
        config: Its settings and data.
        metrics: Its metrics as declared.
        chance: Metric -> what random answers score on the test split.
    """

    label: str
    kind: str
    config: dict[str, Any] = {}
    metrics: dict[str, Metric] = {}
    chance: dict[str, float] = {}


class SelectionRecord(Record):
    """The selection metric, and the limits of ``harness.sweep.config.Constraints`` that are set."""

    task: str
    metric: str
    higher_is_better: bool
    constraints: dict[str, Any] = {}


class BankRecord(Record):
    """What a run remembers of a bank.

    Attributes:
        encoder: The encoder's id.
        modality: Which tower of it, where one id names two.
        digest: sha256 of its embeddings.
        weights: Digest of the encoder's weights that made them; empty where nothing was loaded.
    """

    encoder: str
    modality: Literal["image", "text", "tokens"]
    digest: str
    weights: str = ""


class ShownList(Record):
    """What one connector finds for a caption.

    Attributes:
        label: Its method.
        image: Its image encoder.
        text: Its text encoder.
        seed: Its seed.
        rank: Place of the caption's own image, 1 is best.
        first: Rows of the first images, the nearest first.
    """

    label: str
    image: str
    text: str
    seed: int
    rank: int
    first: list[int]


class ShownCaption(Record):
    """A test caption, the row of its own image, and what each connector finds for it."""

    caption: str
    own: int
    lists: list[ShownList]


class Examples(Record):
    """Test captions and pictures to look at.

    Attributes:
        images: Test images that are searched.
        captions: Captions taken at equal distances, whatever is found for them.
        worst: Captions whose own image the first connector places worst.
        pictures: Image row -> a small JPEG, in base64.
    """

    schema_version: int = SCHEMA
    images: int
    captions: list[ShownCaption]
    worst: list[ShownCaption]
    pictures: dict[int, str]


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
    """Kind and settings of the connector, direction and loss."""
    smoke: bool = False
    """One step per cell: the run shows that everything works, and its numbers mean nothing."""
    repeated_captions: int = 0
    """Test captions that word for word belong to more than one test image."""
    rows: dict[str, int]
    """``{"train": images, "validation": images, "test": images, "captions": all captions, "skipped": images}``."""
    cells: list[PlannedCell]
    banks: dict[str, BankRecord] = {}
    """Bank (``<dataset> <modality> <encoder id>``) -> its content, so that one that is made again is noticed."""
    elapsed_s: float | None = None
    provenance: dict[str, Any] = {}
