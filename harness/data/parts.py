"""Rows of a bank in the making: parts, each a file of embeddings beside the numbers of the rows that it holds.

A bank grows part by part, in whatever rows are asked for first. No row is embedded twice, and what has been written
outlives an interruption.
"""

import contextlib
import hashlib
import io
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int64, Num, Shaped

from harness.contract.files import UNREADABLE, write_atomic
from harness.contract.record import Record
from harness.data.bank import BankDtype
from harness.errors import Damaged, HarnessError

PARTS, SOURCE = "parts", "source.json"
EMBED = "run harness embed"
Rows = Int64[np.ndarray, " _"]
"""Numbers of rows of a bank."""


class SourceNotes(Record):
    """What the parts are made by, kept beside them.

    Attributes:
        flops: FLOPs of one sample, if known.
        weights: Digest of the encoder's weights.
        packages: Versions of what was loaded where they were made.
    """

    flops: float | None = None
    weights: str = ""
    packages: dict[str, str] = {}


class PartNotes(Record):
    """What one part took, and what it held when it was written.

    Attributes:
        seconds: Seconds of embedding it, reading its samples included.
        batches: Device -> the seconds per sample of each of its batches.
        digest: sha256 of its embeddings.
    """

    seconds: float = 0.0
    batches: dict[str, list[float]] = {}
    digest: str = ""


@dataclass(frozen=True)
class BankPart:
    """One finished part.

    Attributes:
        file: Its embeddings, ``[rows, dim]``; its other files have the same stem.
        rows: Rows of the bank that it holds, ascending.
    """

    BESIDE: ClassVar[tuple[str, ...]] = (".rows", ".notes")
    """Endings of the files that lie beside the embeddings."""

    file: Path
    rows: Rows

    @cached_property
    def array(self) -> Shaped[np.ndarray, "rows dim"]:
        """Its embeddings, memory-mapped."""
        return np.load(self.file, mmap_mode="r", allow_pickle=False)

    def check(self) -> None:
        """Fail if its content is not what was written.

        Raises:
            Damaged: It is not.
        """
        if _digest(self.array) != self.notes.digest:
            fix = "harness embed, or the next sweep, makes it again"
            raise Damaged("content does not match its digest", where=str(self.file), fix=fix)

    @property
    def notes(self) -> PartNotes:
        """What it took; nothing where that was lost."""
        with contextlib.suppress(OSError, ValueError):
            return PartNotes.model_validate_json(self.file.with_suffix(".notes").read_bytes())
        return PartNotes()


@dataclass(frozen=True)
class Parts:
    """The parts of one bank.

    Attributes:
        folder: Where they lie.
        dim: Columns.
        dtype: How rows are stored.
    """

    folder: Path
    dim: int
    dtype: BankDtype

    @property
    def source(self) -> SourceNotes | None:
        """What the parts are made by; None before there are any."""
        with contextlib.suppress(OSError, ValueError):
            return SourceNotes.model_validate_json((self.folder / SOURCE).read_bytes())
        return None

    def begin(self, source: SourceNotes) -> None:
        """Note what the parts are made by. Parts of other weights go: their rows must not stand beside these."""
        before = self.source
        if before and before.weights != source.weights:
            for file in self.folder.glob("part-*.npy"):
                file.unlink(missing_ok=True)
        write_atomic(self.folder / SOURCE, source.model_dump_json().encode())

    def read(self) -> list[BankPart]:
        """Every part that is whole, in the order of their first rows. A torn one counts as not there."""
        shaped = [
            part
            for part in parts_in(self.folder)
            if part.array.shape == (len(part.rows), self.dim) and part.array.dtype == np.dtype(self.dtype)
        ]
        return sorted(shaped, key=lambda part: int(part.rows[0]))

    def missing(self, wanted: Rows) -> Rows:
        """The wanted rows that no part holds, ascending."""
        held = [part.rows for part in self.read()]
        return np.setdiff1d(wanted, np.concatenate(held)) if held else np.unique(wanted)

    def add(self, rows: Rows, array: Num[np.ndarray, "rows dim"], notes: PartNotes) -> None:
        """Write a part; the embeddings come last, so that a part which is there is complete."""
        file = self.folder / _name_of(rows)
        write_atomic(file.with_suffix(".rows"), _npy(rows))
        written = notes.model_copy(update={"digest": _digest(array)})
        write_atomic(file.with_suffix(".notes"), written.model_dump_json().encode())
        write_atomic(file, _npy(array))

    def held(self) -> "Held":
        """Where every row that has been embedded lies now, its content checked.

        Raises:
            Damaged: A part does not hold what was written.
        """
        parts = self.read()
        for part in parts:
            part.check()
        return Held(self.folder, parts, self.dim, self.dtype)

    def seconds(self) -> float:
        """Seconds of embedding all rows so far, over all interrupted attempts."""
        return sum(part.notes.seconds for part in self.read())

    def latency(self, device: str) -> float | None:
        """Median seconds per sample over the batches that this device has run; None where nothing ran."""
        batches = [second for part in self.read() for second in part.notes.batches.get(device, ())]
        return statistics.median(batches) if batches else None


def parts_in(folder: Path) -> list[BankPart]:
    """Parts of a folder whose files can be read, in no order."""
    found = []
    for file in folder.glob("part-*.npy"):
        try:
            part = BankPart(file, np.load(file.with_suffix(".rows"), allow_pickle=False))
            if part.rows.dtype == np.int64 and _name_of(part.rows) == file.name and part.array.ndim == 2:
                found.append(part)
        except UNREADABLE:
            continue
    return found


class Held:
    """Where rows lie, looked up once: what is embedded later is not seen.

    Args:
        folder: Of the parts.
        parts: The parts.
        dim: Columns.
        dtype: How rows are stored.
    """

    def __init__(self, folder: Path, parts: Sequence[BankPart], dim: int, dtype: BankDtype) -> None:
        self._folder, self._parts, self._dim, self._dtype = folder, parts, dim, dtype
        top = 1 + max([int(part.rows[-1]) for part in parts], default=-1)
        self._part_of, self._place = np.full(top, -1), np.zeros(top, dtype=np.int64)
        for number, part in enumerate(parts):
            self._part_of[part.rows], self._place[part.rows] = number, np.arange(len(part.rows))

    def blocks(self, rows: Rows, size: int) -> Iterator[Shaped[np.ndarray, "block dim"]]:
        """Embeddings of these rows in this order, in blocks of at most ``size`` rows.

        Raises:
            HarnessError: A row is in no part.
        """
        for start in range(0, len(rows), size):
            own = rows[start : start + size]
            there = own < len(self._part_of)
            there[there] = self._part_of[own[there]] >= 0
            if not there.all():
                row = int(own[~there][0])
                raise HarnessError(f"row {row} has not been embedded", where=str(self._folder), fix=EMBED)
            block = np.empty((len(own), self._dim), dtype=self._dtype)
            part_of, place = self._part_of[own], self._place[own]
            for number in np.unique(part_of):
                at = part_of == number
                block[at] = self._parts[number].array[place[at]]
            yield block


def divided(rows: Sequence[int] | Rows, size: int) -> list[Rows]:
    """Rows in runs of at most ``size``: what one part holds."""
    whole = np.asarray(rows, dtype=np.int64)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _name_of(rows: Rows) -> str:
    """By its rows: a part whose list of rows is damaged has another name than it should."""
    return f"part-{hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:16]}.npy"


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
