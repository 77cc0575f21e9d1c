"""Banks that lie in a bucket: made and read in a local folder, put once they are made, fetched once per machine.

A bank in a bucket has the names and bytes that it has in a folder, so that either can be copied to the other. Its
description is put last: where that is, the bank is whole. It is also the truth: a local bank of another content goes.
"""

import contextlib
import re
import shutil
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from harness.contract.files import write_atomic
from harness.contract.sealed import NotWhole, unsealed
from harness.data.bank import EMBEDDINGS, META, REDO, Bank, BankMeta, open_bank
from harness.data.cache import GB, KEPT, BankCache, bank_cache_folder
from harness.data.digests import digest_json
from harness.data.locks import only_one, used
from harness.data.parts import PARTS, SOURCE, BankPart
from harness.errors import Damaged, HarnessError
from harness.storage.blobs import NoBlob
from harness.storage.bucket import BucketBlobs
from harness.storage.places import bucket_at

SUSPECT = "suspect"
"""Blob beside a bank whose embeddings did not have their digest when they were fetched: the next sweep looks closer."""
ASIDE = "damaged"
HEADER = 1024
"""Bytes that a file has before its rows at most."""


class BankMirror:
    """Banks of a storage in a bucket, and the folder on this machine through which they are made and read.

    Args:
        bucket: The storage.
        storage: The folder, which holds ``banks/`` as a storage does.
        cache: What bounds it.
    """

    def __init__(self, bucket: BucketBlobs, storage: Path, cache: BankCache) -> None:
        self._bucket, self.storage, self._cache = bucket, storage, cache
        self._looked: set[Path] = set()
        self._held: dict[Path, IO[str]] = {}

    def place(self, path: Path) -> str:
        """Where the bank of a local folder lies."""
        return f"{self._bucket.where}/{self._name(path)}"

    def look(self, path: Path) -> None:
        """Bring the description of a bank up to date, and the parts of one that is not finished: once a process.

        Raises:
            Damaged: The description in the bucket is.
        """
        if path not in self._looked:
            self._compare(path)
            self._looked.add(path)

    def open(self, path: Path, identity: str) -> Bank:
        """The whole bank, fetched if it is not here, its content checked; it stays while it is used.

        Raises:
            Damaged: What lies in the bucket is not what was written.
            HarnessError: There is no bank.
        """
        self.look(path)
        use = used(path)
        try:
            bank = self._opened(path, identity)
        except BaseException:
            use.close()
            raise
        weakref.finalize(bank, use.close)
        return bank

    def save_part(self, part: Path) -> None:
        """Put a part that has just been made: what was embedded outlives this machine.

        Args:
            part: Its embeddings.
        """
        folder = part.parent
        self._bucket.put(f"{self._name(folder)}/{SOURCE}", (folder / SOURCE).read_bytes())
        for ending in (*BankPart.BESIDE, part.suffix):
            self._bucket.upload(f"{self._name(folder)}/{part.with_suffix(ending).name}", part.with_suffix(ending))

    def begin(self, path: Path, size: int) -> None:
        """Make room for a bank that is about to be made here.

        Args:
            path: Its folder.
            size: Bytes that it will have. Its parts, which take as much, go at the end.
        """
        self._cache.make_room(2 * size)
        self._hold(path)
        (path / KEPT).unlink(missing_ok=True)

    def push(self, path: Path) -> None:
        """Put what has been made here and is not in the bucket; whoever was first stays."""
        if (path / KEPT).is_file():
            return
        whole = (path / META).is_file()
        if whole:
            if _description(self._bucket, self._name(path)) is None:
                self._bucket.upload(f"{self._name(path)}/{EMBEDDINGS}", path / EMBEDDINGS)
                self._bucket.put(f"{self._name(path)}/{META}", (path / META).read_bytes())
                self._delete(f"{self._name(path)}/{PARTS}/")
            else:
                self._compare(path)
        else:
            self._push_parts(path / PARTS)
        (path / KEPT).touch()
        if whole and path in self._held:
            self._held.pop(path).close()
        self._cache.make_room()

    def damages(self, path: Path, *, anew: bool) -> Iterator[Damaged]:
        """What is wrong with the bank in the bucket: see ``damages_in``.

        Args:
            path: Its local folder.
            anew: Compare its content too.
        """
        self._looked.discard(path)
        return damages_in(self._bucket, self._name(path), anew=anew)

    def set_aside(self, path: Path) -> None:
        """Move a damaged bank below ``damaged/`` of its prefix, and forget what is here of it."""
        name, number = self._name(path), uuid.uuid4().hex[:8]
        for file in (META, EMBEDDINGS):  # without a description there is no bank
            self._bucket.move(f"{name}/{file}", f"{name}/{ASIDE}/{file}.{number}")
        self._bucket.delete(f"{name}/{SUSPECT}")
        with only_one(path):
            self._forget(path)
        self._looked.discard(path)

    def drop(self, file: Path) -> None:
        """Move a file of an unfinished bank aside in the bucket, if it is there."""
        self._bucket.move(self._name(file), f"{self._name(file.parent.parent)}/{ASIDE}/{file.name}")

    def _hold(self, path: Path) -> None:
        if path not in self._held:
            self._held[path] = used(path)

    def _opened(self, path: Path, identity: str) -> Bank:
        for again in (False, True):
            with only_one(path):
                if (path / META).is_file() and not (path / EMBEDDINGS).is_file():
                    self._fetch(path)
                try:
                    return open_bank(path, identity=identity)
                except Damaged as damage:
                    if not (path / KEPT).is_file():
                        raise  # it was made here and is nowhere else
                    (path / EMBEDDINGS).unlink(missing_ok=True)
                    if again:
                        self._bucket.put(f"{self._name(path)}/{SUSPECT}", damage.what.encode())
                        raise Damaged(damage.what, where=f"{self.place(path)}/{EMBEDDINGS}", fix=REDO) from damage
        raise AssertionError("the second time returns or raises")

    def _fetch(self, path: Path) -> None:
        name, file = f"{self._name(path)}/{EMBEDDINGS}", path / EMBEDDINGS
        for left in path.glob(f".{EMBEDDINGS}.*.tmp"):  # by a process that died
            left.unlink(missing_ok=True)
        temporary = path / f".{EMBEDDINGS}.{uuid.uuid4().hex}.tmp"
        try:
            self._cache.make_room(self._bucket.size(name))
            self._bucket.download(name, temporary)
            temporary.replace(file)
        except NoBlob as error:
            raise Damaged("is gone", where=f"{self.place(path)}/{EMBEDDINGS}", fix=REDO) from error
        finally:
            temporary.unlink(missing_ok=True)
        (path / KEPT).touch()

    def _compare(self, path: Path) -> None:
        there = _description(self._bucket, self._name(path))
        here = (path / META).read_bytes() if (path / META).is_file() else None
        if there is not None and there != here:
            meta = _parsed(self._bucket, self._name(path), there)
            with only_one(path):
                if _digest_in(path) != meta.digest:  # asked anew: another process may have been first
                    self._forget(path)
                write_atomic(path / META, there)
                (path / KEPT).touch()
        elif there is None and here is not None and (path / KEPT).is_file():
            with only_one(path):  # it was deleted, to be made again
                self._forget(path)
        elif there is None and here is None:
            self._pull_parts(path / PARTS)

    def _pull_parts(self, folder: Path) -> None:
        """Parts that other machines have made."""
        name = self._name(folder)
        there = {found.removeprefix(f"{name}/") for found in self._bucket.list(f"{name}/")}
        if SOURCE not in there:
            return
        self._hold(folder.parent)  # what is counted as there must stay
        source = self._bucket.get(f"{name}/{SOURCE}")
        file = folder / SOURCE
        if not file.is_file():
            write_atomic(file, source)
        elif file.read_bytes() != source:
            return  # of other weights: this machine's own go on
        for part in (folder / found for found in sorted(there) if found.endswith(".npy")):
            endings = (*BankPart.BESIDE, part.suffix)
            if not part.is_file() and all(part.with_suffix(ending).name in there for ending in endings):
                for ending in endings:
                    wanted = part.with_suffix(ending)
                    temporary = wanted.with_name(f".{wanted.name}.{uuid.uuid4().hex}.tmp")
                    self._bucket.download(f"{name}/{wanted.name}", temporary)
                    temporary.replace(wanted)

    def _push_parts(self, folder: Path) -> None:
        name = self._name(folder)
        there = self._bucket.sizes(f"{name}/")
        with contextlib.suppress(NoBlob):
            if (folder / SOURCE).is_file() and self._bucket.get(f"{name}/{SOURCE}") != (folder / SOURCE).read_bytes():
                self._delete(f"{name}/")  # of other weights
                there = {}
        for part in sorted(folder.glob("part-*.npy")):
            if f"{name}/{part.name}" not in there:
                self.save_part(part)

    def _delete(self, prefix: str) -> None:
        for name in list(self._bucket.list(prefix)):
            self._bucket.delete(name)

    def _forget(self, path: Path) -> None:
        for file in (path / META, path / EMBEDDINGS, path / KEPT):
            file.unlink(missing_ok=True)
        shutil.rmtree(path / PARTS, ignore_errors=True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.storage).as_posix()


def damages_in(bucket: BucketBlobs, name: str, *, anew: bool) -> Iterator[Damaged]:
    """What is wrong with a bank in a bucket: by its description and size, or also by its content.

    Args:
        bucket: The storage.
        name: What the names of the bank's blobs begin with.
        anew: Compare its content, which is read for that, although nobody has found fault with it.
    """
    data = _description(bucket, name)
    if data is None:
        return
    try:
        meta = _parsed(bucket, name, data)
    except Damaged as damage:
        yield damage
        return
    sizes, file = bucket.sizes(f"{name}/"), f"{name}/{EMBEDDINGS}"
    where, suspect = f"{bucket.where}/{file}", f"{name}/{SUSPECT}" in sizes
    if file not in sizes:
        yield Damaged("is gone", where=where, fix=REDO)
    elif not 0 <= sizes[file] - meta.bytes <= HEADER:
        yield Damaged(f"holds {sizes[file]} bytes where its rows take {meta.bytes}", where=where, fix=REDO)
    elif (anew or suspect) and bucket.sha256(file) != meta.digest:
        yield Damaged("content does not match its digest", where=where, fix=REDO)


def _description(bucket: BucketBlobs, name: str) -> bytes | None:
    try:
        return bucket.get(f"{name}/{META}")
    except NoBlob:
        return None


def _parsed(bucket: BucketBlobs, name: str, data: bytes) -> BankMeta:
    try:
        return BankMeta.model_validate(unsealed(data))
    except (NotWhole, ValidationError) as error:
        what = " ".join(f"damaged: {error}".split())
        raise Damaged(what, where=f"{bucket.where}/{name}/{META}", fix=REDO) from error


def _digest_in(path: Path) -> str:
    """The digest of the bank in a local folder; empty where there is none."""
    try:
        return Bank(path).meta.digest
    except HarnessError:
        return ""


def mirror_at(url: str, cache_gb: float) -> BankMirror:
    """The banks of a storage in a bucket, through this machine's cache.

    Args:
        url: Of the storage.
        cache_gb: What the cache may hold, in 10^9 bytes.
    """
    bucket, folder = bucket_at(url), bank_cache_folder()
    own = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', bucket.where)[-60:]}-{digest_json(bucket.where)[:8]}"
    return BankMirror(bucket, folder / own, BankCache(folder, int(cache_gb * GB)))
