"""Which text a language model finds likeliest behind an image's prefix: among classes, or among captions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from harness.contract.connector import Connector
from harness.contract.language import PAD, Language, LanguageModel
from harness.contract.metric import Metric, PerQuery
from harness.contract.pairs import Pair
from harness.contract.problem import ScoringCost
from harness.data.base import Dataset
from harness.data.classes import ClassPrompts, class_names
from harness.encoders.base import Modality
from harness.errors import HarnessError
from harness.tasks.base import Evaluation, SplitView, Task, ranks_among
from harness.tasks.candidates import AmongCaptions, AmongClasses, Candidates, labelled
from harness.tasks.recall import hits

TEXTS_AT_ONCE = 128
"""Texts whose losses are computed at once: their logits over the vocabulary are what fills memory."""

CAPTION_KS = {"image_to_text_r1": 1, "image_to_text_r5": 5, "image_to_text_r10": 10}
CLASS_KS = {"top1": 1, "top5": 5}
GAIN = "gain_"
"""Before the name of a metric whose texts are ranked by what the image adds to their likelihood."""


def _metrics(ks: Mapping[str, int], query: str) -> dict[str, Metric]:
    return {f"{by}{name}": Metric(query=query, saturates=1.0) for by in ("", GAIN) for name in ks}


@dataclass(frozen=True, kw_only=True)
class CaptionRanking(Task):
    """Rank of the right text among candidates, by its log-likelihood behind the image's prefix.

    ``gain_`` metrics rank by the pointwise mutual information instead: the log-likelihood minus that of the same text
    without an image (the language model alone), so that texts which are likely anyhow are not preferred.

    Attributes:
        among: ``captions``: an image's first caption among captions of other images, drawn once for each split.
            ``classes``: an image's class, each by the mean over its templates.
        candidates: Texts that an image is compared with, the right one included; for captions only.
        per: Whether a text's log-likelihood is the sum over its tokens, end token included, or their mean.
        classes: Names of the classes: a known list (``imagenet``, ``cifar10``, ``cifar100``), a list of names, or None
            for the data's own.
        templates: Prompts for each class: a known list (``simple``, ``openai``), or templates with ``{class}``.
    """

    among: Literal["captions", "classes"] = "captions"
    candidates: Annotated[int, Field(ge=2, le=1000)] = 20
    per: Literal["text", "token"] = "text"
    classes: str | list[str] | None = None
    templates: str | list[str] = "simple"

    name: ClassVar[str] = "caption_ranking"
    metrics: ClassVar[Mapping[str, Metric]] = {
        **_metrics(CAPTION_KS, "image_to_text"),
        **_metrics(CLASS_KS, "zero_shot"),
    }

    def resolve(self, label: str, dataset: Dataset, text_encoders: Sequence[str], *, own_data: bool) -> Evaluation:
        """Refuse: see ``resolve_language``."""
        raise HarnessError(
            "needs language models", fix="list language_models, or use the tasks retrieval and zero_shot"
        )

    def resolve_language(self, label: str, dataset: Dataset, language: Language, *, own_data: bool) -> Evaluation:
        """The task on this data."""
        index = dataset.index()
        if self.among == "captions":
            if not index.n_captions:
                raise HarnessError("ranking captions needs captions, which the data has not")
            return RankingEvaluation(label, dataset, language, AmongCaptions(dataset, self.candidates), per=self.per)
        names = class_names(self.classes, index.class_names)
        prompts = ClassPrompts(names, self.templates, name=f"{dataset.name}-prompts")
        labelled(dataset, len(names))
        return RankingEvaluation(label, dataset, language, AmongClasses(dataset, prompts), per=self.per)


class RankingEvaluation(Evaluation):
    """Ranking of texts by likelihood, on its data.

    Args:
        label: Names the task.
        dataset: Its images.
        language: The language models.
        candidates: Which texts each image is compared with.
        per: ``text`` or ``token``.
    """

    def __init__(
        self, label: str, dataset: Dataset, language: Language, candidates: Candidates, *, per: str = "text"
    ) -> None:
        super().__init__(label, dataset)
        self._language, self._candidates, self._per = language, candidates, per
        self._ks = CLASS_KS if candidates.query == "zero_shot" else CAPTION_KS
        self.metrics = _metrics(self._ks, candidates.query)

    def banks(self) -> list[tuple[Dataset, Modality]]:
        """The images, and the candidates' tokens."""
        return [(self.dataset, "image"), (self._candidates.texts, "tokens")]

    @torch.inference_mode()
    def measure(self, view: SplitView, pair: Pair, connector: Connector, metrics: Collection[str]) -> PerQuery:
        """Hits of every image."""
        table = self._candidates.table(view.split)
        features = view.rows(self.dataset, "image", pair[0], table.image_rows)
        tokens = view.rows(self._candidates.texts, "tokens", pair[1], table.text_rows).long()
        model = self._language.load(pair[1], view.device)
        mapped = connector.to(view.device)(features)
        mapped = mapped.view(len(mapped), self._language.prefix, -1)
        of, right = (torch.from_numpy(array).to(view.device) for array in (table.of, table.right))
        images = torch.arange(len(of), device=view.device).repeat_interleave(of.shape[1])
        scores = self._scores(model, mapped, images, tokens, of.reshape(-1)).view(of.shape)
        words = torch.unique(tokens, dim=0, return_inverse=True)[1][of]
        found: dict[str, Int[np.ndarray, " queries"]] = {}
        if any(not name.startswith(GAIN) for name in metrics):
            found[""] = self._ranks(scores, words, right)
        if any(name.startswith(GAIN) for name in metrics):
            found[GAIN] = self._ranks(scores - self._alone(view.split, pair[1], model, tokens)[of], words, right)
        return {name: hits(found[GAIN if name.startswith(GAIN) else ""], self._k(name)) for name in metrics}

    def _ranks(
        self,
        scores: Float[Tensor, "queries texts"],
        words: Int[Tensor, "queries texts"],
        right: Int[Tensor, " queries"],
    ) -> Int[np.ndarray, " queries"]:
        """Ranks of the right answers. A text of the same words as the right one is tied with it to the bit.

        Args:
            scores: Of every candidate.
            words: Equal numbers where candidates are equal.
            right: Place of the right answer.
        """
        if self._candidates.per_answer > 1:
            scores = scores.view(len(scores), -1, self._candidates.per_answer).mean(-1)
        else:
            own, same = scores.gather(1, right[:, None]), words == words.gather(1, right[:, None])
            scores = torch.where(same, own, scores)
        return ranks_among(scores, right).cpu().numpy()

    def _scores(
        self,
        model: LanguageModel,
        prefixes: Float[Tensor, "images prefix dim"],
        images: Int[Tensor, " reads"],
        tokens: Int[Tensor, "texts tokens"],
        texts: Int[Tensor, " reads"],
    ) -> Float[Tensor, " reads"]:
        """Log-likelihood of a text behind the prefix of an image, for each of these (image, text)."""
        parts = []
        for image, text in zip(images.split(TEXTS_AT_ONCE), texts.split(TEXTS_AT_ONCE), strict=True):
            read = tokens[text]
            losses = model.losses(prefixes[image], read).double().sum(1)
            parts.append(-losses / (read != PAD).sum(1) if self._per == "token" else -losses)
        return torch.cat(parts)

    def _alone(
        self, split: str, name: str, model: LanguageModel, tokens: Int[Tensor, "texts tokens"]
    ) -> Float[Tensor, " texts"]:
        """Log-likelihood of every text without an image: measured once for each model."""
        if (split, name) not in self._fixed:
            nothing, every = torch.zeros(1, 0, model.shape.dim), torch.arange(len(tokens))
            nothing, every = nothing.to(tokens.device), every.to(tokens.device)
            self._fixed[split, name] = self._scores(model, nothing, 0 * every, tokens, every)
        return self._fixed[split, name]

    @cached_property
    def _fixed(self) -> dict[tuple[str, str], Tensor]:
        return {}

    def units(self, split: str) -> Mapping[str, Int[np.ndarray, " _"]]:
        """Every image is one query, of itself or of its group where there are groups."""
        index = self.dataset.index()
        asked = np.isin(index.splits[split], self._candidates.table(split).image_rows)
        units = np.unique(index.units(split)[asked], return_inverse=True)[1]
        return {self._candidates.query: units.reshape(-1).astype(np.int32)}

    def random(self, split: str, rng: np.random.Generator, metrics: Collection[str]) -> PerQuery:
        """Uniform ranks among the candidates."""
        table = self._candidates.table(split)
        ranks = rng.integers(1, self._answers(split) + 1, len(table.image_rows)).astype(np.int32)
        return {name: hits(ranks, self._k(name)) for name in metrics}

    def chance(self, split: str) -> Mapping[str, float]:
        """K of the candidates."""
        return {name: min(1.0, self._k(name) / self._answers(split)) for name in self.metrics}

    def cost(self, split: str, metrics: Collection[str]) -> ScoringCost:
        """Every image is mapped, and each of its candidates read behind it; for gains every text once alone too."""
        table = self._candidates.table(split)
        gains = any(name.startswith(GAIN) for name in metrics)
        reading = {
            name: shape.forward_flops(table.of.size, self._language.prefix)
            + (shape.forward_flops(len(table.text_rows), 0) if gains else 0.0)
            for name, shape in self._language.shapes.items()
        }
        return ScoringCost(len(table.image_rows), 0, 0.0, of_text=reading)

    def _answers(self, split: str) -> int:
        return self._candidates.table(split).of.shape[1] // self._candidates.per_answer

    def _k(self, metric: str) -> int:
        return self._ks[metric.removeprefix(GAIN)]
