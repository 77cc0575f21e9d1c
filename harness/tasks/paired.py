"""Tasks on images and their captions: the rows of a split, mapped into the common space."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.contract.connector import Connector
from harness.contract.metric import PerQuery
from harness.contract.pairs import Pair
from harness.contract.problem import ScoringCost
from harness.data.base import Dataset
from harness.errors import HarnessError
from harness.tasks.base import Evaluation, SplitView, Task, both_sides


@dataclass(frozen=True)
class PairedTask(Task):
    """Base of tasks on pairs of an image and its captions. A subclass compares both sides in the common space.

    Queries are called ``text_to_image`` (one per caption) and ``image_to_text`` (one per image).
    """

    @abstractmethod
    def compare(
        self,
        images: Float[Tensor, "images dim"],
        texts: Float[Tensor, "captions dim"],
        owner: Int[Tensor, " captions"],
        metrics: Collection[str],
    ) -> PerQuery:
        """What each query gives.

        Args:
            images: L2-normalised embeddings of the split's images in the common space.
            texts: The same of its captions.
            owner: Position of the image of each caption.
            metrics: The metrics that are asked for.
        """

    @abstractmethod
    def random(
        self, images: int, owner: Int[np.ndarray, " captions"], rng: np.random.Generator, metrics: Collection[str]
    ) -> PerQuery:
        """What ``compare`` would give for random embeddings."""

    def chance(self, images: int, owner: Int[np.ndarray, " captions"]) -> Mapping[str, float]:
        """Expected values of ``random``, for metrics where they are known."""
        return {}

    def comparisons(self, images: int, captions: int, metrics: Collection[str]) -> float:
        """Inner products that ``compare`` makes."""
        return float(images * captions)

    def resolve(self, label: str, dataset: Dataset, text_encoders: Sequence[str], *, own_data: bool) -> Evaluation:
        """The task on this data."""
        index = dataset.index()
        empty = [split for split in ("validation", "test") if own_data and not len(index.splits[split])]
        if empty:
            raise HarnessError(f"the {empty[0]} split of the task's data is empty", where="data")
        if own_data and not index.n_captions:
            raise HarnessError("the task's data has no captions", where="data")
        return PairedEvaluation(label, dataset, self)


class PairedEvaluation(Evaluation):
    """A paired task on its data."""

    def __init__(self, label: str, dataset: Dataset, task: PairedTask) -> None:
        super().__init__(label, dataset)
        self.metrics, self._task = task.metrics, task

    @torch.inference_mode()
    def measure(self, view: SplitView, pair: Pair, connector: Connector, metrics: Collection[str]) -> PerQuery:
        """Both sides of the split, mapped and compared."""
        image_rows, caption_rows, owner = self.dataset.index().paired(view.split)
        images = view.rows(self.dataset, "image", pair[0], image_rows)
        texts = view.rows(self.dataset, "text", pair[1], caption_rows)
        sides = both_sides(connector.to(view.device), images, texts, view.direction)
        return self._task.compare(*sides, torch.from_numpy(owner).to(view.device), metrics)

    def units(self, split: str) -> Mapping[str, Int[np.ndarray, " _"]]:
        """The image of each query, or its group where there are groups."""
        index = self.dataset.index()
        unit, (_, _, owner) = index.units(split).astype(np.int32), index.paired(split)
        return {"text_to_image": unit[owner], "image_to_text": unit}

    def random(self, split: str, rng: np.random.Generator, metrics: Collection[str]) -> PerQuery:
        """What random embeddings would give."""
        image_rows, _, owner = self.dataset.index().paired(split)
        return self._task.random(len(image_rows), owner, rng, metrics)

    def chance(self, split: str) -> Mapping[str, float]:
        """Their expected values."""
        image_rows, _, owner = self.dataset.index().paired(split)
        return self._task.chance(len(image_rows), owner)

    def cost(self, split: str, metrics: Collection[str]) -> ScoringCost:
        """Every row of one side is mapped and compared with the other side's."""
        image_rows, caption_rows, _ = self.dataset.index().paired(split)
        images, captions = len(image_rows), len(caption_rows)
        return ScoringCost(images, captions, self._task.comparisons(images, captions, metrics))
