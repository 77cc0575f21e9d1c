"""What the harness asks of a dataset: the page a dataset author reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Int64
from PIL.Image import Image
from pydantic import BaseModel

from harness.contract.registry import Registry
from harness.encoders.base import EncoderInfo, Modality
from harness.errors import HarnessError

SPLITS = ("train", "validation", "test")

Sample: TypeAlias = Image | str
"""What an encoder embeds: a picture or a caption."""


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
        groups: ``[images]`` number of the group of near-duplicates that each image is of; None: images stand alone.
    """

    n_images: int
    caption_image: Int64[np.ndarray, " captions"]
    splits: Mapping[str, Int64[np.ndarray, " rows"]]
    labels: Int64[np.ndarray, " images"] | None = None
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    groups: Int64[np.ndarray, " images"] | None = None
    _paired: dict[str, "PairedRows"] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_captions(self) -> int:
        """Number of captions (rows of a text bank)."""
        return len(self.caption_image)

    def count(self, modality: Modality) -> int:
        """Rows of a bank of this modality."""
        return self.n_images if modality == "image" else self.n_captions

    def paired(self, split: str) -> "PairedRows":
        """(image rows, caption rows, position of the image of each of these captions) of a split."""
        if split not in self._paired:
            image_rows = self.splits[split]
            position = np.full(self.n_images, -1, dtype=np.int64)
            position[image_rows] = np.arange(len(image_rows))
            owner = position[self.caption_image]
            caption_rows = np.flatnonzero(owner >= 0)
            self._paired[split] = image_rows, caption_rows, owner[caption_rows]
        return self._paired[split]

    def units(self, split: str) -> Int64[np.ndarray, " images"]:
        """Unit of every image of a split, counted from 0: what a bootstrap resamples.

        Its group where there are groups, because images of one group say much the same; else itself.
        """
        rows = self.splits[split]
        if self.groups is None:
            return np.arange(len(rows), dtype=np.int64)
        return np.unique(self.groups[rows], return_inverse=True)[1].reshape(-1).astype(np.int64)


PairedRows: TypeAlias = tuple[
    Int64[np.ndarray, " images"], Int64[np.ndarray, " captions"], Int64[np.ndarray, " captions"]
]


class Dataset(ABC):
    """Base of the datasets, each built from its part of the sweep file.

    A dataset brings samples (pictures and captions, to be embedded), or embeddings of encoders of its own, or both.

    Attributes:
        name: For people.
        digest: sha256 of what decides the rows and their content, but not of the splits: banks hold all rows. Cheap.
    """

    name: str
    digest: str

    @abstractmethod
    def index(self) -> Index:
        """The rows and splits. Reads no pixels."""

    def needed(self, modality: Modality) -> Int64[np.ndarray, " rows"] | None:
        """Rows that are to be embedded; None: all."""
        return None

    def samples(self, modality: Modality, rows: Sequence[int]) -> Iterable[Sample]:
        """Samples of these rows, in order: PIL RGB images, decoded one by one, or caption strings.

        Raises:
            HarnessError: The dataset brings none of this modality, or one cannot be read.
        """
        raise HarnessError(f"{self.name} holds embeddings, no {modality} samples")

    def own_encoders(self, modality: Modality) -> Mapping[str, EncoderInfo] | None:
        """Encoders whose embeddings the dataset brings itself; None: any encoder may embed its samples."""
        return None

    def embeddings(self, encoder: str, modality: Modality, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of an own encoder's embeddings, any float dtype, not yet normalised."""
        raise HarnessError(f"{self.name} brings no embeddings of its own (asked for {encoder!r})")

    def class_embeddings(self, encoder: str) -> np.ndarray | None:
        """``[classes, dim]`` an own text encoder's embeddings of the class names; None: the dataset has none."""
        return None


@runtime_checkable
class DatasetKind(Protocol):
    """A registered kind: a Dataset class with the typed model of its part of the sweep file.

    ``Config`` has a literal field ``kind``, forbids unknown keys, and declares file paths as
    ``harness.contract.files.SweepPath`` (relative to the sweep file).
    """

    Config: ClassVar[type[BaseModel]]

    def __call__(self, config: Any) -> Dataset:
        """Build the dataset from a validated Config (cheap: no pixels, no weights).

        Raises:
            HarnessError: A file is missing, empty or malformed.
        """
        ...


@runtime_checkable
class SizedWithoutFiles(Protocol):
    """A kind that knows its sizes where its files are absent, so that it can be planned."""

    @classmethod
    def sizes_without_files(cls, config: Any) -> Mapping[str, Any] | None:
        """The fields of a ``shapes`` dataset of as many rows, captions and classes; None if that is not known."""
        ...


DATASETS: Registry[DatasetKind] = Registry(
    "dataset kind",
    {
        "manifest": "harness.data.manifest:ManifestDataset",
        "folder": "harness.data.folder:FolderDataset",
        "huggingface": "harness.data.huggingface:HuggingFaceDataset",
        "webdataset": "harness.data.webdataset:WebDataset",
        "packaged": "harness.data.packaged:PackagedDataset",
        "torchvision": "harness.data.torchvision:TorchvisionDataset",
        "precomputed": "harness.data.precomputed:PrecomputedDataset",
        "synthetic": "harness.data.synthetic:SyntheticDataset",
        "shapes": "harness.data.shapes:ShapesDataset",
    },
    group="harness.datasets",
)
