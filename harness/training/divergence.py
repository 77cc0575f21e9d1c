"""When a training has broken down: gradients or connectors that are no longer numbers."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from harness.contract.connector import Connector
from harness.contract.pairs import Pair
from harness.errors import Diverged

STEPS_PER_READING = 16
"""Steps whose gradient norms are read together from a device that computes on its own: reading waits for it."""


def steps_per_reading(device: torch.device) -> int:
    """Steps after which gradient norms are read: each on the CPU, where that costs nothing."""
    return 1 if device.type == "cpu" else STEPS_PER_READING


class Norms:
    """Gradient norms of the last steps, left where they were computed until they are read."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int, Tensor]] = []

    def keep(self, step: int, pairs: int, norms: Tensor) -> bool:
        """Keep a step's norms, and how many pairs took part in it. Whether it is time to read them."""
        self._kept.append((step, pairs, norms.detach().flatten()))
        return len(self._kept) >= steps_per_reading(norms.device)

    def read(self) -> Iterator[tuple[int, int, Tensor]]:
        """(step, pairs, norms on the CPU) of every step since the last reading, by one transfer."""
        kept, self._kept = self._kept, []
        table = torch.stack([norms for _, _, norms in kept]).cpu() if kept else ()
        return ((step, pairs, row) for (step, pairs, _), row in zip(kept, table, strict=True))


class Health:
    """Which pairs of a training have broken down.

    Where pairs are trained independently a pair is lost on its own, until none is left; else one bad number ends the
    training of all.

    Args:
        pairs: All pairs.
        independent: The pairs in the order of their gradient norms, when each is trained on its own; else empty.
    """

    def __init__(self, pairs: Sequence[Pair], independent: Sequence[Pair]) -> None:
        self._all, self._independent = len(pairs), tuple(independent)
        self.lost: dict[Pair, Diverged] = {}
        self.diverged: Diverged | None = None

    def fine_gradients(self, step: int, norms: Tensor) -> bool:
        """Whether the training may go on after these gradient norms: one of all, or one for each independent pair."""
        if torch.isfinite(norms).all():
            return True
        fine = torch.isfinite(norms).flatten().tolist()
        bad = [number for number, is_fine in enumerate(fine) if not is_fine]
        reasons = {number: Diverged(step, f"gradient norm is {norms.flatten()[number].item()}") for number in bad}
        for number in bad if self._independent else ():
            self.lost.setdefault(self._independent[number], reasons[number])
        return self._goes_on(reasons[bad[0]])

    def fine_connectors(self, step: int, connectors: Mapping[Pair, Connector]) -> bool:
        """Whether the training may go on with these connectors."""
        unsound = [pair for pair, made in connectors.items() if pair not in self.lost and not made.finite()]
        if not unsound:
            return True
        why = Diverged(step, "a connector's weights are not finite")
        self.lost |= dict.fromkeys(unsound if self._independent else (), why)
        return self._goes_on(why)

    def _goes_on(self, why: Diverged) -> bool:
        if self._independent and len(self.lost) < self._all:
            return True
        self.diverged = why
        return False
