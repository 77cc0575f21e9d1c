"""Which cells of a run are whole: records and the files that they name, compared with what was written."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.errors import Damaged
from harness.run.blobs import Blobs, NoBlob
from harness.run.records import CellGlance, CellRecord, StoredFile
from harness.run.whole import RANKS, STATE, arrays_of, compare, file_name, optional, record_name
from harness.sweep.planned import PlannedCell

Read = TypeVar("Read", CellRecord, CellGlance)


@dataclass(frozen=True)
class Survey(Generic[Read]):
    """What there is of some cells.

    Attributes:
        records: Whole ones by key, in the order that was asked for.
        damaged: Key -> what is wrong with a cell that is there and not whole. It counts as missing.
    """

    records: dict[str, Read]
    damaged: dict[str, Damaged]


class Surveyor:
    """Reads the records of cells, and compares their files; remembers what it has compared.

    Args:
        blobs: The run's.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._compared: dict[str, StoredFile | None] = {}
        self._kept: dict[str, bytes] | None = None

    def kept(self, name: str) -> bytes | None:
        """What the last survey has kept of a file, once."""
        return self._kept.pop(name, None) if self._kept else None

    def survey(
        self,
        cells: Iterable[PlannedCell],
        read: Callable[[str, PlannedCell], Read],
        *,
        connectors: bool = False,
        keep: bool = False,
    ) -> Survey[Read]:
        """See ``RunStore.survey``.

        Args:
            cells: The cells.
            read: Reads the record of a cell's key, and checks that it is the cell's.
            connectors: Compare the content of connectors too.
            keep: Keep the ranks that are read.
        """
        sizes = self._blobs.sizes("cells/") | self._blobs.sizes("connectors/")
        found: Survey[Read] = Survey({}, {})
        self._kept = {} if keep else None
        for cell in cells:
            if record_name(cell.key) not in sizes or cell.key in found.records:
                continue
            try:
                record = read(cell.key, cell)
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

    def damaged_files(
        self, record: CellRecord | CellGlance, sizes: Mapping[str, int], *, connectors: bool
    ) -> Iterator[Damaged]:
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
                data = optional(self._blobs, name)
                compare(self._blobs, name, data, expected)
                if expected is None and data is not None:
                    arrays_of(self._blobs, name, data)  # of an older version; a zip file has a checksum of each array
                self._compared[name] = expected
                if self._kept is not None and data is not None and ending == RANKS:
                    self._kept[name] = data
            except Damaged as damage:
                yield damage
