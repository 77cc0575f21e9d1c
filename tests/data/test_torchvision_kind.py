import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError

from harness.data.base import Dataset
from harness.data.load import load_dataset
from harness.errors import HarnessError
from tests.data.samples import captions_of, images_of

Picture = Callable[..., Path]
HALVES = {"train": 0.5, "validation": 0, "test": 0.5}


def load(folder: Path, name: str, **more: Any) -> Dataset:
    return load_dataset({"kind": "torchvision", "name": name, "root": "root", **{"split": HALVES, **more}}, folder)


def test_image_folder(tmp_path: Path, picture: Picture):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        picture(f"root/{name}")
    data = load(tmp_path, "ImageFolder")
    index = data.index()
    assert index.class_names == ("cat", "dog")
    assert index.labels is not None
    assert index.labels.tolist() == [0, 0, 1]
    assert index.n_captions == 0
    captioned = load(tmp_path, "ImageFolder", template="a photo of a {class}.")
    assert captions_of(captioned, range(3)) == ["a photo of a cat.", "a photo of a cat.", "a photo of a dog."]
    assert captioned.digest != data.digest
    assert [image.size for image in images_of(data, range(3))] == [(32, 24)] * 3


def test_coco_captions(tmp_path: Path, picture: Picture):
    images = [{"id": 42, "file_name": "b.jpg"}, {"id": 7, "file_name": "a.jpg"}]
    for image in images:
        picture(f"root/{image['file_name']}")
    texts = [(42, "on b"), (7, "on a"), (42, " again on b\n")]
    notes = [{"id": i, "image_id": image, "caption": text} for i, (image, text) in enumerate(texts)]
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"images": images, "annotations": notes}))
    data = load(tmp_path, "CocoCaptions", annotations="captions.json")
    assert captions_of(data, range(3)) == ["on a", "on b", "again on b"]
    assert data.index().caption_image.tolist() == [0, 1, 1]
    file.write_text(json.dumps({"images": images, "annotations": notes[:1]}))
    with pytest.raises(HarnessError, match=r"one caption short: a\.jpg has none"):
        load(tmp_path, "CocoCaptions", annotations="captions.json")
    file.write_text(json.dumps({"info": {}}))
    with pytest.raises(HarnessError, match="CocoCaptions cannot be read: KeyError: 'images'"):
        load(tmp_path, "CocoCaptions", annotations="captions.json")


def test_flickr30k_reads_what_torchvision_reads(tmp_path: Path, picture: Picture):
    lines = [f"{name}.jpg#{i}\tcaption {i} of {name}" for name in ("1007", "36") for i in range(5)]
    (tmp_path / "results.token").write_text("\n".join(lines) + "\n")
    for name in ("36", "1007"):
        picture(f"root/{name}.jpg", (int(name) % 256, 0, 0))
    data = load(tmp_path, "Flickr30k", annotations="results.token")
    theirs = torchvision.datasets.Flickr30k(str(tmp_path / "root"), str(tmp_path / "results.token"))
    for row, (image, captions) in enumerate(theirs):  # type: ignore[arg-type]
        assert captions_of(data, np.flatnonzero(data.index().caption_image == row).tolist()) == captions
        assert np.array_equal(np.asarray(images_of(data, [row])[0]), np.asarray(image))
    (tmp_path / "root/36.jpg").unlink()
    with pytest.raises(HarnessError, match=r"1 of 2 images cannot be read: 36\.jpg"):
        load(tmp_path, "Flickr30k", annotations="results.token")
    (tmp_path / "results.token").write_text("36.jpg no tab\n")
    with pytest.raises(HarnessError, match="line 1 is not NAME#NUMBER<tab>CAPTION"):
        load(tmp_path, "Flickr30k", annotations="results.token")


def test_flickr8k_web_page_and_token_file_agree(tmp_path: Path, picture: Picture):
    for name in ("11_aa", "22_bb"):
        picture(f"root/{name}.jpg")
    cells = "".join(
        f"<td><a href='x'>http://host/photos/{name}/</a><ul><li>first of {name}</li><li>second of {name}</li></ul></td>"
        for name in ("11", "22")
    )
    (tmp_path / "page.html").write_text(f"<html><table><tr>{cells}</tr></table></html>")
    suffix = {"11": "aa", "22": "bb"}
    lines = [f"{n}_{s}.jpg#{i}\t{w} of {n}" for n, s in suffix.items() for i, w in enumerate(("first", "second"))]
    (tmp_path / "token.txt").write_text("\n".join(lines))
    page = load(tmp_path, "Flickr8k", annotations="page.html")
    token = load(tmp_path, "Flickr8k", annotations="token.txt")
    assert captions_of(page, range(4)) == captions_of(token, range(4)) == [line.split("\t")[1] for line in lines]
    assert page.digest == token.digest
    assert len(images_of(page, range(2))) == 2


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A CIFAR-10 of twelve pictures in its real format, and torchvision told the digests of its files."""
    folder = tmp_path / "root" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3072), dtype=np.uint8)

    def write(name: str, content: dict[str, Any]) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    batch = write("batch", {"data": pixels, "labels": [0, 1, 2, 9] * 3})
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta = write("batches.meta", {"label_names": names})
    known = torchvision.datasets.CIFAR10
    monkeypatch.setattr(known, "train_list", [["batch", batch]])
    monkeypatch.setattr(known, "test_list", [["batch", batch]])
    monkeypatch.setattr(known, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta})
    return pixels


def test_cifar10(tmp_path: Path, cifar: np.ndarray):
    data = load(tmp_path, "CIFAR10", template="a {class}")
    index = data.index()
    assert index.labels is not None
    assert index.labels.tolist() == [0, 1, 2, 9] * 3
    assert captions_of(data, [3]) == ["a truck"]
    third = np.asarray(images_of(data, [2])[0])
    assert np.array_equal(third, cifar[2].reshape(3, 32, 32).transpose(1, 2, 0))
    assert (data.name, load(tmp_path, "CIFAR10", subset="train").name) == ("CIFAR10-test", "CIFAR10-train")
    (tmp_path / "root/cifar-10-batches-py/batch").write_bytes(b"cut")
    with pytest.raises(HarnessError, match="CIFAR10 is not there or damaged .*download=True"):
        load(tmp_path, "CIFAR10")


def test_imagenet(tmp_path: Path, picture: Picture):
    for name in ("n01440764/x.JPEG", "n01443537/y.JPEG", "n01443537/z.JPEG"):
        picture(f"root/val/{name}")
    names = {"n01440764": ("tench", "Tinca tinca"), "n01443537": ("goldfish", "Carassius auratus")}
    torch.save((names, ["n01440764"]), tmp_path / "root/meta.bin")
    index = load(tmp_path, "ImageNet").index()
    assert index.class_names == ("tench", "goldfish")
    assert index.labels is not None
    assert index.labels.tolist() == [0, 1, 1]
    (tmp_path / "root/meta.bin").unlink()
    with pytest.raises(HarnessError, match="ImageNet cannot be read: RuntimeError: The archive"):
        load(tmp_path, "ImageNet")


def test_fields_that_do_not_fit(tmp_path: Path):
    for name, more, message in (
        ("CocoCaptions", {}, "CocoCaptions needs annotations"),
        ("CIFAR10", {"annotations": "x"}, "CIFAR10 has no annotations"),
        ("CIFAR10", {"subset": "val"}, "CIFAR10 has the subsets test, train"),
        ("ImageFolder", {"subset": "val"}, "ImageFolder has no subsets"),
        ("ImageFolder", {"template": "a photo"}, "match pattern"),
        ("MNIST", {}, "CocoCaptions"),
    ):
        with pytest.raises(ValidationError, match=message):
            load(tmp_path, name, **more)
    with pytest.raises(HarnessError, match="no such folder"):
        load(tmp_path, "ImageFolder")
    (tmp_path / "root").mkdir()
    with pytest.raises(HarnessError, match="ImageFolder cannot be read: FileNotFoundError: Couldn't find any class"):
        load(tmp_path, "ImageFolder")
