"""Which texts each image is compared with: captions of other images, or the prompts of all classes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from harness.contract.seeding import stream
from harness.data.base import Dataset
from harness.data.classes import ClassPrompts
from harness.errors import HarnessError


@dataclass(frozen=True)
class CandidateTable:
    """The texts of every query.

    Attributes:
        image_rows: ``[queries]`` image row of each query.
        text_rows: ``[texts]`` rows of the texts that take part.
        of: ``[queries, candidates]`` the candidates of each query, as positions in ``text_rows``.
        right: ``[queries]`` place of the right answer among the answers of a query.
    """

    image_rows: Int[np.ndarray, " queries"]
    text_rows: Int[np.ndarray, " texts"]
    of: Int[np.ndarray, "queries candidates"]
    right: Int[np.ndarray, " queries"]


class Candidates(ABC):
    """Base: candidates of the images of each split.

    Attributes:
        query: What the queries are called.
        texts: The dataset whose captions are the candidates.
        per_answer: Texts, one after the other, that make one answer together.
    """

    query: ClassVar[str]
    texts: Dataset
    per_answer: int = 1

    def table(self, split: str) -> CandidateTable:
        """The candidates of a split's images; the same whoever asks."""
        if split not in self._tables:
            self._tables[split] = self._made(split)
        return self._tables[split]

    @abstractmethod
    def _made(self, split: str) -> CandidateTable:
        """The candidates, made anew."""

    @cached_property
    def _tables(self) -> dict[str, CandidateTable]:
        return {}


class AmongCaptions(Candidates):
    """The first caption of an image, and captions of other images of the split, drawn with a seed of the split.

    Args:
        dataset: Captioned images.
        most: Candidates of an image, its own included; fewer where the split has fewer.
    """

    query = "image_to_text"

    def __init__(self, dataset: Dataset, most: int) -> None:
        self.texts, self._most = dataset, most

    def _made(self, split: str) -> CandidateTable:
        image_rows, caption_rows, owner = self.texts.index().paired(split)
        captioned, first, counts = np.unique(owner, return_index=True, return_counts=True)
        if len(captioned) < 2:
            raise HarnessError(f"the {split} split has captions of fewer than two images", where="data")
        others = min(self._most - 1, len(owner) - int(counts.max()))
        rng, of = stream(0, "candidates", split), np.empty((len(captioned), 1 + others), dtype=np.int64)
        for row, (image, own) in enumerate(zip(captioned, first, strict=True)):
            of[row, 0] = own
            of[row, 1:] = rng.choice(np.flatnonzero(owner != image), others, replace=False)
        right = np.zeros(len(captioned), dtype=np.int64)
        return CandidateTable(image_rows[captioned], caption_rows, of, right)


class AmongClasses(Candidates):
    """The prompts of all classes.

    Args:
        dataset: Labelled images.
        prompts: Class-major: all templates of class 0, of class 1, ...
    """

    query = "zero_shot"

    def __init__(self, dataset: Dataset, prompts: ClassPrompts) -> None:
        self._dataset, self.texts, self.per_answer = dataset, prompts, prompts.n_templates

    def _made(self, split: str) -> CandidateTable:
        index, count = self._dataset.index(), self.texts.index().n_captions
        labels = labelled(self._dataset, count // self.per_answer)
        rows = index.splits[split]
        rows = rows[labels[rows] >= 0]
        if not len(rows):
            raise HarnessError(f"no labelled image in the {split} split", where="data")
        every = np.arange(count, dtype=np.int64)
        return CandidateTable(rows, every, np.tile(every, (len(rows), 1)), labels[rows].astype(np.int64))


def labelled(dataset: Dataset, classes: int) -> Int[np.ndarray, " images"]:
    """The labels of a dataset.

    Raises:
        HarnessError: It has none, or one that is no class.
    """
    labels = dataset.index().labels
    if labels is None:
        raise HarnessError("ranking classes needs class labels, which the data has not")
    if labels.max() >= classes:
        raise HarnessError(f"a label is {labels.max()} but there are {classes} classes", where="classes")
    return labels
