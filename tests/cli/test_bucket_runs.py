"""Whole runs in a bucket, by the real command line against a real S3 server."""

import json
from pathlib import Path

import pytest

from harness.storage.places import bucket_at

SMALL = "seeds=[0]", "methods.ape.epochs=1", "methods.hyma.epochs=1"


def sweep(world, storage: str, *more: str) -> tuple[int, str, str]:
    sets = [part for value in SMALL for part in ("--set", value)]
    return world.invoke("sweep", "world.yaml", "--backend", "serial", "--storage", storage, *sets, *more)


@pytest.fixture
def quick_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HARNESS_BUCKET_PATIENCE_S", "1")
    return bucket


def test_a_run_in_a_bucket_is_swept_once_heals_and_is_read_from_anywhere(
    world, quick_bucket: str, tmp_path: Path, without_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = f"{quick_bucket}/lab"
    code, out, err = sweep(world, storage)
    assert code == 0, out + err
    run = f"{storage}/world"
    assert f"report: {run}/report/index.html" in out
    assert f"to open it: harness report {run} --out FOLDER" in out
    assert not (world.folder / "runs").exists()
    blobs = bucket_at(run)
    before = {name: blobs.get(name) for name in blobs.list("cells/")}
    assert len(before) == 2 * 7, "a record and ranks for 6 cells of ape and 1 of hyma"
    assert not blobs.exists("lock.json")

    code, out, err = sweep(world, storage)
    assert code == 0, out + err
    assert "nothing to run: 7 of 7 cells are done" in err
    assert {name: blobs.get(name) for name in blobs.list("cells/")} == before

    record = next(name for name in before if name.endswith(".json"))
    blobs.put(record, before[record][:100])
    code, out, err = sweep(world, storage)
    assert code == 0, out + err
    assert f"damaged, set aside and made again: {run}/{record}" in err
    again = json.loads(blobs.get(record))
    assert again["metrics"] == json.loads(before[record])["metrics"]

    monkeypatch.setenv("HARNESS_BANK_CACHE", str(tmp_path / "another machine"))
    code, out, _ = world.invoke("status", run)
    assert (code, "world: 7 of 7 cells" in out) == (0, True)
    assert world.invoke("verify", run)[:2] == (0, "7 cells, 14 files of them, 5 banks: nothing damaged\n")
    code, out, err = world.invoke("export", run, "--method", "ape", "--out", str(tmp_path / "model"))
    assert code == 0, out + err
    assert (tmp_path / "model" / "connector.safetensors").is_file()
    assert world.invoke("report", run, "--out", str(tmp_path / "report"))[0] == 0
    assert (tmp_path / "report" / "index.html").is_file()
    listed = json.loads(world.invoke("ls", "runs", "--storage", storage, "--json")[1])
    assert listed == [{"name": "world", "path": run, "cells": 7, "finished": 7}]


def test_what_cannot_be_reached_is_one_line_and_leaves_nothing(
    world, quick_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*args: str) -> str:
        code, _, err = world.invoke(*args)
        assert code == 2, err
        assert err.count("\n") == 1
        return err

    gone = "s3://no-such-bucket-here/lab"
    assert "there is no such bucket" in told("plan", "world.yaml", "--storage", gone)
    assert "there is no such bucket" in told("status", f"{gone}/world")
    assert "no run here" in told("status", f"{quick_bucket}/lab/world")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(world.folder / "none"))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    assert "AWS_ACCESS_KEY_ID" in told("status", f"{quick_bucket}/lab2/world")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "the bucket does not answer as it should" in told("status", f"{quick_bucket}/lab/world")
