"""What a pick did, cost and came to: the records of ``harness pick``."""

from harness.contract.pairs import Pair
from harness.contract.record import Record


class StageRecord(Record):
    """What a stage did and cost.

    Attributes:
        run: The run that holds it.
        images: Its image encoders.
        texts: Its text encoders.
        train_images: Training images.
        validation_images: Validation images.
        racing: Pairs left in the race, best first.
        score: Validation score of the best one.
        flops: Inside ``fit``.
        encode_flops: Of the rows that this stage needed and no stage before.
        seconds: Inside ``fit``.
    """

    run: str
    images: tuple[str, ...]
    texts: tuple[str, ...]
    train_images: int
    validation_images: int
    racing: list[Pair]
    score: float
    flops: float
    encode_flops: float
    seconds: float


class WayCost(Record):
    """FLOPs of one way to a connector.

    Attributes:
        connectors: Making connectors and choosing among them.
        encode: Embedding the rows that it needs.
    """

    connectors: float
    encode: float

    @property
    def total(self) -> float:
        """Both."""
        return self.connectors + self.encode

    def times(self, other: "WayCost") -> tuple[float | None, float | None, float | None]:
        """How many times the other's this is: embedding, connectors, both. None where the other costs nothing."""
        pairs = (self.encode, other.encode), (self.connectors, other.connectors), (self.total, other.total)
        encode, connectors, total = (own / base if base else None for own, base in pairs)
        return encode, connectors, total


class PickRecord(Record):
    """What a pick has come to.

    Attributes:
        name: Of the sweep.
        pair: The pair.
        run: The run of the last stage, which holds its connector.
        label: What that run calls its method.
        not_separated: Pairs that no stage separated from the best one, itself among them, the latest and best first.
        candidates: Pairs of the sweep.
        metric: Selection metric.
        validation: Its validation score.
        stages: What was done.
        cost: What it cost.
        grid: What embedding everything and one seed of the grid would have cost, by the plan; None without a grid in
            the sweep.
        grid_label: The grid.
        unknown: Encoders whose FLOPs are not known: costs are without theirs.
    """

    name: str
    pair: Pair
    run: str
    label: str
    not_separated: list[Pair]
    candidates: int
    metric: str
    validation: float
    stages: list[StageRecord]
    cost: WayCost
    grid: WayCost | None = None
    grid_label: str | None = None
    unknown: tuple[str, ...] = ()

    @property
    def saving(self) -> float | None:
        """How many times more the grid would have cost, end to end; None where that is not known."""
        return None if self.grid is None or self.unknown else self.grid.times(self.cost)[2]

    @property
    def connector_saving(self) -> float | None:
        """The same without embedding."""
        return None if self.grid is None else self.grid.times(self.cost)[1]
