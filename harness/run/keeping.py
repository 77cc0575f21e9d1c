"""Checkpoints of the trainings of a cell: a cell whose process was killed goes on from the last one, bit for bit.

A training (a cell may have several, one after the other) is kept as two blobs: ``checkpoints/<key>.<number>.json``, a
sealed record of all that is no tensor, and the tensors that it names, in a file of their own name for each step. The
record is written last, so that there is always one that fits its tensors. It is used only by the same code under the
same plan, and whole; the blobs go when the cell is done.
"""

import hashlib
import json
import logging
import time
from contextlib import suppress

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from harness.contract.keeping import Kept, KeptRecord, KeptTraining
from harness.contract.sealed import sealed, sha256_of, unsealed
from harness.errors import HarnessError, StorageFailed
from harness.run.attempts import CHECKPOINTS, Attempt, checkpoints
from harness.run.banks import banks_of
from harness.run.provenance import sources_of
from harness.run.records import StoredFile
from harness.run.store import RunStore
from harness.run.whole import compare, damaged
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell

EVERY_S = 120.0
"""Seconds between two checkpoints, unless ``resources.checkpoint_every_s`` says otherwise."""

SHARE = 0.05
"""Largest share of the time that checkpoints may take: what takes long to write is written less often."""

_log = logging.getLogger(__name__)


class KeptRun(KeptRecord):
    """A kept training as stored.

    Attributes:
        made_by: Digest of the code, and of what else makes the numbers of a step.
        signature: What the training is.
        tensors: Name of the blob of its tensors.
        file: What it holds.
        training: All that is no tensor.
    """

    made_by: str
    signature: str
    tensors: str
    file: StoredFile
    training: KeptTraining


class CellKeeper:
    """Keeps the trainings of one attempt at a cell; a ``harness.contract.keeping.Keeper``.

    Args:
        plan: The plan.
        store: Its run.
        cell: The cell.
        attempt: Is told what need not be done again.

    Attributes:
        said: What a reader of the cell's record should know.
    """

    def __init__(self, plan: Plan, store: RunStore, cell: PlannedCell, attempt: Attempt) -> None:
        self._plan, self.store, self.cell, self.attempt = plan, store, cell, attempt
        given = plan.methods[cell.label].config.resources.checkpoint_every_s
        self.every_s = EVERY_S if given is None else given or float("inf")
        self._trainings = 0
        self._made_by: str | None = None
        self.wrote = False
        self.said: list[str] = []

    def place(self, signature: str) -> "CellPlace":
        """See ``Keeper``: trainings are told apart by the order in which they come."""
        self._trainings += 1
        return CellPlace(self, self._trainings - 1, signature)

    @property
    def made_by(self) -> str:
        """Digest of the code of method, connector and objective, of banks, torch's version and kind of device."""
        if self._made_by is None:
            resolved = self._plan.resolved
            objective = resolved.objective if isinstance(resolved.objective, type) else type(resolved.objective)
            method = type(self._plan.methods[self.cell.label].method)
            sources = sources_of(method, type(resolved.connector), objective)
            facts = [sources, banks_of(self._plan, self.cell), torch.__version__, bool(self.cell.gpus)]
            self._made_by = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return self._made_by

    def end(self) -> None:
        """Remove what was kept: the cell is done. What cannot be removed now, the next sweep removes."""
        if self.wrote or self.attempt.follows:
            with suppress(StorageFailed):
                for name in checkpoints(self.store, {self.cell.key}):
                    self.store.blobs.delete(name)


class CellPlace:
    """Where one training of a cell is kept; a ``harness.contract.keeping.Place``.

    Args:
        keeper: The cell's.
        number: Which of its trainings, from 0.
        signature: What the training is.
    """

    def __init__(self, keeper: CellKeeper, number: int, signature: str) -> None:
        self._keeper, self._signature = keeper, signature
        self._stem = f"{CHECKPOINTS}{keeper.cell.key}.{number}"
        self._tensors: str | None = None
        self._next = time.perf_counter() + keeper.every_s

    @property
    def _record(self) -> str:
        return f"{self._stem}.json"

    def found(self) -> Kept | None:
        """See ``Place``. What is damaged is set aside, and what other code has left is not used."""
        keeper = self._keeper
        if not keeper.attempt.follows or not keeper.store.blobs.exists(self._record):
            return None
        try:
            record = _record_of(keeper.store, self._record, keeper.made_by, self._signature)
            if record is None:
                keeper.said.append("began anew: its checkpoint was made from other code, banks or settings")
                return None
            self._tensors = record.tensors
            kept = Kept(record.training, _tensors_of(keeper.store, record))
        except HarnessError as damage:
            self._set_aside(damage)
            return None
        keeper.attempt.recover(kept.facts.spent, kept.facts.elapsed_s)
        return kept

    def _set_aside(self, damage: HarnessError) -> None:
        self._keeper.said.append(f"began anew: its checkpoint was damaged and is set aside: {damage.what}")
        with suppress(HarnessError):
            for name in (self._record, self._tensors):
                if name is not None:
                    self._keeper.store.set_aside(name)
        self._tensors = None

    def due(self) -> bool:
        """See ``Place``."""
        return time.perf_counter() >= self._next

    def keep(self, kept: Kept) -> None:
        """See ``Place``."""
        keeper, blobs, begun = self._keeper, self._keeper.store.blobs, time.perf_counter()
        before, name = self._tensors, f"{self._stem}.{kept.facts.step}.safetensors"
        keeper.attempt.note(now=True)  # first: what is kept is a part of what is known to be spent
        data = save(dict(kept.tensors))
        record = KeptRun(
            made_by=keeper.made_by,
            signature=self._signature,
            tensors=name,
            file=StoredFile(sha256=sha256_of(data), bytes=len(data)),
            training=kept.facts,
        )
        keeper.wrote = True
        try:
            keeper.store.check_there()
            blobs.put(name, data)
            blobs.put(self._record, sealed(record))
            self._tensors = name
            if before is not None and before != name:
                blobs.delete(before)
        except StorageFailed as failed:
            _log.warning("no checkpoint of %s: %s", keeper.cell.label, failed)
        now = time.perf_counter()
        self._next = now + max(keeper.every_s, (now - begun) / SHARE)


def _record_of(store: RunStore, name: str, made_by: str, signature: str) -> KeptRun | None:
    """What is stored under this name; None if it was made otherwise, and so perhaps has other fields too."""
    try:
        found = unsealed(store.blobs.get(name))
        if (found.get("made_by"), found.get("signature")) != (made_by, signature):
            return None
        return KeptRun.model_validate(found)
    except ValueError as error:
        raise damaged(store.blobs, name, str(error)) from error


def _tensors_of(store: RunStore, record: KeptRun) -> dict[str, torch.Tensor]:
    data = store.blobs.get(record.tensors)
    compare(store.blobs, record.tensors, data, record.file)
    try:
        return load(data)
    except SafetensorError as error:
        raise damaged(store.blobs, record.tensors, f"cannot be read: {error}") from error
