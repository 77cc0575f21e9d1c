"""What datasets with real pictures and captions share: rows, lazy decoding, and what to do about unreadable files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pil
from PIL.Image import Image

from harness.data.base import Dataset, Index
from harness.data.digests import digest_json
from harness.encoders.base import Modality
from harness.errors import HarnessError

_SHOWN = 5


def some(names: Sequence[str]) -> str:
    """The first few names of a list, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def to_rgb(image: Image) -> Image:
    """RGB, with transparent pictures laid on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Pil.alpha_composite(Pil.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def decodes(image: Callable[[], Image]) -> bool:
    """Whether a picture can be decoded to its last row; JPEG at an eighth of its size, which is much faster."""
    try:
        with image() as picture:
            picture.draft("RGB", (max(1, picture.width // 8), max(1, picture.height // 8)))
            picture.load()
    except (OSError, SyntaxError, ValueError, Pil.DecompressionBombError):
        return False
    return True


def unreadable(openers: Sequence[Callable[[], Image]]) -> list[int]:
    """Rows of the pictures that cannot be decoded. Reads all of them."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [row for row, fine in enumerate(pool.map(decodes, openers)) if not fine]


def refuse(names: Sequence[str], total: int, where: str) -> HarnessError:
    """The error for pictures that cannot be read: how many, which, and what to do."""
    return HarnessError(
        f"{len(names)} of {total} images cannot be read: {some(names)}",
        where=where,
        fix="repair them, or set skip_unreadable: true where the dataset has it",
    )


def opener(source: Path | bytes) -> Callable[[], Image]:
    """How to open an encoded picture, given its file or its bytes."""
    if isinstance(source, bytes):
        import io

        return lambda: Pil.open(io.BytesIO(source))
    return lambda: Pil.open(source)


class PictureDataset(Dataset):
    """Base of the kinds whose rows are pictures and captions, for any encoder.

    Args:
        name: Name of the dataset.
        digest: sha256 of what decides its rows.
        index: Its rows.
        captions: Caption of every caption row.
        openers: How to open the picture of every image row.
        image_names: Name of every image row, for messages.
    """

    def __init__(
        self,
        *,
        name: str,
        digest: str,
        index: Index,
        captions: Sequence[str],
        openers: Sequence[Callable[[], Image]],
        image_names: Sequence[str],
    ) -> None:
        self.name, self.digest = name, digest
        self._index, self._captions, self._openers, self._image_names = index, captions, openers, image_names

    def index(self) -> Index:
        """The rows and splits."""
        return self._index

    def samples(self, modality: Modality, rows: Sequence[int]) -> Iterable[Image | str]:
        """PIL RGB images of these image rows, decoded one by one, or captions of these caption rows, in order.

        Raises:
            HarnessError: An image cannot be read; all are then checked, so that the message names every such file once.
        """
        return self._images(rows) if modality == "image" else [self._captions[row] for row in rows]

    def _images(self, rows: Sequence[int]) -> Iterator[Image]:
        for row in rows:
            try:
                with self._openers[row]() as picture:
                    image = to_rgb(picture)
            except (OSError, SyntaxError, ValueError, Pil.DecompressionBombError) as error:
                bad = sorted({row, *unreadable(self._openers)})
                raise refuse([self._image_names[r] for r in bad], len(self._openers), self.name) from error
            yield image


def caption_rows(captions: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Captions of all images end to end, and the image row of each."""
    counts = np.array([len(of_image) for of_image in captions], dtype=np.int64)
    return [text for of_image in captions for text in of_image], np.repeat(np.arange(len(counts)), counts)


def rows_digest(content: Iterator[Any] | Sequence[Any], index: Index) -> str:
    """Digest of a picture dataset's rows; its splits are no part of it, so that banks outlive another split.

    Args:
        content: What stands for the pictures and captions (names, file sizes, strings), JSON-able.
        index: Rows and labels.
    """
    return digest_json(
        {
            "content": list(content),
            "caption_image": index.caption_image.tolist(),
            "labels": None if index.labels is None else index.labels.tolist(),
            "class_names": index.class_names,
        }
    )
