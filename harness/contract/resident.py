"""Embeddings kept on the device that trains with them: read from a bank once, and gathered where they are."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64, Num
from torch import Tensor

SHARE_OF_FREE_MEMORY = 0.5
"""Of a GPU's memory that is free when training begins, what embeddings may take."""

ROWS_AT_ONCE = 65_536
"""Rows that are copied at once, so that the host never holds a second bank."""


@dataclass
class Resident:
    """Rows of encoders on a device, as many as fit.

    An encoder's rows are moved when as many have been gathered on the host as it has: a short training copies no whole
    bank, and a long one reads at most twice what it must.

    Attributes:
        device: Where they are kept.
        room: Bytes that are left for them.
        tables: What is there already, by modality and encoder.
        gathered: Rows that were gathered on the host so far.
    """

    device: torch.device
    room: int
    tables: dict[tuple[str, str], Num[Tensor, "rows dim"]] = field(default_factory=dict)
    gathered: dict[tuple[str, str], int] = field(default_factory=dict)

    def rows(
        self,
        key: tuple[str, str],
        at: Int64[np.ndarray, " batch"],
        count: int,
        read: Callable[[Int64[np.ndarray, " _"]], Num[Tensor, "_ dim"]],
    ) -> Num[Tensor, "batch dim"]:
        """These rows on the device, gathered there if they are kept there.

        Args:
            key: Modality and encoder.
            at: Positions.
            count: Positions that there are.
            read: Reads positions from the bank, on the CPU.
        """
        if key in self.tables:
            return self.tables[key][torch.from_numpy(at).to(self.device, non_blocking=True)]
        found = read(at).to(self.device, non_blocking=True)
        self.gathered[key] = self.gathered.get(key, 0) + len(at)
        size = count * found[0].nbytes if len(found) else 0
        if self.gathered[key] >= count and 0 < size <= self.room:
            self.room -= size
            table = found.new_empty(count, found.shape[1])
            for start in range(0, count, ROWS_AT_ONCE):
                part = np.arange(start, min(start + ROWS_AT_ONCE, count), dtype=np.int64)
                table[start : start + len(part)] = read(part)
            self.tables[key] = table
        return found


def resident_on(device: torch.device) -> Resident | None:
    """Room for embeddings on a GPU; None on the CPU, where the mapped bank is as near."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return Resident(device, int(free * SHARE_OF_FREE_MEMORY))
