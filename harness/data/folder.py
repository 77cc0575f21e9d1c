"""A folder of pictures, each with its captions in a text file beside it."""

import os
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from harness.contract.files import SweepPath
from harness.data.base import Index
from harness.data.pictures import PictureDataset, caption_rows, opener, rows_digest, some
from harness.data.splits import SplitConfig, split_rows
from harness.errors import HarnessError, MissingData

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""Names that end so, in small or capital letters, are pictures; all other files are passed over."""


class FolderConfig(BaseModel):
    """The ``data`` part of kind ``folder``.

    Attributes:
        root: The folder. Pictures may lie in folders below it.
        name: Name of the dataset; the folder's by default.
        captions: Whether ``cat.jpg`` has its captions in ``cat.txt``, one a line; false: no captions, for zero-shot
            classification only.
        label: ``folder``: the class of a picture is the name of the first folder below ``root`` that it lies in; empty:
            no classes.
        split: Shares and seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder"] = "folder"
    root: SweepPath
    name: str | None = None
    captions: bool = True
    label: Literal["folder"] | None = None
    split: SplitConfig = SplitConfig()


class FolderDataset(PictureDataset):
    """Pictures in a folder, with captions in a text file beside each.

    Raises:
        HarnessError: No such folder, no picture in it, a picture without a caption, a caption file that is not UTF-8
            text, or a picture outside of every class folder.
    """

    Config: ClassVar[type[FolderConfig]] = FolderConfig

    def __init__(self, config: FolderConfig) -> None:
        if not config.root.is_dir():
            raise MissingData("no such folder", where=str(config.root))
        where = str(config.root)
        files = _pictures(config.root)
        if not files:
            raise HarnessError(f"the dataset is empty: no picture ({', '.join(sorted(SUFFIXES))})", where=where)
        names = [file.relative_to(config.root).as_posix() for file in files]
        captions_of_images = [_captions(file) for file in files] if config.captions else [[] for _ in files]
        if config.captions and (
            short := [name for name, texts in zip(names, captions_of_images, strict=True) if not texts]
        ):
            raise HarnessError(
                f"{len(short)} of {len(names)} images have no caption: {some(short)}",
                where=where,
                fix="write each image's captions into a file of its name that ends in .txt, or set captions: false",
            )
        captions, caption_image = caption_rows(captions_of_images)
        labels, class_names = _classes(names, where) if config.label else (None, None)
        splits = split_rows(len(names), config.split)
        index = Index(len(names), caption_image, splits, labels, class_names)
        sizes = [file.stat().st_size for file in files]
        super().__init__(
            name=config.name or config.root.resolve().name,
            digest=rows_digest([list(row) for row in zip(names, sizes, captions_of_images, strict=True)], index),
            index=index,
            captions=captions,
            openers=[opener(file) for file in files],
            image_names=names,
        )


def _pictures(root: Path) -> list[Path]:
    """The pictures below a folder in the order of their names, whatever order the disk has; hidden ones are not."""
    found = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [
            Path(folder, name) for name in files if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def _captions(picture: Path) -> list[str]:
    """The lines of the text file beside a picture that are not empty; none where there is no such file."""
    sidecar = picture.with_suffix(".txt")
    try:
        lines = sidecar.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError("the captions cannot be read as UTF-8 text", where=str(sidecar)) from error
    return [line.strip() for line in lines if line.strip()]


def _classes(names: list[str], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(``[images]`` class numbers, sorted class names) by the first folder of each name."""
    if outside := [name for name in names if "/" not in name]:
        what = f"{len(outside)} of {len(names)} images lie in no class folder: {some(outside)}"
        raise HarnessError(what, where=where, fix="move them into a folder of their class's name, or leave label out")
    classes, numbers = np.unique([name.partition("/")[0] for name in names], return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), tuple(classes.tolist())
