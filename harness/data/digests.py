"""Digests: of settings (canonical JSON), of arrays and of files, remembered while a file does not change."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract.files import write_atomic

_REMEMBER_ON_DISK = 64 * 2**20
_known: dict[str, str] = {}


def cache_folder() -> Path:
    """The user's folder for what can be computed again (``XDG_CACHE_HOME``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stitch-harness"


def digest_json(value: Any) -> str:
    """sha256 (hex) of a value's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_array(array: np.ndarray) -> str:
    """sha256 (hex) of an array's dtype, shape and content."""
    header = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def digest_file(path: Path, chunk: int = 2**22) -> str:
    """sha256 (hex) of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(chunk):
            sha.update(block)
    return sha.hexdigest()


def stamp(path: Path) -> tuple[str, int, int]:
    """(absolute path, size in bytes, modification time in ns): what changes when a file is written."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def remembered(paths: Sequence[Path], compute: Callable[[], str]) -> str:
    """``compute()``, called again only when one of the files has changed.

    Remembered in this process, and for large files also in the user's cache folder (``XDG_CACHE_HOME``), so that
    planning a sweep over gigabytes of embeddings does not hash them every time.

    Args:
        paths: The files that the digest depends on.
        compute: Makes the digest.
    """
    stamps = [stamp(path) for path in paths]
    key = digest_json(stamps)
    if key in _known:
        return _known[key]
    note = cache_folder() / "digests" / key
    large = sum(size for _, size, _ in stamps) >= _REMEMBER_ON_DISK
    value = ""
    if large and note.is_file():
        value = note.read_text(encoding="ascii", errors="replace").strip()
    if len(value) != 64:
        value = compute()
        if large:
            with contextlib.suppress(OSError):  # a home folder that cannot be written only costs time
                write_atomic(note, value.encode())
    _known[key] = value
    return value
