"""``harness pick``: the pair to stitch, and its connector, without embedding everything."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import Json, Seeds, Set, Storage, interruptible, stderr, stdout, store_of
from harness.cli.given import Data, MaybeFile, Names, given_sweep, here, keep_file
from harness.cli.pick_plan import print_plan
from harness.cli.stages import runner_of
from harness.cli.voice import JsonLinesOption, QuietOption
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.run.picked import PickRecord
    from harness.run.picking import Limits
    from harness.run.store import RunStore
    from harness.sweep.config import Sweep

PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def pick(
    context: typer.Context,
    sweep_file: MaybeFile = None,
    image_encoders: Names = None,
    text_encoders: Names = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the model; none: below the storage.")] = None,
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
    quiet: QuietOption = False,
    json_lines: JsonLinesOption = False,
    as_json: Json = False,
) -> None:
    """Find the pair to stitch and make its connector, embedding only as many rows as that takes.

    Examples: harness pick sweeps/quickstart.yaml --out model; harness pick --data pairs.csv --image-encoders
    timm:vit_small_patch16_224 --text-encoders st:all-MiniLM-L6-v2
    """
    limits = limits_of(within)
    sides = {"image_encoders": image_encoders, "text_encoders": text_encoders}
    sets = [*(set_ or []), *([] if at_most_gap is None else [f"pick.at_most_gap={at_most_gap}"])]
    config, written = given_sweep("pick", sweep_file, sides, data, sets, seeds, storage)
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
    runner = runner_of(context, quiet or as_json, json_lines, backend, address)
    try:
        with interruptible():
            record = run_pick(config, runner, limits, runner.report)
    except StageFailed as failed:
        stderr.print(f"failed: {failed}; the same command tries again", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    folder, said = _hand_over(config, record, out)
    if written:
        grid = keep_file(_store(config), written, "pick")
    else:
        grid = f"harness sweep {shlex.quote(str(here(Path(sweep_file or ''))))}"
    if as_json:
        found = {"model": str(here(folder)), "verdict": said, "pick": record.model_dump(mode="json")}
        stdout.print_json(json.dumps(found))
        return
    if not runner.loud:
        runner.picked(record, str(folder), f"{_store(config).where}/report/index.html", said)
        return
    page = here(Path(_store(config).where)) / "report" / "index.html"
    ahead = f'next: harness.load("{here(folder)}") in Python opens it; {grid} runs the whole grid'
    for line in (*said, f"model: {here(folder)}", f"report: {page}", ahead):
        stdout.print(line, soft_wrap=True, markup=False, highlight=False)


def _store(config: Sweep) -> RunStore:
    return store_of(config.model_copy(update={"name": f"{config.name}-pick"}))


def _hand_over(config: Sweep, record: PickRecord, out: Path | None) -> tuple[Path, list[str]]:
    """Export the model and write the page; returns the model's folder and the verdict."""
    from harness.export.folder import export_connector
    from reports.intervals import connector_intervals
    from reports.pick_page import write_pick

    store = _store(config)
    last = store_of(config.model_copy(update={"name": record.run}))
    folder = out or Path(store.where) / "models" / record.run
    if out is not None or not folder.exists():
        folder = export_connector(last, record.label, record.pair, folder, intervals=connector_intervals)
    return folder, list(write_pick(record, last, store.under("report"), str(folder)))


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
