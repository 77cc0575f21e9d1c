"""A sample of a dataset's rows: some images of each split, the first of a fixed, seeded order.

A larger sample holds the smaller ones, so that banks grow and nothing is embedded twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated

import numpy as np
from jaxtyping import Int64
from pydantic import BaseModel, ConfigDict, Field

from harness.contract.seeding import stream
from harness.data.base import Dataset, Index, Sample
from harness.encoders.base import EncoderInfo, Modality

Images = Annotated[int, Field(gt=0)] | None


class SampleConfig(BaseModel):
    """How many images of each split take part; None: all of them.

    Attributes:
        train: Training images.
        validation: Validation images.
        test: Test images; 0: nothing is measured on test data.
        seed: Of the order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Images = None
    validation: Images = None
    test: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    def sizes(self) -> Mapping[str, int | None]:
        """Split name -> images."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class Sampled(Dataset):
    """A dataset whose splits hold a sample of their images. Rows keep their numbers, and so do banks.

    Args:
        whole: The dataset.
        sample: How many images.
    """

    def __init__(self, whole: Dataset, sample: SampleConfig) -> None:
        self._whole, self._sample = whole, sample
        self.name, self.digest = whole.name, whole.digest

    @cached_property
    def _index(self) -> Index:
        index = self._whole.index()
        splits = {
            split: first_of(index.splits[split], size, self._sample.seed, split)
            for split, size in self._sample.sizes().items()
        }
        return replace(index, splits=splits, _paired={})

    def index(self) -> Index:
        """The rows, with the sample's splits."""
        return self._index

    def needed(self, modality: Modality) -> Int64[np.ndarray, " rows"] | None:
        """Rows of the sample's images, or of their captions."""
        images = np.sort(np.concatenate(list(self._index.splits.values())))
        if modality == "image":
            return images
        return np.flatnonzero(np.isin(self._index.caption_image, images)).astype(np.int64)

    def samples(self, modality: Modality, rows: Sequence[int]) -> Iterable[Sample]:
        """See ``Dataset``."""
        return self._whole.samples(modality, rows)

    def own_encoders(self, modality: Modality) -> Mapping[str, EncoderInfo] | None:
        """See ``Dataset``."""
        return self._whole.own_encoders(modality)

    def embeddings(self, encoder: str, modality: Modality, start: int, stop: int) -> np.ndarray:
        """See ``Dataset``."""
        return self._whole.embeddings(encoder, modality, start, stop)

    def class_embeddings(self, encoder: str) -> np.ndarray | None:
        """See ``Dataset``."""
        return self._whole.class_embeddings(encoder)


def first_of(rows: Int64[np.ndarray, " rows"], size: int | None, seed: int, name: str) -> Int64[np.ndarray, " sample"]:
    """The first ``size`` rows of a split in its seeded order, sorted; all of them for None or where there are fewer."""
    if size is None or size >= len(rows):
        return rows
    order = stream(seed, "sample", name).permutation(len(rows))
    return np.sort(rows[order[:size]])
