"""``harness pick``: the pair to stitch, and its connector, without embedding everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import Seeds, Set, Storage, interruptible, open_sweep, stderr, stdout, store_of
from harness.cli.embed import extract_with_bars
from harness.cli.live import LiveLine
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.run.picking import Limits
    from harness.run.records import CellRecord
    from harness.sweep.config import Sweep
    from harness.sweep.plan import Plan

MARKS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


def pick(
    sweep_file: Annotated[
        Path | None, typer.Argument(help="The sweep file; or give --data and encoders.", show_default=False)
    ] = None,
    image_encoders: Annotated[str | None, typer.Option(help="Comma-separated, e.g. timm:resnet18,...")] = None,
    text_encoders: Annotated[str | None, typer.Option(help="Comma-separated, e.g. st:all-MiniLM-L12-v2,...")] = None,
    data: Annotated[Path | None, typer.Option(help="Table of pictures and captions (CSV, JSONL, Parquet).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the model; none: below the storage.")] = None,
    within: Annotated[str | None, typer.Option(help="Limit on what is spent: FLOPs (2P) or seconds (600s).")] = None,
    at_most_gap: Annotated[
        float | None, typer.Option(help="What is not worth more rows or another pair, in the metric's units.")
    ] = None,
    seeds: Seeds = None,
    storage: Storage = None,
    set_: Set = None,
    backend: Annotated[str, typer.Option(help="serial, or ray.")] = "serial",
    address: Annotated[str | None, typer.Option(help="Ray cluster to join; none: one on this machine.")] = None,
) -> None:
    """Find the pair to stitch and train its connector, embedding only as many rows as that takes.

    Example: harness pick sweeps/quickstart.yaml --out model
    """
    limits = limits_of(within)
    sets = list(set_ or []) + ([] if at_most_gap is None else [f"pick.at_most_gap={at_most_gap}"])
    config = _sweep(sweep_file, image_encoders, text_encoders, data, sets, seeds, storage)
    from reports.pick_page import write_pick

    from harness.export.folder import check_free, export_connector
    from harness.run.picking import pick as run_pick

    store = store_of(config.model_copy(update={"name": f"{config.name}-pick"}))
    folder = out or Path(store.where) / "model"
    if out is not None:
        check_free(out)
    with interruptible():
        record = run_pick(config, lambda plan: _run_stage(plan, backend, address), limits)
    last = store_of(config.model_copy(update={"name": record.run}))
    if out is not None or not folder.exists():
        folder = export_connector(last, record.label, record.pair, folder)
    answer = write_pick(record, last, store.under("report"), str(folder))
    for line in answer:
        stdout.print(line, soft_wrap=True, markup=False, highlight=False)
    stdout.print(f"model: {folder}\nreport: {store.where}/report/index.html", soft_wrap=True, markup=False)


def _run_stage(plan: Plan, backend: str, address: str | None) -> CellRecord:
    """Embed what the stage needs, and run its one cell if it has not run."""
    from harness.run.execute import prepare, run_missing

    store = store_of(plan.sweep)
    sides = f"{len(plan.resolved.images)} image x {len(plan.resolved.texts)} text encoders"
    rows = plan.resolved.index.splits
    stderr.print(f"{plan.sweep.name}: {sides}, {len(rows['train'])} training images", highlight=False)
    todo = prepare(plan, store, extract_with_bars)
    if todo.cells:
        with LiveLine(len(todo.cells), todo.done, plan.resolved.higher_is_better, stderr) as line:
            run_missing(plan, store, todo, line, backend=backend, address=address)
    (cell,) = plan.cells
    return store.record(cell.key)


def limits_of(text: str | None) -> Limits:
    """``600s`` or ``10m`` or ``2h``: seconds; ``2.5P`` or ``3e15``: FLOPs.

    Raises:
        HarnessError: Neither.
    """
    from harness.run.picking import Limits

    if text is None:
        return Limits()
    number, unit = text.strip().removesuffix("FLOPs").removesuffix("FLOP").strip(), 1.0
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}
    timed = number[-1:] in seconds
    if timed:
        number, unit = number[:-1], seconds[number[-1]]
    elif number[-1:] in MARKS:
        number, unit = number[:-1], MARKS[number[-1:]]
    try:
        limit = float(number) * unit
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise HarnessError(f"{text!r} is no limit", where="--within", fix="e.g. 2.5P (FLOPs), 600s or 2h")
    return Limits(seconds=limit) if timed else Limits(flops=limit)


def _sweep(
    file: Path | None,
    images: str | None,
    texts: str | None,
    data: Path | None,
    sets: list[str],
    seeds: str | None,
    storage: str | None,
) -> Sweep:
    """The sweep file's, or one made of the options."""
    if file is not None:
        if data is not None:
            raise HarnessError("give a sweep file or --data, not both", where="--data")
        sides = {"image_encoders": images, "text_encoders": texts}
        sets += [f"{side}=[{_quoted(names)}]" for side, names in sides.items() if names is not None]
        return open_sweep(file, sets, seeds, storage)
    if not (images and texts and data):
        fix = "harness pick SWEEP, or --image-encoders ... --text-encoders ... --data pairs.csv"
        raise HarnessError("neither a sweep file nor data with encoders of both sides", fix=fix)
    from harness.sweep.loading import sweep_of

    written = {
        "name": data.stem,
        "data": {"kind": "manifest", "file": str(data.expanduser().absolute())},
        "image_encoders": _names(images),
        "text_encoders": _names(texts),
        "methods": {"ape": {"epochs": 30, "batch_size": 128, "lr": [5e-3, 1e-2, 2e-2, 4e-2]}},
        "reference": "ape",
    }
    return sweep_of(written, sets, seeds, storage)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _quoted(text: str) -> str:
    return ", ".join(f'"{name}"' for name in _names(text))
