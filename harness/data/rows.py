"""Datasets of pictures that are given row by row, each with what is said of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL.Image import Image

from harness.data.base import Index
from harness.data.manifest import SPLIT_NAMES, class_numbers, groups_of
from harness.data.pictures import PictureDataset, caption_rows, rows_digest, some
from harness.data.splits import SplitConfig, named_splits, split_rows
from harness.errors import HarnessError


@dataclass(frozen=True)
class PictureRow:
    """One picture.

    Attributes:
        name: For messages, and part of the digest.
        size: Bytes of the encoded picture.
        open: Opens it.
        captions: Its captions.
        label: Its class: a name or a number; None: none.
        group: Its group of near-duplicates; None: its own.
        split: The split that the data put it in, as they call it.
    """

    name: str
    size: int
    open: Callable[[], Image]
    captions: Sequence[str]
    label: Any = None
    group: Any = None
    split: str = ""


class RowDataset(PictureDataset):
    """Pictures that are given row by row.

    Args:
        rows: The pictures, in a fixed order.
        name: Of the dataset.
        where: Named in errors.
        split: Shares to draw; None: every row's own split counts.
        captioned: Whether every picture must have a caption.
        grouped: Whether groups must stay in one split.
        class_names: Where labels are numbers that index them; None: found from the labels.

    Raises:
        HarnessError: No rows, a picture without a caption, an unknown split or class.
    """

    def __init__(
        self,
        rows: Sequence[PictureRow],
        *,
        name: str,
        where: str,
        split: SplitConfig | None,
        captioned: bool,
        grouped: bool = False,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        if not rows:
            raise HarnessError("the dataset is empty: no pictures", where=where)
        if captioned and (short := [row.name for row in rows if not row.captions or not all(row.captions)]):
            what = f"{len(short)} of {len(rows)} images have no caption, or an empty one: {some(short)}"
            fix = "fill them in, or set captions: [] for zero-shot classification only"
            raise HarnessError(what, where=where, fix=fix)
        captions, caption_image = caption_rows([row.captions for row in rows])
        labels, found_names = class_numbers([row.label for row in rows], where)
        if class_names is not None and labels is not None and labels.max() >= len(class_names):
            raise HarnessError(f"a label is {labels.max()} but there are {len(class_names)} classes", where=where)
        groups = groups_of([row.group for row in rows]) if grouped else None
        splits = split_rows(len(rows), split, groups) if split is not None else _own_splits(rows, where)
        names = class_names if class_names is not None and labels is not None else found_names
        index = Index(len(rows), caption_image, splits, labels, names, groups=groups)
        super().__init__(
            name=name,
            digest=rows_digest([[row.name, row.size, list(row.captions)] for row in rows], index),
            index=index,
            captions=captions,
            openers=[row.open for row in rows],
            image_names=[row.name for row in rows],
        )


def _own_splits(rows: Sequence[PictureRow], where: str) -> dict[str, np.ndarray]:
    if unknown := sorted({row.split for row in rows if row.split.lower() not in SPLIT_NAMES}):
        fix = f"known: {', '.join(SPLIT_NAMES)}; or leave own_splits out, and split draws"
        raise HarnessError(f"the data have a split {unknown[0]!r}", where=where, fix=fix)
    return named_splits(np.array([SPLIT_NAMES[row.split.lower()] for row in rows]), required=[])
