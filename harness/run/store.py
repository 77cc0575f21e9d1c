"""A run in its store: its manifest and its finished cells, read and written over blobs.

Layout (``harness.run.records.SCHEMA``)::

    manifest.json                       the plan: resolved sweep, cells, encoders, provenance
    cells/<key>.json                    one finished cell (CellRecord)
    cells/<key>.npz                     what each test query gave, and the unit that it belongs to
    connectors/<key>.safetensors        the connectors of a finished cell
    connectors/<key>.state.safetensors  what a rung cell's next rung resumes from
    examples.json                       test captions with the pictures that connectors find for them, for the report
    attempts/<key>.json                 what an unfinished attempt at a cell has spent so far

A cell's arrays are written before its record, so a record that is there is complete. Nothing here imports torch.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from harness.contract.record import Record
from harness.errors import HarnessError
from harness.run.blobs import Blobs, BlobsUnder, NoBlob, blobs_at
from harness.run.records import SCHEMA, CellRecord, Examples, LedgerRecord, Manifest

MANIFEST, EXAMPLES = "manifest.json", "examples.json"
R = TypeVar("R", bound=Record)


class RunStore:
    """One run. Opening it reads nothing.

    Args:
        where: ``<storage>/<name>``: a folder, or a URL.
        blobs: What it is read through; by default what ``where`` says.
    """

    def __init__(self, where: str, blobs: Blobs | None = None) -> None:
        self.blobs = blobs or blobs_at(where)

    @property
    def where(self) -> str:
        """The place of the run, for people and for other processes."""
        return self.blobs.where

    def planned(self) -> bool:
        """Whether there is a run here."""
        return self.blobs.exists(MANIFEST)

    def manifest(self) -> Manifest:
        """Read the plan.

        Raises:
            HarnessError: No run here, or its manifest is damaged or of another schema.
        """
        try:
            return self._parse(Manifest, MANIFEST)
        except NoBlob as error:
            fix = "harness ls runs; harness sweep SWEEP makes one"
            raise HarnessError("no run here", where=self.where, fix=fix) from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the plan."""
        self.blobs.put(MANIFEST, manifest.model_dump_json(indent=1).encode())

    def examples(self) -> Examples | None:
        """Captions and pictures to look at; None where there are none.

        Raises:
            HarnessError: The file is damaged.
        """
        return self._parse(Examples, EXAMPLES) if self.blobs.exists(EXAMPLES) else None

    def write_examples(self, examples: Examples) -> None:
        """Replace them."""
        self.blobs.put(EXAMPLES, examples.model_dump_json().encode())

    def finished(self, keys: Iterable[str] | None = None) -> set[str]:
        """Those of the keys (None: all) whose record is there, whatever their status."""
        there = {name[len("cells/") : -len(".json")] for name in self.blobs.list("cells/") if name.endswith(".json")}
        return there if keys is None else there & set(keys)

    def has(self, key: str) -> bool:
        """Whether a cell's record is there."""
        return self.blobs.exists(_record(key))

    def record(self, key: str) -> CellRecord:
        """Read one finished cell.

        Raises:
            HarnessError: The record is missing or damaged.
        """
        return self._parse(CellRecord, _record(key))

    def records(self, manifest: Manifest) -> dict[str, CellRecord]:
        """All finished cells of the plan, by key, in plan order."""
        keys = self.finished(cell.key for cell in manifest.cells)
        return {cell.key: self.record(cell.key) for cell in manifest.cells if cell.key in keys}

    def queries(self, key: str) -> dict[str, np.ndarray]:
        """What each test query gave.

        Returns:
            ``"<pair number>/<task label>/<metric>"`` -> ``[queries]`` numbers, and for every task
            ``"<task label>/<query>/unit"`` -> ``[queries]`` int32 unit that each query belongs to (what a bootstrap
            resamples). Empty when the cell has none.

        Raises:
            HarnessError: The file is damaged.
        """
        name = f"cells/{key}.npz"
        try:
            data = self.blobs.get(name)
        except NoBlob:
            return {}
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return {array: arrays[array] for array in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            fix = "delete the cell's files and sweep again"
            raise HarnessError(f"cannot be read: {error}", where=f"{self.where}/{name}", fix=fix) from error

    def connectors(self, key: str) -> bytes | None:
        """The safetensors file of a cell's connectors; None when it has none."""
        return self._optional(f"connectors/{key}.safetensors")

    def state(self, key: str) -> bytes | None:
        """The safetensors file of what a rung cell left to its next rung; None when it left nothing."""
        return self._optional(f"connectors/{key}.state.safetensors")

    def drop_state(self, key: str) -> None:
        """Forget what a rung cell left to its next rung."""
        self.blobs.delete(f"connectors/{key}.state.safetensors")

    def write_cell(
        self,
        record: CellRecord,
        queries: Mapping[str, np.ndarray] | None = None,
        connectors: bytes | None = None,
        state: bytes | None = None,
    ) -> None:
        """Write a finished cell: its arrays first, its record last, each whole.

        Args:
            record: The cell.
            queries: Arrays as ``queries`` returns them.
            connectors: A serialised safetensors file.
            state: Another one: what the pair's next rung resumes from.
        """
        if state is not None:
            self.blobs.put(f"connectors/{record.key}.state.safetensors", state)
        if connectors is not None:
            self.blobs.put(f"connectors/{record.key}.safetensors", connectors)
        if queries:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **queries)  # type: ignore[arg-type]
            self.blobs.put(f"cells/{record.key}.npz", buffer.getvalue())
        self.blobs.put(_record(record.key), record.model_dump_json(indent=1).encode())
        self.blobs.delete(_attempt(record.key))

    def drop_cell(self, key: str) -> None:
        """Forget a cell, so that it is run again."""
        self.blobs.delete(_record(key))
        for name in (f"cells/{key}.npz", f"connectors/{key}.safetensors", f"connectors/{key}.state.safetensors"):
            self.blobs.delete(name)

    def note_attempt(self, key: str, spent: LedgerRecord) -> None:
        """Remember what an attempt at a cell has spent so far, in case it never finishes."""
        self.blobs.put(_attempt(key), spent.model_dump_json().encode())

    def lost_attempt(self, key: str) -> LedgerRecord | None:
        """What earlier attempts at a cell had spent that never finished; None when there were none."""
        try:
            return self._parse(LedgerRecord, _attempt(key))
        except HarnessError:
            return None

    def under(self, prefix: str) -> Blobs:
        """The blobs below a prefix, e.g. ``report``."""
        return BlobsUnder(self.blobs, prefix)

    def _optional(self, name: str) -> bytes | None:
        try:
            return self.blobs.get(name)
        except NoBlob:
            return None

    def _parse(self, model: type[R], name: str) -> R:
        where, again = f"{self.where}/{name}", "delete it, sweep again"
        try:
            data = json.loads(self.blobs.get(name))
        except ValueError as error:
            raise HarnessError(f"cannot be read: {error}", where=where, fix=again) from error
        if not isinstance(data, dict):
            raise HarnessError("is not a record", where=where, fix=again)
        schema = data.get("schema_version", SCHEMA)
        if schema != SCHEMA:
            age = "an older" if isinstance(schema, int) and schema < SCHEMA else "a newer"
            what = f"is of schema {schema}, from {age} version; this one reads {SCHEMA}"
            raise HarnessError(what, where=where, fix="make a new run under another name")
        try:
            return model.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise HarnessError(f"field {field}: {first['msg']}", where=where, fix=again) from error


def _record(key: str) -> str:
    return f"cells/{key}.json"


def _attempt(key: str) -> str:
    return f"attempts/{key}.json"
