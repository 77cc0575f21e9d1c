"""Closed forms of FLOPs that several rooms use.

One FLOP is one addition or multiplication: a multiply-accumulate is two. Closed forms count matrix products only, as
both counters do; element-wise work (normalisation, softmax, ReLU) is left out. AdamW, which is nothing but
element-wise, is counted on its own.
"""

ADAMW_FLOPS_PER_PARAM = 14
"""Decay 1, first moment 3, second moment 4, denominator 3, step 3 (Loshchilov & Hutter 2019, algorithm 2)."""


def linear_forward(rows: int, fan_in: int, fan_out: int) -> float:
    """FLOPs of mapping so many rows by a linear layer."""
    return 2.0 * rows * fan_in * fan_out


def linear_step(rows: int, fan_in: int, fan_out: int, *, input_gradient: bool = True) -> float:
    """FLOPs of a trained linear layer: forward, the gradient of its weight and, where needed, that of its input."""
    return (6.0 if input_gradient else 4.0) * rows * fan_in * fan_out


def adamw_step(params: int) -> float:
    """FLOPs of one AdamW step."""
    return float(ADAMW_FLOPS_PER_PARAM * params)
