"""Forward FLOPs of an encoder, counted by fvcore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    import torch


def forward_flops(module: torch.nn.Module, *inputs: torch.Tensor) -> float:
    """Forward FLOPs of a module: fvcore's multiply-accumulates, doubled.

    Raises:
        HarnessError: fvcore met a matrix product that it cannot count; the number would be too low.
    """
    import logging

    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(module, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    total = 2.0 * analysis.total()
    matmul_like = [
        op
        for op in analysis.unsupported_ops()
        if any(part in op for part in ("mm", "matmul", "attention", "conv", "einsum", "linear")) and "comma" not in op
    ]
    if matmul_like:
        raise HarnessError(
            f"fvcore cannot count {', '.join(matmul_like)}", where=type(module).__name__, fix="use eager attention"
        )
    return total
