"""What a plan writes down: cells, and the facts about encoders. Light enough for a report to read."""

from typing import Literal

from harness.contract.record import Latency, Record


class PlannedCell(Record):
    """One schedulable unit of work of the plan.

    Attributes:
        key: sha256 of what changes its numbers.
        label: The method's label in the sweep file.
        seed: The seed.
        pairs: ``[(image id, text id)]``.
        cpus: CPUs held while it runs.
        gpus: GPUs held.
        rung: Of a method that stops trailing pairs, from 0; else None.
    """

    key: str
    label: str
    seed: int
    pairs: list[tuple[str, str]]
    cpus: float
    gpus: float
    rung: int | None = None


class EncoderRecord(Record):
    """Facts about one encoder of the run. ``encode_flops`` and ``encode_s`` cover all rows of the dataset."""

    id: str
    modality: Literal["image", "text", "tokens"]
    dim: int
    params: int | None = None
    license: str | None = None
    revision: str = ""
    flops_per_sample: float | None = None
    encode_flops: float | None = None
    encode_s: float | None = None
    latency: Latency | None = None
