"""What the harness asks of a dataset: the page a dataset author reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from PIL.Image import Image
from pydantic import BaseModel

from harness.encoders.base import EncoderInfo, Modality
from harness.registry import Registry

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Index:
    """The rows of a dataset, without its pixels or embeddings.

    Attributes:
        n_images: Number of images (rows of an image bank).
        caption_image: ``[captions]``: the image row that each caption row (row of a text bank) belongs to.
        splits: Split name -> sorted image rows. Disjoint; a caption goes where its image goes.
        labels: ``[images]`` class label of each image (-1: none), or None.
        class_names: Names of the classes that labels index, or None.
        skipped: Names of images left out because they could not be read (only if the sweep file allows it).
    """

    n_images: int
    caption_image: Int64[np.ndarray, " captions"]
    splits: Mapping[str, Int64[np.ndarray, " rows"]]
    labels: Int64[np.ndarray, " images"] | None = None
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()

    @property
    def n_captions(self) -> int:
        """Number of captions (rows of a text bank)."""
        return len(self.caption_image)


@runtime_checkable
class Dataset(Protocol):
    """One dataset of one kind, built from its part of the sweep file."""

    name: str
    digest: str
    """sha256 of what decides the rows and their content, but not of the splits: banks hold all rows. Cheap."""

    def index(self) -> Index:
        """The rows and splits. Reads no pixels."""
        ...

    def images(self, rows: Sequence[int]) -> Iterable[Image]:
        """PIL RGB images of these image rows, in order, decoded lazily one by one."""
        ...

    def captions(self, rows: Sequence[int]) -> list[str]:
        """Caption strings of these caption rows, in order."""
        ...

    def own_encoders(self, modality: Modality) -> Mapping[str, EncoderInfo] | None:
        """Encoders whose embeddings the dataset brings itself (precomputed, synthetic, shapes); None: any encoder."""
        ...

    def embeddings(self, encoder: str, modality: Modality, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of an own encoder's embeddings, any float dtype, not yet normalised."""
        ...

    def class_embeddings(self, encoder: str) -> np.ndarray | None:
        """``[classes, dim]`` an own text encoder's embeddings of the class names; None: the dataset has none."""
        ...


@runtime_checkable
class DatasetKind(Protocol):
    """A registered kind: a Dataset class with the typed model of its part of the sweep file.

    ``Config`` has a literal field ``kind``, forbids unknown keys, and declares file paths as
    ``harness.paths.SweepPath`` (relative to the sweep file).
    """

    Config: ClassVar[type[BaseModel]]

    # A kind may also have a class method ``on_paper(config) -> Mapping | None``: the fields of a ``shapes`` dataset of
    # as many rows, captions and classes, for when its files are absent; None if that is not known.

    def __call__(self, config: Any) -> Dataset:
        """Build the dataset from a validated Config (cheap: no pixels, no weights).

        Raises:
            HarnessError: A file is missing, empty or malformed.
        """
        ...


DATASETS: Registry[DatasetKind] = Registry(
    "dataset kind",
    {
        "manifest": "harness.data.manifest:ManifestDataset",
        "packaged": "harness.data.packaged:PackagedDataset",
        "torchvision": "harness.data.torchvision:TorchvisionDataset",
        "precomputed": "harness.data.precomputed:PrecomputedDataset",
        "synthetic": "harness.data.synthetic:SyntheticDataset",
        "shapes": "harness.data.shapes:ShapesDataset",
    },
    group="harness.datasets",
)
