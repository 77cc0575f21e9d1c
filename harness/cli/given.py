"""A sweep from the command line: a file, or data and encoders in the place of one, and the file that says the same."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml

from harness.cli.common import open_sweep, overrides_of, quiet_libraries
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.run.store import RunStore
    from harness.sweep.config import Sweep

MaybeFile = Annotated[
    Path | None, typer.Argument(help="The sweep file; or give --data and encoders.", show_default=False)
]
Names = Annotated[str | None, typer.Option(help="Comma-separated encoders, instead of the sweep file's.")]
Data = Annotated[str | None, typer.Option(help="Pictures and captions (CSV, JSONL or Parquet), or openmoji.")]
NAME = "sweep.yaml"
"""What the file is called that says what the options said, in the run's folder."""


def given_sweep(
    verb: Literal["pick", "sweep"],
    sweep_file: Path | None,
    sides: Mapping[str, str | None],
    data: str | None,
    sets: Sequence[str],
    seeds: str | None,
    storage: str | None,
) -> tuple[Sweep, str]:
    """The checked sweep, and how it would be written in a file: empty where it is one.

    Args:
        verb: Whose command it is.
        sweep_file: The file; None: the options stand for one.
        sides: ``image_encoders`` and ``text_encoders``, each comma-separated; beside a file they stand in its place.
        data: A table of pictures and captions, or ``openmoji``.
        sets: ``field=value``, as after ``--set``.
        seeds: Seeds in the place of the file's.
        storage: Storage in the place of the file's; ``runs`` without a file.

    Raises:
        HarnessError: Something is missing or wrong.
    """
    encoders = [f"{side}={json.dumps(names_of(names))}" for side, names in sides.items() if names is not None]
    if sweep_file is not None:
        if data is not None:
            raise HarnessError("give a sweep file or --data, not both", where="--data")
        return open_sweep(sweep_file, [*encoders, *sets], seeds, storage), ""
    if data is None or None in sides.values():
        fix = f"harness {verb} SWEEP, or --image-encoders ... --text-encoders ... --data pairs.csv"
        raise HarnessError("neither a sweep file nor data with encoders of both sides", fix=fix)
    quiet_libraries()
    from harness.data.load import load_dataset
    from harness.sweep.loading import sweep_of
    from harness.sweep.starting import data_part, run_name

    part = data_part(data)
    rows = len(load_dataset(part).index().splits["train"])
    values: dict[str, Any] = {"name": run_name(Path(data).stem), "data": part}
    values |= _first(rows, sides) if verb == "sweep" else _grid(rows)
    overrides = overrides_of([*encoders, *sets], seeds, storage or "runs")
    config = sweep_of(values, Path("options"), overrides=overrides)
    return config, yaml.safe_dump(values, sort_keys=False)


def keep_file(store: RunStore, written: str, verb: str) -> str:
    """Write the file that says what the options said, beside the run's cells; returns the command that goes on."""
    store.blobs.put(NAME, f"# Written by harness {verb}.\n{written}".encode())
    where = Path(store.where) / NAME if "://" not in store.where else f"{store.where}/{NAME}"
    return f"harness sweep {shlex.quote(str(here(where) if isinstance(where, Path) else where))}"


def here(path: Path) -> Path:
    """The path from the current folder, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def names_of(text: str) -> list[str]:
    """Comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _first(rows: int, sides: Mapping[str, str | None]) -> dict[str, Any]:
    """What ``harness init`` would write for these encoders, but for its data and encoders."""
    from harness.sweep.starting import batch_for, first_file

    images, texts = (names_of(names or "") for names in sides.values())
    text = first_file(file=Path(NAME), name="any", data={}, images=images, texts=texts, batch=batch_for(rows))
    written = yaml.safe_load(text)
    return {key: written[key] for key in ("connector", "tasks", "selection", "methods", "reference", "seeds")}


def _grid(rows: int) -> dict[str, Any]:
    """The grid that a pick is compared with."""
    return {"methods": {"ape": {"epochs": 30, "batch_size": min(128, rows), "lr": [2.5e-3, 1.0e-2, 4.0e-2]}}}
