"""Hyma: learned pair and layer embeddings, layer-wise prediction ("(Almost) Free Modality Stitching", EMNLP 2025)."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from harness.contract.problem import Sizes
from hyma.hypernetwork import Architecture
from hyma.joint import Joint, Size


@dataclass(frozen=True, kw_only=True)
class Hyma(Joint):
    """Any mix of dimensions and connectors of 0, 1 or 2 hidden layers in one hypernetwork, with equal exposure.

    Attributes:
        layer_dim: Size of a connector layer's embedding.
    """

    layer_dim: Size = 8

    version: ClassVar[int] = 3

    def architecture(self, sizes: Sizes) -> Architecture:
        """The layer's embedding beside the pair's."""
        return dataclasses.replace(super().architecture(sizes), layer_dim=self.layer_dim)
