"""Image-text retrieval within one split, several captions per image."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from harness.connectors import Layers
from harness.flops import connector_forward
from harness.method import Direction, Pair, Sizes, Split
from harness.tasks.base import CHUNK, both_sides, ranks_of_right


class Retrieval:
    """Rank of a caption's image among all images, and the best rank of an image's captions among all captions.

    R@k of image->text is a hit if any of the image's captions is in the first k (Karpathy & Fei-Fei 2015); other
    captions of the same image do not push it down.

    Args:
        label: Names the task.
        split: The split to search in.
        direction: Which side the connector maps.
        device: Where to compute.
    """

    kind: ClassVar[str] = "retrieval"

    def __init__(self, *, label: str, split: Split, direction: Direction, device: torch.device) -> None:
        self.label, self._split, self._device = label, split, device
        self._direction: Direction = direction

    @torch.inference_mode()
    def ranks(self, pair: Pair, layers: Layers, queries: Sequence[str]) -> Mapping[str, np.ndarray]:
        """``text_to_image`` ``[captions]`` and ``image_to_text`` ``[images]`` ranks."""
        layers = [(w.to(self._device), b.to(self._device)) for w, b in layers]
        images, texts = both_sides(
            layers,
            self._split.images(pair[0]).to(self._device),
            self._split.texts(pair[1]).to(self._device),
            self._direction,
        )
        owner = torch.from_numpy(self._split.caption_image).to(self._device)
        found = {}
        if "text_to_image" in queries:
            found["text_to_image"] = ranks_of_right(texts, images, owner)
        if "image_to_text" in queries:
            found["image_to_text"] = _best_caption_ranks(images, texts, owner)
        return found

    def units(self) -> Mapping[str, np.ndarray]:
        """The image of each query."""
        return {
            "text_to_image": self._split.caption_image.astype(np.int32),
            "image_to_text": np.arange(len(self._split.image_rows), dtype=np.int32),
        }

    def random_ranks(self, rng: np.random.Generator, queries: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Uniform ranks; an image's best caption is the first of its captions in a random order of all."""
        images, owner, found = len(self._split.image_rows), self._split.caption_image, {}
        if "text_to_image" in queries:
            found["text_to_image"] = rng.integers(1, images + 1, len(owner)).astype(np.int32)
        if "image_to_text" in queries:
            best = np.full(images, len(owner), np.int32)
            np.minimum.at(best, owner, (1 + rng.permutation(len(owner))).astype(np.int32))
            found["image_to_text"] = best
        return found

    def flops(self, sizes: Sizes, pair: Pair, queries: Sequence[str]) -> float:
        """Connector forward and one similarity product for each query kind."""
        return retrieval_flops(sizes, pair, len(self._split.image_rows), len(self._split.caption_rows), len(queries))


def retrieval_flops(sizes: Sizes, pair: Pair, images: int, captions: int, query_kinds: int) -> float:
    """FLOPs of one retrieval evaluation, with what is known before the banks exist."""
    shape = sizes.shape(pair)
    mapped = captions if sizes.direction == "text_to_image" else images
    return connector_forward(shape, mapped) + query_kinds * 2.0 * images * captions * shape.out_dim


def _best_caption_ranks(images: torch.Tensor, texts: torch.Tensor, owner: torch.Tensor) -> np.ndarray:
    """Rank of each image's best caption among the captions of other images, ties at their middle place."""
    ranks = []
    for start in range(0, len(images), CHUNK):
        scores = images[start : start + CHUNK] @ texts.T
        rows = torch.arange(start, start + len(scores), device=images.device)
        mine = owner[None, :] == rows[:, None]
        best = scores.masked_fill(~mine, -torch.inf).amax(1, keepdim=True)
        above = (~(scores <= best) & ~mine).sum(1)  # so that NaN is never a hit
        tied = ((scores == best) & ~mine).sum(1)
        ranks.append((1 + above + (tied + 1) // 2).to(torch.int32))
    return torch.cat(ranks).cpu().numpy()
