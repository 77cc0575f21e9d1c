"""``harness pick``: the pair to stitch, and its connector, without embedding everything."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from harness.cli.common import (
    Seeds,
    Set,
    Storage,
    interruptible,
    open_sweep,
    overrides_of,
    quiet_libraries,
    stderr,
    stdout,
    store_of,
)
from harness.cli.pick_plan import print_plan
from harness.cli.stages import StageRunner
from harness.errors import HarnessError
from harness.storage.places import is_url, joined

if TYPE_CHECKING:
    from harness.run.picked import PickRecord
    from harness.run.picking import Limits
    from harness.run.store import RunStore
    from harness.sweep.config import Sweep

PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

Names = Annotated[str | None, typer.Option(help="Comma-separated encoders, instead of the sweep file's.")]


def pick(
    sweep_file: Annotated[
        Path | None, typer.Argument(help="The sweep file; or give --data and encoders.", show_default=False)
    ] = None,
    image_encoders: Names = None,
    text_encoders: Names = None,
    data: Annotated[Path | None, typer.Option(help="Table of pictures and captions: CSV, JSONL or Parquet.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the model; none: below the storage, or models/ here for a bucket.")
    ] = None,
    within: Annotated[str | None, typer.Option(help="What may be spent: FLOPs (2P) or time (600s, 10m, 2h).")] = None,
    at_most_gap: Annotated[
        float | None, typer.Option(help="What is not worth more rows, steps or another pair, in the metric's units.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only print what it will cost at most, by stages.")] = False,
    seeds: Seeds = None,
    storage: Storage = None,
    set_: Set = None,
    backend: Annotated[str, typer.Option(help="serial, or ray.")] = "serial",
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; none: one on this machine.")] = None,
) -> None:
    """Find the pair to stitch and make its connector, embedding only as many rows as that takes.

    Example: harness pick sweeps/quickstart.yaml --out model
    """
    limits = limits_of(within)
    sides = {"image_encoders": image_encoders, "text_encoders": text_encoders}
    sets = [f"{side}={yaml.safe_dump(names_of(names)).strip()}" for side, names in sides.items() if names is not None]
    sets += [*(set_ or []), *([] if at_most_gap is None else [f"pick.at_most_gap={at_most_gap}"])]
    if sweep_file is None:
        config, written = sweep_of_options(sides, data, overrides_of(sets, seeds, storage or "runs"))
    elif data is not None:
        raise HarnessError("give a sweep file or --data, not both", where="--data")
    else:
        config, written = open_sweep(sweep_file, sets, seeds, storage), ""
    if plan:
        print_plan(config)
        return
    from harness.export.folder import check_free
    from harness.run.backends.base import BACKENDS
    from harness.run.picking import StageFailed
    from harness.run.picking import pick as run_pick

    BACKENDS.get(backend)
    if out is not None:
        check_free(out)
    runner = StageRunner(stderr, backend, address)
    try:
        with interruptible():
            record = run_pick(config, runner, limits, runner.report)
    except StageFailed as failed:
        stderr.print(f"failed: {failed}; the same command tries again", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    folder = _hand_over(config, record, out)
    if sweep_file is None:
        store = _store(config)
        store.blobs.put("sweep.yaml", f"# Written by harness pick.\n{written}".encode())
        sweep_file = joined(store.where, "sweep.yaml")
    grid = f"harness sweep {shlex.quote(_here(sweep_file))}"
    ahead = f'next: harness.load("{_here(folder)}") in Python opens it; {grid} runs the whole grid'
    if is_url(sweep_file):
        ahead += " (fetch the sweep file first)"
    stdout.print(ahead, soft_wrap=True, markup=False, highlight=False)


def _store(config: Sweep) -> RunStore:
    return store_of(config.model_copy(update={"name": f"{config.name}-pick"}))


def _hand_over(config: Sweep, record: PickRecord, out: Path | None) -> Path:
    """Export the model, write the page and print the verdict; returns the model's folder."""
    from harness.export.folder import export_connector
    from harness.run.stage_runs import model_folder
    from reports.intervals import connector_intervals
    from reports.pick_page import write_pick

    store = _store(config)
    last = store_of(config.model_copy(update={"name": record.run}))
    folder = out or model_folder(config, record.run)
    if out is not None or not folder.exists():
        folder = export_connector(last, record.label, record.pair, folder, intervals=connector_intervals)
    for sentence in write_pick(record, last, store.under("report"), str(folder)):
        stdout.print(sentence, soft_wrap=True, markup=False, highlight=False)
    where = _here(folder), _here(joined(store.where, "report/index.html"))
    stdout.print("model: {}\nreport: {}".format(*where), soft_wrap=True, markup=False, highlight=False)
    return folder


def _here(place: Path | str) -> str:
    """The path from the current folder, where it lies below; a URL as it is."""
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(place)


def limits_of(text: str | None) -> Limits:
    """``600s``, ``10m`` or ``2h``: time; ``2.5P`` or ``3e15``: FLOPs.

    Raises:
        HarnessError: Neither.
    """
    from harness.run.picking import Limits

    if text is None:
        return Limits()
    number = text.strip().removesuffix("s").removesuffix("FLOP").strip() if "FLOP" in text else text.strip()
    unit = number[-1:]
    size = SECONDS.get(unit) or PREFIXES.get(unit)
    try:
        limit = float(number[:-1] if size else number) * (size or 1.0)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise HarnessError(f"{text!r} is no limit", where="--within", fix="e.g. 2.5P (FLOPs), 600s or 2h")
    return Limits(seconds=limit) if unit in SECONDS else Limits(flops=limit)


def sweep_of_options(sides: dict[str, str | None], data: Path | None, overrides: list[str]) -> tuple[Sweep, str]:
    """The sweep that the options stand for, and how it would be written in a file.

    Args:
        sides: ``image_encoders`` and ``text_encoders``, each comma-separated.
        data: The table of pictures and captions.
        overrides: ``field=value`` of the other options.

    Raises:
        HarnessError: Something is missing or wrong.
    """
    if data is None or None in sides.values():
        fix = "harness pick SWEEP, or --image-encoders ... --text-encoders ... --data pairs.csv"
        raise HarnessError("neither a sweep file nor data with encoders of both sides", fix=fix)
    quiet_libraries()
    from harness.data.load import load_dataset
    from harness.sweep.loading import sweep_of
    from harness.sweep.starting import run_name, table_data

    table = table_data(data.absolute())
    rows = len(load_dataset(table).index().splits["train"])
    values = {
        "name": run_name(data.stem),
        "data": table,
        "methods": {"ape": {"epochs": 30, "batch_size": min(128, rows), "lr": [2.5e-3, 1.0e-2, 4.0e-2]}},
    }
    config = sweep_of(values, Path("options"), overrides=overrides)
    return config, yaml.safe_dump(values, sort_keys=False)


def names_of(text: str) -> list[str]:
    """Comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]
