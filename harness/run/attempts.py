"""Work that was lost: what attempts at a cell had spent that never finished, or failed and were tried again.

An attempt notes every few seconds what it has spent. The next attempt finds the note, and what it says ends up in the
cell's ledger under ``wasted``, but for the part that a checkpoint has kept (``harness.run.keeping``): it is booked as
if it had been done now. A note is a lower bound: what was spent after it is not known.
"""

import time
from collections.abc import Collection
from contextlib import suppress

from harness.contract.ledger import Ledger
from harness.contract.ledger_record import NOTHING_SPENT, LedgerRecord
from harness.errors import Damaged, StorageFailed
from harness.run.store import RunStore

NOTE_EVERY_S = 5.0
"""Seconds between two notes of a running attempt."""

FIT, WASTED = "fit", "wasted"
CHECKPOINTS = "checkpoints/"


class Attempt:
    """One attempt at a cell.

    Args:
        store: The run.
        key: The cell's key.
        ledger: What this attempt books.

    Attributes:
        recovered_s: Seconds of the work of earlier attempts that this one goes on from.
    """

    def __init__(self, store: RunStore, key: str, ledger: Ledger) -> None:
        self._store, self._key, self._ledger = store, key, ledger
        self._lost = store.lost_attempt(key)
        self._start = self._noted = time.perf_counter()
        self.recovered_s = 0.0

    @property
    def follows(self) -> bool:
        """Whether there was an attempt before."""
        return self._lost is not None

    def recover(self, spent: LedgerRecord, seconds: float) -> None:
        """Say that a part of what earlier attempts had spent is not lost. It must be booked as this attempt's.

        Args:
            spent: What that part cost.
            seconds: Seconds inside ``fit`` that it took, which are booked here.
        """
        self.recovered_s += seconds
        self._ledger.add_seconds(FIT, seconds)
        if self._lost is not None:
            self._lost = self._lost.without(spent.model_copy(update={"seconds": {FIT: seconds}}))

    def begin(self) -> None:
        """Leave a note that says nothing yet: should the process end with the cell, the next sweep can tell."""
        if self._lost is None:
            with suppress(StorageFailed):
                self._store.check_there()
                self._store.note_attempt(self._key, NOTHING_SPENT)

    def note(self, *, now: bool = False) -> None:
        """Write down what has been spent, if the last note is old enough, or now."""
        at = time.perf_counter()
        if now or at - self._noted >= NOTE_EVERY_S:
            self._noted = at
            spent = LedgerRecord.of(self._ledger)
            own = spent.model_copy(update={"seconds": {FIT: at - self._start + self.recovered_s}})
            with suppress(StorageFailed):  # a note is worth no cell; its record will say that the disk is full
                self._store.check_there()
                self._store.note_attempt(self._key, own.plus(self._lost) if self._lost else own)

    def book_wasted(self) -> None:
        """Book what earlier attempts had spent. At the end, so that this attempt's curve starts at nothing."""
        if self._lost is not None and (self._lost.total or self._lost.seconds):
            self._ledger.add(WASTED, self._lost.total)
            self._ledger.seconds[WASTED] += sum(self._lost.seconds.get(name, 0.0) for name in (FIT, WASTED))


def checkpoints(store: RunStore, keys: Collection[str]) -> list[str]:
    """Names of what trainings of these cells have kept (``harness.run.keeping``)."""
    names = store.blobs.list(CHECKPOINTS)
    return [name for name in names if name[len(CHECKPOINTS) :].partition(".")[0] in keys]


def drop_checkpoints(store: RunStore, finished: Collection[str]) -> None:
    """Remove those of cells whose process died when they had ended, before it could."""
    for name in checkpoints(store, finished):
        store.blobs.delete(name)


def retire(store: RunStore, key: str) -> None:
    """Make room for another attempt at a cell that failed: its files go, what it spent is remembered."""
    spent = None
    with suppress(Damaged):
        spent = store.record(key).ledger if store.has(key) else None
    if spent is not None and (spent.total or spent.seconds):
        store.note_attempt(key, spent)
    store.drop_cell(key)


def attempted(store: RunStore) -> set[str]:
    """Keys of cells that an earlier sweep began and did not end, or that failed in it."""
    names = store.blobs.list("attempts/")
    return {name[len("attempts/") : -len(".json")] for name in names if name.endswith(".json")}
