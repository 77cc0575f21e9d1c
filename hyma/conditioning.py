"""What a hypernetwork is told of a pair: one small module for each way, found by name."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.contract.flops import linear_forward
from harness.contract.pairs import Pair
from harness.contract.problem import Sizes
from harness.contract.registry import Registry
from hyma.initialise import uniform_linear

Side = tuple[Literal["image", "text"], str]
"""An encoder and its modality: one id may stand on both sides of a grid."""

Means = Mapping[Side, Tensor]
"""Encoder -> mean embedding ``[dim]``, of a batch or of the training bank."""


class Conditioning(nn.Module, abc.ABC):
    """Base: pairs -> ``[pairs, dim]``.

    Attributes:
        needs_means: Whether ``forward`` reads the encoders' mean embeddings.
        reads_texts: Whether these are those of the text encoders too.
        shared_by_encoder: Whether one vector describes an encoder in all its pairs.
    """

    needs_means: ClassVar[bool] = False
    reads_texts: bool = False
    shared_by_encoder: ClassVar[bool] = True

    def __init__(self, sizes: Sizes, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.dim = dim

    @abc.abstractmethod
    def forward(self, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """The condition of each pair."""

    @abc.abstractmethod
    def of_new(self, new: str, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """Where the conditions of an encoder start that was not trained, or whose training is to be forgotten.

        Args:
            new: The encoder.
            pairs: Its pairs.
            means: As in ``forward``.
        """

    def forward_flops(self, pairs: int) -> float:
        """Closed form: matrix products for this many pairs."""
        return 0.0

    def step_flops(self, pairs: int) -> float:
        """The same with the gradients; what a condition is made from is frozen."""
        return 2 * self.forward_flops(pairs)


CONDITIONINGS: Registry[type[Conditioning]] = Registry(
    "conditioning",
    {
        "pair": "hyma.conditioning:PairEmbedding",
        "factored": "hyma.conditioning:FactoredEmbedding",
        "features": "hyma.conditioning:MeanFeatures",
    },
    group="hyma.conditionings",
)


class PairEmbedding(Conditioning):
    """A learned vector for each pair (Hyma; Hyper-Align's lookup-table mode)."""

    shared_by_encoder: ClassVar[bool] = False

    def __init__(self, sizes: Sizes, dim: int, generator: torch.Generator) -> None:
        super().__init__(sizes, dim, generator)
        self._row = {pair: row for row, pair in enumerate(sizes.pairs)}
        self.table = nn.Parameter(torch.randn(len(sizes.pairs), dim, generator=generator))

    def forward(self, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """Rows of the table."""
        return self.table[[self._row[pair] for pair in pairs]]

    def of_new(self, new: str, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """The mean of the other encoders' vectors."""
        others = [row for pair, row in self._row.items() if new not in pair]
        return self.table[others].mean(0).expand(len(pairs), -1)


class FactoredEmbedding(Conditioning):
    """A learned vector for each encoder; a pair is the sum of its two, so that a new encoder needs one new vector."""

    def __init__(self, sizes: Sizes, dim: int, generator: torch.Generator) -> None:
        super().__init__(sizes, dim, generator)
        images = dict.fromkeys(image for image, _ in sizes.pairs)
        texts = dict.fromkeys(text for _, text in sizes.pairs)
        self._image_row = {image: row for row, image in enumerate(images)}
        self._text_row = {text: row for row, text in enumerate(texts)}
        self.image_table = nn.Parameter(torch.randn(len(images), dim, generator=generator) / math.sqrt(2))
        self.text_table = nn.Parameter(torch.randn(len(texts), dim, generator=generator) / math.sqrt(2))

    def forward(self, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """Image vector + text vector."""
        images = [self._image_row[image] for image, _ in pairs]
        texts = [self._text_row[text] for _, text in pairs]
        return self.image_table[images] + self.text_table[texts]

    def of_new(self, new: str, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """The mean vector of the other encoders of its side for the new one, the trained vector for its partner."""
        other_images = [row for image, row in self._image_row.items() if image != new]
        other_texts = [row for text, row in self._text_row.items() if text != new]
        mean_image, mean_text = self.image_table[other_images].mean(0), self.text_table[other_texts].mean(0)
        rows = []
        for image, text in pairs:
            of_image = mean_image if image == new else self.image_table[self._image_row[image]]
            of_text = mean_text if text == new else self.text_table[self._text_row[text]]
            rows.append(of_image + of_text)
        return torch.stack(rows)


class MeanFeatures(Conditioning):
    """Mean image embedding, zero-padded to the largest image dimension, through a trained linear map (Hyper-Align).

    With several text encoders (the published grids have one) the text encoder's mean embedding, padded likewise,
    stands beside it: pairs that share an image encoder could not be told apart otherwise.
    """

    needs_means: ClassVar[bool] = True

    def __init__(self, sizes: Sizes, dim: int, generator: torch.Generator) -> None:
        super().__init__(sizes, dim, generator)
        self._image_dim = max(sizes.image_dims[image] for image, _ in sizes.pairs)
        several = len({text for _, text in sizes.pairs}) > 1
        self._text_dim = max(sizes.text_dims[text] for _, text in sizes.pairs) if several else 0
        self.reads_texts = several
        self.linear = uniform_linear(self._image_dim + self._text_dim, dim, generator)

    def forward(self, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """The linear map of the padded means."""
        rows = []
        for image, text in pairs:
            parts = [_padded(means["image", image], self._image_dim)]
            parts += [_padded(means["text", text], self._text_dim)] if self._text_dim else []
            rows.append(torch.cat(parts))
        return self.linear(torch.stack(rows))

    def of_new(self, new: str, pairs: Sequence[Pair], means: Means) -> Float[Tensor, "pairs dim"]:
        """What the trained map makes of the means of an encoder, seen or not."""
        return self(pairs, means)

    def forward_flops(self, pairs: int) -> float:
        """One linear layer."""
        return linear_forward(pairs, self._image_dim + self._text_dim, self.dim)


def _padded(mean: Float[Tensor, " dim"], size: int) -> Float[Tensor, " size"]:
    return torch.nn.functional.pad(mean, (0, size - len(mean)))
