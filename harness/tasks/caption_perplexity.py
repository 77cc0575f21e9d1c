"""Perplexity of captions behind their image's prefix, beside what the language model says without the image."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.contract.connector import Connector
from harness.contract.language import PAD, Language, LanguageModel
from harness.contract.metric import Metric, PerQuery
from harness.contract.pairs import Pair
from harness.contract.problem import ScoringCost
from harness.contract.seeding import stream
from harness.data.base import Dataset
from harness.encoders.base import Modality
from harness.errors import HarnessError
from harness.tasks.base import Evaluation, SplitView, Task

CAPTIONS_AT_ONCE = 128
"""Captions whose losses are computed at once: their logits over the vocabulary are what fills memory."""

Means = Float[np.ndarray, " captions"]
"""Of each caption, the mean negative log-likelihood of its tokens in nats."""


def _perplexity() -> Metric:
    return Metric(query="caption", link="exp", higher_is_better=False, saturates=1.0)


@dataclass(frozen=True, kw_only=True)
class CaptionPerplexity(Task):
    """exp of the mean over captions of the mean over a caption's tokens (its end token included); lower is better.

    ``perplexity`` is with the caption's own image, ``shuffled`` with another image of the split, ``no_image`` with a
    prefix of zeros, and ``alone`` without a prefix. ``explained`` is how many nats per token the own image is worth
    more than another one: larger is better.
    """

    name: ClassVar[str] = "caption_perplexity"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "perplexity": _perplexity(),
        "shuffled": _perplexity(),
        "no_image": _perplexity(),
        "alone": _perplexity(),
        "explained": Metric(query="caption"),
    }

    def resolve(self, label: str, dataset: Dataset, text_encoders: Sequence[str], *, own_data: bool) -> Evaluation:
        """Refuse: see ``resolve_language``."""
        raise HarnessError("needs language models", fix="list language_models instead of text_encoders")

    def resolve_language(self, label: str, dataset: Dataset, language: Language, *, own_data: bool) -> Evaluation:
        """The task on this data."""
        if not dataset.index().n_captions:
            raise HarnessError("caption_perplexity needs captions, which the data has not")
        return PerplexityEvaluation(label, dataset, language)


class PerplexityEvaluation(Evaluation):
    """Caption perplexity on its data."""

    metrics = CaptionPerplexity.metrics

    def __init__(self, label: str, dataset: Dataset, language: Language) -> None:
        super().__init__(label, dataset)
        self._language = language

    def banks(self) -> list[tuple[Dataset, Modality]]:
        """The images, and the captions' tokens."""
        return [(self.dataset, "image"), (self.dataset, "tokens")]

    @torch.inference_mode()
    def measure(self, view: SplitView, pair: Pair, connector: Connector, metrics: Collection[str]) -> PerQuery:
        """The mean loss of every caption, under each condition that is asked for."""
        language, (image, name) = self._language, pair
        image_rows, caption_rows, owner = self.dataset.index().paired(view.split)
        features = view.rows(self.dataset, "image", image, image_rows)
        tokens = view.rows(self.dataset, "tokens", name, caption_rows).long()
        model, length = language.load(name, view.device), language.prefix
        mapped = connector.to(view.device)(features)
        mapped = mapped.view(len(mapped), length, -1)
        found: dict[str, Means] = {}

        def means(condition: str) -> Means:
            if condition not in found:
                found[condition] = self._means(condition, view.split, name, model, mapped, owner, tokens)
            return found[condition]

        return {
            metric: means("shuffled") - means("perplexity") if metric == "explained" else means(metric)
            for metric in metrics
        }

    def _means(
        self,
        condition: str,
        split: str,
        name: str,
        model: LanguageModel,
        mapped: Float[Tensor, "images prefix dim"],
        owner: Int[np.ndarray, " captions"],
        tokens: Int[Tensor, "captions tokens"],
    ) -> Means:
        prefix_of, fixed = self._conditions(split, mapped, owner)[condition]
        # What does not depend on the image or the connector is measured once for each model.
        key = (split, name, condition, mapped.shape[1])
        if fixed and key in self._fixed:
            return self._fixed[key]
        parts = []
        for start in range(0, len(tokens), CAPTIONS_AT_ONCE):
            rows = tokens[start : start + CAPTIONS_AT_ONCE]
            losses = model.losses(prefix_of(start, start + len(rows)), rows)
            parts.append((losses.double().sum(1) / (rows != PAD).sum(1)).cpu().numpy())
        made = np.concatenate(parts).astype(np.float64)
        if fixed:
            self._fixed[key] = made
        return made

    def _conditions(
        self, split: str, mapped: Float[Tensor, "images prefix dim"], owner: Int[np.ndarray, " captions"]
    ) -> Mapping[str, tuple[Callable[[int, int], Tensor], bool]]:
        """Condition -> the prefix of captions [start, stop), and whether it is the same for every connector."""
        other = self._others(split)
        zeros = mapped.new_zeros(1, *mapped.shape[1:])
        return {
            "perplexity": (lambda start, stop: mapped[owner[start:stop]], False),
            "shuffled": (lambda start, stop: mapped[other[owner[start:stop]]], False),
            "no_image": (lambda start, stop: zeros.expand(stop - start, -1, -1), True),
            "alone": (lambda start, stop: zeros[:, :0].expand(stop - start, -1, -1), True),
        }

    def _others(self, split: str) -> Int[np.ndarray, " images"]:
        """Another image for every image of a split: the next one of a fixed random order."""
        count = len(self.dataset.index().splits[split])
        order = stream(0, "shuffled images", split).permutation(count)
        other = np.empty(count, dtype=np.int64)
        other[order] = np.roll(order, -1)
        return other

    @cached_property
    def _fixed(self) -> dict[tuple[str, str, str, int], Means]:
        return {}

    def units(self, split: str) -> Mapping[str, Int[np.ndarray, " _"]]:
        """The image of each caption, or its group where there are groups."""
        index = self.dataset.index()
        return {"caption": index.units(split).astype(np.int32)[index.paired(split)[2]]}

    def random(self, split: str, rng: np.random.Generator, metrics: Collection[str]) -> None:
        """Not known: what a random prefix gives is the language model's affair. The controls stand in its place."""

    def chance(self, split: str) -> Mapping[str, float]:
        """Without the right image ``explained`` is 0."""
        return {"explained": 0.0}

    def cost(self, split: str, metrics: Collection[str]) -> ScoringCost:
        """Every image is mapped, and every caption read once for each condition."""
        image_rows, caption_rows, _ = self.dataset.index().paired(split)
        language = self._language
        explained = {"perplexity", "shuffled"} if "explained" in metrics else set()
        prefixes = [0 if c == "alone" else language.prefix for c in (set(metrics) - {"explained"}) | explained]
        reading = {
            name: sum(shape.forward_flops(len(caption_rows), prefix) for prefix in prefixes)
            for name, shape in language.shapes.items()
        }
        return ScoringCost(len(image_rows), 0, 0.0, of_text=reading)
