"""A run on disk: whole files or none, damaged ones told in one line."""

import json

import numpy as np
import pytest
from harness.store import CellRecord, LedgerRecord, RunStore, write_atomic

from harness.errors import HarnessError


def record_of(key: str, **changes: object) -> CellRecord:
    values = {
        "key": key,
        "label": "ape",
        "method": "ape",
        "kind": "per_pair",
        "version": 1,
        "seed": 0,
        "pairs": [("i", "t")],
        "status": "done",
        "ledger": LedgerRecord(
            flops={"connector": 3.0, "eval": 1.0, "runner_eval": 50.0}, seconds={}, updates=1, samples=8
        ),
    }
    return CellRecord(**(values | changes))  # type: ignore[arg-type]


def test_a_cell_comes_back_as_it_was_written(tmp_path) -> None:
    store = RunStore(tmp_path / "run")
    record = record_of("k", error="e", warnings=["w"], curve=[])
    ranks = {"0/retrieval/text_to_image": np.array([1, 5], dtype=np.int32)}
    store.write_cell(record, ranks, b"tensors")
    assert store.record("k") == record
    assert record.ledger.total == 4.0
    assert {name: values.tolist() for name, values in store.ranks("k").items()} == {"0/retrieval/text_to_image": [1, 5]}
    assert store.connectors_path("k").read_bytes() == b"tensors"
    assert store.finished(["k", "other"]) == {"k"}
    store.drop_cell("k")
    assert not [path for path in store.path.rglob("*") if path.is_file()]


def test_a_crash_in_the_middle_of_writing_leaves_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(tmp_path)

    def crash(descriptor: int) -> None:
        names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
        assert names, "the crash happens while a temporary file lies there"
        assert not any(name.endswith(".json") for name in names), "which nothing may take for a record"
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        store.write_cell(record_of("k"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_crash_while_replacing_keeps_the_old_content(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    write_atomic(path, b"old")
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new, but not whole")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_are_on_disk_before_the_record_says_so(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("harness.store.write_atomic", lambda path, data: written.append(path.suffix))
    RunStore(tmp_path).write_cell(record_of("k"), {"x": np.zeros(1)}, b"tensors")
    assert written[-1] == ".json"
    assert sorted(written[:-1]) == [".npz", ".safetensors"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read"),
        ('{"key": "k", "la', "cannot be read"),
        ("[]", "is not a record"),
        ("null", "is not a record"),
        ('{"schema_version": 99}', "is of schema 99, this version reads 1"),
        ('{"key": 5}', "field key: Input should be a valid string"),
    ],
)
def test_a_damaged_record_is_one_line_with_its_file(tmp_path, content: str, told: str) -> None:
    store = RunStore(tmp_path)
    write_atomic(store.cell_path("k"), content.encode())
    with pytest.raises(HarnessError) as caught:
        store.record("k")
    message = str(caught.value)
    assert message.startswith(f"{store.cell_path('k')}: {told}")
    assert "\n" not in message


def test_a_record_with_an_unknown_field_is_refused(tmp_path) -> None:
    store = RunStore(tmp_path)
    values = json.loads(record_of("k").model_dump_json()) | {"surprise": 1}
    write_atomic(store.cell_path("k"), json.dumps(values).encode())
    with pytest.raises(HarnessError, match="field surprise"):
        store.record("k")


def test_damaged_ranks_are_one_line_and_pickles_are_not_opened(tmp_path) -> None:
    store = RunStore(tmp_path)
    assert store.ranks("none") == {}
    write_atomic(store.ranks_path("torn"), b"PK\x03\x04 torn")
    objects = tmp_path / "cells" / "pickle.npz"
    np.savez(objects, x=np.array([{"a": 1}], dtype=object))
    for key in ("torn", "pickle"):
        with pytest.raises(HarnessError, match=f"{key}.npz: cannot be read"):
            store.ranks(key)


def test_there_is_no_run_where_there_is_no_manifest(tmp_path) -> None:
    with pytest.raises(HarnessError, match="no run here"):
        RunStore(tmp_path).manifest()
