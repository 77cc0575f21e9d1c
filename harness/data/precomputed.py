"""Embeddings that somebody already has: one file, or shards in row order, per encoder.

Images are rows of the image files, captions rows of the text files. Nothing is read but headers until a bank is made.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.contract.files import SweepPath
from harness.contract.registry import near
from harness.data.arrays import StoredArray, check_kind, open_stored, open_vector
from harness.data.base import Dataset, Index
from harness.data.digests import digest_array, digest_json
from harness.data.splits import SplitConfig, group_numbers, split_rows
from harness.encoders.base import EncoderInfo, Modality
from harness.errors import HarnessError, MissingData


class EmbeddingFile(BaseModel):
    """One encoder's embeddings.

    Attributes:
        file: The file, or its shards in row order.
        dim: Columns there must be; also lets ``harness plan`` count where the files are not.
        params: Parameter count of the encoder, for reports and constraints.
        license: Licence of its weights.
        flops_per_sample: Its forward FLOPs of one sample, so that ``encode`` can be reported.
        seconds_per_sample: Its seconds of one sample, for constraints.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[
        list[SweepPath],
        Field(min_length=1),
        BeforeValidator(lambda v: v if isinstance(v, list) else [v], json_schema_input_type=str | list[str]),
    ]
    dim: Annotated[int, Field(ge=1)] | None = None
    params: Annotated[float, Field(gt=0)] | None = None
    license: str | None = None
    flops_per_sample: Annotated[float, Field(gt=0)] | None = None
    seconds_per_sample: Annotated[float, Field(gt=0)] | None = None


def _as_embedding_file(value: Any) -> Any:
    return value if isinstance(value, dict | EmbeddingFile) else {"file": value}


EmbeddingFiles = dict[str, Annotated[EmbeddingFile, BeforeValidator(_as_embedding_file)]]


class PrecomputedConfig(BaseModel):
    """The ``data`` part of kind ``precomputed``.

    Attributes:
        name: Name of the dataset.
        image: Encoder id -> its image embeddings.
        text: Encoder id -> its caption embeddings.
        rows: Images there must be; also lets ``harness plan`` count where the files are not.
        captions_per_image: Caption rows are grouped by image, so many each.
        image_index: ``.npy``: the image row of every caption row, where they are not so regular.
        labels: ``.npy``: class number of every image, -1 for none.
        class_text: Text encoder id -> ``[classes, dim]`` embeddings of the class names.
        class_names: Names of the classes, for people.
        groups: ``.npy``: number of the group of every image; a group stays in one split.
        split: Shares and seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["precomputed"] = "precomputed"
    name: str = "precomputed"
    image: EmbeddingFiles = Field(min_length=1)
    text: EmbeddingFiles = Field(min_length=1)
    rows: Annotated[int, Field(ge=1)] | None = None
    captions_per_image: Annotated[int, Field(ge=1)] | None = None
    image_index: SweepPath | None = None
    labels: SweepPath | None = None
    class_text: EmbeddingFiles = {}
    class_names: list[str] | None = None
    groups: SweepPath | None = None
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _is_consistent(self) -> "PrecomputedConfig":
        if self.captions_per_image is not None and self.image_index is not None:
            raise ValueError("give captions_per_image or image_index, not both")
        if self.class_text and self.labels is None:
            raise ValueError("class_text needs labels")
        for encoder in self.class_text:
            if encoder not in self.text:
                raise ValueError(f"class_text {encoder!r} is no text encoder: {near(encoder, self.text)}")
        return self


class PrecomputedDataset(Dataset):
    """Embeddings that exist already: .npy, .pt or .safetensors files in row order.

    Raises:
        HarnessError: A file is missing or malformed; numbers of rows or columns do not fit each other.
    """

    Config: ClassVar[type[PrecomputedConfig]] = PrecomputedConfig

    def __init__(self, config: PrecomputedConfig) -> None:
        self.name, self._config = config.name, config
        _all_there(config)
        self._arrays: dict[Modality, dict[str, StoredArray]] = {
            "image": {encoder: open_stored(source.file) for encoder, source in config.image.items()},
            "text": {encoder: open_stored(source.file) for encoder, source in config.text.items()},
        }
        self._class_arrays = {encoder: open_stored(source.file) for encoder, source in config.class_text.items()}
        n_images, n_captions = (_one_count(modality, self._arrays[modality], config.name) for modality in _MODALITIES)
        for modality in _MODALITIES:
            for encoder, source in (config.image if modality == "image" else config.text).items():
                if source.dim not in (None, dim := self._arrays[modality][encoder].dim):
                    raise HarnessError(
                        f"{encoder} has {dim} columns, the sweep file says {source.dim}", where=config.name
                    )
        if config.rows is not None and config.rows != n_images:
            raise HarnessError(f"{n_images} image rows, the sweep file says {config.rows}", where=config.name)
        caption_image = self._caption_image(n_images, n_captions)
        labels = self._per_image(n_images, "labels")
        class_names = self._class_names(labels)
        groups = self._per_image(n_images, "groups")
        splits = split_rows(n_images, config.split, groups)
        kept = None if groups is None else group_numbers(groups)
        self._index = Index(n_images, caption_image, splits, labels, class_names, groups=kept)
        # Rows only: another encoder's file or another split changes nothing for the banks that are already there.
        self.digest = digest_json(
            {
                "images": n_images,
                "caption_image": digest_array(caption_image),
                "labels": None if labels is None else digest_array(labels),
            }
        )
        self._info = cache(self._describe)

    @classmethod
    def sizes_without_files(cls, config: PrecomputedConfig) -> "Mapping[str, Any] | None":
        """Sizes where the files are not: the stated rows; None if none are stated."""
        if config.rows is None:
            return None
        captions, split = config.captions_per_image or 1, config.split.model_dump()
        return {"name": config.name, "rows": config.rows, "captions_per_image": captions, "split": split}

    def index(self) -> Index:
        """The rows and splits."""
        return self._index

    def own_encoders(self, modality: Modality) -> Mapping[str, EncoderInfo]:
        """All encoders of this side. Hashes their files (once: the result is remembered)."""
        return {encoder: self._info(modality, encoder) for encoder in self._arrays[modality]}

    def embeddings(self, encoder: str, modality: Modality, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as they are stored."""
        return self._arrays[modality][encoder].read(start, stop)

    def class_embeddings(self, encoder: str) -> np.ndarray | None:
        """``[classes, dim]`` embeddings of the class names by this text encoder, or None.

        Raises:
            HarnessError: A row holds NaN or infinity.
        """
        array = self._class_arrays.get(encoder)
        if array is None:
            return None
        rows = array.read(0, array.count)
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise HarnessError(f"row {int(bad.argmax())} holds NaN or infinity", where=str(array.files[0]))
        return rows

    def _describe(self, modality: Modality, encoder: str) -> EncoderInfo:
        array = self._arrays[modality][encoder]
        source = (self._config.image if modality == "image" else self._config.text)[encoder]
        revision = array.digest()
        if modality == "text" and encoder in self._class_arrays:
            # The class names' embeddings are part of what this encoder says.
            revision = digest_json([revision, self._class_arrays[encoder].digest()])
        return EncoderInfo(
            id=encoder,
            modality=modality,
            dim=array.dim,
            params=None if source.params is None else int(source.params),
            license=source.license,
            revision=revision,
            transform="precomputed",
            flops_per_sample=source.flops_per_sample,
            seconds_per_sample=source.seconds_per_sample,
        )

    def _caption_image(self, n_images: int, n_captions: int) -> np.ndarray:
        if self._config.image_index is not None:
            caption_image, where = open_vector(self._config.image_index), str(self._config.image_index)
            if len(caption_image) != n_captions:
                raise HarnessError(f"has {len(caption_image)} entries for {n_captions} text rows", where=where)
            outside = (caption_image < 0) | (caption_image >= n_images)
            if outside.any():
                row = int(outside.argmax())
                raise HarnessError(f"entry {row} is {caption_image[row]}, there are {n_images} images", where=where)
            without = np.flatnonzero(np.bincount(caption_image, minlength=n_images) == 0)
            if len(without):
                what = f"one caption short: image row {without[0]} has none ({len(without)} such images)"
                raise HarnessError(what, where=where)
            return caption_image
        per_image = self._config.captions_per_image or 1
        if n_captions != n_images * per_image:
            image, text = next(iter(self._config.image)), next(iter(self._config.text))
            what = (
                f"{n_images} image rows ({image}) x {per_image} captions per image, but {n_captions} text rows ({text})"
            )
            if n_captions == n_images * per_image - 1:
                what = "one caption short: " + what
            raise HarnessError(what, where=self.name, fix="set captions_per_image or image_index, or repair the files")
        return np.repeat(np.arange(n_images), per_image)

    def _per_image(self, n_images: int, field: Literal["labels", "groups"]) -> np.ndarray | None:
        file = getattr(self._config, field)
        if file is None:
            return None
        values = open_vector(file)
        if len(values) != n_images:
            raise HarnessError(f"{len(values)} {field} for {n_images} image rows", where=str(file))
        return values

    def _class_names(self, labels: np.ndarray | None) -> tuple[str, ...] | None:
        """Checks classes against labels; the names, if the sweep file gives them."""
        names = self._config.class_names
        if labels is not None:
            counts = {f"class_text {encoder}": array.count for encoder, array in self._class_arrays.items()}
            counts |= {"class_names": len(names)} if names else {}
            where = str(self._config.labels)
            if labels.min() < -1:
                raise HarnessError(f"class number {labels.min()}", where=where, fix="-1 means no class")
            for what, count in counts.items():
                if labels.max() >= count:
                    raise HarnessError(f"class number {labels.max()}, but {what} has {count} classes", where=where)
            if len(set(counts.values())) > 1:
                raise HarnessError(f"numbers of classes differ: {_listed(counts)}", where=self.name)
        for encoder, array in self._class_arrays.items():
            dim = self._arrays["text"][encoder].dim
            if array.dim != dim:
                raise HarnessError(f"class_text {encoder} has {array.dim} columns, its text embeddings {dim}")
        return tuple(names) if names else None


def _all_there(config: PrecomputedConfig) -> None:
    files = [file for side in (config.image, config.text, config.class_text) for s in side.values() for file in s.file]
    for file in files:
        check_kind(file)
    missing = [file for file in files if not file.is_file()]
    if missing:
        others = f" ({len(missing) - 1} more of {len(files)} are missing too)" if missing[1:] else ""
        raise MissingData(f"no such file{others}", where=str(missing[0]))


_MODALITIES: tuple[Modality, Modality] = ("image", "text")


def _one_count(modality: Modality, arrays: Mapping[str, StoredArray], where: str) -> int:
    """Rows of all encoders of one side, which must be equal."""
    counts = {encoder: array.count for encoder, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise HarnessError(f"{modality} row counts differ: {_listed(counts)}", where=where)
    count = next(iter(counts.values()))
    if count == 0:
        raise HarnessError(f"the dataset is empty: no {modality} rows", where=where)
    return count


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
