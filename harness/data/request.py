"""Banks that a sweep needs, made or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.bank import META, Bank, BankDtype, BankMeta, open_bank
from harness.data.base import Dataset
from harness.data.extract import extract
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
    """

    dataset: Dataset
    spec: EncoderSpec
    info: EncoderInfo
    path: Path
    identity: str

    @property
    def done(self) -> bool:
        """Whether it has been extracted."""
        return self.read_meta() is not None

    def read_meta(self) -> BankMeta | None:
        """What its extraction recorded; None if it has not been extracted."""
        return Bank(self.path).meta if (self.path / META).is_file() else None

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
    ) -> list[BankRequest]:
        """Extract what is missing, in order, and check the content of all; returns what was extracted."""
        todo = [request for request in requests if not request.done]
        for request in todo:
            extract(
                request.dataset,
                request.spec,
                request.info.modality,
                self.storage,
                dtype=self.dtype,
                batch_size=self.batch_size,
                shard_rows=self.shard_rows,
                device=self.device,
                progress=None if progress is None else (lambda done, total, r=request: progress(r, done, total)),
            )
        for request in requests:
            open_bank(request.path)
        return todo
