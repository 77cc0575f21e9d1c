import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from harness.data import bank as bank_module
from harness.data.bank import Bank, bank_identity, bank_path, open_bank
from harness.data.extract import extract
from harness.data.load import load_dataset
from harness.encoders.base import EncoderInfo, EncoderSpec
from harness.errors import Damaged, HarnessError

INFO = EncoderInfo("timm:vit/s:16", "image", 8, revision="r1", transform="resize 224")


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    rows = np.random.default_rng(0).standard_normal((50, 8))
    for name in ("i", "t"):
        np.save(tmp_path / f"{name}.npy", rows)
    data = load_dataset({"kind": "precomputed", "image": {"i": "i.npy"}, "text": {"t": "t.npy"}}, tmp_path)
    return extract(data, EncoderSpec("i"), "image", tmp_path / "runs")


def forget() -> None:
    """What a new process would not know."""
    bank_module._verified.clear()


def test_takes_rows_in_order_as_float32(bank: Bank, tmp_path: Path):
    rows = np.load(tmp_path / "i.npy")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = np.array([7, 3, 3, 49])
    assert bank.take(wanted).dtype == np.float32
    np.testing.assert_allclose(bank.take(wanted), unit[wanted], rtol=1e-6)
    assert (bank.meta.count, bank.meta.dim, bank.meta.encoder, bank.meta.zero_rows) == (50, 8, "i", 0)


def test_mapped_read_only_and_pickled_as_a_path(bank: Bank):
    assert isinstance(bank.array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        bank.array[0, 0] = 1
    pickled = pickle.dumps(bank)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert copy == bank
    assert np.array_equal(copy.array, bank.array)


def test_identity_changes_with_what_changes_numbers_and_nothing_else():
    same = bank_identity("data", INFO)
    different = [
        bank_identity("other data", INFO),
        bank_identity("data", INFO, "float16"),
        *(
            bank_identity("data", EncoderInfo(**{**vars(INFO), **change}))
            for change in ({"id": "x"}, {"revision": "r2"}, {"transform": "resize 240"}, {"modality": "text"})
        ),
    ]
    assert len({same, *different}) == 7
    assert bank_identity("data", EncoderInfo(**{**vars(INFO), "params": 3, "license": "MIT"})) == same
    path = bank_path(Path("/runs"), "my data/1", "data", INFO)
    assert path == Path("/runs/banks/my-data-1") / f"image-timm-vit-s-16-float32-{same[:12]}"


def test_changed_content_is_refused(bank: Bank):
    file = bank.path / "embeddings.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    forget()
    with pytest.raises(HarnessError, match=r"embeddings\.npy: content does not match its digest .harness embed"):
        open_bank(bank.path)
    assert open_bank(bank.path, verify=False).meta.count == 50


def test_nan_is_refused_with_its_row(bank: Bank):
    import hashlib

    array = np.array(bank.array)
    array[17, 2] = np.nan
    file = bank.path / "embeddings.npy"
    np.save(file, array)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    meta = bank.meta.model_copy(update={"digest": digest})
    (bank.path / "meta.json").write_text(meta.model_dump_json())
    forget()
    with pytest.raises(HarnessError, match="row 17 holds NaN or infinity"):
        open_bank(bank.path)


@pytest.mark.parametrize("large", [False, True])
def test_verified_once_until_the_file_changes(bank: Bank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, large: bool):
    read = []
    real = bank_module._check_content
    monkeypatch.setattr(bank_module, "_check_content", lambda *args: (read.append(1), real(*args)))
    monkeypatch.setattr(bank_module, "LARGE", 1 if large else 2**20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(3):
        open_bank(bank.path)
    assert len(read) == 1, "once in a process"
    forget()
    open_bank(bank.path)
    assert len(read) == (1 if large else 2), "a large bank once on a machine"
    before = sorted(bank.path.iterdir())
    open_bank(bank.path, anew=True)
    assert len(read) == (2 if large else 3), "on demand"
    assert sorted(bank.path.iterdir()) == before, "the note does not travel with the bank"


def test_a_flipped_byte_is_seen_although_the_times_were_set_back(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(bank_module, "LARGE", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    open_bank(bank.path)
    file = bank.path / "embeddings.npy"
    before, content = file.stat(), bytearray(file.read_bytes())
    content[200] ^= 1
    with file.open("r+b") as same:
        same.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(Damaged, match="content does not match its digest"):
        open_bank(bank.path)


def test_the_description_of_another_bank_is_damage(bank: Bank):
    open_bank(bank.path, identity=bank.meta.identity)
    with pytest.raises(Damaged, match="describes another bank"):
        open_bank(bank.path, identity="0" * 64)


def test_missing_and_damaged_banks(bank: Bank, tmp_path: Path):
    with pytest.raises(HarnessError, match="no bank here .run harness embed"):
        open_bank(tmp_path / "nowhere")
    np.save(bank.path / "embeddings.npy", np.zeros((49, 8), dtype=np.float32))
    with pytest.raises(HarnessError, match=r"holds float32\[49, 8\], meta\.json says float32\[50, 8\]"):
        open_bank(bank.path)
    (bank.path / "embeddings.npy").unlink()
    with pytest.raises(HarnessError, match="cannot be read"):
        open_bank(bank.path)
    (bank.path / "meta.json").write_text("{")
    with pytest.raises(HarnessError, match=r"meta\.json: damaged"):
        open_bank(bank.path)
