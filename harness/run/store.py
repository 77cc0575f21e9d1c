"""A run in its store: its manifest and its finished cells, read and written over blobs.

Layout (``harness.run.records.SCHEMA``)::

    manifest.json                       the plan: resolved sweep, cells, encoders, provenance
    cells/<key>.json                    one finished cell (CellRecord)
    cells/<key>.npz                     what each test query gave, and the unit that it belongs to
    connectors/<key>.safetensors        the connectors of a finished cell
    connectors/<key>.state.safetensors  what a rung cell's next rung resumes from
    examples.json                       test captions with the pictures that connectors find for them, for the report
    attempts/<key>.json                 what an unfinished attempt at a cell has spent so far
    checkpoints/<key>.*                 where its trainings go on (harness.run.keeping)
    lock.json                           who sweeps the run now (harness.run.lock)
    damaged/                            what was set aside; nothing here is ever read

What the store guarantees, to whoever writes a command, a backend or another kind of blobs:

**A record that is there is complete.** A cell's arrays are written before its record, each whole (``Blobs``), and a
cell is forgotten in the other order. Whatever process dies, a reader finds a whole cell or none.

**What is read is what was written.** Every JSON file carries a checksum of itself, and a record those of the cell's
files, beside the cell's key. ``record``, ``manifest``, ``queries``, ``connectors`` and ``state`` compare before they
return, and raise ``Damaged`` where that fails: a file that is cut short, empty, flipped, of another cell, or gone.
Files of older versions carry no checksums; of these only what cannot be parsed is noticed.

**What is damaged is never deleted and never read.** ``set_aside`` moves it below ``damaged/``; the cell is then missing
like one that has not run, and the next sweep makes it again. Files of another schema are not damage: they are refused.

**Finished cells are nobody's.** Any number of processes may read while others write; of two that write the same cell
the later one stands, which is the same cell. The manifest belongs to the process that holds the run's lock.

**Nothing is cached.** Every call reads the blobs, so a long-lived store sees what other processes have written. It
remembers checksums, and reads a record again before it calls a file damaged; ranks that ``survey`` has compared are not
compared by it again until their record names other ones; those that it is asked to keep are read once.

Nothing here imports torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from harness.contract.ledger_record import LedgerRecord
from harness.contract.sealed import sealed, sha256_of
from harness.errors import Damaged, HarnessError, StorageFailed
from harness.run.blobs import Blobs, BlobsUnder, NoBlob, blobs_at
from harness.run.records import CellRecord, Examples, Manifest, StoredFile
from harness.run.whole import (
    CONNECTORS,
    RANKS,
    STATE,
    arrays_of,
    attempt_name,
    compare,
    damaged,
    file_name,
    npz_of,
    parsed,
    record_name,
)
from harness.sweep.planned import PlannedCell

MANIFEST, EXAMPLES, PROBE = "manifest.json", "examples.json", "probe"
PROBE_BYTES = 64 * 2**10
"""About what a small cell takes: a full disk often has room for a few bytes."""


@dataclass(frozen=True)
class Survey:
    """What there is of some cells.

    Attributes:
        records: Whole ones by key, in the order that was asked for.
        damaged: Key -> what is wrong with a cell that is there and not whole. It counts as missing.
    """

    records: dict[str, CellRecord]
    damaged: dict[str, Damaged]


class RunStore:
    """One run. Opening it reads nothing.

    Args:
        where: ``<storage>/<name>``: a folder, or a URL.
        blobs: What it is read through; by default what ``where`` says.
    """

    def __init__(self, where: str, blobs: Blobs | None = None) -> None:
        self.blobs = blobs or blobs_at(where)
        self._files: dict[str, Mapping[str, StoredFile]] = {}
        self._compared: dict[str, StoredFile | None] = {}
        self._kept: dict[str, bytes] | None = None

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
            Damaged: Its manifest is.
            HarnessError: No run here, or one of another schema.
        """
        try:
            return parsed(self.blobs, Manifest, MANIFEST)
        except NoBlob as error:
            fix = "harness ls runs; harness sweep SWEEP makes one"
            raise HarnessError("no run here", where=self.where, fix=fix) from error

    def check_there(self) -> None:
        """Fail where the run was, and is no more: writing would make its folder anew, with a part of the run in it.

        Raises:
            StorageFailed: There is no run here.
        """
        if not self.planned():
            fix = "mount it again; the same command goes on where this one stopped"
            raise StorageFailed("the run has vanished while it was swept", where=self.where, fix=fix)

    def check_writable(self) -> None:
        """Fail where nothing can be written.

        Raises:
            StorageFailed: A full disk, a read-only storage, or no run any more.
        """
        self.check_there()
        self.blobs.put(PROBE, bytes(PROBE_BYTES))
        self.blobs.delete(PROBE)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the plan."""
        self.blobs.put(MANIFEST, sealed(manifest))

    def examples(self) -> Examples | None:
        """Captions and pictures to look at; None where there are none.

        Raises:
            Damaged: They are.
        """
        return parsed(self.blobs, Examples, EXAMPLES) if self.blobs.exists(EXAMPLES) else None

    def write_examples(self, examples: Examples) -> None:
        """Replace them."""
        self.blobs.put(EXAMPLES, sealed(examples))

    def finished(self, keys: Iterable[str] | None = None) -> set[str]:
        """Those of the keys (None: all) whose record is there, whatever their status."""
        there = {name[len("cells/") : -len(".json")] for name in self.blobs.list("cells/") if name.endswith(".json")}
        return there if keys is None else there & set(keys)

    def has(self, key: str) -> bool:
        """Whether a cell's record is there."""
        return self.blobs.exists(record_name(key))

    def record(self, key: str, cell: PlannedCell | None = None) -> CellRecord:
        """Read one finished cell.

        Args:
            key: Its key.
            cell: The cell that it must be of.

        Raises:
            NoBlob: There is none.
            Damaged: It is not what was written, or not of this cell.
            HarnessError: It is of another schema.
        """
        name = record_name(key)
        record = parsed(self.blobs, CellRecord, name)
        if record.key != key:
            raise damaged(self.blobs, name, f"is the record of another cell ({record.key[:12]})")
        if cell is not None and (record.seed, sorted(record.pairs)) != (cell.seed, sorted(cell.pairs)):
            raise damaged(self.blobs, name, "is the record of other pairs or of another seed")
        measured = {(entry.image, entry.text) for entry in record.metrics}
        measured |= {(entry.image, entry.text) for entry in record.lost}
        if record.status == "done" and measured != set(record.pairs):
            raise damaged(self.blobs, name, f"has metrics of {len(measured)} of {len(record.pairs)} pairs")
        self._files[key] = record.files
        return record

    def records(self, manifest: Manifest) -> dict[str, CellRecord]:
        """Finished cells of the plan that are whole, by key, in plan order."""
        return self.survey(manifest.cells).records

    def survey(self, cells: Iterable[PlannedCell], *, connectors: bool = False, keep: bool = False) -> Survey:
        """Read finished cells, and name those that are not whole.

        Records and ranks are compared with their checksums; connectors only by their size, because reading all those of
        a large grid takes long.

        Args:
            cells: The cells.
            connectors: Compare the content of connectors too.
            keep: Keep the ranks that are read, as they are stored, for the next ``queries`` of each cell: a report
                reads every file once.

        Raises:
            HarnessError: A record is of another schema, or the storage cannot be read.
        """
        sizes = self.blobs.sizes("cells/") | self.blobs.sizes("connectors/")
        found = Survey({}, {})
        self._kept = {} if keep else None
        for cell in cells:
            if record_name(cell.key) not in sizes or cell.key in found.records:
                continue
            try:
                record = self.record(cell.key, cell)
                wrong = list(self.damaged_files(record, sizes, connectors=connectors))
            except NoBlob:  # another process has dropped it in the meantime
                continue
            except Damaged as damage:
                found.damaged[cell.key] = damage
                continue
            if wrong:
                found.damaged[cell.key] = wrong[0]
            else:
                found.records[cell.key] = record
        return found

    def damaged_files(self, record: CellRecord, sizes: Mapping[str, int], *, connectors: bool) -> Iterator[Damaged]:
        """Compare a cell's files with what its record says of them.

        Args:
            record: The cell.
            sizes: Bytes of the files that are there.
            connectors: Compare the content of connectors too, and of ranks although that has been done.

        Yields:
            Each that is gone or another.
        """
        for ending in dict.fromkeys((*record.files, RANKS)):
            name, expected = file_name(record.key, ending), record.files.get(ending)
            if name not in sizes and (ending == STATE or expected is None):
                continue  # dropped when no rung needed it any more; or the cell has no ranks
            known = not connectors and name in self._compared and self._compared[name] == expected
            content = not known and (ending == RANKS or connectors)
            same = expected is None or sizes.get(name) == expected.bytes
            if not content and same:
                continue
            try:  # read anew: it may have been written since it was listed
                data = self._optional(name)
                compare(self.blobs, name, data, expected)
                if expected is None and data is not None:
                    arrays_of(self.blobs, name, data)  # of an older version; a zip file has a checksum of each array
                self._compared[name] = expected
                if self._kept is not None and data is not None and ending == RANKS:
                    self._kept[name] = data
            except Damaged as damage:
                yield damage

    def queries(self, key: str) -> dict[str, np.ndarray]:
        """What each test query gave.

        Returns:
            ``"<pair number>/<task label>/<metric>"`` -> ``[queries]`` numbers, and for every task
            ``"<task label>/<query>/unit"`` -> ``[queries]`` int32 unit that each query belongs to (what a bootstrap
            resamples). Empty when the cell has none.

        Raises:
            Damaged: The file is, or it is gone.
        """
        kept = self._kept.pop(file_name(key, RANKS), None) if self._kept else None
        data = self._whole(key, RANKS) if kept is None else kept
        return {} if data is None else arrays_of(self.blobs, file_name(key, RANKS), data)

    def connectors(self, key: str) -> bytes | None:
        """The safetensors file of a cell's connectors; None when it has none.

        Raises:
            Damaged: The file is, or it is gone.
        """
        return self._whole(key, CONNECTORS)

    def state(self, key: str) -> bytes | None:
        """The safetensors file of what a rung cell left to its next rung; None when it left nothing usable."""
        try:
            return self._whole(key, STATE)
        except Damaged:
            return None  # the rung then starts again

    def drop_state(self, key: str) -> None:
        """Forget what a rung cell left to its next rung."""
        self.blobs.delete(file_name(key, STATE))

    def write_cell(
        self,
        record: CellRecord,
        queries: Mapping[str, np.ndarray] | None = None,
        connectors: bytes | None = None,
        state: bytes | None = None,
    ) -> CellRecord:
        """Write a finished cell: its arrays first, its record last, each whole.

        Args:
            record: The cell.
            queries: Arrays as ``queries`` returns them.
            connectors: A serialised safetensors file.
            state: Another one: what the pair's next rung resumes from.

        Returns:
            The record with the checksums of the files.

        Raises:
            StorageFailed: One cannot be written; the cell is then missing.
        """
        given = {STATE: state, CONNECTORS: connectors, RANKS: npz_of(queries) if queries else None}
        files = {ending: data for ending, data in given.items() if data is not None}
        for ending, data in files.items():
            self.blobs.put(file_name(record.key, ending), data)
        stored = {ending: StoredFile(sha256=sha256_of(data), bytes=len(data)) for ending, data in files.items()}
        record = record.model_copy(update={"files": stored})
        self.blobs.put(record_name(record.key), sealed(record))
        self.blobs.delete(attempt_name(record.key))
        return record

    def drop_cell(self, key: str) -> None:
        """Forget a cell, so that it is run again."""
        self.blobs.delete(record_name(key))
        for ending in (RANKS, CONNECTORS, STATE):
            self.blobs.delete(file_name(key, ending))

    def set_aside(self, name: str) -> None:
        """Move a blob below ``damaged/``, under a name that nobody reads; nothing happens when there is none."""
        data = self._optional(name)
        if data is not None:
            self.blobs.put(f"damaged/{name}.{sha256_of(data)[:8]}", data)
            self.blobs.delete(name)

    def set_aside_cell(self, key: str) -> None:
        """Set a damaged cell aside, so that it is run again; what its whole record says was spent is remembered."""
        try:
            spent = self.record(key).ledger
        except HarnessError:
            spent = None  # nobody knows any more
        if spent is not None and (spent.total or spent.seconds):
            self.note_attempt(key, spent)
        for name in (record_name(key), file_name(key, RANKS), file_name(key, CONNECTORS), file_name(key, STATE)):
            self.set_aside(name)

    def note_attempt(self, key: str, spent: LedgerRecord) -> None:
        """Remember what an attempt at a cell has spent so far, in case it never finishes."""
        self.blobs.put(attempt_name(key), sealed(spent))

    def lost_attempt(self, key: str) -> LedgerRecord | None:
        """What earlier attempts at a cell had spent that never finished; None when there were none."""
        try:
            return parsed(self.blobs, LedgerRecord, attempt_name(key))
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

    def _of(self, key: str) -> CellRecord | None:
        """A cell's record, for the checksums in it; None where it cannot be had."""
        try:
            return self.record(key)
        except (NoBlob, Damaged):
            return None

    def _whole(self, key: str, ending: str) -> bytes | None:
        """A file of a cell, compared with what the record says of it."""
        name, files = file_name(key, ending), self._files.get(key)
        data = self._optional(name)
        try:
            compare(self.blobs, name, data, (files or {}).get(ending))
        except Damaged:
            files = None
        if files is None:  # not known yet, or the cell has been written anew
            data, record = self._optional(name), self._of(key)
            compare(self.blobs, name, data, record.files.get(ending) if record else None)
        return data
