"""What decoders are built of: a trunk from a condition to a code, and heads from a code to outputs."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from harness.contract.flops import linear_step
from hyma.initialise import Init, uniform, uniform_linear


class Trunk(nn.Module):
    """GELU network from a condition to a code.

    ``hyperfan_in`` scales the code to unit norm, so that the variance of what follows is known; ``published`` ends in
    a GELU, as the authors' decoder does.

    Args:
        dims: Sizes from the condition to the code.
        init: Initialisation.
        generator: Seeds the weights.
    """

    def __init__(self, dims: Sequence[int], init: Init, generator: torch.Generator) -> None:
        super().__init__()
        self._dims, self._init = tuple(dims), init
        self.layers = nn.ModuleList(uniform_linear(i, o, generator) for i, o in zip(dims[:-1], dims[1:], strict=True))

    def forward(self, x: Float[Tensor, "rows condition"]) -> Float[Tensor, "rows code"]:
        """The code."""
        for number, linear in enumerate(self.layers):
            x = linear(functional.gelu(x) if number else x)
        return functional.normalize(x, dim=-1) if self._init == "hyperfan_in" else functional.gelu(x)

    def step_flops(self, rows: int) -> float:
        """Matrix products, forward and backward."""
        return sum(linear_step(rows, i, o) for i, o in zip(self._dims[:-1], self._dims[1:], strict=True))


class Head(nn.Module):
    """Code -> outputs: a combination of basis vectors.

    Args:
        features: Size of the code.
        spreads: ``(size, spread)`` of the parts of the output: with a unit-norm code a part of ``hyperfan_in`` starts
            with the variance spread^2 / 3.
        init: ``published`` draws U(-1/sqrt(features), 1/sqrt(features)) whatever the spread, and has a bias.
        generator: Seeds the weights.
    """

    def __init__(
        self, features: int, spreads: Sequence[tuple[int, float]], init: Init, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._features, self._size = features, sum(size for size, _ in spreads)
        default = 1 / math.sqrt(features)
        bounds = [spread if init == "hyperfan_in" else default for _, spread in spreads]
        if len(set(bounds)) == 1:
            self.basis = uniform((features, self._size), bounds[0], generator)
        else:
            parts = [
                uniform((features, size), bound, generator).detach()
                for (size, _), bound in zip(spreads, bounds, strict=True)
            ]
            self.basis = nn.Parameter(torch.cat(parts, dim=1))
        self.bias = uniform((self._size,), default, generator) if init == "published" else None

    def forward(self, code: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
        """The outputs."""
        made = code @ self.basis
        return made if self.bias is None else made + self.bias

    def step_flops(self, rows: int) -> float:
        """Matrix products, forward and backward."""
        return linear_step(rows, self._features, self._size)
