"""Zero-shot classification: an image's class among the prompts' class vectors."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch.nn import functional

from harness.contract.connector import Connector
from harness.contract.metric import Metric, PerQuery
from harness.contract.pairs import Pair
from harness.contract.problem import ScoringCost
from harness.data.base import Dataset
from harness.data.class_embeddings import ClassEmbeddings
from harness.data.classes import ClassPrompts, class_names
from harness.encoders.base import Modality
from harness.errors import HarnessError
from harness.tasks.base import Evaluation, SplitView, Task, both_sides, ranks_of_right
from harness.tasks.recall import hits

KS = {"top1": 1, "top5": 5}


@dataclass(frozen=True, kw_only=True)
class ZeroShot(Task):
    """Top-1 and top-5 accuracy with prompt templates averaged after normalisation (Radford et al. 2021).

    Attributes:
        classes: Names of the classes: a known list (``imagenet``, ``cifar10``, ``cifar100``), a list of names, or None
            for the data's own.
        templates: Prompts for each class: a known list (``simple``, ``openai``), or templates with ``{class}``.
    """

    classes: str | list[str] | None = None
    templates: str | list[str] = "simple"

    name: ClassVar[str] = "zero_shot"
    metrics: ClassVar[Mapping[str, Metric]] = {name: Metric(query="zero_shot", saturates=1.0) for name in KS}

    def resolve(self, label: str, dataset: Dataset, text_encoders: Sequence[str], *, own_data: bool) -> Evaluation:
        """The task on this data: with the text embeddings of its classes, or with prompts to embed."""
        index = dataset.index()
        if index.labels is None:
            raise HarnessError("zero_shot needs class labels, which the data has not")
        if self.classes is None and text_encoders[0] in (dataset.own_encoders("text") or {}):
            prompts, templates = ClassEmbeddings(dataset, list(text_encoders)), 1
            classes = prompts.index().n_captions
        else:
            names = class_names(self.classes, index.class_names)
            prompts = ClassPrompts(names, self.templates, name=f"{dataset.name}-prompts")
            classes, templates = prompts.n_classes, prompts.n_templates
        if index.labels.max() >= classes:
            raise HarnessError(f"a label is {index.labels.max()} but there are {classes} classes", where="classes")
        return ZeroShotEvaluation(label, dataset, prompts, classes, templates)


class ZeroShotEvaluation(Evaluation):
    """Zero-shot classification on its data.

    Args:
        label: Names the task.
        dataset: Its labelled images.
        prompts: Text-only dataset, class-major: all templates of class 0, of class 1, ...
        classes: Number of classes.
        templates: Prompts of each class.
    """

    metrics = ZeroShot.metrics

    def __init__(self, label: str, dataset: Dataset, prompts: Dataset, classes: int, templates: int) -> None:
        super().__init__(label, dataset)
        self.prompts, self._classes, self._templates = prompts, classes, templates

    def banks(self) -> list[tuple[Dataset, Modality]]:
        """The images and the prompts."""
        return [(self.dataset, "image"), (self.prompts, "text")]

    @torch.inference_mode()
    def measure(self, view: SplitView, pair: Pair, connector: Connector, metrics: Collection[str]) -> PerQuery:
        """Hits of every labelled image."""
        rows, labels = self._labelled(view.split)
        prompts = view.rows(self.prompts, "text", pair[1], np.arange(self._classes * self._templates))
        images = view.rows(self.dataset, "image", pair[0], rows)
        images, prompts = both_sides(connector.to(view.device), images, prompts, view.direction)
        classes = functional.normalize(prompts.view(-1, self._templates, prompts.shape[-1]).mean(1), dim=-1)
        ranks = ranks_of_right(images, classes, torch.from_numpy(labels).to(view.device))
        return {name: hits(ranks, KS[name]) for name in metrics}

    def units(self, split: str) -> Mapping[str, Int[np.ndarray, " _"]]:
        """Every image is one query, of itself or of its group where there are groups."""
        index = self.dataset.index()
        labelled = np.isin(index.splits[split], self._labelled(split)[0])
        units = np.unique(index.units(split)[labelled], return_inverse=True)[1]
        return {"zero_shot": units.reshape(-1).astype(np.int32)}

    def random(self, split: str, rng: np.random.Generator, metrics: Collection[str]) -> PerQuery:
        """Uniform ranks among the classes."""
        ranks = rng.integers(1, self._classes + 1, len(self._labelled(split)[0])).astype(np.int32)
        return {name: hits(ranks, KS[name]) for name in metrics}

    def chance(self, split: str) -> Mapping[str, float]:
        """K of the classes."""
        return {name: min(1.0, k / self._classes) for name, k in KS.items()}

    def cost(self, split: str, metrics: Collection[str]) -> ScoringCost:
        """Images or prompts are mapped, and every image is compared with every class."""
        images = len(self._labelled(split)[0])
        return ScoringCost(images, self._classes * self._templates, float(images * self._classes))

    def _labelled(self, split: str) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """Rows of the split that have a label, and their labels."""
        if split not in self._by_split:
            index = self.dataset.index()
            assert index.labels is not None, "resolve has seen them"
            rows = index.splits[split]
            rows = rows[index.labels[rows] >= 0]
            if not len(rows):
                raise HarnessError(f"no labelled image in the {split} split", where=self.label)
            self._by_split[split] = rows, index.labels[rows].astype(np.int64)
        return self._by_split[split]

    @cached_property
    def _by_split(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {}
