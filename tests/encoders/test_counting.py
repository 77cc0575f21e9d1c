"""FLOPs of encoders: what fvcore counts, and what it cannot count."""

import pytest
import timm
import torch
from torch import nn

from harness.encoders.counting import forward_flops
from harness.errors import HarnessError


def test_fvcore_counts_resnet18_as_published() -> None:
    """1.82 GMACs at 224 x 224 (He et al. 2016 give 1.8e9)."""
    flops = forward_flops(timm.create_model("resnet18", pretrained=False).eval(), torch.zeros(1, 3, 224, 224))
    assert flops == pytest.approx(2 * 1.82e9, rel=0.01)


def test_a_forward_that_fvcore_cannot_count_is_refused() -> None:
    class Stacked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.baddbmm(torch.zeros(2, 3, 3), x, x)

    with pytest.raises(HarnessError, match="baddbmm"):
        forward_flops(Stacked(), torch.zeros(2, 3, 3))
