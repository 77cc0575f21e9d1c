"""Banks in a bucket: put once they are made, fetched once per machine, compared with their digest."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.bank import EMBEDDINGS, bank_identity, bank_path
from harness.data.extract import describe
from harness.data.healing import heal_banks
from harness.data.load import load_dataset
from harness.data.mirror import BankMirror, mirror_at
from harness.data.request import BankRequest, Extraction
from harness.encoders.base import EncoderSpec
from harness.errors import Damaged
from harness.storage.bucket import BucketBlobs
from harness.storage.places import bucket_at

WORLD: dict[str, Any] = {
    "kind": "synthetic",
    "rows": 60,
    "image_encoders": 1,
    "text_encoders": 1,
    "image_dims": [8],
}


def machine(url: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gb: float = 1.0) -> BankMirror:
    """What one machine has of a storage."""
    monkeypatch.setenv("HARNESS_BANK_CACHE", str(tmp_path / name))
    return mirror_at(url, gb)


def request_on(mirror: BankMirror) -> BankRequest:
    dataset = load_dataset(WORLD)
    (name,) = dataset.own_encoders("image") or ()
    spec = EncoderSpec(name)
    info = describe(dataset, spec, "image")
    path = bank_path(mirror.storage, dataset.name, dataset.digest, info)
    return BankRequest(dataset, spec, info, path, bank_identity(dataset.digest, info), mirror=mirror)


def made_on(mirror: BankMirror) -> BankRequest:
    request = request_on(mirror)
    Extraction(mirror.storage, "float32", 16, 16, "cpu", mirror).missing([request])
    return request


def test_a_bank_is_made_on_one_machine_and_read_on_another(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = machine(f"{bucket}/lab", "one", monkeypatch, tmp_path)
    assert not request_on(one).done
    made = made_on(one)
    other = request_on(machine(f"{bucket}/lab", "other", monkeypatch, tmp_path))
    assert other.done
    assert not (other.path / EMBEDDINGS).exists(), "knowing that it is there fetches nothing"
    assert other.read_meta() == made.read_meta()
    np.testing.assert_array_equal(other.open().take(np.arange(60)), made.open().take(np.arange(60)))
    assert (other.path / EMBEDDINGS).is_file()


def test_many_that_open_it_at_once_fetch_it_once(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_on(machine(f"{bucket}/lab", "one", monkeypatch, tmp_path))
    fetched, download = [], BucketBlobs.download
    monkeypatch.setattr(BucketBlobs, "download", lambda *args: (fetched.append(args[1]), download(*args))[1])
    requests = [request_on(machine(f"{bucket}/lab", "other", monkeypatch, tmp_path)) for _ in range(4)]
    threads = [threading.Thread(target=request.open) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1


def test_a_bank_that_lost_its_digest_in_the_bucket_is_noticed_and_made_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = made_on(machine(f"{bucket}/lab", "one", monkeypatch, tmp_path))
    rows, storage = made.open().take(np.arange(60)), bucket_at(f"{bucket}/lab")
    file = next(name for name in storage.list() if name.endswith(EMBEDDINGS))
    data = bytearray(storage.get(file))
    data[-3] ^= 1
    storage.put(file, bytes(data))
    other = request_on(machine(f"{bucket}/lab", "other", monkeypatch, tmp_path))
    with pytest.raises(Damaged, match=rf"{file}: content does not match its digest"):
        other.open()
    (told,) = heal_banks([other])
    assert told == f"damaged, set aside and made again: {bucket}/lab/{file}: content does not match its digest"
    assert not other.done
    assert any("/damaged/" in name for name in storage.list())
    assert other.mirror is not None
    np.testing.assert_array_equal(made_on(other.mirror).open().take(np.arange(60)), rows)
    assert heal_banks([dataclasses.replace(other)], anew=True) == []


def test_the_cache_holds_what_is_used_and_no_more_than_it_may(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = made_on(machine(f"{bucket}/a", "small", monkeypatch, tmp_path, gb=3e-6))
    opened = first.open()
    second = made_on(machine(f"{bucket}/b", "small", monkeypatch, tmp_path, gb=3e-6))
    assert (first.path / EMBEDDINGS).is_file(), "it is open"
    assert not (second.path / EMBEDDINGS).is_file()
    rows = opened.take(np.arange(60))
    del opened
    np.testing.assert_array_equal(second.open().take(np.arange(60)), rows)
    assert not (first.path / EMBEDDINGS).is_file()
