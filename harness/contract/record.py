"""The base of everything that is written as JSON."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen, strict record: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Latency(Record):
    """How long an encoder takes for one sample.

    Attributes:
        seconds_per_sample: Median over the batches of an extraction of the time per sample; or as stated.
        batch_size: Samples of these batches; None when stated.
        device: Where they were computed; None when stated.
    """

    seconds_per_sample: float
    batch_size: int | None = None
    device: str | None = None
