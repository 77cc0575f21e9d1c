"""Buckets: what fails now and then is tried again, what fails for good is one line, and files of any size move."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError, StorageFailed
from harness.run.lock import LockHeld, RunLock
from harness.storage import bucket as bucket_module
from harness.storage.blobs import BlobExists
from harness.storage.clouds import aws_profile
from harness.storage.places import bucket_at, runs_below
from tests.buckets import FaultyProxy


@pytest.fixture
def faulty(bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The proxy through which the bucket is reached."""
    with FaultyProxy(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def test_errors_now_and_then_are_tried_again(bucket: str, faulty: FaultyProxy) -> None:
    faulty.fault = lambda number, method, path: 503 if number % 3 else None
    blobs = bucket_at(f"{bucket}/run")
    blobs.put_new("lock", b"mine")
    for number in range(3):
        blobs.put(f"cells/{number}.json", str(number).encode())
    assert sorted(blobs.list("cells/")) == ["cells/0.json", "cells/1.json", "cells/2.json"]
    assert blobs.get("cells/2.json") == b"2"
    assert not blobs.exists("cells/3.json")
    blobs.delete("cells/2.json")
    assert blobs.sizes() == {"lock": 4, "cells/0.json": 1, "cells/1.json": 1}


def test_a_slow_answer_is_waited_for_and_a_lost_one_asked_for_again(
    bucket: str, faulty: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.storage.clouds.TIMEOUT_S", 3.0)
    blobs = bucket_at(f"{bucket}/slow")
    faulty.fault = lambda number, method, path: 0.3
    blobs.put("x", b"one")
    first = len(faulty.seen) + 1
    faulty.fault = lambda number, method, path: 8.0 if number == first else None
    assert blobs.get("x") == b"one"
    assert len(faulty.seen) > first


def test_a_conditional_put_whose_answer_was_lost_knows_that_it_was_its_own(bucket: str, faulty: FaultyProxy) -> None:
    faulty.fault = lambda number, method, path: -503 if (number, method) == (1, "PUT") else None
    blobs = bucket_at(f"{bucket}/run")
    blobs.put_new("lock", b"mine")
    assert [method for method, _ in faulty.seen].count("PUT") == 2, "the second was refused by the server"
    with pytest.raises(BlobExists, match="lock: is there already"):
        blobs.put_new("lock", b"mine")


def test_when_patience_ends_it_is_one_line(bucket: str, faulty: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_BUCKET_PATIENCE_S", "0.5")
    faulty.fault = lambda number, method, path: 503
    blobs = bucket_at(f"{bucket}/run")
    for ask in (lambda: blobs.get("x"), lambda: blobs.put("x", b""), lambda: blobs.put_new("x", b""), blobs.sizes):
        with pytest.raises(StorageFailed, match=r"the bucket does not answer as it should: .*503.*the same command"):
            ask()
    assert len(faulty.seen) > 8, "each was tried more than once"


def test_a_bucket_that_is_not_there_is_said(bucket: str) -> None:
    blobs = bucket_at("s3://no-such-bucket-here/run")
    for ask in (
        lambda: blobs.exists("manifest.json"),
        lambda: blobs.get("x"),
        lambda: blobs.put("x", b""),
        lambda: blobs.put_new("x", b""),
        blobs.sizes,
        lambda: list(runs_below("s3://no-such-bucket-here")),
    ):
        with pytest.raises(StorageFailed, match=r"no-such-bucket-here.*: there is no such bucket .make the bucket"):
            ask()


def test_missing_credentials_are_said_and_a_profile_serves(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert aws_profile() == {}
    file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b%c\n[work]\naws_access_key_id = only\n")
    assert aws_profile() == {"access_key_id": "a", "secret_access_key": "b%c"}
    bucket_at(f"{bucket}/run").put("x", b"by the profile")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert aws_profile() == {}, "half of the keys are no credentials"


def test_without_the_package_one_line_says_what_to_install(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(HarnessError, match=r"buckets need the package obstore .pip install 'stitch-harness.buckets.'"):
        bucket_at(f"{bucket}/never").exists("x")


def test_files_move_in_pieces(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "PIECE", 6 * 2**20)
    data = np.random.default_rng(0).bytes(13 * 2**20 + 5)
    (tmp_path / "a").write_bytes(data)
    blobs = bucket_at(f"{bucket}/files")
    blobs.upload("deep/a", tmp_path / "a")
    assert blobs.size("deep/a") == len(data)
    assert blobs.sha256("deep/a") == hashlib.sha256(data).hexdigest()
    blobs.move("deep/a", "b")
    blobs.move("deep/a", "c")  # nothing
    assert set(blobs.list()) == {"b"}
    blobs.download("b", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data
    blobs.put("empty", b"")
    blobs.download("empty", tmp_path / "none")
    assert (tmp_path / "none").read_bytes() == b""


def test_a_run_in_a_bucket_is_locked_and_a_dead_owner_makes_room(bucket: str) -> None:
    blobs = bucket_at(f"{bucket}/run")
    with RunLock(blobs, beat_s=0.05, stale_s=5.0, watch_s=0.5) as lock:
        lock.acquire()
        with pytest.raises(LockHeld, match="another sweep of this run is going on"):
            RunLock(blobs).acquire()
    assert list(blobs.list()) == [], "it leaves nothing"
    blobs.put("lock.json", b"{")
    with RunLock(blobs, watch_s=0.2) as lock:
        lock.acquire()
        assert str(lock.taken_over) == "somebody whose lock cannot be read"


def test_what_lies_in_a_bucket_is_shown_by_browsers(bucket: str) -> None:
    import obstore

    from harness.storage.clouds import client_of

    blobs = bucket_at(f"{bucket}/run/report")
    blobs.put("index.html", b"<p>")
    assert obstore.get(client_of(blobs.where), "index.html").attributes["Content-Type"] == "text/html"


def test_runs_are_found_below_a_storage(bucket: str) -> None:
    storage = bucket_at(f"{bucket}/lab")
    for name in ("b/manifest.json", "a/manifest.json", "banks/d/x/meta.json", "c/other.json", "loose.json"):
        storage.put(name, b"{}")
    assert list(runs_below(f"{bucket}/lab")) == [("a", f"{bucket}/lab/a"), ("b", f"{bucket}/lab/b")]
