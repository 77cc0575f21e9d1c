"""A first sweep file: what a table's columns most likely are, and the commented text of a whole file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.data.tables import read_table
from harness.errors import HarnessError

COLUMNS: Mapping[str, Sequence[str]] = {
    "image": ("image", "path", "image_path", "file", "file_name", "filename", "filepath", "img"),
    "captions": ("caption", "captions", "text", "sentence", "sentences", "title", "description"),
    "label": ("label", "class", "category"),
    "group": ("group",),
    "split_column": ("split",),
}
"""Field of a manifest -> names that its column usually has, the likeliest first."""

NEEDED = ("image", "captions")

BATCH = 128
"""Samples of an update, where there are as many training images."""

TEMPLATE = """\
# harness sweep {file}
# Before: harness validate {file} finds mistakes, harness plan {file} says what it costs. Who wants one good pair
# and not the whole grid: harness pick {file}. Every field: docs/configuration.md, or harness ls method NAME.
name: {name}                # the run's folder below storage

# What is embedded: pictures with captions. They are split by image; methods never see the test part.
data:
{data}
# Encoders, as scheme:name. harness ls encoders vit_small lists those of a name, with dimension, parameters and license.
image_encoders:
{images}
text_encoders:
{texts}
# What is trained for each pair: 0 hidden layers is linear; {{hidden_layers: 1, width: 1024}} is an MLP.
connector: {{hidden_layers: 0}}

# What connectors are measured on, and the metric that pairs are picked by (on validation data).
tasks:
  - {{kind: retrieval}}
selection: {{task: retrieval, metric: text_to_image_r5}}

methods:
  # The grid: every pair's connector trained by itself, each at the best of three learning rates. The others are
  # compared with it; without it the report says where the methods agree and which pairs to train next.
  ape: {{epochs: 30, batch_size: {batch}, lr: [2.5e-3, 1.0e-2, 4.0e-2]}}
  # One hypernetwork that predicts the connectors of all pairs.
  hyma: {{epochs: 30, batch_size: {batch}, pairs_per_step: {step}, lr: 4.0e-3}}
  # A closed form and a few gradient steps, for every pair; and a race for the best pair alone.
  polished: {{batch_size: {batch}}}
  winner: {{batch_size: {batch}}}
reference: ape

seeds: [0, 1, 2]          # one seed cannot tell how sure a ranking is
storage: runs             # banks and runs lie here; what is finished there is never done again
"""


OPENMOJI = "openmoji"
"""The pictures that come with the quickstart's packages."""


def batch_for(rows: int) -> int:
    """Samples of an update for so many training images: two updates an epoch at least."""
    return BATCH if rows >= 2 * BATCH else max(rows // 2, 2)


def data_part(answer: str) -> dict[str, Any]:
    """The ``data`` part of a sweep file for a table of pictures and captions, or for ``openmoji``; paths are absolute.

    Raises:
        HarnessError: As ``table_data``.
    """
    if answer == OPENMOJI:
        split = {"train": 0.65, "validation": 0.15, "test": 0.2, "seed": 0}
        return {"kind": "packaged", "name": OPENMOJI, "split": split}
    part = table_data(Path(answer).expanduser())
    return part | {"file": str(Path(answer).expanduser().resolve())}


def table_data(table: Path) -> dict[str, Any]:
    """The ``data`` part of a sweep file for a table of pictures and captions, with what its columns most likely are.

    Raises:
        HarnessError: The table cannot be read, or has no column that looks like pictures or like captions.
    """
    if not table.is_file():
        raise HarnessError("no such file", where=str(table), fix="a CSV, JSONL or Parquet file, one picture a row")
    columns, _ = read_table(table)
    by_lower = {name.lower(): name for name in reversed(list(columns))}
    found: dict[str, Any] = {}
    for field, usual in COLUMNS.items():
        name = next((by_lower[one] for one in usual if one in by_lower), None)
        if name is not None:
            found[field] = [name] if field == "captions" else name
        elif field in NEEDED:
            what = f"no column looks like {field}: {', '.join(columns)}"
            raise HarnessError(
                what, where=str(table), fix=f"call it {usual[0]!r}, or name it as data.{field} in a file"
            )
    return {"kind": "manifest", "file": str(table), **found}


def first_file(
    *, file: Path, name: str, data: Mapping[str, Any], images: Sequence[str], texts: Sequence[str], batch: int = BATCH
) -> str:
    """The commented text of a sweep file.

    Args:
        file: Where it will lie, for the commands in its comments.
        name: Name of the run.
        data: Its ``data`` part.
        images: Image encoders.
        texts: Text encoders.
        batch: Samples of an update.
    """
    return TEMPLATE.format(
        file=file,
        name=name,
        data=_indented(yaml.safe_dump(dict(data), sort_keys=False)),
        images=_listed(images),
        texts=_listed(texts),
        batch=batch,
        step=min(4, len(images) * len(texts)),
    )


def run_name(text: str) -> str:
    """A run's name made of any text."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).lstrip("._-") or "sweep"


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def _listed(names: Sequence[str]) -> str:
    return "".join(f"  - {yaml.safe_dump(name, width=1000).splitlines()[0]}\n" for name in names)
