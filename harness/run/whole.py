"""The files of a run by name, and each read whole or called damaged."""

import io
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from harness.contract.files import UNREADABLE
from harness.contract.record import Record
from harness.contract.sealed import NotWhole, sha256_of, text_of, unsealed
from harness.errors import Damaged, HarnessError
from harness.run.blobs import Blobs, NoBlob
from harness.run.records import SCHEMA, CellGlance, CellRecord, StoredFile
from harness.sweep.planned import PlannedCell

RANKS, CONNECTORS, STATE = "npz", "safetensors", "state.safetensors"
"""Endings of a cell's files beside its record."""

AGAIN = "the next harness sweep makes it again"
AGAIN_BY_CONTENT = "harness sweep SWEEP --verify makes it again"
R = TypeVar("R", bound=Record)


def record_name(key: str) -> str:
    """The record of a cell."""
    return f"cells/{key}.json"


def file_name(key: str, ending: str) -> str:
    """A file of a cell."""
    return f"{'cells' if ending == RANKS else 'connectors'}/{key}.{ending}"


def log_name(key: str) -> str:
    """What a cell's method said."""
    return f"logs/{key}.txt"


def attempt_name(key: str) -> str:
    """The note of an attempt at a cell."""
    return f"attempts/{key}.json"


def damaged(blobs: Blobs, name: str, what: str) -> Damaged:
    """The error about a file, with what makes it again."""
    fix = AGAIN_BY_CONTENT if name.startswith("connectors/") else AGAIN
    return Damaged(what, where=f"{blobs.where}/{name}", fix=fix)


def parsed(blobs: Blobs, model: type[R], name: str) -> R:
    """Read a record.

    Raises:
        NoBlob: There is none.
        Damaged: It is not what was written.
        HarnessError: It is of another schema.
    """
    try:
        data = unsealed(blobs.get(name))
    except NotWhole as error:
        raise damaged(blobs, name, str(error)) from error
    schema = data.get("schema_version", SCHEMA)
    if isinstance(schema, int) and schema != SCHEMA:
        age = "an older" if schema < SCHEMA else "a newer"
        what = f"is of schema {schema}, from {age} version; this one reads {SCHEMA}"
        raise HarnessError(what, where=f"{blobs.where}/{name}", fix="make a new run under another name")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        # A damaged name may hold anything, and an error is one line.
        parts = [str(part) for part in first["loc"]]
        field = ".".join(part if part.isprintable() else ascii(part) for part in parts)
        raise damaged(blobs, name, f"field {field}: {first['msg']}") from error


def optional(blobs: Blobs, name: str) -> bytes | None:
    """A blob's content; None where there is none."""
    try:
        return blobs.get(name)
    except NoBlob:
        return None


def glanced(blobs: Blobs, name: str) -> CellGlance | None:
    """The gist of a cell's record; None where it takes more than a glance to say what there is.

    Raises:
        NoBlob: There is none.
    """
    try:
        text = text_of(blobs.get(name))
        found = None if text is None else CellGlance.model_validate_json(text)
    except (NotWhole, ValidationError):
        return None
    return found if found and found.schema_version == SCHEMA else None


def check_is_of(blobs: Blobs, record: CellRecord | CellGlance, key: str, cell: PlannedCell | None) -> None:
    """Compare a record with what it must be of.

    Raises:
        Damaged: It is of another cell, or lacks metrics.
    """
    name = record_name(key)
    if record.key != key:
        raise damaged(blobs, name, f"is the record of another cell ({record.key[:12]})")
    if cell is not None and (record.seed, sorted(record.pairs)) != (cell.seed, sorted(cell.pairs)):
        raise damaged(blobs, name, "is the record of other pairs or of another seed")
    measured = {(entry.image, entry.text) for entry in record.metrics}
    measured |= {(entry.image, entry.text) for entry in record.lost}
    if record.status == "done" and measured != set(record.pairs):
        raise damaged(blobs, name, f"has metrics of {len(measured)} of {len(record.pairs)} pairs")


def compare(blobs: Blobs, name: str, data: bytes | None, expected: StoredFile | None) -> None:
    """Compare a file with what its record says of it, if it says anything.

    Raises:
        Damaged: It is gone or another.
    """
    if expected is None:
        return
    if data is None:
        raise damaged(blobs, name, "is gone")
    if len(data) != expected.bytes:
        raise damaged(blobs, name, f"holds {len(data)} bytes of {expected.bytes}")
    if sha256_of(data) != expected.sha256:
        raise damaged(blobs, name, "does not hold what was written: its checksum is another")


def arrays_of(
    blobs: Blobs, name: str, data: bytes, wanted: Callable[[str], bool] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file.

    Args:
        blobs: Where it lies.
        name: Its name.
        data: Its content.
        wanted: Which arrays to read; None: all.

    Raises:
        Damaged: It cannot be read.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {array: arrays[array] for array in arrays.files if wanted is None or wanted(array)}
    except UNREADABLE as error:
        raise damaged(blobs, name, f"cannot be read: {error}") from error


def npz_of(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The inverse of ``arrays_of``."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
