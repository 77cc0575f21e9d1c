"""Stored files with anything changed in them: read as they were written, or called damaged; never a traceback."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contract.sealed import CHECKSUM, NotWhole, checksum_of, unsealed
from harness.data.bank import Bank, BankMeta, open_bank
from harness.errors import Damaged, HarnessError
from harness.run.blobs import FolderBlobs, NoBlob
from harness.run.store import RunStore
from reports.rundata import load

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Changed(FolderBlobs):
    """A folder of which one file is another."""

    def __init__(self, folder: Path, name: str, data: bytes) -> None:
        super().__init__(folder)
        self._name, self._data = name, data

    def get(self, name: str) -> bytes:
        return self._data if name == self._name else super().get(name)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        return {n: len(self._data) if n == self._name else size for n, size in super().sizes(prefix).items()}


@st.composite
def edits(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, with bytes flipped, put in or left out."""
    start = draw(st.integers(0, len(content) - 1))
    end = draw(st.integers(start, min(len(content), start + 40)))
    kind = draw(st.sampled_from(["cut", "flip", "in", "out"]))
    if kind == "cut":
        return content[:start]
    if kind == "flip":
        return content[:start] + bytes([content[start] ^ (1 << draw(st.integers(0, 7)))]) + content[start + 1 :]
    return content[:start] + (draw(st.binary(max_size=8)) if kind == "in" else b"") + content[end:]


@st.composite
def changes(draw: st.DrawFn, values: dict[str, Any]) -> dict[str, Any]:
    """One field, however deep, of another value, or left out, or one more."""
    values = json.loads(json.dumps(values))
    place: Any = values
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        if draw(st.booleans()):
            place[key] = draw(JSON)
        elif draw(st.booleans()):
            del place[key]
        elif isinstance(place, dict):
            place[draw(st.text(max_size=4))] = draw(JSON)
        break
    return values


def resealed(values: dict[str, Any], draw: st.DataObject) -> bytes:
    """With a fitting checksum, without one (older versions), or with the one that the file had."""
    kind = draw.draw(st.sampled_from(["fitting", "none", "old"]))
    if kind != "old":
        values.pop(CHECKSUM, None)
    return json.dumps(values | ({CHECKSUM: checksum_of(values)} if kind == "fitting" else {})).encode()


@pytest.fixture(scope="module")
def run(finished_world: Path) -> Path:
    return finished_world / "runs/world"


def read(store: RunStore) -> object:
    """Everything that a report reads of the cells."""
    manifest = store.manifest()
    found = store.survey(manifest.cells)
    ranks = {key: sorted(store.queries(key)) for key in list(found.records)[:2]}
    return manifest, found.records, ranks


def cell_of(run: Path) -> str:
    return RunStore(str(run)).manifest().cells[0].key


@given(st.data())
@MANY
def test_a_record_with_bytes_changed(run: Path, data: st.DataObject) -> None:
    key = cell_of(run)
    whole = RunStore(str(run)).record(key)
    content = (run / f"cells/{key}.json").read_bytes()
    store = RunStore("", Changed(run, f"cells/{key}.json", data.draw(edits(content))))
    try:
        assert store.record(key) == whole
    except Damaged:
        assert key not in store.records(store.manifest())


@given(st.data())
@MANY
def test_ranks_with_bytes_changed(run: Path, data: st.DataObject) -> None:
    key = cell_of(run)
    content = (run / f"cells/{key}.npz").read_bytes()
    edited = data.draw(edits(content))
    store = RunStore("", Changed(run, f"cells/{key}.npz", edited))
    if edited != content:
        with pytest.raises(Damaged):
            store.queries(key)
        assert key in store.survey(store.manifest().cells).damaged


@given(st.data())
@MANY
def test_a_manifest_with_bytes_changed(run: Path, data: st.DataObject) -> None:
    whole = RunStore(str(run)).manifest()
    content = (run / "manifest.json").read_bytes()
    with contextlib.suppress(Damaged):
        assert RunStore("", Changed(run, "manifest.json", data.draw(edits(content)))).manifest() == whole


@given(st.data())
@MANY
def test_a_record_with_a_field_changed(run: Path, data: st.DataObject) -> None:
    """Also where somebody made the checksum fit: it is read as a record of this cell, or not at all."""
    key = cell_of(run)
    whole = RunStore(str(run)).record(key)
    values = data.draw(changes(json.loads((run / f"cells/{key}.json").read_bytes())))
    store = RunStore("", Changed(run, f"cells/{key}.json", resealed(values, data)))
    (cell,) = (cell for cell in store.manifest().cells if cell.key == key)
    try:
        record = store.record(key, cell)
    except HarnessError as error:
        assert "\n" not in str(error) and not isinstance(error, NoBlob)
        return
    assert (record.key, record.seed, record.pairs) == (whole.key, whole.seed, whole.pairs)
    if record.status == "done":
        assert {(entry.image, entry.text) for entry in (*record.metrics, *record.lost)} == set(whole.pairs)
    load(store)


@given(st.data())
@MANY
def test_a_manifest_with_a_field_changed(run: Path, data: st.DataObject) -> None:
    values = data.draw(changes(json.loads((run / "manifest.json").read_bytes())))
    store = RunStore("", Changed(run, "manifest.json", resealed(values, data)))
    try:
        load(store)
    except HarnessError as error:
        assert "\n" not in str(error)


def test_a_field_with_a_broken_name_is_one_line(run: Path) -> None:
    values = json.loads((run / "manifest.json").read_bytes())
    del values[CHECKSUM]
    changed = json.dumps(values | {"two\nlines": None}).encode()
    with pytest.raises(Damaged, match=r"field 'two\\nlines': Extra inputs") as found:
        RunStore("", Changed(run, "manifest.json", changed)).manifest()
    assert "\n" not in str(found.value)


@given(st.data())
@MANY
def test_the_description_of_a_bank_changed(
    finished_world: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    source = sorted(finished_world.glob("runs/banks/*/*"))[0]
    whole = Bank(source).meta
    content = (source / "meta.json").read_bytes()
    folder = tmp_path_factory.mktemp("bank")
    (folder / "embeddings.npy").symlink_to(source / "embeddings.npy")
    if data.draw(st.booleans()):
        (folder / "meta.json").write_bytes(data.draw(edits(content)))
        fitting = False
    else:
        (folder / "meta.json").write_bytes(resealed(data.draw(changes(json.loads(content))), data))
        fitting = True
    try:
        bank = open_bank(folder, identity=whole.identity)
    except HarnessError as error:
        assert "\n" not in str(error)
        return
    decisive = ("identity", "digest", "count", "dim", "dtype")
    names = decisive if fitting else tuple(BankMeta.model_fields)
    assert [getattr(bank.meta, name) for name in names] == [getattr(whole, name) for name in names]


@given(st.dictionaries(st.text(), JSON))
def test_a_checksum_is_of_the_values_and_not_of_their_layout(values: dict[str, Any]) -> None:
    values.pop(CHECKSUM, None)
    seal = checksum_of(values)
    turned = dict(reversed(values.items()))
    assert checksum_of(unsealed(json.dumps(turned | {CHECKSUM: seal}, indent=3).encode())) == seal
    with pytest.raises(NotWhole):
        unsealed(json.dumps(values | {CHECKSUM: seal, "one more": 1}).encode() if "one more" not in values else b"")


@given(st.binary(max_size=30) | st.text(max_size=30).map(str.encode) | st.just(b"[" * 100_000))
def test_bytes_that_are_no_record_say_so(data: bytes) -> None:
    try:
        assert isinstance(unsealed(data), dict)
    except NotWhole as error:
        assert str(error)
