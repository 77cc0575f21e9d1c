"""Banks of some rows: what has been embedded so far, read like a whole bank."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from harness.data.bank import BankDtype
from harness.data.parts import PARTS, Parts

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

    @cached_property
    def parts(self) -> Parts:
        """What has been embedded."""
        return Parts(self.path / PARTS, self.dim, self.dtype)

    def take(self, rows: Int64[np.ndarray, " rows"]) -> Float[np.ndarray, "rows dim"]:
        """A float32 copy of these rows, in this order.

        Raises:
            HarnessError: One has not been embedded.
        """
        blocks = [block.astype(np.float32) for block in self.parts.blocks(rows, ROWS_AT_ONCE)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.dim), dtype=np.float32)

    def digest(self, rows: Int64[np.ndarray, " rows"]) -> str:
        """sha256 (hex) of the stored embeddings of these rows."""
        sha = hashlib.sha256(f"{len(rows)} {self.dim} {self.dtype}".encode())
        for block in self.parts.blocks(rows, ROWS_AT_ONCE):
            sha.update(np.ascontiguousarray(block).tobytes())
        return sha.hexdigest()
