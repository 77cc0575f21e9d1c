"""Arrays on disk in the formats people keep embeddings in, read in slices: ``.npy``, ``.pt``, ``.safetensors``."""

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.digests import remembered
from harness.errors import HarnessError, MissingData

_USUAL_NAMES = ("embeddings", "features", "embedding", "feature", "embeds", "weight", "data")


@dataclass(frozen=True)
class StoredArray:
    """One two-dimensional array, kept in one file or in shards that follow each other.

    Attributes:
        files: The files, in row order.
        shards: Rows of each file, and how to read rows [start, stop) of it.
        dim: Columns.
    """

    files: tuple[Path, ...]
    shards: tuple[tuple[int, Callable[[int, int], np.ndarray]], ...]
    dim: int

    @property
    def count(self) -> int:
        """Rows of all files."""
        return sum(rows for rows, _ in self.shards)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), across shards."""
        parts, first = [], 0
        for rows, read in self.shards:
            low, high = max(start - first, 0), min(stop - first, rows)
            if low < high:
                parts.append(read(low, high))
            first += rows
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), dtype=np.float32)

    def digest(self) -> str:
        """sha256 of shape and content; the same for one file and for shards of it."""
        return remembered(self.files, self._digest)

    def _digest(self) -> str:
        import hashlib

        sha = hashlib.sha256(f"{self.count}x{self.dim}".encode())
        for start in range(0, self.count, 16384):
            part = np.ascontiguousarray(self.read(start, min(start + 16384, self.count)))
            sha.update(part.dtype.str.encode())
            sha.update(part.tobytes())
        return sha.hexdigest()


def open_stored(files: Sequence[Path]) -> StoredArray:
    """Open an embedding matrix, reading headers only where the format allows it.

    Raises:
        HarnessError: A file is missing, of an unknown kind, damaged, or not a float matrix; shards do not fit.
    """
    shards, dims = [], []
    for file in files:
        rows, dim, read = _open(file)
        shards.append((rows, read))
        dims.append(dim)
        if dim != dims[0]:
            raise HarnessError(f"has {dim} columns, {files[0].name} has {dims[0]}", where=str(file))
    return StoredArray(tuple(files), tuple(shards), dims[0])


def open_vector(file: Path) -> np.ndarray:
    """A vector of integers (labels, row numbers) from an ``.npy`` file, as int64.

    Raises:
        HarnessError: Missing, damaged, or not a vector of integers.
    """
    array = _npy(file)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise HarnessError(f"must be a vector of integers, is {array.dtype}{list(array.shape)}", where=str(file))
    return np.array(array, dtype=np.int64)


def check_kind(file: Path) -> None:
    """Refuse a file whose name says that it is no kind that can be read, whether it is there or not.

    Raises:
        HarnessError: An unknown suffix.
    """
    if file.suffix.lower() not in _READERS:
        fix = f"known: {', '.join(_READERS)}"
        raise HarnessError(f"cannot read {file.suffix or 'a file without suffix'}", where=str(file), fix=fix)


def _open(file: Path) -> tuple[int, int, Callable[[int, int], np.ndarray]]:
    check_kind(file)
    if not file.is_file():
        raise MissingData("no such file", where=str(file))
    shape, dtype, read = _READERS[file.suffix.lower()](file)
    if len(shape) != 2:
        raise HarnessError(f"must be [rows, dim], is {list(shape)}", where=str(file))
    if dtype not in _FLOATS:
        raise HarnessError(f"must hold floats, holds {dtype}", where=str(file))
    return shape[0], shape[1], read


_FLOATS = ("float", "float16", "float32", "float64")
"""Names of what can be read as embeddings; ``float`` for formats that name their kinds otherwise."""

_Opened = tuple[tuple[int, ...], str, Callable[[int, int], np.ndarray]]


def _npy(file: Path) -> np.ndarray:
    if not file.is_file():
        raise MissingData("no such file", where=str(file))
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise HarnessError(f"not a plain .npy array: {error}", where=str(file)) from error
    if not isinstance(array, np.ndarray):
        raise HarnessError("not a plain .npy array: it is an archive of arrays (.npz)", where=str(file))
    return array


def _open_npy(file: Path) -> _Opened:
    array = _npy(file)
    return array.shape, array.dtype.name, lambda start, stop: np.asarray(array[start:stop])


def _open_pt(file: Path) -> _Opened:
    import torch

    try:
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), "it is cut off")
        raise HarnessError(f"not a plain tensor file: {reason}", where=str(file)) from error
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors[_obvious({name: tuple(tensor.shape) for name, tensor in tensors.items()}, file)]
    if not isinstance(content, torch.Tensor):
        raise HarnessError(f"holds a {type(content).__name__}, not a tensor", where=str(file))
    tensor = content.detach()
    # Not "float" in the name: numpy has no floats of eight bits.
    known = tensor.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    dtype = "float" if known else str(tensor.dtype).removeprefix("torch.")
    return tuple(tensor.shape), dtype, lambda start, stop: _to_numpy(tensor[start:stop])


def _open_safetensors(file: Path) -> _Opened:
    from safetensors import SafetensorError, safe_open

    try:
        opened = safe_open(str(file), framework="pt")
    except (OSError, SafetensorError) as error:
        raise HarnessError(f"not a safetensors file: {error}", where=str(file)) from error
    shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    part = opened.get_slice(_obvious(shapes, file))
    kind = str(part.get_dtype())
    dtype = "float" if kind in ("F64", "F32", "F16", "BF16") else kind
    return tuple(part.get_shape()), dtype, lambda start, stop: _to_numpy(part[start:stop])


def _to_numpy(tensor: object) -> np.ndarray:
    import torch

    assert isinstance(tensor, torch.Tensor)
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy()


def _obvious(shapes: Mapping[str, tuple[int, ...]], file: Path) -> str:
    """The one tensor that is meant: the only one, one of a usual name, or the only matrix."""
    if len(shapes) == 1:
        return next(iter(shapes))
    if named := [name for name in _USUAL_NAMES if name in shapes]:
        return named[0]
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    if len(matrices) != 1:
        found = ", ".join(sorted(shapes)) or "none"
        raise HarnessError(f"which tensor is meant? it holds {found}", where=str(file), fix="keep one, as 'embeddings'")
    return matrices[0]


_READERS: Mapping[str, Callable[[Path], _Opened]] = {
    ".npy": _open_npy,
    ".pt": _open_pt,
    ".pth": _open_pt,
    ".safetensors": _open_safetensors,
}
