"""A bounded folder on this machine for banks that lie in a bucket: what was used longest ago goes first."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.bank import EMBEDDINGS
from harness.data.digests import cache_folder
from harness.data.locks import USE, nobody_else
from harness.data.parts import PARTS

FOLDER = "HARNESS_BANK_CACHE"
"""Environment variable: where the cache lies."""
KEPT = ".in-bucket"
"""File of a bank's folder: all that is here is in the bucket too."""
GB = 10**9

_log = logging.getLogger(__name__)


def bank_cache_folder() -> Path:
    """``HARNESS_BANK_CACHE``, or ``banks`` in the user's cache folder."""
    given = os.environ.get(FOLDER)
    return Path(given).expanduser().absolute() if given else cache_folder() / "banks"


@dataclass(frozen=True)
class BankCache:
    """The cache of a machine, shared by all its processes and buckets.

    Attributes:
        folder: Where it lies.
        limit: Bytes that it may hold. Banks that are being read or made stay, and so do those that are nowhere else.
    """

    folder: Path
    limit: int

    def make_room(self, more: int = 0) -> None:
        """Remove banks until so many bytes more fit, the one that was used longest ago first."""
        sizes = {path: _size(path) for path in self._banks()}
        held = sum(sizes.values())
        for path in sorted((path for path in sizes if sizes[path]), key=_last_use):
            if held + more <= self.limit:
                return
            with nobody_else(path) as alone:
                if alone and (path / KEPT).is_file():
                    _empty(path)
                    held -= sizes[path]
        if held + more > self.limit:
            what = "%s holds %.1f GB where %.1f are allowed: the rest is in use, or not in a bucket yet"
            _log.warning(what, self.folder, (held + more) / GB, self.limit / GB)

    def _banks(self) -> Iterator[Path]:
        """Folders of banks, of every bucket."""
        for use in self.folder.glob(f"*/banks/*/*/{USE}"):
            yield use.parent


def _size(path: Path) -> int:
    files = [path / EMBEDDINGS, *(path / PARTS).glob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def _last_use(path: Path) -> int:
    return (path / USE).stat().st_mtime_ns


def _empty(path: Path) -> None:
    """Remove what is large. The description stays: a bank without its rows is fetched when it is opened."""
    (path / EMBEDDINGS).unlink(missing_ok=True)
    shutil.rmtree(path / PARTS, ignore_errors=True)
