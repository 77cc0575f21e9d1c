"""Initial weights, drawn on the CPU from a generator, so that a seed gives the same network on every device."""

import math
from typing import Literal

import torch
from torch import nn

Init = Literal["hyperfan_in", "published"]
"""``hyperfan_in`` (Chang et al. 2020): a predicted weight starts with a fresh ``nn.Linear``'s variance, 1 / (3 in).
``published``: PyTorch's default for every layer of the decoder, as in the authors' code."""


def uniform(size: tuple[int, ...], bound: float, generator: torch.Generator) -> nn.Parameter:
    """A parameter with entries U(-bound, bound)."""
    return nn.Parameter(torch.empty(size).uniform_(-bound, bound, generator=generator))


def uniform_linear(fan_in: int, fan_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer as ``nn.Linear`` initialises it: U(-1/sqrt(in), 1/sqrt(in)), weight and bias."""
    linear = nn.Linear(fan_in, fan_out)
    bound = 1 / math.sqrt(fan_in)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return linear
