"""A sweep resolved against the world: its datasets, encoders, banks and tasks. Builds nothing, reads no pixels."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from harness.config import ENCODER_FACTS, EncoderConfig, Sweep, TaskConfig, located_in_file, place
from harness.data.bank import META, Bank, BankMeta, bank_identity, bank_path, open_bank
from harness.data.base import DATASETS, Dataset, Index
from harness.data.class_embeddings import ClassEmbeddings
from harness.data.classes import ClassPrompts, class_names
from harness.data.extract import describe, extract
from harness.data.load import load_dataset
from harness.encoders.base import EncoderInfo, EncoderSpec, Modality, scheme_of
from harness.errors import HarnessError, MissingData
from harness.method import Pair, Sizes, Split
from harness.metrics import METRICS, queries_of
from harness.registry import near
from harness.tasks.base import Task
from harness.tasks.retrieval import Retrieval, retrieval_flops
from harness.tasks.zero_shot import ZeroShot, zero_shot_flops


@dataclass(frozen=True)
class BankRequest:
    """One bank that the sweep needs.

    Attributes:
        dataset: Whose rows.
        spec: The encoder as written.
        info: What is known of it.
        path: Where the bank lies, or will lie.
        identity: sha256 of what decides its content.
    """

    dataset: Dataset
    spec: EncoderSpec
    info: EncoderInfo
    path: Path
    identity: str

    @property
    def done(self) -> bool:
        """Whether it has been extracted."""
        return self.read_meta() is not None

    def read_meta(self) -> BankMeta | None:
        """What its extraction recorded; None if it has not been extracted."""
        return Bank(self.path).meta if (self.path / META).is_file() else None


@dataclass(frozen=True)
class TaskData:
    """What one task of the sweep is evaluated on.

    Attributes:
        config: The task as written.
        dataset: Whose images.
        prompts: Text-only dataset of class prompts (zero-shot), or None.
        templates: Prompts per class.
    """

    config: TaskConfig
    dataset: Dataset
    prompts: Dataset | None = None
    templates: int = 1


class Workspace:
    """Everything that the plan, the workers and the CLI need of a sweep.

    Args:
        sweep: The checked sweep file.

    Raises:
        HarnessError: A dataset, encoder, task or metric that does not resolve.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.dataset, self._own_data = _datasets(sweep)
        self.images = self._encoders("image", sweep.image_encoders)
        self.texts = self._encoders("text", sweep.text_encoders)
        self.tasks = [self._task_data(number, task) for number, task in enumerate(sweep.tasks)]
        kind = sweep.task(sweep.selection.task).kind
        if sweep.selection.metric not in METRICS[kind]:
            hint = near(sweep.selection.metric, METRICS[kind])
            raise HarnessError(
                f"unknown metric {sweep.selection.metric!r} of task {kind!r}",
                where=place(sweep.source, "selection.metric"),
                fix=hint,
            )

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs of the sweep, image-major."""
        return tuple((image, text) for image in self.images for text in self.texts)

    @cached_property
    def index(self) -> Index:
        """Rows and splits of the main dataset."""
        return self.dataset.index()

    @cached_property
    def banks(self) -> dict[tuple[str, Modality, str], BankRequest]:
        """Every bank that the sweep needs, by (dataset digest, modality, encoder id)."""
        requests: dict[tuple[str, Modality, str], BankRequest] = {}
        for dataset, modality in self._bank_datasets():
            for spec, _ in (self.images if modality == "image" else self.texts).values():
                request = self._request(dataset, spec, modality)
                requests[dataset.digest, modality, spec.id] = request
        return requests

    def bank(self, dataset: Dataset, modality: Modality, encoder: str) -> BankRequest:
        """The request of one bank."""
        return self.banks[dataset.digest, modality, encoder]

    def check(self) -> None:
        """Find what would stop the extraction or every cell.

        Raises:
            HarnessError: The data is for planning only, a split is empty, or an encoder cannot be had.
        """
        if self.sweep.data.get("kind") == "shapes":
            where = place(self.sweep.source, "data.kind")
            raise HarnessError("data of kind shapes holds no data", where=where, fix="use harness plan")
        for split, rows in self.index.splits.items():
            if not len(rows):
                where = place(self.sweep.source, "data")
                raise HarnessError(f"the {split} split is empty", where=where, fix="give it rows")
        for request in self.banks.values():
            if not request.done and request.dataset.own_encoders(request.info.modality) is None:
                scheme_of(request.spec).check(request.spec, request.info.modality)

    def extract_missing(self, progress: Callable[[BankRequest, int, int], None] | None = None) -> list[BankRequest]:
        """Extract what is missing, in order, and check the content of all; returns what was extracted."""
        todo = [request for request in self.banks.values() if not request.done]
        for request in todo:
            extract(
                request.dataset,
                request.spec,
                request.info.modality,
                self.sweep.storage_path,
                dtype=self.sweep.bank.dtype,
                batch_size=self.sweep.bank.batch_size,
                shard_rows=self.sweep.bank.shard_rows,
                device=self.sweep.bank.device,
                progress=None if progress is None else (lambda done, total, r=request: progress(r, done, total)),
            )
        for request in self.banks.values():
            open_bank(request.path)
        return todo

    def sizes(self, pairs: tuple[Pair, ...]) -> Sizes:
        """Shapes and counts of a problem over these pairs, known before anything is extracted."""
        connector = self.sweep.connector
        return Sizes(
            pairs=pairs,
            image_dims={name: info.dim for name, (_, info) in self.images.items()},
            text_dims={name: info.dim for name, (_, info) in self.texts.items()},
            train_images=len(self.index.splits["train"]),
            hidden_layers=connector.hidden_layers,
            width=connector.width,
            direction=connector.direction,
            score_flops=self._score_flops,
            linear_score_flops=lambda pair: self._score_flops(pair, linear=True),
            train_captions=self._train_captions,
            validation_images=len(self.index.splits["validation"]),
            classes=0 if self.index.labels is None else int(self.index.labels.max()) + 1,
            image_params={name: info.params for name, (_, info) in self.images.items() if info.params is not None},
            text_params={name: info.params for name, (_, info) in self.texts.items() if info.params is not None},
        )

    @cached_property
    def _train_captions(self) -> int:
        return int(np.isin(self.index.caption_image, self.index.splits["train"]).sum())

    def open(self, pairs: tuple[Pair, ...], split: str, dataset: Dataset | None = None) -> Split:
        """One split of the main dataset (or of a task's own), through the banks of these pairs' encoders."""
        index = self.index if dataset is None else dataset.index()
        dataset = dataset or self.dataset
        image_rows = index.splits[split]
        position = np.full(index.n_images, -1, dtype=np.int64)
        position[image_rows] = np.arange(len(image_rows))
        owner = position[index.caption_image]
        caption_rows = np.flatnonzero(owner >= 0)
        return Split(
            image_banks=self._open_banks(dataset, "image", [image for image, _ in pairs]),
            text_banks=self._open_banks(dataset, "text", [text for _, text in pairs]),
            image_rows=image_rows,
            caption_rows=caption_rows,
            caption_image=owner[caption_rows],
            labels=None if index.labels is None else index.labels[image_rows].astype(np.int64),
        )

    def bind(self, task: TaskData, pairs: tuple[Pair, ...], split: str, device: torch.device) -> Task:
        """A task over one split, ready to evaluate these pairs' connectors."""
        direction = self.sweep.connector.direction
        if task.prompts is None:
            rows = self.open(pairs, split, None if task.dataset is self.dataset else task.dataset)
            return Retrieval(label=task.config.label, split=rows, direction=direction, device=device)
        rows, labels = _labelled(task, split)
        return ZeroShot(
            label=task.config.label,
            image_banks=self._open_banks(task.dataset, "image", [image for image, _ in pairs]),
            prompt_banks=self._open_banks(task.prompts, "text", [text for _, text in pairs]),
            rows=rows,
            labels=labels,
            templates=task.templates,
            direction=direction,
            device=device,
        )

    def _open_banks(self, dataset: Dataset, modality: Modality, encoders: list[str]) -> Mapping[str, Bank]:
        return {encoder: open_bank(self.bank(dataset, modality, encoder).path) for encoder in dict.fromkeys(encoders)}

    @property
    def selection_task(self) -> TaskData:
        """The task that methods pick by."""
        return next(task for task in self.tasks if task.config.label == self.sweep.selection.task)

    @cached_property
    def _validation_counts(self) -> tuple[int, int]:
        """What one score looks at: (images, captions), or for zero-shot (labelled images, prompts)."""
        task = self.selection_task
        if task.prompts is not None:
            return len(_labelled(task, "validation")[0]), task.prompts.index().n_captions
        index = self.index if task.dataset is self.dataset else task.dataset.index()
        images = index.splits["validation"]
        return len(images), int(np.isin(index.caption_image, images).sum())

    def _score_flops(self, pair: Pair, *, linear: bool = False) -> float:
        task, sizes, (images, texts) = self.selection_task, self.sizes((pair,)), self._validation_counts
        sizes = dataclasses.replace(sizes, hidden_layers=0) if linear else sizes
        if task.prompts is not None:
            return zero_shot_flops(sizes, pair, images, texts, task.templates)
        queries = len(queries_of(task.config.kind, self.sweep.selection.metric))
        return retrieval_flops(sizes, pair, images, texts, queries)

    def _encoders(
        self, modality: Modality, configs: list[EncoderConfig] | None
    ) -> dict[str, tuple[EncoderSpec, EncoderInfo]]:
        own = self.dataset.own_encoders(modality)
        if configs is None:
            if not own:
                raise HarnessError(
                    f"{modality}_encoders is missing", where=str(self.sweep.source), fix="see harness ls encoders"
                )
            configs = [EncoderConfig(id=name) for name in own]
        configs = configs[: self.sweep.first_image_encoders] if modality == "image" else configs
        found = {}
        for config in configs:
            known = (own or {}).get(config.id)
            # What the data says of its own encoders is known where a task's own data needs them run, too.
            facts = {name: getattr(known, name, None) for name in ENCODER_FACTS} | config.facts
            spec = EncoderSpec(config.id, options=config.options, **facts)
            if own is not None and config.id not in own:
                raise HarnessError(
                    f"the data holds no {modality} embeddings of {config.id!r}",
                    where=place(self.sweep.source, f"{modality}_encoders"),
                    fix=near(config.id, own),
                )
            found[config.id] = (spec, describe(self.dataset, spec, modality))
        return found

    def _task_data(self, number: int, config: TaskConfig) -> TaskData:
        dataset = self._own_data.get(number, self.dataset)
        index = self.index if config.data is None else dataset.index()
        if config.kind == "retrieval":
            empty = [split for split in ("validation", "test") if config.data and not len(index.splits[split])]
            if empty or (config.data and not index.n_captions):
                what = (
                    f"the {empty[0]} split of the task's data is empty" if empty else "the task's data has no captions"
                )
                raise HarnessError(what, where=place(self.sweep.source, f"tasks.{number}.data"))
            return TaskData(config, dataset)
        if index.labels is None:
            where = place(self.sweep.source, f"tasks.{number}")
            raise HarnessError("zero_shot needs class labels, which the data has not", where=where)
        if config.classes is None and next(iter(self.texts)) in (dataset.own_encoders("text") or {}):
            prompts, templates = ClassEmbeddings(dataset, list(self.texts)), 1
            classes = prompts.index().n_captions
        else:
            names = class_names(config.classes, index.class_names)
            prompts = ClassPrompts(names, config.templates, name=f"{dataset.name}-prompts")
            classes, templates = prompts.n_classes, prompts.n_templates
        if index.labels.max() >= classes:
            where = place(self.sweep.source, f"tasks.{number}.classes")
            raise HarnessError(f"a label is {index.labels.max()} but there are {classes} classes", where=where)
        return TaskData(config, dataset, prompts, templates)

    def _bank_datasets(self) -> list[tuple[Dataset, Modality]]:
        needed: list[tuple[Dataset, Modality]] = [(self.dataset, "image"), (self.dataset, "text")]
        for task in self.tasks:
            needed.append((task.dataset, "image"))
            needed.append((task.dataset if task.prompts is None else task.prompts, "text"))
        return needed

    def _request(self, dataset: Dataset, spec: EncoderSpec, modality: Modality) -> BankRequest:
        info = describe(dataset, spec, modality)
        dtype = self.sweep.bank.dtype
        return BankRequest(
            dataset=dataset,
            spec=spec,
            info=info,
            path=bank_path(self.sweep.storage_path, dataset.name, dataset.digest, info, dtype),
            identity=bank_identity(dataset.digest, info, dtype),
        )


def _datasets(sweep: Sweep) -> tuple[Dataset, dict[int, Dataset]]:
    """The main dataset, and those of the tasks that have their own, by number.

    Raises:
        MissingData: Files of one or more are absent: one line names all of these datasets.
        HarnessError: One is wrong.
    """
    configs: dict[tuple[str | int, ...], dict[str, object]] = {("data",): sweep.data}
    configs |= {("tasks", n, "data"): task.data for n, task in enumerate(sweep.tasks) if task.data is not None}
    made: dict[tuple[str | int, ...], Dataset] = {}
    absent: list[MissingData] = []
    for under, config in configs.items():
        try:
            made[under] = _dataset(sweep, config, under)
        except MissingData as missing:
            absent.append(missing)
    if absent:
        raise MissingData("; ".join(dict.fromkeys(map(str, absent))))
    main = made.pop(("data",))
    return main, {int(under[1]): dataset for under, dataset in made.items()}


def _dataset(sweep: Sweep, config: dict[str, object], under: tuple[str | int, ...]) -> Dataset:
    try:
        return load_dataset(config, sweep.root)
    except ValidationError as error:
        model = DATASETS.get(str(config["kind"]), sweep.root).Config
        raise located_in_file(error, model, sweep.source, under) from error
    except HarnessError as error:
        where = error.where or place(sweep.source, ".".join(map(str, under)))
        raise type(error)(error.what, where=where, fix=error.fix) from error


def _labelled(task: TaskData, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the split that have a label, and their labels."""
    index = task.dataset.index()
    labels = index.labels
    if labels is None:
        raise HarnessError("zero_shot needs class labels, which the data has not", where=task.config.label)
    rows = index.splits[split]
    rows = rows[labels[rows] >= 0]
    if not len(rows):
        raise HarnessError(f"no labelled image in the {split} split", where=task.config.label)
    return rows, labels[rows].astype(np.int64)
