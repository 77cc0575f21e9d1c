"""Datasets of Hugging Face's ``datasets`` library: saved on disk, files in a folder, or a name on the hub."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from PIL.Image import Image
from pydantic import BaseModel, ConfigDict

from harness.contract.files import FolderOrName
from harness.contract.registry import near
from harness.data.pictures import opener
from harness.data.rows import PictureRow, RowDataset
from harness.data.splits import SplitConfig
from harness.encoders.hub import reachable
from harness.errors import HarnessError, MissingData

if TYPE_CHECKING:
    from datasets import Dataset as Table

SAVED = ("dataset_dict.json", "state.json")
"""What ``save_to_disk`` leaves in a folder."""


class HuggingFaceConfig(BaseModel):
    """The ``data`` part of kind ``huggingface``.

    Attributes:
        name: A folder, relative to the sweep file's: one that ``save_to_disk`` wrote, or one of Parquet files or
            pictures; else a name on the hub, e.g. ``nlphuji/flickr30k``.
        config: Which configuration of it, where it has several.
        revision: Commit, tag or branch on the hub.
        take: Its splits that take part, laid end to end; empty: all.
        own_splits: Its own train, validation and test splits count, instead of drawn ones.
        image: Column of pictures.
        captions: Column of one caption or a list of captions, or several columns. ``[]``: no captions, for zero-shot
            classification only.
        label: Column of classes; empty: none.
        group: Column of near-duplicates that must stay in one split.
        split: Shares and seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["huggingface"] = "huggingface"
    name: FolderOrName
    config: str | None = None
    revision: str | None = None
    take: list[str] = []
    own_splits: bool = False
    image: str = "image"
    captions: str | list[str] = "caption"
    label: str | None = None
    group: str | None = None
    split: SplitConfig = SplitConfig()


class HuggingFaceDataset(RowDataset):
    """Pictures and captions of a ``datasets`` table. Pictures are decoded one by one, when they are asked for.

    Raises:
        MissingData: The folder is not there, or the name is not cached and the hub cannot be reached.
        HarnessError: The library is not installed; a column, caption or picture is missing.
    """

    Config: ClassVar[type[HuggingFaceConfig]] = HuggingFaceConfig

    def __init__(self, config: HuggingFaceConfig) -> None:
        tables, where = _tables(config), config.name
        if unknown := [name for name in config.take if name not in tables]:
            raise HarnessError(f"has no split {unknown[0]!r}", where=where, fix=near(unknown[0], tables))
        rows: list[PictureRow] = []
        classes: tuple[str, ...] | None = None
        for split in config.take or tables:
            rows += _rows(tables[split], split, config)
            classes = _class_names(tables[split], config) or classes
        super().__init__(
            rows,
            name=Path(where).name if Path(where).is_dir() else where,
            where=where,
            split=None if config.own_splits else config.split,
            captioned=bool(config.captions),
            grouped=config.group is not None,
            class_names=classes,
        )


def _tables(config: HuggingFaceConfig) -> Mapping[str, "Table"]:
    """The dataset's splits by name."""
    try:
        import datasets
    except ImportError as error:
        fix = 'pip install "stitch-harness[datasets]"'
        raise HarnessError("the package datasets is not installed", where=config.name, fix=fix) from error
    folder = Path(config.name)
    if folder.is_absolute() and not folder.is_dir():
        raise MissingData("no such folder", where=config.name)
    library: Any = importlib.import_module("datasets.config")
    read: Callable[[], Any]
    if folder.is_dir() and any((folder / name).is_file() for name in SAVED):
        read = partial(datasets.load_from_disk, str(folder))
    else:
        read = partial(datasets.load_dataset, config.name, config.config, revision=config.revision)
    bars, offline = datasets.utils.logging.is_progress_bar_enabled(), library.HF_HUB_OFFLINE
    out_of_reach = not folder.is_dir() and not offline and not reachable(library.HF_ENDPOINT)
    datasets.utils.logging.disable_progress_bar()
    library.HF_HUB_OFFLINE = offline or out_of_reach
    try:
        found = read()
    except Exception as error:  # whatever the library, pyarrow or the network says
        line = " ".join(str(error).split())[:300]
        if out_of_reach:
            what = f"is not in the cache of datasets, and {library.HF_ENDPOINT} does not answer"
            raise MissingData(what, where=config.name, fix="connect once, or name a folder") from error
        raise HarnessError(f"cannot be loaded: {type(error).__name__}: {line}", where=config.name) from error
    finally:
        library.HF_HUB_OFFLINE = offline
        if bars:
            datasets.utils.logging.enable_progress_bar()
    return {str(name): part for name, part in found.items()} if isinstance(found, dict) else {_split_of(found): found}


def _split_of(table: "Table") -> str:
    return str(table.split or "train")


def _rows(table: "Table", split: str, config: HuggingFaceConfig) -> Iterator[PictureRow]:
    """The rows of one split; a caption that is no text counts as empty."""
    import datasets

    captions = [config.captions] if isinstance(config.captions, str) else config.captions
    wanted = [config.image, *captions, *(name for name in (config.label, config.group) if name)]
    for name in wanted:
        if name not in table.column_names:
            raise HarnessError(f"no column {name!r}", where=config.name, fix=near(name, table.column_names))
    if isinstance(table.features[config.image], datasets.Image):
        table = table.cast_column(config.image, datasets.Image(decode=False))
    plain = table.select_columns(list(dict.fromkeys(wanted))).with_format("arrow")
    arrow: Any = plain[:]
    texts = [arrow.column(name).to_pylist() for name in captions]
    facts = {name: arrow.column(name).to_pylist() for name in (config.label, config.group) if name}
    images = arrow.column(config.image)
    roots = _roots(config)
    for row in range(len(table)):
        name, size = _measured(images[row], f"{split}[{row}]", config.name, roots)
        yield PictureRow(
            name=name,
            size=size,
            open=partial(_open, images, row),
            captions=[text for column in texts for text in _texts(column[row])],
            label=facts[config.label][row] if config.label else None,
            group=facts[config.group][row] if config.group else None,
            split=split,
        )


def _roots(config: HuggingFaceConfig) -> Sequence[Path]:
    """Folders that a picture's file may lie in, where a table holds paths: it may come from somebody else."""
    from huggingface_hub import constants

    library: Any = importlib.import_module("datasets.config")
    folder = Path(config.name)
    caches = (constants.HF_HUB_CACHE, library.HF_DATASETS_CACHE)
    return [folder] if folder.is_dir() else [Path(cache).resolve() for cache in caches]


def _measured(cell: Any, place: str, where: str, roots: Sequence[Path]) -> tuple[str, int]:
    """(name, bytes) of a cell's picture; nothing is copied out of the table."""
    content, path = _content(cell)
    if content is not None:
        return place, len(content)
    if path is None:
        raise HarnessError(f"{place} has no picture", where=where)
    file = Path(path)
    if not any(file.resolve().is_relative_to(root) for root in roots):
        raise HarnessError(f"{place}: picture {path} lies outside of the dataset", where=where)
    if not file.is_file():
        raise HarnessError(f"{place}: no such picture: {path}", where=where)
    return f"{place} {file.name}", file.stat().st_size


def _content(cell: Any) -> tuple[Any, str | None]:
    """(buffer, path) of an Arrow cell: bytes, a path, or a structure of both."""
    import pyarrow as pa

    if isinstance(cell, pa.StructScalar):
        content, path = cell["bytes"], cell["path"]
        return (content.as_buffer() if content.is_valid else None), path.as_py()
    if not cell.is_valid:
        return None, None
    return (None, cell.as_py()) if pa.types.is_string(cell.type) else (cell.as_buffer(), None)


def _open(images: Any, row: int) -> Image:
    content, path = _content(images[row])
    return opener(Path(str(path)) if content is None else content.to_pybytes())()


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text.strip() if isinstance(text, str) else "" for text in values]


def _class_names(table: "Table", config: HuggingFaceConfig) -> tuple[str, ...] | None:
    import datasets

    feature = table.features[config.label] if config.label else None
    return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
