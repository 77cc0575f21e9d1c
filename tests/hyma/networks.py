"""Small hypernetworks, and what it costs to generate with them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from harness.method import Connector, Sizes
from harness.training.counting import counted
from hyma.conditioning import Side
from hyma.hypernetwork import Architecture, Hypernetwork


def network_of(sizes: Sizes, seed: int = 0, **parts: Any) -> Hypernetwork:
    """A small hypernetwork; ``parts`` are those of its architecture that matter to a test."""
    small: dict[str, Any] = {"condition_dim": 8, "layer_dim": 4, "hidden": (16, 6)}
    return Hypernetwork(sizes, Architecture(**(small | parts)), seed=seed)


def means_of(sizes: Sizes) -> dict[Side, torch.Tensor]:
    """A mean embedding of every encoder, near unit norm, for a conditioning on features."""
    generator = torch.Generator().manual_seed(3)
    means: dict[Side, torch.Tensor] = {}
    for image, dim in sizes.image_dims.items():
        means["image", image] = torch.randn(dim, generator=generator) / dim**0.5
    for text, dim in sizes.text_dims.items():
        means["text", text] = torch.randn(dim, generator=generator) / dim**0.5
    return means


def counted_generation(generate: Callable[[], Iterable[Connector]]) -> float:
    """FLOPs of generating connectors, and of the gradients of whatever requires one, by torch's own counter."""

    def step() -> None:
        entries = [tensor.sum() for connector in generate() for tensor in connector.tensors.values()]
        torch.stack(entries).sum().backward()

    return counted(step)
