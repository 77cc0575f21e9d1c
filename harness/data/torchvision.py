"""Datasets that torchvision knows, from files that are already on disk."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image as Pil
from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contract.files import SweepPath
from harness.data.base import Index
from harness.data.digests import digest_array, digest_json
from harness.data.pictures import PictureDataset, caption_rows, opener, refuse, rows_digest
from harness.data.splits import SplitConfig, split_rows
from harness.errors import HarnessError, MissingData

Name = Literal["CocoCaptions", "Flickr8k", "Flickr30k", "CIFAR10", "CIFAR100", "ImageNet", "ImageFolder"]
_CAPTIONED = ("CocoCaptions", "Flickr8k", "Flickr30k")
_SUBSETS: dict[str, tuple[str, ...]] = {
    "CIFAR10": ("test", "train"),
    "CIFAR100": ("test", "train"),
    "ImageNet": ("val", "train"),
}
"""What a dataset is published in, the default first."""


class TorchvisionConfig(BaseModel):
    """The ``data`` part of kind ``torchvision``.

    Attributes:
        name: The torchvision class.
        root: What the class calls ``root``: the folder of the pictures.
        annotations: The captions: COCO's ``captions_*.json``, Flickr30k's ``results_20130124.token``, Flickr8k's web
            page (torchvision's format) or its ``Flickr8k.token.txt``.
        subset: ``train`` or ``test`` (CIFAR), ``train`` or ``val`` (ImageNet); the one for testing by default.
        template: Caption of every picture of a classification set, with ``{class}`` for the name of its class; without
            it such a set has no captions, which is enough for zero-shot classification.
        split: Shares and seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["torchvision"] = "torchvision"
    name: Name
    root: SweepPath
    annotations: SweepPath | None = None
    subset: Literal["train", "val", "test"] | None = None
    template: str | None = Field(default=None, pattern=r"\{class\}")
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _fits_the_class(self) -> "TorchvisionConfig":
        captioned, subsets = self.name in _CAPTIONED, _SUBSETS.get(self.name, ())
        if captioned != (self.annotations is not None):
            raise ValueError(f"{self.name} {'needs' if captioned else 'has no'} annotations")
        if captioned and self.template is not None:
            raise ValueError(f"{self.name} has captions of its own: leave template out")
        if self.subset is not None and self.subset not in subsets:
            raise ValueError(f"{self.name} has {'the subsets ' + ', '.join(subsets) if subsets else 'no subsets'}")
        return self


@dataclass(frozen=True)
class _Content:
    """What a reader found; ``digest`` stands for the pictures of a set that is one array."""

    names: Sequence[str]
    openers: Sequence[Callable[[], Image]]
    captions: Sequence[Sequence[str]] | None = None
    labels: Sequence[int] | None = None
    class_names: tuple[str, ...] | None = None
    digest: str | None = None


_ON_PAPER: dict[tuple[str, str | None], dict[str, int]] = {
    ("CIFAR10", "test"): {"rows": 10_000, "classes": 10},
    ("CIFAR10", "train"): {"rows": 50_000, "classes": 10},
    ("CIFAR100", "test"): {"rows": 10_000, "classes": 100},
    ("CIFAR100", "train"): {"rows": 50_000, "classes": 100},
    ("ImageNet", "val"): {"rows": 50_000, "classes": 1000},
    ("ImageNet", "train"): {"rows": 1_281_167, "classes": 1000},
    ("CocoCaptions", "val2017"): {"rows": 5_000, "captions_per_image": 5},  # 25,014 captions
    ("CocoCaptions", "train2017"): {"rows": 118_287, "captions_per_image": 5},  # 591,753
    ("Flickr8k", None): {"rows": 8_091, "captions_per_image": 5},
    ("Flickr30k", None): {"rows": 31_783, "captions_per_image": 5},
}
"""Sizes as published, of (name, subset); COCO's by the name of its caption file."""


class TorchvisionDataset(PictureDataset):
    """Pictures and captions, or pictures and classes, in torchvision's layouts.

    Raises:
        HarnessError: A file is missing, damaged or empty.
    """

    Config: ClassVar[type[TorchvisionConfig]] = TorchvisionConfig

    def __init__(self, config: TorchvisionConfig) -> None:
        if not config.root.is_dir():
            raise MissingData(f"no such folder (root of {config.name})", where=str(config.root))
        if config.annotations is not None and not config.annotations.is_file():
            raise MissingData(f"no such file (annotations of {config.name})", where=str(config.annotations))
        try:
            content = _READERS[config.name](config)
        except (OSError, RuntimeError, LookupError, ValueError) as error:
            what = f"{config.name} cannot be read: {type(error).__name__}: {error}"
            raise HarnessError(" ".join(what.split()), where=str(config.root)) from error
        if not content.names:
            raise HarnessError(f"the dataset is empty: {config.name} has no images", where=str(config.root))
        captions, caption_image = caption_rows(_captions(content, config))
        labels = None if content.labels is None else np.array(content.labels, dtype=np.int64)
        splits = split_rows(len(content.names), config.split)
        index = Index(len(content.names), caption_image, splits, labels, content.class_names)
        subset = config.subset or next(iter(_SUBSETS.get(config.name, ())), None)
        pictures = content.digest or [[name, (config.root / name).stat().st_size] for name in content.names]
        super().__init__(
            name=f"{config.name}-{subset}" if subset else f"{config.name}-{config.root.name}",
            digest=rows_digest([config.name, subset, pictures, captions], index),
            index=index,
            captions=captions,
            openers=content.openers,
            image_names=content.names,
        )

    @classmethod
    def sizes_without_files(cls, config: TorchvisionConfig) -> dict[str, Any] | None:
        """The published sizes; None for a folder of one's own."""
        subset = config.subset or next(iter(_SUBSETS.get(config.name, ())), None)
        if config.name == "CocoCaptions" and config.annotations is not None:
            subset = config.annotations.stem.removeprefix("captions_")
        sizes = _ON_PAPER.get((config.name, subset))
        return None if sizes is None else {"name": config.name, "split": config.split.model_dump(), **sizes}


def _captions(content: _Content, config: TorchvisionConfig) -> Sequence[Sequence[str]]:
    if content.captions is not None:
        short = [name for name, of_image in zip(content.names, content.captions, strict=True) if not of_image]
        if short:
            what = f"one caption short: {short[0]} has none ({len(short)} such images)"
            raise HarnessError(what, where=str(config.annotations))
        return content.captions
    if config.template is None or content.labels is None or content.class_names is None:
        return [[] for _ in content.names]
    return [[config.template.replace("{class}", content.class_names[label])] for label in content.labels]


def _files(config: TorchvisionConfig, captions: dict[str, list[str]]) -> _Content:
    """Captioned files below the root, sorted by name."""
    names = sorted(captions)
    files = [config.root / name for name in names]
    if missing := [name for name, file in zip(names, files, strict=True) if not file.is_file()]:
        raise refuse(missing, len(names), str(config.root))
    return _Content(names, [opener(file) for file in files], [captions[name] for name in names])


def _coco(config: TorchvisionConfig) -> _Content:
    """COCO's caption file, read directly: torchvision would want pycocotools to be installed."""
    import json

    assert config.annotations is not None
    content = json.loads(config.annotations.read_text(encoding="utf-8"))
    files = {image["id"]: image["file_name"] for image in content["images"]}
    captions: dict[str, list[str]] = {name: [] for name in files.values()}
    for annotation in content["annotations"]:
        captions[files[annotation["image_id"]]].append(annotation["caption"].strip())
    return _files(config, captions)


def _flickr(config: TorchvisionConfig) -> _Content:
    from torchvision import datasets

    assert config.annotations is not None
    text_lines = config.annotations.read_text(encoding="utf-8")
    if config.name == "Flickr8k" and "<table" in text_lines[:100_000].lower():
        read = datasets.Flickr8k(str(config.root), str(config.annotations)).annotations
        return _files(config, {os.path.relpath(file, config.root): captions for file, captions in read.items()})
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(text_lines.splitlines(), start=1):
        name, tab, caption = line.strip().partition("\t")
        if line.strip() and not (tab and "#" in name):
            raise HarnessError(f"line {number} is not NAME#NUMBER<tab>CAPTION", where=str(config.annotations))
        if tab:
            captions.setdefault(name.rpartition("#")[0], []).append(caption.strip())
    return _files(config, captions)


def _not_there(config: TorchvisionConfig, kind: type[HarnessError]) -> HarnessError:
    fix = f"torchvision.datasets.{config.name}(root, download=True) fetches it"
    return kind(f"{config.name} is not there or damaged", where=str(config.root), fix=fix)


def _cifar(config: TorchvisionConfig) -> _Content:
    from torchvision import datasets

    known = {"CIFAR10": datasets.CIFAR10, "CIFAR100": datasets.CIFAR100}[config.name]
    if not (config.root / known.base_folder).is_dir():
        raise _not_there(config, MissingData)
    try:
        data: Any = known(str(config.root), train=config.subset == "train")
    except RuntimeError as error:
        raise _not_there(config, HarnessError) from error
    return _Content(
        names=[f"{config.subset or 'test'}[{row}]" for row in range(len(data.data))],
        openers=[partial(Pil.fromarray, pixels) for pixels in data.data],
        labels=data.targets,
        class_names=tuple(name.replace("_", " ") for name in data.classes),
        digest=digest_json([digest_array(data.data), data.targets]),
    )


def _folders(config: TorchvisionConfig) -> _Content:
    from torchvision import datasets

    if config.name == "ImageNet":
        data = datasets.ImageNet(str(config.root), split=config.subset or "val")
        # A class has synonyms; its first name is the usual one.
        class_names = tuple(name[0] if isinstance(name, tuple) else name for name in data.classes)
    else:
        data = datasets.ImageFolder(str(config.root))
        class_names = tuple(data.classes)
    files = [Path(file) for file, _ in data.samples]
    return _Content(
        names=[os.path.relpath(file, config.root) for file in files],
        openers=[opener(file) for file in files],
        labels=data.targets,
        class_names=class_names,
    )


_READERS: dict[Name, Callable[[TorchvisionConfig], _Content]] = {
    "CocoCaptions": _coco,
    "Flickr8k": _flickr,
    "Flickr30k": _flickr,
    "CIFAR10": _cifar,
    "CIFAR100": _cifar,
    "ImageNet": _folders,
    "ImageFolder": _folders,
}
