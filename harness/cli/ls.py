"""``harness ls``: what there is to name in a sweep, and which runs there are."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from harness.cli.common import Json, stdout


class What(StrEnum):
    """Things to list."""

    encoders = "encoders"
    datasets = "datasets"
    methods = "methods"
    tasks = "tasks"
    sweeps = "sweeps"
    runs = "runs"


def ls(
    what: Annotated[What, typer.Argument(help="What to list.", show_default=False)],
    as_json: Json = False,
    storage: Annotated[Path, typer.Option(help="Where runs lie.")] = Path("runs"),
) -> None:
    """List encoders, datasets, methods, tasks, sweeps or runs."""
    rows = {
        What.encoders: _encoders,
        What.datasets: _datasets,
        What.methods: _methods,
        What.tasks: _tasks,
        What.sweeps: _sweeps,
        What.runs: lambda: _runs(storage),
    }[what]()
    if as_json:
        stdout.print_json(json.dumps(rows))
        return
    if not rows:
        stdout.print(f"no {what}")
        return
    table = Table()
    for header in rows[0]:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    stdout.print(table)


def _shown(value: object) -> str:
    """A value in a table."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value) if value is not None else "-"


def first_line(obj: object) -> str:
    """The first line of what a class says of itself."""
    return (obj.__doc__ or "").strip().partition("\n")[0]


def _encoders() -> list[dict[str, Any]]:
    from harness.encoders.base import SCHEMES

    rows = []
    for scheme in sorted(SCHEMES.names(), key=lambda name: (name != "packaged", name)):
        cls = SCHEMES.get(scheme)
        for modality in ("image", "text"):
            names = cls().names(modality)
            rows += [{"name": f"{scheme}:{name}", "modality": modality, "scheme": scheme} for name in names]
    return rows


def _datasets() -> list[dict[str, Any]]:
    from harness.data.base import DATASETS

    return [{"name": name, "about": first_line(DATASETS.get(name))} for name in DATASETS.names()]


def _methods() -> list[dict[str, Any]]:
    from harness.contract.method import METHODS, Recommended

    rows = []
    for name in METHODS.names():
        cls = METHODS.get(name)
        promises = list(cls.recommended_for) if isinstance(cls, Recommended) else []
        facts = {"name": name, "kind": cls.kind, "version": cls.version}
        rows.append(facts | {"recommended_for": promises, "about": first_line(cls)})
    return rows


def _tasks() -> list[dict[str, Any]]:
    from harness.tasks.base import TASKS

    found = {name: TASKS.get(name) for name in TASKS.names()}
    return [{"name": n, "metrics": ", ".join(task.metrics), "about": first_line(task)} for n, task in found.items()]


def _sweeps() -> list[dict[str, Any]]:
    folders = [Path("sweeps"), Path(__file__).parents[2] / "sweeps"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    rows = []
    for path in sorted(folder.glob("*.yaml")) if folder else ():
        first = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()
        rows.append({"name": path.stem, "path": str(path), "about": first})
    return rows


def _runs(storage: Path) -> list[dict[str, Any]]:
    from harness.errors import HarnessError
    from harness.run.store import RunStore

    rows = []
    for path in sorted(storage.glob("*/manifest.json")):
        store = RunStore(str(path.parent))
        try:
            manifest = store.manifest()
        except HarnessError as error:
            rows.append({"name": path.parent.name, "path": str(path.parent), "cells": None, "finished": str(error)})
            continue
        finished = len(store.finished(cell.key for cell in manifest.cells))
        rows.append(
            {"name": manifest.name, "path": str(path.parent), "cells": len(manifest.cells), "finished": finished}
        )
    return rows
