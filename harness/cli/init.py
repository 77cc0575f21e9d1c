"""``harness init``: from nothing to a sweep file that ``harness validate`` passes."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from harness.cli.common import quiet_libraries, stdout
from harness.cli.given import names_of
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.sweep.resolve import ResolvedSweep

ASKED = {
    "data": ("Table of pictures and captions (CSV, JSONL or Parquet), or openmoji", "openmoji"),
    "image_encoders": ("Image encoders, comma-separated", "packaged:efficientnet_lite0,packaged:efficientnet_lite1"),
    "text_encoders": ("Text encoders, comma-separated", "packaged:minilm_l6,packaged:wordllama"),
}


def init(
    file: Annotated[Path, typer.Argument(help="The sweep file to write.")] = Path("sweep.yaml"),
    data: Annotated[str | None, typer.Option(help="Table of pictures and captions, or openmoji.")] = None,
    image_encoders: Annotated[str | None, typer.Option(help="Comma-separated scheme:name.")] = None,
    text_encoders: Annotated[str | None, typer.Option(help="Comma-separated scheme:name.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; the file's by default.")] = None,
) -> None:
    """Write a commented sweep file, checked as ``harness validate`` checks it. In a terminal it asks what is missing.

    Example: harness init my.yaml --data pairs.csv --image-encoders timm:vit_small_patch16_224 --text-encoders
    st:all-MiniLM-L6-v2
    """
    if file.exists():
        raise HarnessError("is there already", where=str(file), fix="name another file")
    if not file.parent.is_dir():
        raise HarnessError("no such folder", where=str(file.parent), fix="make it first")
    given = {"data": data, "image_encoders": image_encoders, "text_encoders": text_encoders}
    answers = {key: _answer(key, value) for key, value in given.items()}
    quiet_libraries()
    from harness.sweep.starting import BATCH, batch_for, first_file, run_name

    images, texts = names_of(answers["image_encoders"]), names_of(answers["text_encoders"])
    part = _data(answers["data"], file)
    label = name if name is not None else run_name(file.stem)
    write = functools.partial(first_file, file=file, name=label, data=part, images=images, texts=texts)
    text = write()
    resolved = _resolved(text, file)
    rows = len(resolved.index.splits["train"])
    if batch_for(rows) != BATCH:
        text = write(batch=batch_for(rows))
        resolved = _resolved(text, file)
    from harness.sweep.estimates import check
    from harness.sweep.plan import make_plan

    check(make_plan(resolved))
    file.write_text(text, encoding="utf-8")
    stdout.print(
        f"wrote {file}: {len(images)} image x {len(texts)} text encoders, {rows} training images\n"
        f"next: harness plan {file}, then harness pick {file} (one pair) or harness sweep {file} (all of them)",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _answer(key: str, given: str | None) -> str:
    if given is not None:
        return given
    question, usual = ASKED[key]
    if not sys.stdin.isatty():
        raise HarnessError("is missing", where=f"--{key.replace('_', '-')}", fix=f"e.g. {usual}")
    return typer.prompt(question, default=usual)


def _data(answer: str, file: Path) -> dict[str, Any]:
    from harness.sweep.starting import data_part

    part = data_part(answer)
    if "file" in part:
        with suppress(ValueError):  # another drive
            # What the file says is relative to its own folder.
            part["file"] = os.path.relpath(part["file"], file.parent.resolve())
    return part


def _resolved(text: str, file: Path) -> ResolvedSweep:
    """The text as the sweep file that it will be."""
    from harness.sweep.loading import sweep_of
    from harness.sweep.resolve import ResolvedSweep

    return ResolvedSweep(sweep_of(yaml.safe_load(text), file.absolute()))
