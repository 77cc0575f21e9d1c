"""A run on disk: whole files or none, damaged ones reported in one line."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from harness.contract.files import write_atomic
from harness.errors import HarnessError, StorageFailed
from harness.run.records import CellRecord, LedgerRecord, PairMetrics
from harness.run.store import RunStore
from harness.storage.blobs import FolderBlobs


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
        "metrics": [PairMetrics(image="i", text="t", score=0.5)],
        "ledger": LedgerRecord(
            flops={"connector": 3.0, "eval": 1.0, "runner_eval": 50.0}, seconds={}, updates=1, samples=8
        ),
    }
    return CellRecord(**(values | changes))  # type: ignore[arg-type]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_cell_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "run"))
    record = record_of("k", error="e", warnings=["w"], curve=[])
    hits = {
        "0/retrieval/text_to_image_r5": np.array([1, 0], dtype=np.uint8),
        "retrieval/text_to_image/unit": np.array([0, 1], dtype=np.int32),
    }
    store.write_cell(record, hits, b"tensors", b"state")
    stored = store.record("k")
    assert stored.model_copy(update={"files": {}}) == record
    assert {ending: file.bytes for ending, file in stored.files.items() if ending != "npz"} == {
        "safetensors": 7,
        "state.safetensors": 5,
    }
    assert record.ledger.total == 4.0
    assert {name: array.tolist() for name, array in store.queries("k").items()} == {
        name: array.tolist() for name, array in hits.items()
    }
    assert (store.connectors("k"), store.state("k")) == (b"tensors", b"state")
    assert store.finished(["k", "other"]) == {"k"}
    store.drop_state("k")
    assert (store.connectors("k"), store.state("k")) == (b"tensors", None)
    store.drop_cell("k")
    assert not files_in(tmp_path)
    assert store.connectors("k") is None


def test_a_crash_in_the_middle_of_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(str(tmp_path))

    def crash(descriptor: int) -> None:
        names = [path.name for path in files_in(tmp_path)]
        assert names, "the crash happens while a temporary file lies there"
        assert not any(name.endswith(".json") for name in names), "which nothing may take for a record"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(StorageFailed, match=r"the disk is full \(no space left on device\) \(free some space"):
        store.write_cell(record_of("k"))
    assert not files_in(tmp_path)


def test_a_crash_while_replacing_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    write_atomic(path, b"old")
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new, but not whole")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_are_there_before_the_record_says_so(tmp_path: Path) -> None:
    class Watched(FolderBlobs):
        """Keeps the order in which blobs were put."""

        def put(self, name: str, data: bytes) -> None:
            written.append(name)
            super().put(name, data)

    written: list[str] = []
    store = RunStore("", Watched(tmp_path))
    store.write_cell(record_of("k"), {"x": np.zeros(1)}, b"tensors", b"state")
    assert written[-1] == "cells/k.json"
    assert sorted(written[:-1]) == ["cells/k.npz", "connectors/k.safetensors", "connectors/k.state.safetensors"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read"),
        ('{"key": "k", "la', "cannot be read"),
        ("[]", "is not a record"),
        ("null", "is not a record"),
        ('{"schema_version": 99}', "is of schema 99, from a newer version; this one reads 2"),
        ('{"schema_version": 1}', "is of schema 1, from an older version; this one reads 2"),
        ('{"key": 5}', "field key: Input should be a valid string"),
    ],
)
def test_a_damaged_record_is_one_line_with_its_file(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "cells" / "k.json"
    write_atomic(file, content.encode())
    with pytest.raises(HarnessError) as caught:
        RunStore(str(tmp_path)).record("k")
    message = str(caught.value)
    assert message.startswith(f"{file}: {told}")
    assert "\n" not in message


def test_a_record_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    values = json.loads(record_of("k").model_dump_json()) | {"surprise": 1}
    write_atomic(tmp_path / "cells" / "k.json", json.dumps(values).encode())
    with pytest.raises(HarnessError, match="field surprise"):
        RunStore(str(tmp_path)).record("k")


def test_damaged_queries_are_one_line_and_pickles_are_not_opened(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    assert store.queries("none") == {}
    write_atomic(tmp_path / "cells" / "torn.npz", b"PK\x03\x04 torn")
    np.savez(tmp_path / "cells" / "pickle.npz", x=np.array([{"a": 1}], dtype=object))
    for key in ("torn", "pickle"):
        with pytest.raises(HarnessError, match=f"{key}.npz: cannot be read"):
            store.queries(key)


def test_there_is_no_run_where_there_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no run here"):
        RunStore(str(tmp_path)).manifest()


def test_what_an_attempt_spent_is_forgotten_with_its_cells_record(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    assert store.lost_attempt("k") is None
    store.note_attempt("k", record_of("k").ledger)
    assert store.lost_attempt("k") == record_of("k").ledger
    assert store.finished() == set(), "an attempt is no finished cell"
    store.write_cell(record_of("k"))
    assert store.lost_attempt("k") is None
