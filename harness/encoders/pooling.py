"""One vector of a transformers model's last hidden states."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

POOLINGS = ("cls", "mean", "pooler", "last")

Output = Any
"""What a model of transformers returns: ``last_hidden_state``, and ``pooler_output`` where it has a pooler."""


@runtime_checkable
class HasTowers(Protocol):
    """A model of two towers, such as CLIP's."""

    vision_model: nn.Module
    text_model: nn.Module


@dataclass(frozen=True)
class Grid:
    """The patches of an image model.

    Attributes:
        count: How many there are; what stands before them are class and register tokens. 0: not known.
    """

    count: int = 0

    def of(self, hidden: Float[Tensor, "n tokens dim"]) -> Float[Tensor, "n patches dim"]:
        """The patches alone."""
        return hidden[:, -self.count :] if 0 < self.count <= hidden.shape[1] else hidden


class PooledPixels(nn.Module):
    """An image model of transformers that maps pixels to one vector each.

    Args:
        model: The model.
        pooling: ``cls``: the first token; ``mean``: the mean of the patches, or of a feature map; ``pooler``: the
            model's own pooler; ``last``: the last token.
        grid: Its patches.
    """

    def __init__(self, model: nn.Module, pooling: str, grid: Grid) -> None:
        super().__init__()
        self.model, self.pooling, self.grid = model, pooling, grid

    def forward(self, pixels: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n dim"]:
        """Pixels to vectors.

        Raises:
            ValueError: The model has no such token or pooler.
        """
        output = self.model(pixel_values=pixels)
        if self.pooling == "pooler":
            return _pooler(output)
        hidden = output.last_hidden_state
        if hidden.dim() == 4:  # a feature map
            if self.pooling != "mean":
                raise ValueError(f"its features are a map, which has no {self.pooling} token: pooling mean or pooler")
            return hidden.mean((2, 3))
        return self.grid.of(hidden).mean(1) if self.pooling == "mean" else hidden[:, 0 if self.pooling == "cls" else -1]


class PooledTokens(nn.Module):
    """A text model of transformers that maps token numbers to one vector each.

    Args:
        model: The model, or the encoder of an encoder-decoder.
        pooling: ``cls``: the first token; ``mean``: the mean of all tokens; ``pooler``: the model's own pooler;
            ``last``: the last token, for decoders.
    """

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(
        self, ids: Int[Tensor, "n tokens"], mask: Int[Tensor, "n tokens"] | None = None
    ) -> Float[Tensor, "n dim"]:
        """Token numbers to vectors; padding stands at the end, where the mask is 0, and takes no part.

        Raises:
            ValueError: The model has no pooler.
        """
        output = self.model(input_ids=ids, attention_mask=mask)
        if self.pooling == "pooler":
            return _pooler(output)
        kept = torch.ones_like(ids) if mask is None else mask
        return _OF_TOKENS[self.pooling](output.last_hidden_state, kept)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    kept = mask[..., None].to(hidden.dtype)
    return (hidden * kept).sum(1) / kept.sum(1).clamp_min(1)


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    place = (mask.sum(1) - 1).clamp_min(0)
    return hidden.gather(1, place[:, None, None].expand(-1, 1, hidden.shape[-1]))[:, 0]


_OF_TOKENS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda hidden, mask: hidden[:, 0],
    "mean": _mean,
    "last": _last,
}


def _pooler(output: Output) -> Tensor:
    pooled = output.get("pooler_output")
    if pooled is None:
        raise ValueError("it has no pooler: pooling cls, mean or last")
    return torch.flatten(pooled, 1)
