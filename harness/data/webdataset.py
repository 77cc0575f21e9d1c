"""WebDataset shards: tar files whose members of one name are one sample (``0001.jpg``, ``0001.txt``, ``0001.cls``)."""

import glob
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from PIL import Image as Pil
from PIL.Image import Image
from pydantic import BaseModel, ConfigDict

from harness.contract.files import SweepPattern
from harness.data.folder import SUFFIXES
from harness.data.rows import PictureRow, RowDataset
from harness.data.splits import SplitConfig
from harness.errors import HarnessError, MissingData

MOST_TEXT = 2**20
"""Bytes of a text member that are read: captions are short, and a shard may come from anywhere."""


class WebDatasetConfig(BaseModel):
    """The ``data`` part of kind ``webdataset``.

    Attributes:
        shards: A tar file, a pattern (``train-*.tar``, ``train-{000..012}.tar``) or a list of them, relative to the
            sweep file; or ``{train: ..., validation: ..., test: ...}``, whose splits then count instead of drawn ones.
        name: Name of the dataset; the first shard's by default.
        captions: Ending of the captions' member, one caption a line (``txt``); or ``json.FIELD``, a text or a list of
            texts. ``[]``: no captions, for zero-shot classification only.
        label: Ending of the member with the class (``cls``), or ``json.FIELD``; empty: none.
        group: The same for near-duplicates that must stay in one split.
        split: Shares and seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["webdataset"] = "webdataset"
    shards: SweepPattern | list[SweepPattern] | dict[str, SweepPattern | list[SweepPattern]]
    name: str | None = None
    captions: str | list[str] = "txt"
    label: str | None = None
    group: str | None = None
    split: SplitConfig = SplitConfig()


@dataclass
class _Sample:
    """The members of one name in one shard: ending to where the member lies in the file."""

    shard: Path
    key: str
    split: str
    members: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def picture(self) -> str | None:
        """Ending of the picture."""
        return next((ending for ending in self.members if f".{ending.rpartition('.')[2]}" in SUFFIXES), None)

    def read(self, ending: str) -> bytes:
        """The content of one member."""
        offset, size = self.members[ending]
        with self.shard.open("rb") as file:
            file.seek(offset)
            return file.read(size)


class WebDataset(RowDataset):
    """Pictures and captions in tar shards. A picture is read from its place in the shard when it is asked for.

    Raises:
        MissingData: No such shard.
        HarnessError: A shard that is no plain tar file, a sample without a picture or caption.
    """

    Config: ClassVar[type[WebDatasetConfig]] = WebDatasetConfig

    def __init__(self, config: WebDatasetConfig) -> None:
        by_split = config.shards if isinstance(config.shards, dict) else {"": _listed(config.shards)}
        shards = {split: _files(_listed(patterns)) for split, patterns in by_split.items()}
        first = next(iter(shards.values()))[0]
        samples = [sample for split, files in shards.items() for file in files for sample in _samples(file, split)]
        super().__init__(
            [_row(sample, config) for sample in samples],
            name=config.name or re.sub(r"[-_.]?\d*$", "", first.stem) or first.parent.name,
            where=str(first.parent),
            split=None if isinstance(config.shards, dict) else config.split,
            captioned=bool(config.captions),
            grouped=config.group is not None,
        )


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _files(patterns: Sequence[str]) -> list[Path]:
    """The shards of some patterns, sorted within each."""
    found: list[Path] = []
    for pattern in patterns:
        files = [Path(name) for one in _braces(pattern) for name in _matching(one)]
        if absent := [file for file in files if not file.is_file()]:
            raise MissingData("no such shard", where=str(absent[0]))
        found += [file for file in files if file not in found]
    if not found:
        raise MissingData("no shards are named")
    return found


def _matching(pattern: str) -> list[str]:
    """Files of a pattern, sorted; the pattern itself where there are none."""
    return sorted(glob.glob(pattern)) or [pattern]  # noqa: PTH207 - the pattern may be absolute, which Path refuses


def _braces(pattern: str) -> Iterator[str]:
    """``{000..012}`` written out."""
    if not (ends := re.search(r"\{(\d+)\.\.(\d+)\}", pattern)):
        yield pattern
        return
    for number in range(int(ends[1]), int(ends[2]) + 1):
        yield from _braces(f"{pattern[: ends.start()]}{number:0{len(ends[1])}d}{pattern[ends.end() :]}")


def _samples(shard: Path, split: str) -> list[_Sample]:
    """The samples of a shard in their order; headers are read, nothing is unpacked."""
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                if not member.isfile() or not dot or not stem:
                    continue  # links and folders hold no content, and hidden files are nobody's samples
                key = f"{folder}/{stem}" if folder else stem
                sample = samples.setdefault(key, _Sample(shard, key, split))
                if ending.lower() in sample.members:
                    raise HarnessError(f"sample {key!r} has two members {ending!r}", where=str(shard))
                sample.members[ending.lower()] = member.offset_data, member.size
    except tarfile.ReadError as error:
        fix = "unpack compressed ones: a picture must be found without reading the whole shard"
        raise HarnessError(f"not a plain tar file: {error}", where=str(shard), fix=fix) from error
    return list(samples.values())


def _row(sample: _Sample, config: WebDatasetConfig) -> PictureRow:
    """One sample with what its text members say."""
    name, where = f"{sample.shard.name}:{sample.key}", str(sample.shard)
    ending = sample.picture
    if ending is None:
        what = f"sample {sample.key!r} has no picture among {', '.join(sample.members)}"
        raise HarnessError(what, where=where, fix=f"a member that ends in {', '.join(sorted(SUFFIXES))}")
    said = _SampleText(sample)
    texts = [said.value(field) for field in _listed(config.captions)]
    return PictureRow(
        name=name,
        size=sample.members[ending][1],
        open=partial(_open, sample, ending),
        captions=[text for value in texts for text in _captions(value)],
        label=None if config.label is None else said.one(config.label),
        group=None if config.group is None else said.one(config.group),
        split=sample.split,
    )


def _open(sample: _Sample, ending: str) -> Image:
    return Pil.open(io.BytesIO(sample.read(ending)))


@dataclass
class _SampleText:
    """What the text members of a sample say; JSON is read once."""

    sample: _Sample
    parsed: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def value(self, where: str) -> Any:
        """The text of a member, or a field of a JSON member; None where there is none."""
        ending, _, key = where.partition(".")
        if ending not in self.sample.members:
            return None
        if not key:
            return self._text(ending)
        if ending not in self.parsed:
            try:
                read = json.loads(self._text(ending))
            except ValueError as error:
                what = f"sample {self.sample.key!r}: {ending} is not JSON: {error}"
                raise HarnessError(what, where=str(self.sample.shard)) from error
            self.parsed[ending] = read if isinstance(read, dict) else {}
        return self.parsed[ending].get(key)

    def one(self, where: str) -> Any:
        """A single value; empty text is none."""
        value = self.value(where)
        return (value.strip() or None) if isinstance(value, str) else value

    def _text(self, ending: str) -> str:
        if self.sample.members[ending][1] > MOST_TEXT:
            raise HarnessError(
                f"sample {self.sample.key!r}: {ending} is larger than 1 MB", where=str(self.sample.shard)
            )
        try:
            return self.sample.read(ending).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what = f"sample {self.sample.key!r}: {ending} is not UTF-8 text"
            raise HarnessError(what, where=str(self.sample.shard)) from error


def _captions(value: Any) -> list[str]:
    """Lines of a text that are not empty, or the texts of a list."""
    if isinstance(value, str):
        return [line.strip() for line in value.splitlines() if line.strip()]
    return [text.strip() if isinstance(text, str) else "" for text in value] if isinstance(value, list) else []
