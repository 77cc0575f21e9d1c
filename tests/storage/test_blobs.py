"""The guarantees that are written over ``harness.storage.blobs``, for folders, buckets and what lies under a prefix."""

import errno
import os
import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contract.files import write_atomic
from harness.errors import HarnessError, StorageFailed
from harness.storage.blobs import BlobExists, Blobs, BlobsUnder, FolderBlobs, NoBlob
from harness.storage.places import blobs_at

PARTS = st.text(alphabet="ab1._-+", min_size=1, max_size=6).filter(lambda part: not part.startswith("."))
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@pytest.fixture(params=["folder", "under", "under under", "bucket", "bucket under"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """Blobs of every kind; beside those under a prefix lie others that they must not see."""
    found = plain(request, tmp_path, "bucket" if "bucket" in request.param else "folder")
    for _ in range(request.param.count("under")):
        found.put("apart/x", b"not under it")
        found = BlobsUnder(found, "part")
    return found


@pytest.fixture(params=["folder", "bucket"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """Blobs of a folder or a bucket."""
    return plain(request, tmp_path, request.param)


def plain(request: pytest.FixtureRequest, tmp_path: Path, where: str) -> Blobs:
    """Blobs of a folder or a bucket; there another prefix that begins alike holds something too."""
    if where == "folder":
        return FolderBlobs(tmp_path / "run")
    bucket = request.getfixturevalue("bucket")
    blobs_at(f"{bucket}/a/run2").put("x", b"not in it")
    return blobs_at(f"{bucket}/a/run")


def test_what_was_put_is_there_until_it_is_deleted(blobs: Blobs) -> None:
    assert list(blobs.list()) == []
    blobs.put("a.json", b"one")
    blobs.put("cells/k.json", b"two")
    blobs.put("cells/k.npz", b"")
    blobs.put("cells/more/k.json", b"\x00\xff")
    assert sorted(blobs.list()) == ["a.json", "cells/k.json", "cells/k.npz", "cells/more/k.json"]
    assert sorted(blobs.list("cells/")) == ["cells/k.json", "cells/k.npz", "cells/more/k.json"]
    assert list(blobs.list("none/")) == []
    assert blobs.sizes() == {"a.json": 3, "cells/k.json": 3, "cells/k.npz": 0, "cells/more/k.json": 2}
    assert blobs.sizes("cells/more/") == {"cells/more/k.json": 2}
    assert blobs.get("cells/more/k.json") == b"\x00\xff"
    blobs.put("a.json", b"other")
    assert blobs.get("a.json") == b"other"
    blobs.delete("a.json")
    blobs.delete("a.json")
    assert not blobs.exists("a.json")
    assert blobs.exists("cells/k.npz")
    assert not blobs.exists("cells"), "a folder is no blob"


def test_what_is_not_there_says_where_it_was_looked_for(blobs: Blobs) -> None:
    with pytest.raises(NoBlob, match=r"run/.*cells/none\.json: is not there|run/cells/none\.json: is not there"):
        blobs.get("cells/none.json")


def test_a_taken_name_is_not_written_again(blobs: Blobs) -> None:
    blobs.put_new("lock", b"first")
    with pytest.raises(BlobExists, match="lock: is there already"):
        blobs.put_new("lock", b"second")
    assert blobs.get("lock") == b"first"
    assert list(blobs.list()) == ["lock"], "nothing temporary is left"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_links_still_gives_a_name_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.link", no_links)
    test_a_taken_name_is_not_written_again(FolderBlobs(tmp_path))


def test_what_a_dead_put_left_is_tidied_and_nothing_else(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    blobs.put("cells/k.json", b"x")
    (tmp_path / ".hidden").write_bytes(b"a user's")
    (tmp_path / ".tune-0a" / "words").mkdir(parents=True)  # a killed backend's
    for name in (".k.json.0a.tmp", ".lock.json.0b.new", ".lock.json.0b.new.0c.tmp"):
        (tmp_path / "cells" / name).write_bytes(b"half")
    blobs.tidy()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "cells", "k.json"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full .no space left on device. .free some space; the same command goes on"),
        (errno.EDQUOT, "the disk is full .disk quota exceeded."),
        (errno.EROFS, "the storage cannot be written .read-only file system. .make it writable, or give another --st"),
        (errno.EACCES, "the storage cannot be written .permission denied."),
        (errno.ESTALE, "the storage has vanished .stale file handle. .mount it again; the same command goes on"),
        (errno.EIO, "the storage has vanished .input/output error."),
        (errno.ENAMETOOLONG, "cannot be written: File name too long .the same command goes on"),
    ],
)
def test_what_the_system_says_while_writing_is_one_line_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    def fail(self: Path, mode: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fail)
    blobs = FolderBlobs(tmp_path)
    for put in (blobs.put, blobs.put_new):
        with pytest.raises(StorageFailed, match=rf"x\.json.*: {told}"):
            put("x.json", b"x")
    assert list(tmp_path.iterdir()) == []


def test_of_many_at_the_same_time_exactly_one_gets_a_new_name(kind: Blobs, tmp_path: Path) -> None:
    blobs, start, won = kind, threading.Barrier(8), []

    def claim(number: int) -> None:
        start.wait()
        try:
            blobs.put_new("claims/k", str(number).encode())
            won.append(number)
        except BlobExists:
            pass

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert blobs.get("claims/k") == str(won[0]).encode()
    assert list(blobs.list()) == ["claims/k"]
    assert not [path.name for path in tmp_path.rglob(".*") if path.is_file()], "nothing temporary is left"


def test_a_reader_sees_the_old_content_or_the_new_and_never_a_part(kind: Blobs) -> None:
    blobs, stop = kind, threading.Event()
    contents = {bytes([n]) * (1 + 100_000 * n) for n in range(3)}
    blobs.put("x", min(contents, key=len))

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                blobs.put("x", content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {blobs.get("x") for _ in range(200 if isinstance(blobs, FolderBlobs) else 30)}
    finally:
        stop.set()
        writer.join()
    assert seen <= contents


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
def test_every_allowed_name_comes_back_in_the_list_of_a_bucket(bucket: str, name: str) -> None:
    blobs = blobs_at(f"{bucket}/{uuid.uuid4().hex}")
    blobs.put(name, b"x")
    assert list(blobs.list()) == [name]
    assert blobs.get(name) == b"x"


@given(NAMES)
def test_every_allowed_name_comes_back_in_the_list(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    blobs = FolderBlobs(tmp_path_factory.mktemp("blobs"))
    blobs.put(name, b"x")
    assert list(blobs.list()) == [name]
    assert blobs.get(name) == b"x"


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "..", "../a", "a/../b", ".hidden", "a/.b", "a b", "a\n", "a\x00", "a:b", "a\\b"]
)
@pytest.mark.parametrize("where", ["folder", "s3://bucket"])
def test_what_is_no_name_is_refused_and_nothing_is_written(tmp_path: Path, name: str, where: str) -> None:
    blobs = FolderBlobs(tmp_path / "run") if where == "folder" else blobs_at(where)
    for touch in (blobs.get, blobs.exists, blobs.delete, lambda n: blobs.put(n, b""), lambda n: blobs.put_new(n, b"")):
        with pytest.raises(HarnessError, match="is not the name of a blob"):
            touch(name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(HarnessError, match=r"cells: cannot be read: Is a directory$"):
        FolderBlobs(tmp_path).get("cells")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://host/x", "cannot be used: https:// is no bucket that is known .a folder, s3://, gs://, az://, abfs:"),
        ("s3://", "names no bucket .s3://BUCKET/PREFIX."),
        ("gs:///", "names no bucket"),
    ],
)
def test_a_url_of_a_kind_that_cannot_be_used_says_what_to_do(url: str, told: str) -> None:
    with pytest.raises(HarnessError, match=told) as caught:
        blobs_at(url)
    assert caught.value.where == url


@given(old=st.binary(max_size=50), new=st.binary(max_size=50))
def test_an_interrupted_write_leaves_the_old_content(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    folder = tmp_path_factory.mktemp("files")
    file = folder / "deep" / "x.json"
    write_atomic(file, old)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space left"))
        )
        with pytest.raises(StorageFailed, match="the disk is full .no space left."):
            write_atomic(file, new)
    assert file.read_bytes() == old
    assert list(file.parent.iterdir()) == [file]
    write_atomic(file, new)
    assert file.read_bytes() == new
