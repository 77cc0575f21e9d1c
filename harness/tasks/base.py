"""What a task is: settings in the sweep file, resolved against data, that turn a connector into numbers per query."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional

from harness.contract.connector import Connector
from harness.contract.language import Language
from harness.contract.metric import Metric, PerQuery
from harness.contract.pairs import Direction, Pair
from harness.contract.problem import ScoringCost
from harness.contract.registry import Registry
from harness.contract.split import Embeddings
from harness.data.base import Dataset
from harness.encoders.base import Modality

MAPPED_AT_ONCE = 8192
"""Rows that a connector maps at once."""

ENTRIES_AT_ONCE = 4_000_000
"""Entries of a similarity matrix held at once (16 MB), however many rows it has on either side."""

OpenBank = Callable[[Dataset, Modality, str], Embeddings]
"""(dataset, modality, encoder id) -> its bank."""


@dataclass(frozen=True)
class SplitView:
    """How an evaluation reads embeddings: one split, on one device.

    Attributes:
        split: ``validation`` or ``test``.
        direction: Which side connectors map.
        device: Where to compute.
        open_bank: Opens a bank of the sweep.
    """

    split: str
    direction: Direction
    device: torch.device
    open_bank: OpenBank
    _last: dict[tuple[str, Modality], "LastRead"] = field(default_factory=dict, repr=False)

    def rows(
        self, dataset: Dataset, modality: Modality, encoder: str, rows: Int[np.ndarray, " rows"]
    ) -> Num[Tensor, "rows dim"]:
        """L2-normalised embeddings (or tokens) of these rows, on the device; those read last are kept for each side."""
        key = (dataset.digest, modality)
        # Tasks may share a dataset and yet ask for other rows of it: another split, or only what has a label.
        if key not in self._last or not self._last[key].are(encoder, rows):
            self._last.pop(key, None)
            found = torch.from_numpy(self.open_bank(dataset, modality, encoder).take(rows))
            self._last[key] = LastRead(encoder, rows, found.to(self.device))
        return self._last[key].embeddings


@dataclass(frozen=True)
class LastRead:
    """The embeddings that were read last, with the encoder and the rows that they are of."""

    encoder: str
    rows: Int[np.ndarray, " rows"]
    embeddings: Num[Tensor, "rows dim"]

    def are(self, encoder: str, rows: Int[np.ndarray, " _"]) -> bool:
        """Whether these are the embeddings of this encoder and these rows."""
        return self.encoder == encoder and np.array_equal(self.rows, rows)


class Evaluation(ABC):
    """A task of a sweep, resolved: it knows its data, and has read none of it.

    Attributes:
        label: Its name in the sweep file.
        metrics: Its metrics, by name.
        dataset: Whose images.
    """

    metrics: Mapping[str, Metric]

    def __init__(self, label: str, dataset: Dataset) -> None:
        self.label, self.dataset = label, dataset

    def banks(self) -> list[tuple[Dataset, Modality]]:
        """Whose rows must be embedded."""
        return [(self.dataset, "image"), (self.dataset, "text")]

    @abstractmethod
    def measure(self, view: SplitView, pair: Pair, connector: Connector, metrics: Collection[str]) -> PerQuery:
        """What each query gives, for these metrics (all with queries of their own)."""

    @abstractmethod
    def units(self, split: str) -> Mapping[str, Int[np.ndarray, " _"]]:
        """Query name -> ``[queries]`` unit of each query, which a bootstrap resamples: see ``Index.units``."""

    @abstractmethod
    def random(self, split: str, rng: np.random.Generator, metrics: Collection[str]) -> PerQuery | None:
        """What ``measure`` would give for random answers; None where that is not known."""

    @abstractmethod
    def chance(self, split: str) -> Mapping[str, float]:
        """Metric -> its expected value for random answers; metrics for which it is not known are left out."""

    @abstractmethod
    def cost(self, split: str, metrics: Collection[str]) -> ScoringCost:
        """What ``measure`` costs."""


class Task(ABC):
    """Base of tasks: frozen dataclasses whose fields are their settings in the sweep file."""

    name: ClassVar[str]
    """The registered name."""
    metrics: ClassVar[Mapping[str, Metric]]
    version: ClassVar[int] = 1
    """Raised whenever the task's numbers change."""

    @abstractmethod
    def resolve(self, label: str, dataset: Dataset, text_encoders: Sequence[str], *, own_data: bool) -> Evaluation:
        """The task on this data. Reads no embeddings.

        Args:
            label: Its name in the sweep file.
            dataset: The task's own data or else the sweep's.
            text_encoders: Ids of the sweep's text encoders.
            own_data: Whether the task has data of its own.

        Raises:
            HarnessError: The data lacks what the task needs.
        """


@runtime_checkable
class TaskOfLanguage(Protocol):
    """A task that needs the language models of the sweep."""

    def resolve_language(self, label: str, dataset: Dataset, language: Language, *, own_data: bool) -> Evaluation:
        """``Task.resolve`` in a sweep with language models."""
        ...


TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "caption_perplexity": "harness.tasks.caption_perplexity:CaptionPerplexity",
        "caption_ranking": "harness.tasks.caption_ranking:CaptionRanking",
        "retrieval": "harness.tasks.retrieval:Retrieval",
        "zero_shot": "harness.tasks.zero_shot:ZeroShot",
    },
    group="harness.tasks",
)


def both_sides(
    connector: Connector,
    images: Float[Tensor, "images image_dim"],
    texts: Float[Tensor, "texts text_dim"],
    direction: Direction,
) -> tuple[Float[Tensor, "images dim"], Float[Tensor, "texts dim"]]:
    """Both sides in the common space, L2-normalised: the connector maps one of them."""
    if direction == "text_to_image":
        texts = torch.cat([connector(part) for part in texts.split(MAPPED_AT_ONCE)])
    else:
        images = torch.cat([connector(part) for part in images.split(MAPPED_AT_ONCE)])
    return functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Rows of a similarity matrix in blocks of at most ``ENTRIES_AT_ONCE`` entries; at least one row each."""
    size = max(1, ENTRIES_AT_ONCE // max(1, columns))
    return (slice(start, min(start + size, rows)) for start in range(0, max(1, rows), size))


def ranks_of_right(
    queries: Float[Tensor, "queries dim"],
    answers: Float[Tensor, "answers dim"],
    right: Int[Tensor, " queries"],
) -> Int[np.ndarray, " _"]:
    """Rank of the right answer of every query by inner product, 1 for the best, without the whole matrix.

    Ties count half of the tied distractors, rounded up, so that a constant score never looks like a hit.
    """
    ranks = [ranks_among(queries[block] @ answers.T, right[block]) for block in blocks(len(queries), len(answers))]
    return torch.cat(ranks).cpu().numpy()


def ranks_among(scores: Float[Tensor, "queries answers"], right: Int[Tensor, " queries"]) -> Int[Tensor, " queries"]:
    """Rank of the right answer of every query by these scores; ties as in ``ranks_of_right``."""
    own = scores.gather(1, right[:, None])
    above = (~(scores <= own)).sum(1)  # so that NaN is never a hit
    tied = (scores == own).sum(1) - 1
    return (1 + above + (tied + 1) // 2).to(torch.int32)
