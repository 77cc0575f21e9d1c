"""Captions that belong to more than one image: retrieval counts only one of these images as right."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from harness.contract.split import Embeddings
from harness.data.base import Dataset, Index


def repeated_captions(index: Index, split: str, identity: Callable[[Sequence[int]], Sequence[Hashable]]) -> int:
    """Captions of a split that are the same as a caption of another image of the split.

    Args:
        index: The rows.
        split: Which split.
        identity: Caption rows -> what tells captions apart, e.g. ``written``.
    """
    _, rows, owner = index.paired(split)
    images: dict[Hashable, set[int]] = {}
    captions = identity(rows.tolist())
    for caption, image in zip(captions, owner.tolist(), strict=True):
        images.setdefault(caption, set()).add(image)
    return sum(len(images[caption]) > 1 for caption in captions)


def written(dataset: Dataset) -> Callable[[Sequence[int]], Sequence[Hashable]]:
    """Captions by their words, case and outer blanks aside."""
    return lambda rows: [str(caption).strip().lower() for caption in dataset.samples("text", rows)]


def embedded(bank: Embeddings) -> Callable[[Sequence[int]], Sequence[Hashable]]:
    """Captions by their embedding, for data that comes without words: equal words have equal embeddings."""
    return lambda rows: [row.tobytes() for row in bank.take(np.asarray(rows, dtype=np.int64))]
