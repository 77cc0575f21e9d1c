"""``harness export``: one pair's connector as a folder that ``harness.load`` opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.common import Json, RunFolder, open_run, stdout
from harness.contract.pairs import Pair
from harness.errors import HarnessError
from harness.run.store import RunStore


def export(
    run: RunFolder,
    method: Annotated[str, typer.Option(help="Label of the method.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    pair: Annotated[str, typer.Option(metavar="IMAGE TEXT | best", help="The pair; best: the method's pick.")] = "best",
    text: Annotated[str | None, typer.Argument(hidden=True, show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; none: the best on validation.")] = None,
    to: Annotated[
        str, typer.Option(help="folder; hub: ready for the Hugging Face hub; onnx: with connector.onnx beside.")
    ] = "folder",
    as_json: Json = False,
) -> None:
    """Write the connector (safetensors), config.json and a model card of one pair.

    Examples: harness export quickstart --method polished --out model; harness export quickstart --method ape --pair
    packaged:efficientnet_lite0 packaged:minilm_l6 --seed 1 --out model; harness export quickstart --method ape --to hub
    --out model
    """
    store = open_run(run)
    # The shell hands over `--pair IMAGE TEXT` as an option with one value and one more argument.
    if (pair == "best") != (text is None):
        raise HarnessError("--pair takes an image encoder and a text encoder, or best", fix="--pair IMAGE TEXT")
    from harness.export.folder import export_connector

    chosen = (pair, text) if text else _picked(store, method)
    from reports.intervals import connector_intervals

    folder = export_connector(store, method, chosen, out, seed=seed, intervals=connector_intervals, form=to)
    if as_json:
        stdout.print_json(json.dumps({"folder": str(folder), "method": method, "pair": chosen}))
    else:
        stdout.print(f"wrote {folder}", soft_wrap=True, markup=False, highlight=False)


def _picked(store: RunStore, method: str) -> Pair:
    from reports.picks import picked_pair

    return picked_pair(store, method)
