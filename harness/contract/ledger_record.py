"""What a ledger holds, as it is stored."""

from harness.contract.ledger import PHASES, SHARED_PHASES, Ledger
from harness.contract.record import Record


class LedgerRecord(Record):
    """What a cell spent.

    Attributes:
        flops: Phase -> FLOPs, over PHASES and SHARED_PHASES (``encode`` is kept in the manifest, not here).
        seconds: Phase or section -> seconds.
        updates: Pair-updates done, at all learning rates: steps x pairs per step.
        samples: Pair-samples seen: updates x batch size.
    """

    flops: dict[str, float]
    seconds: dict[str, float]
    updates: int
    samples: int

    @classmethod
    def of(cls, ledger: Ledger) -> "LedgerRecord":
        """A ledger as stored."""
        return cls(
            flops={phase: ledger.flops[phase] for phase in (*PHASES, *SHARED_PHASES) if ledger.flops.get(phase)},
            seconds=dict(ledger.seconds),
            updates=ledger.updates,
            samples=ledger.samples,
        )

    def plus(self, other: "LedgerRecord") -> "LedgerRecord":
        """Both added up."""
        return LedgerRecord(
            flops=_added(self.flops, other.flops),
            seconds=_added(self.seconds, other.seconds),
            updates=self.updates + other.updates,
            samples=self.samples + other.samples,
        )

    def without(self, part: "LedgerRecord") -> "LedgerRecord":
        """What is left when a part of it is taken away; nothing falls below zero."""
        return LedgerRecord(
            flops=_left(self.flops, part.flops),
            seconds=_left(self.seconds, part.seconds),
            updates=max(0, self.updates - part.updates),
            samples=max(0, self.samples - part.samples),
        )

    def book(self, ledger: Ledger) -> None:
        """Add all of it to a ledger: the inverse of ``of``, into an empty one."""
        for phase, flops in self.flops.items():
            ledger.add(phase, flops)
        for section, seconds in self.seconds.items():
            ledger.add_seconds(section, seconds)
        ledger.add_counts(self.updates, self.samples)

    @property
    def total(self) -> float:
        """The method's own FLOPs."""
        return sum(self.flops.get(phase, 0.0) for phase in PHASES)


def _added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in (one | other)}


def _left(whole: dict[str, float], part: dict[str, float]) -> dict[str, float]:
    return {name: max(0.0, spent - part.get(name, 0.0)) for name, spent in whole.items()}


NOTHING_SPENT = LedgerRecord(flops={}, seconds={}, updates=0, samples=0)
