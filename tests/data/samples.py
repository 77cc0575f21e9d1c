"""Samples of a dataset with the types that they should have."""

from collections.abc import Sequence

from PIL.Image import Image

from harness.data.base import Dataset


def images_of(dataset: Dataset, rows: Sequence[int]) -> list[Image]:
    """Its pictures."""
    found = list(dataset.samples("image", rows))
    assert all(isinstance(sample, Image) for sample in found)
    return [sample for sample in found if isinstance(sample, Image)]


def captions_of(dataset: Dataset, rows: Sequence[int]) -> list[str]:
    """Its captions."""
    found = list(dataset.samples("text", rows))
    assert all(isinstance(sample, str) for sample in found)
    return [sample for sample in found if isinstance(sample, str)]
