"""What a method cost: its ledgers per seed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from harness.contract.ledger import PHASES
from harness.run.records import CellRecord, Manifest
from reports.rundata import MethodData
from reports.schema import Flops, Spent

T = TypeVar("T")


@dataclass(frozen=True)
class MethodCost:
    """What a method cost per seed: the sum over a seed's cells, averaged over seeds.

    Attributes:
        flops: By phase.
        seconds: Part -> device-seconds, adding up to ``wall_s``: sections of ``fit``, the rest of it, the runner's
            evaluation and what is outside of both.
        wall_s: Seconds inside the cells x GPUs (or CPUs) held.
        device_s: Seconds inside fit.
        batch_size: The same in all cells, or None.
        pairs_per_step: The same in all cells, or None.
        updates_per_pair: Mean over pairs.
        samples_per_pair: Mean over pairs.
        trained_params: Sum over a seed's cells.
        complete: Every cell of the seeds counted here has a record. If not, the sums are of a part and make no ratio.
        device: ``gpu`` or ``cpu``, whose seconds are counted; None without cells, or where they ran on both.
        unfinished: Cells counted here that failed, timed out or diverged: they may have spent less than a whole one.
        training_flops: Forward and backward products of training (connector, logits, hypernet) per seed.
    """

    flops: Flops = field(default_factory=Flops)
    seconds: dict[str, float] = field(default_factory=dict)
    wall_s: float | None = None
    device_s: float | None = None
    batch_size: int | None = None
    pairs_per_step: int | None = None
    updates_per_pair: float | None = None
    samples_per_pair: float | None = None
    trained_params: int | None = None
    complete: bool = False
    device: str | None = None
    unfinished: int = 0
    training_flops: float = 0.0

    @property
    def budget(self) -> Spent:
        """The budget that stands beside every ratio."""
        return Spent(
            batch_size=self.batch_size,
            updates_per_pair=self.updates_per_pair,
            samples_per_pair=self.samples_per_pair,
            flops=self.flops.total,
        )


def held(record: CellRecord) -> float:
    """Devices held: GPUs where there are any, else CPUs."""
    return record.gpus or record.cpus


def _parts(record: CellRecord) -> dict[str, float]:
    """A cell's device-seconds without overlap: the ledger's sections lie inside ``fit``, except the runner's own."""
    spent = dict(record.ledger.seconds)
    fit, runner = spent.pop("fit", record.device_s), spent.pop("runner_eval", 0.0)
    wasted = spent.pop("wasted", 0.0)
    spent["rest of fit"] = max(0.0, fit - sum(spent.values()))
    spent["runner_eval"] = runner
    spent["wasted"] = wasted
    spent["outside"] = max(0.0, record.wall_s - fit - runner - wasted)
    return {name: value * held(record) for name, value in spent.items()}


def cost_of(data: MethodData, manifest: Manifest) -> MethodCost:
    """Average over the seeds whose cells all have a record; over those begun when none is complete."""
    encode = _sum(encoder.encode_flops for encoder in (*manifest.image_encoders, *manifest.text_encoders))
    seeds = [seed for seed in manifest.seeds if data.complete(seed)]
    complete = bool(seeds)
    seeds = seeds or [seed for seed in manifest.seeds if data.of_seed(seed)]
    records = [record for seed in seeds for record in data.of_seed(seed)]
    if not records:
        return MethodCost(Flops(encode=encode))
    n = len(seeds)

    def per_seed(values: Iterable[float]) -> float:
        return sum(values) / n

    def per_pair(name: str) -> float:
        done = [record for record in records if record.status == "done"] or records
        return float(np.average([getattr(r, name) for r in done], weights=[max(1, len(r.pairs)) for r in done]))

    phases = {phase: per_seed(r.ledger.flops.get(phase, 0.0) for r in records) for phase in (*PHASES, "runner_eval")}
    parts = [_parts(record) for record in records]
    return MethodCost(
        flops=Flops(total=per_seed(r.ledger.total for r in records), encode=encode, **phases),
        seconds={
            name: per_seed(p.get(name, 0.0) for p in parts) for name in dict.fromkeys(n for p in parts for n in p)
        },
        wall_s=per_seed(r.wall_s * held(r) for r in records),
        device_s=per_seed(r.device_s for r in records),
        batch_size=_common(r.batch_size for r in records if r.status == "done"),
        pairs_per_step=_common(r.pairs_per_step for r in records if r.status == "done"),
        updates_per_pair=per_pair("updates_per_pair"),
        samples_per_pair=per_pair("samples_per_pair"),
        trained_params=round(per_seed(r.trained_params for r in records)),
        complete=complete,
        device=_common("gpu" if r.gpus else "cpu" for r in records),
        unfinished=sum(r.status != "done" for r in records),
        training_flops=sum(phases[phase] for phase in ("connector", "logits", "hypernet")),
    )


def ratio(top: float | None, bottom: float | None) -> float | None:
    """Reference / method; None when either is unknown or the method cost nothing."""
    return top / bottom if top is not None and bottom else None


def seconds_ratio(reference: MethodCost, cost: MethodCost, top: float | None, bottom: float | None) -> float | None:
    """Ratio of seconds; None between a CPU's and a GPU's, which are not the same thing."""
    alike = cost.device is not None and cost.device == reference.device
    return ratio(top, bottom) if alike else None


def _common(values: Iterable[T]) -> T | None:
    seen = set(values)
    return seen.pop() if len(seen) == 1 else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
