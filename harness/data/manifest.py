"""A table of pictures and captions: CSV, JSON Lines or Parquet."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from harness.contract.files import SweepPath
from harness.data.base import SPLITS, Index
from harness.data.pictures import PictureDataset, caption_rows, opener, refuse, rows_digest, some, unreadable
from harness.data.splits import SplitConfig, group_numbers, named_splits, split_rows
from harness.data.tables import column, read_table
from harness.errors import HarnessError

SPLIT_NAMES = {
    **{name: 0 for name in ("train", "training", "restval")},
    **{name: 1 for name in ("validation", "valid", "val", "dev")},
    **{name: 2 for name in ("test", "testing")},
}


class ManifestConfig(BaseModel):
    """The ``data`` part of kind ``manifest``.

    Attributes:
        file: The table.
        root: Folder that image paths are relative to; the table's own by default.
        outside_root: Allow paths that leave ``root``, absolute ones or through ``..``: a table may come from somebody
            else, and name any file of yours.
        name: Name of the dataset; the table's by default.
        image: Column of image paths, of encoded bytes, or of ``{bytes, path}`` structures.
        captions: Column of one caption or a list of captions, or several columns of one caption each. Rows of the
            same image are joined. ``[]``: no captions, for zero-shot classification only.
        label: Column of class names or class numbers; empty: none.
        group: Column of near-duplicates that must stay in one split.
        split_column: Column that says train, validation or test; otherwise ``split`` draws.
        split: Shares and seed.
        skip_unreadable: Leave out images that cannot be read (all are then read once when the dataset is opened),
            instead of refusing the dataset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["manifest"] = "manifest"
    file: SweepPath
    root: SweepPath | None = None
    outside_root: bool = False
    name: str | None = None
    image: str = "image"
    captions: str | list[str] = "caption"
    label: str | None = None
    group: str | None = None
    split_column: str | None = None
    split: SplitConfig = SplitConfig()
    skip_unreadable: bool = False


@dataclass
class _Picture:
    """One image and all that its rows say of it."""

    source: Path | bytes
    name: str
    captions: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class ManifestDataset(PictureDataset):
    """Pictures and captions listed in a table.

    Raises:
        HarnessError: A missing file or column, an empty table, a row without an image or caption, rows of one image
            that contradict each other, an image that is not there (or, while reading, is damaged).
    """

    Config: ClassVar[type[ManifestConfig]] = ManifestConfig

    def __init__(self, config: ManifestConfig) -> None:
        pictures = list(_pictures(config).values())
        total, where = len(pictures), str(config.file)
        if config.skip_unreadable:
            bad = unreadable([opener(p.source) for p in pictures])
        else:
            bad = [row for row, p in enumerate(pictures) if isinstance(p.source, Path) and not p.source.is_file()]
        skipped = tuple(pictures[row].name for row in bad)
        if skipped and not config.skip_unreadable:
            raise refuse(skipped, total, where)
        dropped = set(bad)
        pictures = [picture for row, picture in enumerate(pictures) if row not in dropped]
        if not pictures:
            raise HarnessError(f"the dataset is empty: all {total} images are unreadable: {some(skipped)}", where=where)
        captions, caption_image = caption_rows([picture.captions for picture in pictures])
        labels, class_names = class_numbers([picture.facts.get("label") for picture in pictures], where)
        groups = groups_of([p.facts["group"] for p in pictures]) if config.group else None
        splits = _splits(pictures, config, groups)
        index = Index(len(pictures), caption_image, splits, labels, class_names, skipped, groups)
        super().__init__(
            name=config.name or config.file.stem,
            digest=rows_digest([[p.name, _size(p.source), p.captions] for p in pictures], index),
            index=index,
            captions=captions,
            openers=[opener(picture.source) for picture in pictures],
            image_names=[picture.name for picture in pictures],
        )


def _pictures(config: ManifestConfig) -> dict[str, _Picture]:
    """Rows of the table, joined by image, in the order of first appearance."""
    columns, place = read_table(config.file)
    root, where = config.root or config.file.parent, str(config.file)
    images = column(columns, config.image, config.file)
    names = [config.captions] if isinstance(config.captions, str) else config.captions
    caption_columns = [column(columns, name, config.file) for name in names]
    fact_columns = {
        fact: column(columns, name, config.file)
        for fact, name in (("label", config.label), ("group", config.group), ("split", config.split_column))
        if name is not None
    }
    pictures: dict[str, _Picture] = {}
    for row, image in enumerate(images):
        name, source = _source(image, root)
        if isinstance(source, Path) and not config.outside_root and not _below(root, source):
            what = f"{place(row)}: image {name} lies outside of {root}"
            raise HarnessError(what, where=where, fix="set root to a folder of all images, or outside_root: true")
        if not name:
            raise HarnessError(f"{place(row)} has no image in column {config.image!r}", where=where)
        picture = pictures.setdefault(name, _Picture(source, name))
        for caption_name, values in zip(names, caption_columns, strict=True):
            picture.captions += _captions(
                values[row], lambda what, at=row, of=caption_name: _short(what, place(at), of, where)
            )
        for fact, values in fact_columns.items():
            value = None if values[row] == "" else values[row]
            if picture.facts.setdefault(fact, value) != value:
                what = f"{place(row)}: image {name} has {fact} {value!r}, an earlier row says {picture.facts[fact]!r}"
                raise HarnessError(what, where=where)
    return pictures


def _source(image: Any, root: Path) -> tuple[str, Path | bytes]:
    """(name, file or bytes) of an image cell; an empty name if there is none."""
    if isinstance(image, dict):  # the structure that the datasets library writes
        content, path = image.get("bytes"), image.get("path")
        return _source(path if content is None else content, root)
    if isinstance(image, bytes) and image:
        return f"sha256:{hashlib.sha256(image).hexdigest()[:16]}", image
    if isinstance(image, str) and image.strip():
        return image.strip(), root / image.strip()
    return "", b""


def _below(root: Path, source: Path) -> bool:
    """Whether a path stays in a folder, by its letters: links in the folder are its owner's."""
    return Path(os.path.normpath(source.absolute())).is_relative_to(os.path.normpath(root.absolute()))


def _captions(value: Any, error: Callable[[str], HarnessError]) -> list[str]:
    values: Sequence[Any] = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(text, str) and text.strip() for text in values):
        raise error("holds no caption" if len(values) < 2 else f"holds an empty one among {len(values)} captions")
    return [text.strip() for text in values]


def _short(what: str, place: str, name: str, where: str) -> HarnessError:
    return HarnessError(
        f"one caption short: {place}, column {name!r} {what}", where=where, fix="fill it or drop the row"
    )


def class_numbers(values: Sequence[Any], where: str) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Class numbers (-1: none) and, where the column holds names, the sorted names."""
    given = [value for value in values if value is not None]
    if not given:
        return None, None
    texts = {str(value) for value in given}
    if all(text.lstrip("-").isdigit() for text in texts):
        labels = np.array([-1 if value is None else int(value) for value in values], dtype=np.int64)
        if labels.min() < -1:
            raise HarnessError(
                f"class number {labels.min()} is negative", where=where, fix="-1 or empty means no class"
            )
        return labels, None
    names = sorted(texts)
    number = {name: i for i, name in enumerate(names)}
    return np.array([-1 if v is None else number[str(v)] for v in values], dtype=np.int64), tuple(names)


def groups_of(values: Sequence[Any]) -> np.ndarray:
    """Number of each image's group, from its name; an image without one (None) is its own."""
    # The tab keeps it apart from every group's name.
    return group_numbers([f"\t{row}" if value is None else str(value) for row, value in enumerate(values)])


def _splits(pictures: Sequence[_Picture], config: ManifestConfig, groups: np.ndarray | None) -> dict[str, np.ndarray]:
    if config.split_column is None:
        return split_rows(len(pictures), config.split, groups)
    split_of = np.full(len(pictures), -1)
    for row, picture in enumerate(pictures):
        text = str(picture.facts["split"] or "").strip().lower()
        if text not in SPLIT_NAMES:
            what = f"image {picture.name} has split {picture.facts['split']!r} in column {config.split_column!r}"
            raise HarnessError(what, where=str(config.file), fix=f"write {', '.join(SPLITS)}")
        split_of[row] = SPLIT_NAMES[text]
    return named_splits(split_of, required=[])


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size
