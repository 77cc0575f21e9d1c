"""What the encoder schemes share and needs no torch: options, digests, pixels, means of rows."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from PIL.Image import Image, Resampling

from harness.contract.registry import near
from harness.encoders.base import EncoderSpec, Modality
from harness.errors import HarnessError

CONTENT = (".json", ".safetensors", ".bin", ".pth", ".pt", ".txt", ".model")

CAPTION_TOKENS = 16
"""Length of the caption (special tokens included) at which text encoders of variable length are counted."""


def options_of(spec: EncoderSpec, **defaults: Any) -> dict[str, Any]:
    """The options of a spec over their defaults; a default also fixes the option's type, None leaves it open.

    Raises:
        HarnessError: Unknown option, or a value of the wrong type.
    """
    for key, value in spec.options.items():
        if key not in defaults:
            raise HarnessError(f"unknown option {key!r}", where=spec.id, fix=near(key, defaults))
        if defaults[key] is not None and type(value) is not type(defaults[key]):
            kind = type(defaults[key]).__name__
            raise HarnessError(f"option {key!r} is {value!r}", where=spec.id, fix=f"write a value of type {kind}")
    return {**defaults, **spec.options}


def only(modality: Modality, wanted: Modality, spec: EncoderSpec) -> None:
    """Check that a scheme of one modality is asked for that one.

    Raises:
        HarnessError: It is not.
    """
    if modality != wanted:
        raise HarnessError(f"is an encoder of {wanted}s, not of {modality}s", where=spec.id)


def file_digest(*files: Path) -> str:
    """First 16 hex digits of the sha256 over the files' contents; a file that did not change is read once."""
    return _digest(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@functools.lru_cache(maxsize=64)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in files:
        with Path(name).open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def folder_digest(folder: Path) -> str:
    """The same over a model folder: weights, configs and vocabularies, not its notes."""
    return file_digest(*sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix in CONTENT))


def mean_of_rows(
    table: Float[np.ndarray, "rows dim"], rows: Sequence[Int64[np.ndarray, " _"]], *, empty: Float[np.ndarray, " dim"]
) -> Float[np.ndarray, "n dim"]:
    """``[n, dim]`` float32: the mean of each sample's table rows; ``empty`` for a sample that has none."""
    if not rows:
        return np.empty((0, table.shape[1]), np.float32)
    return np.stack([table[ids].mean(axis=0, dtype=np.float32) if len(ids) else empty for ids in rows])


def small_pixels(image: Image, side: int) -> Float[np.ndarray, " pixels"]:
    """A picture shrunk to ``side x side`` RGB in [-1, 1], flat: ``[3 * side * side]``."""
    small = image.convert("RGB").resize((side, side), Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / 127.5 - 1
