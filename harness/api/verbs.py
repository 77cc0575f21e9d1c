"""``harness.sweep`` and ``harness.pick``: the verbs of the command line as functions."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from harness.api.runs import OpenRun
from harness.data.healing import heal_banks
from harness.errors import HarnessError
from harness.export.folder import check_free, export_connector
from harness.export.stitched import StitchedModel
from harness.run.backends.base import backend_for
from harness.run.execute import prepare, run_missing
from harness.run.lock import RunLock
from harness.run.picked import PickRecord
from harness.run.picking import Limits, Ran
from harness.run.picking import pick as run_pick
from harness.run.records import CellRecord
from harness.run.stage_runs import Unheard, model_folder, run_stage
from harness.run.stages import Stage
from harness.run.store import RunStore
from harness.storage.places import is_url, joined
from harness.sweep.config import Sweep
from harness.sweep.loading import load_sweep, sweep_of
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep
from reports.intervals import connector_intervals

Source: TypeAlias = str | Path | Mapping[str, Any]
"""A sweep file, or what one would hold."""


@dataclass(frozen=True)
class Picked:
    """What ``harness.pick`` came to.

    Attributes:
        record: The pair, the stages and the costs.
        folder: The exported model.
    """

    record: PickRecord
    folder: Path

    @property
    def pair(self) -> tuple[str, str]:
        """(image encoder, text encoder)."""
        return self.record.pair

    def load(self, *, device: str = "cpu") -> StitchedModel:
        """The model: two encoders and the connector between them."""
        return StitchedModel.load(self.folder, device=device)


class _Heard(Unheard):
    def __init__(self, told: Callable[[CellRecord], None]) -> None:
        self._told = told

    def finished(self, record: CellRecord) -> None:
        self._told(record)


def sweep(
    source: Source,
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    storage: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    backend: str = "ray",
    address: str | None = None,
    told: Callable[[CellRecord], None] | None = None,
) -> OpenRun:
    """Run what a sweep's store lacks, as ``harness sweep`` does, and write its report.

    Args:
        source: A sweep file, or a mapping with the fields of one; its relative paths start in the current folder.
        methods: Run only these labels' cells; None: all.
        seeds: In the place of the file's.
        storage: In the place of the file's, from the current folder.
        overrides: Field (``methods.ape.epochs``) to value.
        backend: ``ray`` or ``serial``.
        address: Ray cluster to join; None: one on this machine.
        told: Hears of every cell that ends.

    Returns:
        The run. Cells that failed are in its records; the same call again tries them again.

    Raises:
        LockHeld: Another sweep of the run is going on.
        HarnessError: Bad input, in one line.

    Warns:
        UserWarning: A file was damaged; it has been set aside and made again.
    """
    config = config_of(source, seeds, storage, overrides)
    if unknown := [label for label in methods or () if label not in config.methods]:
        raise HarnessError(f"unknown method {unknown[0]!r}", fix=f"known: {', '.join(config.methods)}")
    plan = make_plan(ResolvedSweep(config))
    chosen = list(methods if methods is not None else config.methods)
    backend_for(backend, plan, chosen)  # it may refuse, before anything is embedded
    store = RunStore(config.run_place)
    with RunLock(store.blobs) as lock:
        damaged = heal_banks(plan.resolved.banks.values())
        todo = prepare(plan, store, _extract, chosen, lock=lock)
        for line in (*damaged, *todo.healed):
            warnings.warn(line, stacklevel=2)
        if todo.cells:
            listener = Unheard() if told is None else _Heard(told)
            run_missing(plan, store, todo, listener, backend=backend, address=address, lock=lock)
    run = OpenRun(store.where)
    run.report()
    return run


def pick(
    source: Source,
    *,
    out: str | Path | None = None,
    flops: float | None = None,
    seconds: float | None = None,
    seeds: Sequence[int] | None = None,
    storage: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    backend: str = "serial",
    address: str | None = None,
) -> Picked:
    """Find the pair to stitch and make its connector, as ``harness pick`` does.

    Args:
        source: A sweep file, or a mapping with the fields of one.
        out: Folder for the model, which must hold nothing; None: below the storage, or ``models`` of the current folder
            where that is a bucket.
        flops: What may be spent, embedding included.
        seconds: The same in seconds.
        seeds: In the place of the file's; the first one counts.
        storage: In the place of the file's.
        overrides: Field (``pick.at_most_gap``) to value.
        backend: ``serial`` or ``ray``.
        address: Ray cluster to join; None: one on this machine.

    Raises:
        harness.run.picking.StageFailed: The cell of a stage failed.
        HarnessError: Bad input, in one line.
    """
    config = config_of(source, seeds, storage, overrides)
    if out is not None:
        check_free(Path(out))

    def run(stage: Stage, plan: Plan) -> Ran:
        del stage
        return run_stage(plan, _extract, backend=backend, address=address, told=warnings.warn)

    record = run_pick(config, run, Limits(flops=flops, seconds=seconds))
    last = RunStore(joined(config.storage_place, record.run))
    folder = model_folder(config, record.run) if out is None else Path(out)
    if out is not None or not folder.exists():
        folder = export_connector(last, record.label, record.pair, folder, intervals=connector_intervals)
    return Picked(record, folder)


def config_of(
    source: Source,
    seeds: Sequence[int] | None = None,
    storage: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Sweep:
    """The checked sweep of a file or mapping, with what is given in the place of its fields."""
    given = dict(overrides or {})
    if seeds is not None:
        given["seeds"] = list(seeds)
    if storage is not None:
        given["storage"] = str(storage) if is_url(storage) else str(Path(storage).expanduser().resolve())
    sets = [f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}" for key, value in given.items()]
    sets = [text.removesuffix("...").strip() for text in sets]
    if isinstance(source, Mapping):
        copied = yaml.safe_load(yaml.safe_dump(dict(source)))
        return sweep_of(copied, Path.cwd() / "sweep", overrides=sets)
    return load_sweep(Path(source), overrides=sets)


def _extract(resolved: ResolvedSweep) -> object:
    return resolved.extraction.missing(list(resolved.banks.values()))
