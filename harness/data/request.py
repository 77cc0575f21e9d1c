"""Banks that a sweep needs, made or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from harness.contract.record import Latency
from harness.data.bank import META, Bank, BankDtype, BankMeta, open_bank
from harness.data.base import Dataset
from harness.data.embedding import OpenEmbedder, here
from harness.data.extract import bank_facts, extract_rows
from harness.data.partial import PartialBank, whole_digest_of
from harness.encoders.base import EncoderInfo, EncoderSpec, scheme_of


@dataclass(frozen=True)
class BankRequest:
    """One bank that the sweep needs.

    Attributes:
        dataset: Whose rows.
        spec: The encoder as written.
        info: What is known of it.
        path: Where the bank lies, or will lie.
        identity: sha256 of what decides its content.
        dtype: How rows are stored.
        rows: The rows that are needed; None: all.
    """

    dataset: Dataset
    spec: EncoderSpec
    info: EncoderInfo
    path: Path
    identity: str
    dtype: BankDtype = "float32"
    rows: Int64[np.ndarray, " rows"] | None = field(default=None, compare=False)

    @property
    def count(self) -> int:
        """Rows that are needed."""
        return self.dataset.index().count(self.info.modality) if self.rows is None else len(self.rows)

    @property
    def done(self) -> bool:
        """Whether all rows that are needed have been extracted."""
        if (self.path / META).is_file():
            return True
        return self.rows is not None and not len(self._partial.parts.missing(self.rows))

    @property
    def left(self) -> int:
        """Rows that are needed and have not been extracted yet."""
        if (self.path / META).is_file():
            return 0
        whole = np.arange(self.count, dtype=np.int64) if self.rows is None else self.rows
        return len(self._partial.parts.missing(whole))

    def open(self) -> Bank | PartialBank:
        """The bank, made already.

        Raises:
            Damaged: It is not what was written.
            HarnessError: There is no bank here.
        """
        whole = self.rows is None or (self.path / META).is_file()
        return open_bank(self.path, identity=self.identity) if whole else self._partial

    def read_meta(self) -> BankMeta | None:
        """What the extraction of the needed rows recorded; None if they have not all been extracted."""
        if not self.done:
            return None
        whole = Bank(self.path).meta if (self.path / META).is_file() else None
        if self.rows is None or (whole and len(self.rows) == whole.count):
            return whole
        if whole:
            share = self.count / whole.count
            spent = None if whole.encode_flops is None else share * whole.encode_flops
            seconds = share * whole.encode_seconds
            digest = whole_digest_of(Bank(self.path), self.rows)
            update = {"digest": digest, "count": self.count, "encode_flops": spent, "encode_seconds": seconds}
            return whole.model_copy(update=update)
        return self._partial_meta(self.rows)

    @property
    def flops_per_row(self) -> float | None:
        """FLOPs of embedding one row, as counted when any were embedded, else as stated; None where not known."""
        meta = Bank(self.path).meta if (self.path / META).is_file() else None
        if meta and meta.encode_flops is not None:
            return meta.encode_flops / meta.count
        source = self._partial.parts.source
        return self.info.flops_per_sample if source is None or source.flops is None else source.flops

    def _partial_meta(self, rows: Int64[np.ndarray, " rows"]) -> BankMeta:
        parts, source = self._partial.parts, self._partial.parts.source
        held = parts.read()
        share = len(rows) / max(1, sum(len(part.rows) for part in held))
        devices = sorted({device for part in held for device in part.notes.batches})
        median = parts.latency(devices[0]) if devices else None
        return bank_facts(self.dataset, self.info, self.dtype).model_copy(
            update={
                "digest": self._partial.digest(rows),
                "count": len(rows),
                "encode_flops": None if source is None or source.flops is None else source.flops * len(rows),
                "encode_seconds": share * parts.seconds(),
                "latency": None if median is None else Latency(seconds_per_sample=median, device=devices[0]),
                "weights": source.weights if source else "",
            }
        )

    @property
    def _partial(self) -> PartialBank:
        return PartialBank(self.path, self.info.dim, self.dtype)

    def with_rows(self, rows: Int64[np.ndarray, " rows"] | None) -> "BankRequest":
        """The same bank with these rows besides; None: with all."""
        return replace(self, rows=None if self.rows is None or rows is None else np.union1d(self.rows, rows))

    def check(self) -> None:
        """Fail now if the bank is not there and its encoder cannot be had.

        Raises:
            HarnessError: One line says what was tried.
        """
        if not self.done and self.dataset.own_encoders(self.info.modality) is None:
            scheme_of(self.spec).check(self.spec, self.info.modality)


@dataclass(frozen=True)
class Extraction:
    """How banks are extracted.

    Attributes:
        storage: Folder that holds ``banks/``.
        dtype: How rows are stored.
        batch_size: Samples per call of an encoder.
        shard_rows: Rows per file that an interrupted extraction keeps.
        device: Where encoders compute.
    """

    storage: Path
    dtype: BankDtype
    batch_size: int
    shard_rows: int
    device: str

    def missing(
        self,
        requests: Sequence[BankRequest],
        progress: Callable[[BankRequest, int, int], None] | None = None,
        by: OpenEmbedder = here,
    ) -> list[BankRequest]:
        """Extract what is missing, in order, and check the content of all; returns what was extracted.

        Args:
            requests: The banks.
            progress: Called with (bank, rows done, rows wanted).
            by: What embeds their rows.
        """
        todo = [request for request in requests if not request.done]
        for request in todo:
            extract_rows(
                request.dataset,
                request.spec,
                request.info.modality,
                self.storage,
                request.rows,
                dtype=request.dtype,
                batch_size=self.batch_size,
                shard_rows=self.shard_rows,
                device=self.device,
                progress=None if progress is None else (lambda done, total, r=request: progress(r, done, total)),
                by=by,
            )
        for request in requests:
            request.open()
        return todo
