"""Image-text retrieval within one split, several captions per image."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import gammaln
from torch import Tensor

from harness.contract.metric import Metric, PerQuery
from harness.tasks.base import blocks, ranks_of_right
from harness.tasks.paired import PairedTask
from harness.tasks.recall import Ranks, per_query, recalls

KS = (1, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Retrieval(PairedTask):
    """Rank of a caption's image among all images, and the best rank of an image's captions among all captions.

    R@k of image->text is a hit if any of the image's captions is in the first k (Karpathy & Fei-Fei 2015); other
    captions of the same image do not push it down.
    """

    name: ClassVar[str] = "retrieval"
    metrics: ClassVar[Mapping[str, Metric]] = {
        **recalls("text_to_image", KS),
        **recalls("image_to_text", KS),
        "mean_r1": Metric(of=("text_to_image_r1", "image_to_text_r1"), saturates=1.0),
        "median_rank": Metric(query="text_to_image", average="median", higher_is_better=False, saturates=1.0),
    }

    def compare(
        self,
        images: Float[Tensor, "images dim"],
        texts: Float[Tensor, "captions dim"],
        owner: Int[Tensor, " captions"],
        metrics: Collection[str],
    ) -> PerQuery:
        """Hits of every query at each k, and the rank of every caption's image."""
        queries, ranks = self._queries(metrics), {}
        if "text_to_image" in queries:
            ranks["text_to_image"] = ranks_of_right(texts, images, owner)
        if "image_to_text" in queries:
            ranks["image_to_text"] = _best_caption_ranks(images, texts, owner)
        return {metric: per_query(metric, ranks) for metric in metrics}

    def random(
        self, images: int, owner: Int[np.ndarray, " captions"], rng: np.random.Generator, metrics: Collection[str]
    ) -> PerQuery:
        """Uniform ranks; an image's best caption is the first of its captions in a random order of all."""
        queries, ranks = self._queries(metrics), {}
        if "text_to_image" in queries:
            ranks["text_to_image"] = rng.integers(1, images + 1, len(owner)).astype(np.int32)
        if "image_to_text" in queries:
            best = np.full(images, len(owner), np.int32)
            np.minimum.at(best, owner, (1 + rng.permutation(len(owner))).astype(np.int32))
            ranks["image_to_text"] = best
        return {metric: per_query(metric, ranks) for metric in metrics}

    def chance(self, images: int, owner: Int[np.ndarray, " captions"]) -> Mapping[str, float]:
        """K / images; for images the chance that one of their captions is among the first k of a random order."""
        own = np.bincount(owner, minlength=images)
        found = {f"text_to_image_r{k}": min(1.0, k / images) for k in KS}
        found |= {f"image_to_text_r{k}": float(np.mean(_any_among_first(own, len(owner), k))) for k in KS}
        found["mean_r1"] = (found["text_to_image_r1"] + found["image_to_text_r1"]) / 2
        return found | {"median_rank": (images + 1) / 2}

    def comparisons(self, images: int, captions: int, metrics: Collection[str]) -> float:
        """One similarity product for each kind of query."""
        return float(len(self._queries(metrics)) * images * captions)

    def _queries(self, metrics: Collection[str]) -> set[str]:
        return {self.metrics[metric].query for metric in metrics}


def _any_among_first(own: Int[np.ndarray, " images"], captions: int, k: int) -> Float[np.ndarray, " images"]:
    """Chance that one of ``own`` captions is among the first k of all: 1 - C(n - own, k) / C(n, k)."""
    others = captions - own
    if k >= captions:
        return (own > 0).astype(float)
    with np.errstate(invalid="ignore"):
        none = gammaln(others + 1) - gammaln(others - k + 1) - gammaln(captions + 1) + gammaln(captions - k + 1)
    return np.where(others < k, 1.0, 1 - np.exp(none))


def _best_caption_ranks(
    images: Float[Tensor, "images dim"], texts: Float[Tensor, "captions dim"], owner: Int[Tensor, " captions"]
) -> Ranks:
    """Rank of each image's best caption among the captions of other images, ties at their middle place."""
    ranks = []
    for block in blocks(len(images), len(texts)):
        scores = images[block] @ texts.T
        rows = torch.arange(block.start, block.stop, device=images.device)
        mine = owner[None, :] == rows[:, None]
        best = scores.masked_fill(~mine, -torch.inf).amax(1, keepdim=True)
        above = (~(scores <= best) & ~mine).sum(1)  # so that NaN is never a hit
        tied = ((scores == best) & ~mine).sum(1)
        ranks.append((1 + above + (tied + 1) // 2).to(torch.int32))
    return torch.cat(ranks).cpu().numpy()
