"""Tar shards of samples, also such as the webdataset library writes."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.base import Dataset
from harness.data.load import load_dataset
from harness.errors import HarnessError, MissingData
from tests.data.samples import captions_of, images_of


def png(shade: int) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), shade, dtype=np.uint8)).save(written, "PNG")
    return written.getvalue()


def shard(file: Path, members: dict[str, bytes], mode: Any = "w") -> None:
    with tarfile.open(file, mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def sample(key: str, shade: int, **members: str) -> dict[str, bytes]:
    return {f"{key}.png": png(shade)} | {f"{key}.{end}": text.encode() for end, text in members.items()}


def load(root: Path, **more: Any) -> Dataset:
    split = {"train": 0.5, "validation": 0, "test": 0.5}
    return load_dataset({"kind": "webdataset", "shards": "flags-*.tar", "split": split, **more}, root)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for number in range(2):
        members: dict[str, bytes] = {}
        for n in range(3):
            shade = 100 * number + 20 * n
            said = json.dumps({"title": f"title {shade}", "all": ["a", f"b {shade}"], "group": f"g{n}"})
            members |= sample(f"sub/{n:04d}", shade, txt=f"shade {shade}\n\n second é ", cls=str(number), json=said)
        shard(tmp_path / f"flags-{number:03d}.tar", members)
    return tmp_path


def test_members_of_one_name_are_one_sample(shards: Path) -> None:
    data = load(shards, label="cls", group="json.group")
    index = data.index()
    assert (data.name, index.n_images, index.n_captions) == ("flags", 6, 12)
    assert captions_of(data, [0, 1, 10]) == ["shade 0", "second é", "shade 140"]
    assert [np.asarray(image)[0, 0, 0] for image in images_of(data, [5, 0, 3])] == [140, 0, 100]
    assert index.labels is not None and index.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert index.groups is not None and index.groups.tolist() == [0, 1, 2, 0, 1, 2]


def test_captions_of_json_fields(shards: Path) -> None:
    assert captions_of(load(shards, captions="json.title"), [1]) == ["title 20"]
    assert captions_of(load(shards, captions=["json.all", "txt"]), [0, 1, 2]) == ["a", "b 0", "shade 0"]
    assert load(shards, captions=[], label="cls").index().n_captions == 0


@pytest.mark.parametrize("pattern", ["flags-{000..001}.tar", ["flags-000.tar", "flags-001.tar"], "flags-00?.tar"])
def test_shards_are_named_in_several_ways(shards: Path, pattern: Any) -> None:
    assert load(shards, shards=pattern).digest == load(shards).digest


def test_shards_of_splits(shards: Path) -> None:
    splits = load(shards, shards={"train": "flags-000.tar", "test": ["flags-001.tar"]}).index().splits
    assert {name: rows.tolist() for name, rows in splits.items()} == {
        "train": [0, 1, 2],
        "validation": [],
        "test": [3, 4, 5],
    }


def test_the_digest_follows_the_content_and_not_the_split(shards: Path) -> None:
    before = load(shards).digest
    assert load(shards, split={"train": 1, "validation": 0, "test": 0}).digest == before
    shard(shards / "flags-000.tar", sample("0000", 1, txt="another"))
    assert load(shards).digest != before


def test_what_the_webdataset_library_writes_is_read(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    with wds.TarWriter(str(tmp_path / "flags-0.tar")) as writer:
        for n in range(4):
            picture = Image.fromarray(np.full((6, 8, 3), 9 * n, dtype=np.uint8))
            writer.write({"__key__": f"s{n}", "png": picture, "txt": f"a {n}", "cls": n % 2, "json": {"x": n}})
    data = load(tmp_path, label="cls")
    assert captions_of(data, range(4)) == ["a 0", "a 1", "a 2", "a 3"]
    assert np.asarray(images_of(data, [3])[0])[0, 0, 0] == 27


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"a.txt": b"x"}, "sample 'a' has no picture among txt"),
        (sample("a", 3), "1 of 1 images have no caption, or an empty one: flags-0.tar:a"),
        (sample("a", 3) | {"a.txt": b"\xff\xfe"}, "sample 'a': txt is not UTF-8 text"),
        (sample("a", 3, txt="x" * (2**20 + 1)), "sample 'a': txt is larger than 1 MB"),
        (sample("a", 3, txt="x") | {"a.PNG": png(4)}, "sample 'a' has two members 'PNG'"),
        ({}, "the dataset is empty"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, members: dict[str, bytes], told: str) -> None:
    shard(tmp_path / "flags-0.tar", members)
    with pytest.raises(HarnessError) as caught:
        load(tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_that_is_none_is_named(tmp_path: Path) -> None:
    shard(tmp_path / "flags-0.tar", sample("a", 3, json="{"))
    with pytest.raises(HarnessError, match="sample 'a': json is not JSON"):
        load(tmp_path, captions="json.title")


def test_missing_compressed_and_damaged_shards(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such shard"):
        load(tmp_path)
    shard(tmp_path / "flags-0.tar", sample("a", 3, txt="x"), "w:gz")
    with pytest.raises(HarnessError, match="not a plain tar file"):
        load(tmp_path)
    shard(tmp_path / "flags-0.tar", sample("a", 3, txt="x") | {"b.png": b"no picture", "b.txt": b"y"})
    with pytest.raises(HarnessError, match=r"1 of 2 images cannot be read: flags-0\.tar:b"):
        images_of(load(tmp_path), range(2))


def test_links_in_a_shard_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "flags-0.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
        text = tarfile.TarInfo("a.txt")
        text.size = 1
        tar.addfile(text, io.BytesIO(b"x"))
    with pytest.raises(HarnessError, match="sample 'a' has no picture among txt"):
        load(tmp_path)
