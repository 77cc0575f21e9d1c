"""Banks of some rows: what has been embedded so far, read like a whole bank."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Num, Shaped

from harness.data.bank import Bank, BankDtype
from harness.data.parts import PARTS, Held, Parts

ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class PartialBank:
    """A bank that does not hold all rows yet. Holds a path only: every process maps the same files.

    Attributes:
        path: The bank's folder.
        dim: Columns.
        dtype: How rows are stored.
    """

    path: Path
    dim: int
    dtype: BankDtype

    @property
    def parts(self) -> Parts:
        """What has been embedded."""
        return Parts(self.path / PARTS, self.dim, self.dtype)

    def take(self, rows: Int64[np.ndarray, " rows"]) -> Num[np.ndarray, "rows dim"]:
        """A copy of these rows, in this order: float32, or int32 of tokens.

        Raises:
            HarnessError: One has not been embedded.
        """
        dtype = np.int32 if self.dtype == "int32" else np.float32
        blocks = [block.astype(dtype) for block in self._held.blocks(rows, ROWS_AT_ONCE)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.dim), dtype=dtype)

    def digest(self, rows: Int64[np.ndarray, " rows"]) -> str:
        """See ``digest_of``.

        Raises:
            HarnessError: One has not been embedded.
        """
        return digest_of(self._held.blocks(rows, ROWS_AT_ONCE), len(rows), self.dim, self.dtype)

    @cached_property
    def _held(self) -> Held:
        return self.parts.held()

    def __reduce__(self) -> tuple[type["PartialBank"], tuple[Path, int, BankDtype]]:
        return (PartialBank, (self.path, self.dim, self.dtype))


def whole_digest_of(bank: Bank, rows: Int64[np.ndarray, " rows"]) -> str:
    """The digest of some rows of a whole bank: the same as before the other rows were embedded."""
    starts = range(0, len(rows), ROWS_AT_ONCE)
    blocks = (bank.array[rows[start : start + ROWS_AT_ONCE]] for start in starts)
    return digest_of(blocks, len(rows), bank.meta.dim, bank.meta.dtype)


def digest_of(blocks: Iterable[Shaped[np.ndarray, "_ _"]], rows: int, dim: int, dtype: BankDtype) -> str:
    """sha256 (hex) of the stored embeddings of some rows, wherever they lie."""
    sha = hashlib.sha256(f"{rows} {dim} {dtype}".encode())
    for block in blocks:
        sha.update(np.ascontiguousarray(block).tobytes())
    return sha.hexdigest()
