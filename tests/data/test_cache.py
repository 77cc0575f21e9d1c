"""The cache of banks: bounded, the longest unused goes first, and nothing that is open or nowhere else."""

import os
from pathlib import Path

import pytest

from harness.data.bank import EMBEDDINGS, META
from harness.data.cache import KEPT, BankCache, bank_cache_folder
from harness.data.locks import nobody_else, only_one, used


def bank(folder: Path, name: str, used_at: int, *, size: int = 100, kept: bool = True) -> Path:
    path = folder / "bucket-1" / "banks" / "data" / name
    used(path).close()
    (path / EMBEDDINGS).write_bytes(bytes(size))
    (path / META).write_bytes(b"{}")
    if kept:
        (path / KEPT).touch()
    os.utime(path / ".use", (used_at, used_at))
    return path


def test_the_longest_unused_goes_first_and_its_description_stays(tmp_path: Path) -> None:
    paths = [bank(tmp_path, name, used_at) for name, used_at in (("b", 2), ("a", 1), ("c", 3))]
    cache = BankCache(tmp_path, 300)
    cache.make_room()
    assert all((path / EMBEDDINGS).is_file() for path in paths), "it fits"
    cache.make_room(150)
    assert [(path / EMBEDDINGS).is_file() for path in paths] == [False, False, True]
    assert all((path / META).is_file() for path in paths)


def test_what_is_open_being_made_or_nowhere_else_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened, made, own = (bank(tmp_path, name, 1, kept=name != "own") for name in ("opened", "made", "own"))
    cache = BankCache(tmp_path, 100)
    with used(opened), only_one(made):
        cache.make_room()
        assert [(path / EMBEDDINGS).is_file() for path in (opened, made, own)] == [True, True, True]
        assert "the rest is in use, or not in a bucket yet" in caplog.text
    cache.make_room()
    assert [(path / EMBEDDINGS).is_file() for path in (opened, made, own)] == [False, False, True]


def test_a_bank_that_is_in_use_is_not_free(tmp_path: Path) -> None:
    path = bank(tmp_path, "a", 1)
    with nobody_else(path) as alone:
        assert alone
    one, other = used(path), used(path)
    one.close()
    with nobody_else(path) as alone:
        assert not alone
    other.close()
    with nobody_else(path) as alone:
        assert alone


def test_the_environment_says_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HARNESS_BANK_CACHE", raising=False)
    assert bank_cache_folder() == tmp_path / "stitch-harness" / "banks"
    monkeypatch.setenv("HARNESS_BANK_CACHE", str(tmp_path / "fast disk"))
    assert bank_cache_folder() == tmp_path / "fast disk"
