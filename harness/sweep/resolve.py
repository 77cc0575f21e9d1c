"""A sweep resolved against the world: its datasets, encoders, banks and tasks. Builds nothing, reads no pixels."""

import dataclasses
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64

from harness.contract.connector import CONNECTORS, ConnectorKind
from harness.contract.language import PAD, Language
from harness.contract.metric import Metric, measured
from harness.contract.objective import OBJECTIVES, ObjectiveKind, OfLanguage
from harness.contract.pairs import Pair
from harness.contract.problem import Sizes
from harness.contract.registry import near
from harness.contract.split import Bucketing, Embeddings, Split
from harness.data.bank import bank_identity, bank_path, stored_as
from harness.data.base import Dataset, Index
from harness.data.extract import describe
from harness.data.request import BankRequest, Extraction
from harness.encoders.base import EncoderSpec, Modality
from harness.encoders.devices import check_device
from harness.errors import HarnessError
from harness.objectives.contrastive import as_objective
from harness.sweep.config import Sweep
from harness.sweep.datasets import datasets_of
from harness.sweep.encoders import encoders_of
from harness.sweep.language import language_of
from harness.sweep.located import errors_located, place
from harness.sweep.settings import build_config
from harness.tasks.base import TASKS, Evaluation, SplitView, Task, TaskOfLanguage


class ResolvedSweep:
    """Everything that the plan, the workers and the CLI need of a sweep.

    Args:
        sweep: The checked sweep file.

    Raises:
        HarnessError: A dataset, encoder, task, metric, connector kind or objective that does not resolve.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.connector = _connector(sweep)
        self.dataset, own_data = datasets_of(sweep)
        self.images = encoders_of(sweep, self.dataset, "image")
        self.texts = encoders_of(sweep, self.dataset, "text")
        self.language = language_of(sweep, self.connector, self.texts)
        self.objective = _objective(sweep, self.language)
        self.tasks = [task_of(sweep, number) for number in range(len(sweep.tasks))]
        self.evaluations = [self._evaluation(number, own_data.get(number)) for number in range(len(self.tasks))]
        metrics, chosen = self.selection_evaluation.metrics, sweep.selection.metric
        if chosen not in metrics:
            raise HarnessError(
                f"unknown metric {chosen!r} of task {sweep.task(sweep.selection.task).kind!r}",
                where=place(sweep.source, "selection.metric"),
                fix=near(chosen, metrics),
            )

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs of the sweep, image-major."""
        return tuple((image, text) for image in self.images for text in self.texts)

    @property
    def higher_is_better(self) -> bool:
        """Sign of the selection metric."""
        return self.selection_metric.higher_is_better

    @property
    def selection_metric(self) -> Metric:
        """The metric that methods pick by."""
        return self.selection_evaluation.metrics[self.sweep.selection.metric]

    @property
    def selection_evaluation(self) -> Evaluation:
        """The task that methods pick by."""
        return next(found for found in self.evaluations if found.label == self.sweep.selection.task)

    @property
    def scored(self) -> list[str]:
        """The metrics with queries of their own that a score takes."""
        return measured(self.selection_evaluation.metrics, [self.sweep.selection.metric])

    @property
    def without_test(self) -> bool:
        """Whether the sweep asks for no test data: connectors then have no test numbers."""
        return self.sweep.sample is not None and self.sweep.sample.test == 0

    @cached_property
    def index(self) -> Index:
        """Rows and splits of the main dataset."""
        return self.dataset.index()

    @cached_property
    def banks(self) -> dict[tuple[str, Modality, str], BankRequest]:
        """Every bank that the sweep needs, by (dataset digest, modality, encoder id)."""
        needed: list[tuple[Dataset, Modality]] = [(self.dataset, "image"), (self.dataset, "text")]
        if self.language:
            needed.append((self.dataset, "tokens"))
        needed += [bank for evaluation in self.evaluations for bank in evaluation.banks()]
        requests: dict[tuple[str, Modality, str], BankRequest] = {}
        for dataset, modality in needed:
            for encoder in (self.images if modality == "image" else self.texts).values():
                key = (dataset.digest, modality, encoder.spec.id)
                if key in requests:  # a task may measure on rows of the same data that the sample leaves out
                    requests[key] = requests[key].with_rows(_needed(dataset, modality))
                else:
                    requests[key] = self._request(dataset, encoder.spec, modality)
        return requests

    def bank(self, dataset: Dataset, modality: Modality, encoder: str) -> BankRequest:
        """The request of one bank."""
        return self.banks[dataset.digest, modality, encoder]

    def open_bank(self, dataset: Dataset, modality: Modality, encoder: str) -> Embeddings:
        """One bank, made already."""
        return self.bank(dataset, modality, encoder).open()

    @property
    def extraction(self) -> Extraction:
        """How missing banks are made."""
        bank = self.sweep.bank
        return Extraction(self.sweep.storage_path, bank.dtype, bank.batch_size, bank.shard_rows, bank.device)

    def check(self) -> None:
        """Find what would stop the extraction or every cell.

        Raises:
            HarnessError: The data is for planning only, a split is empty, or an encoder cannot be had.
        """
        if self.sweep.data.get("kind") == "shapes":
            where = place(self.sweep.source, "data.kind")
            raise HarnessError("data of kind shapes holds no data", where=where, fix="use harness plan")
        for split, rows in self.index.splits.items():
            if not len(rows) and not (split == "test" and self.without_test):
                where = place(self.sweep.source, "data")
                raise HarnessError(f"the {split} split is empty", where=where, fix="give it rows")
        if not all(request.done for request in self.banks.values()):
            check_device(self.sweep.bank.device, where=place(self.sweep.source, "bank.device"))
        for request in self.banks.values():
            request.check()

    def sizes(self, pairs: tuple[Pair, ...]) -> Sizes:
        """Shapes and counts of a problem over these pairs, known before anything is extracted."""
        return dataclasses.replace(self._sizes, pairs=pairs)

    @cached_property
    def _sizes(self) -> Sizes:
        labels, images, texts = self.index.labels, self.images, self.texts
        return Sizes(
            pairs=(),
            image_dims={name: encoder.info.dim for name, encoder in images.items()},
            text_dims={name: encoder.info.dim for name, encoder in texts.items()},
            train_images=len(np.unique(self.index.paired("train")[2])),
            connector=self.connector,
            direction=self.sweep.connector.direction,
            objective=self.objective,
            scoring=self.selection_evaluation.cost("validation", self.scored),
            train_captions=len(self.index.paired("train")[1]),
            validation_images=len(self.index.splits["validation"]),
            classes=0 if labels is None else int(labels.max()) + 1,
            image_params={n: e.info.params for n, e in images.items() if e.info.params is not None},
            text_params={n: e.info.params for n, e in texts.items() if e.info.params is not None},
        )

    def open(self, pairs: tuple[Pair, ...], split: str) -> Split:
        """One split of the main dataset, through the banks of these pairs' encoders."""
        image_rows, caption_rows, owner = self.index.paired(split)
        labels, texts = self.index.labels, dict.fromkeys(text for _, text in pairs)
        return Split(
            image_banks={i: self.open_bank(self.dataset, "image", i) for i in dict.fromkeys(i for i, _ in pairs)},
            text_banks={t: self.open_bank(self.dataset, "text", t) for t in texts},
            token_banks={t: self.open_bank(self.dataset, "tokens", t) for t in (texts if self.language else ())},
            image_rows=image_rows,
            caption_rows=caption_rows,
            caption_image=owner,
            labels=None if labels is None else labels[image_rows].astype("int64"),
            bucketing=self._bucketing(caption_rows) if split == "train" else None,
        )

    def _bucketing(self, rows: Int64[np.ndarray, " captions"]) -> Bucketing | None:
        """Captions sorted by the tokens of the sweep's first language model, whichever a cell trains with."""
        batches = self.sweep.connector.bucket_batches
        if batches == 1 or not self.language:
            return None
        tokens = self.open_bank(self.dataset, "tokens", next(iter(self.texts))).take(rows)
        return Bucketing((tokens != PAD).sum(1).astype(np.int64), batches)

    def view(self, split: str, device: torch.device) -> SplitView:
        """How evaluations read one split."""
        return SplitView(split, self.sweep.connector.direction, device, self.open_bank)

    def _evaluation(self, number: int, own: Dataset | None) -> Evaluation:
        config, sweep = self.sweep.tasks[number], self.sweep
        task, dataset, own_data = self.tasks[number], own or self.dataset, own is not None
        try:
            if self.language and isinstance(task, TaskOfLanguage):
                return task.resolve_language(config.label, dataset, self.language, own_data=own_data)
            return task.resolve(config.label, dataset, list(self.texts), own_data=own_data)
        except HarnessError as error:
            field = f"tasks.{number}.{error.where}" if error.where else f"tasks.{number}"
            raise HarnessError(error.what, where=place(sweep.source, field), fix=error.fix) from error

    def _request(self, dataset: Dataset, spec: EncoderSpec, modality: Modality) -> BankRequest:
        info = describe(dataset, spec, modality)
        dtype = stored_as(modality, self.sweep.bank.dtype)
        return BankRequest(
            dataset=dataset,
            spec=spec,
            info=info,
            path=bank_path(self.sweep.storage_path, dataset.name, dataset.digest, info, dtype),
            identity=bank_identity(dataset.digest, info, dtype),
            dtype=dtype,
            rows=_needed(dataset, modality),
        )


def _needed(dataset: Dataset, modality: Modality) -> Int64[np.ndarray, " rows"] | None:
    """Rows to embed; all of them (None) where the data brings embeddings, for nothing runs then."""
    return dataset.needed(modality) if dataset.own_encoders(modality) is None else None


def task_of(sweep: Sweep, number: int) -> Task:
    """A task of the sweep with its settings.

    Raises:
        HarnessError: No such kind, or a wrong setting.
    """
    config, field = sweep.tasks[number], f"tasks.{number}"
    with errors_located(sweep.source, f"{field}.kind"):
        found = TASKS.get(config.kind, sweep.root)
    with errors_located(sweep.source, field):
        return build_config(found, config.settings, where=field, beside=("kind", "label", "data"))


def _connector(sweep: Sweep) -> ConnectorKind:
    config = sweep.connector
    settings = config.settings
    with errors_located(sweep.source, "connector"):
        kind = config.kind
        if kind is None:
            kind = "mlp" if settings.get("hidden_layers", 0) else "linear"
        if kind == "linear" and not settings.get("hidden_layers"):
            settings = {key: value for key, value in settings.items() if key not in ("hidden_layers", "width")}
        found = CONNECTORS.get(kind, sweep.root)
        beside = ("kind", "direction", "loss", "hidden_layers", "width")
        return build_config(found, settings, where="connector", beside=beside)


def _objective(sweep: Sweep, language: Language | None) -> ObjectiveKind:
    with errors_located(sweep.source, "connector.loss"):
        found = as_objective(OBJECTIVES.get(sweep.connector.loss, sweep.root))
        if not isinstance(found, OfLanguage):
            return found
        if language is None:
            raise HarnessError(
                f"{sweep.connector.loss} needs language models", fix="list language_models instead of text_encoders"
            )
        return found.of_language(language)
