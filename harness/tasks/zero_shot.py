"""Zero-shot classification: an image's class among the prompts' class vectors."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from harness.connectors import Layers
from harness.data.bank import Bank
from harness.flops import connector_forward
from harness.method import Direction, Pair, Sizes
from harness.tasks.base import both_sides, ranks_of_right


class ZeroShot:
    """Top-1 and top-5 accuracy with prompt templates averaged after normalisation (Radford et al. 2021).

    Args:
        label: Names the task.
        image_banks: Encoder id -> bank of the labelled images.
        prompt_banks: Encoder id -> bank of the prompts, class-major: all templates of class 0, of class 1, ...
        rows: ``[images]`` rows of the split that have a label.
        labels: ``[images]`` class of each of these rows.
        templates: Prompts per class.
        direction: Which side the connector maps.
        device: Where to compute.
    """

    kind: ClassVar[str] = "zero_shot"

    def __init__(
        self,
        *,
        label: str,
        image_banks: Mapping[str, Bank],
        prompt_banks: Mapping[str, Bank],
        rows: np.ndarray,
        labels: np.ndarray,
        templates: int,
        direction: Direction,
        device: torch.device,
    ) -> None:
        self.label, self._images, self._prompts = label, image_banks, prompt_banks
        self._rows, self._labels, self._templates = rows, labels, templates
        self._device = device
        self._direction: Direction = direction

    @torch.inference_mode()
    def ranks(self, pair: Pair, layers: Layers, queries: Sequence[str]) -> Mapping[str, np.ndarray]:
        """``zero_shot`` ``[images]`` rank of the right class."""
        layers = [(w.to(self._device), b.to(self._device)) for w, b in layers]
        bank = self._prompts[pair[1]]
        prompts = torch.from_numpy(bank.take(np.arange(bank.meta.count))).to(self._device)
        images = torch.from_numpy(self._images[pair[0]].take(self._rows)).to(self._device)
        images, prompts = both_sides(layers, images, prompts, self._direction)
        classes = functional.normalize(prompts.view(-1, self._templates, prompts.shape[-1]).mean(1), dim=-1)
        return {"zero_shot": ranks_of_right(images, classes, torch.from_numpy(self._labels).to(self._device))}

    def units(self) -> Mapping[str, np.ndarray]:
        """Every image is one query."""
        return {"zero_shot": np.arange(len(self._rows), dtype=np.int32)}

    def random_ranks(self, rng: np.random.Generator, queries: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Uniform ranks among the classes."""
        classes = next(iter(self._prompts.values())).meta.count // self._templates
        return {"zero_shot": rng.integers(1, classes + 1, len(self._rows)).astype(np.int32)}

    def flops(self, sizes: Sizes, pair: Pair, queries: Sequence[str]) -> float:
        """Connector forward of the mapped side and one product with the class vectors."""
        return zero_shot_flops(sizes, pair, len(self._rows), self._prompts[pair[1]].meta.count, self._templates)


def zero_shot_flops(sizes: Sizes, pair: Pair, images: int, prompts: int, templates: int) -> float:
    """FLOPs of one zero-shot evaluation, with what is known before the banks exist."""
    shape = sizes.shape(pair)
    mapped = prompts if sizes.direction == "text_to_image" else images
    return connector_forward(shape, mapped) + 2.0 * images * (prompts // templates) * shape.out_dim
