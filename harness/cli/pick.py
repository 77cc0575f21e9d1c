"""``harness pick``: the pair to stitch, and its connector, without embedding everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from harness.cli.common import Seeds, Set, Storage, interruptible, open_sweep, stderr, stdout, store_of
from harness.cli.embed import extract_with_bars
from harness.cli.live import LiveLine
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.run.picking import Limits
    from harness.run.records import CellRecord
    from harness.sweep.plan import Plan

PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

Names = Annotated[str | None, typer.Option(help="Comma-separated encoders, instead of the sweep file's.")]


def pick(
    sweep_file: Annotated[
        Path | None, typer.Argument(help="The sweep file; or give --data and encoders.", show_default=False)
    ] = None,
    image_encoders: Names = None,
    text_encoders: Names = None,
    data: Annotated[
        Path | None, typer.Option(help="Table of pictures and captions with columns path and caption.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the model; none: below the storage.")] = None,
    within: Annotated[str | None, typer.Option(help="What may be spent: FLOPs (2P) or time (600s, 10m, 2h).")] = None,
    at_most_gap: Annotated[
        float | None, typer.Option(help="What is not worth more rows, steps or another pair, in the metric's units.")
    ] = None,
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
    sets = [*(set_ or []), *([] if at_most_gap is None else [f"pick.at_most_gap={at_most_gap}"])]
    sides = {"image_encoders": image_encoders, "text_encoders": text_encoders}
    if sweep_file is None:
        sweep_file, storage = written_sweep(sides, data, storage)
    elif data is not None:
        raise HarnessError("give a sweep file or --data, not both", where="--data")
    sets += [f"{side}={yaml.safe_dump(names_of(names)).strip()}" for side, names in sides.items() if names is not None]
    config = open_sweep(sweep_file, sets, seeds, storage)
    from harness.export.folder import check_free, export_connector
    from harness.run.picking import pick as run_pick

    store = store_of(config.model_copy(update={"name": f"{config.name}-pick"}))
    if out is not None:
        check_free(out)
    with interruptible():
        record = run_pick(config, lambda plan: _run_stage(plan, backend, address), limits)
    last = store_of(config.model_copy(update={"name": record.run}))
    folder = out or Path(store.where) / "models" / record.run
    if out is not None or not folder.exists():
        folder = export_connector(last, record.label, record.pair, folder)
    from reports.pick_page import write_pick

    for sentence in write_pick(record, last, store.under("report"), str(folder)):
        stdout.print(sentence, soft_wrap=True, markup=False, highlight=False)
    stdout.print(f"model: {folder}\nreport: {store.where}/report/index.html", soft_wrap=True, markup=False)


def _run_stage(plan: Plan, backend: str, address: str | None) -> CellRecord:
    """Embed what the stage needs, and run its one cell if it has not run."""
    from harness.run.execute import prepare, run_missing

    store = store_of(plan.sweep)
    sides = f"{len(plan.resolved.images)} image x {len(plan.resolved.texts)} text encoders"
    splits = plan.resolved.index.splits
    rows = f"{len(splits['train'])} training and {len(splits['validation'])} validation images"
    stderr.print(f"{plan.sweep.name}: {sides}, {rows}", highlight=False, soft_wrap=True)
    todo = prepare(plan, store, extract_with_bars)
    if todo.cells:
        with LiveLine(len(todo.cells), todo.done, plan.resolved.higher_is_better, stderr) as line:
            run_missing(plan, store, todo, line, backend=backend, address=address)
    (cell,) = plan.cells
    return store.record(cell.key)


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


def written_sweep(sides: dict[str, str | None], data: Path | None, storage: str | None) -> tuple[Path, str]:
    """A sweep file made of the options, and the storage in which it lies.

    Args:
        sides: ``image_encoders`` and ``text_encoders``, each comma-separated.
        data: The table of pictures and captions.
        storage: As given; ``runs`` below the current folder by default.

    Raises:
        HarnessError: Something is missing.
    """
    if data is None or None in sides.values():
        fix = "harness pick SWEEP, or --image-encoders ... --text-encoders ... --data pairs.csv"
        raise HarnessError("neither a sweep file nor data with encoders of both sides", fix=fix)
    if not data.is_file():
        raise HarnessError("no such file", where=str(data), fix="a CSV, JSONL or Parquet file, one picture a row")
    written = {
        "name": "".join(c if c.isalnum() or c in "._-" else "-" for c in data.stem).lstrip("._-") or "data",
        "data": {
            "kind": "manifest",
            "file": str(data.absolute()),
            "image": "path",
            "captions": ["caption"],
            "root": str(data.absolute().parent),
        },
        **{side: names_of(names or "") for side, names in sides.items()},
        "methods": {"ape": {"epochs": 30, "batch_size": 128, "lr": [2.5e-3, 1.0e-2, 4.0e-2]}},
    }
    where = Path(storage or "runs")
    file = where / f"{written['name']}-pick" / "sweep.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# Written by harness pick.\n" + yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    return file, str(where)


def names_of(text: str) -> list[str]:
    """Comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]
