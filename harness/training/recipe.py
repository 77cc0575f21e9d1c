"""Training settings that methods share."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def checked_rates(given: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """A learning rate, or several in rising order; a list of one is that rate.

    Raises:
        ValueError: None, one that is not positive and finite, or they do not rise.
    """
    rates = list(given) if isinstance(given, tuple) else [given]
    if not rates:
        raise ValueError("a list of learning rates must not be empty")
    if not all(0 < rate < math.inf for rate in rates):
        raise ValueError("Input should be greater than 0, and finite")
    if any(one >= next_one for one, next_one in itertools.pairwise(rates)):
        raise ValueError(f"learning rates must rise and be different, got {', '.join(f'{rate:g}' for rate in rates)}")
    return given if len(rates) > 1 else rates[0]


def refuse_shared(tune: str) -> None:
    """Refuse one rate for all pairs where each pair is trained without the others.

    Raises:
        ValueError: It is asked for.
    """
    if tune == "shared":
        raise ValueError("tune: shared needs all pairs in one cell, and here each is trained alone; use ape_stacked")


Rates = Annotated[float | tuple[float, ...], AfterValidator(checked_rates)]
"""A learning rate, or several that are tried."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training settings of a method; its own settings are further fields of a subclass.

    Attributes:
        batch_size: Samples per update.
        lr: Peak learning rate of AdamW. A list, rising: all are trained at once, over the same batches, and each pair
            keeps the connector whose validation score is best.
        tune: What a list is for: a rate for each ``pair``, or one rate ``shared`` by all (the best mean score).
        warmup: Share of the steps with a linearly rising rate.
        schedule: What follows the warm-up: ``cosine`` to zero, or ``constant``.
        betas: AdamW's.
        weight_decay: AdamW's.
        clip: Largest global gradient norm; None: no clipping.
        logit_scale: ``learned`` (from 1/0.07, at most 100; CLIP), or a fixed value.
        precision: ``fp32``, autocast to ``bf16`` or ``fp16`` (which has no loss scaling), or ``fp64`` (slow; to tell
            rounding from a difference).
    """

    batch_size: Annotated[int, Field(gt=1)] = 128
    lr: Rates = 1e-3
    tune: Literal["pair", "shared"] = "pair"
    warmup: Fraction = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Positive | None = 1.0
    logit_scale: Literal["learned"] | Positive = "learned"
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"

    @property
    def rates(self) -> tuple[float, ...]:
        """The peak learning rates that are tried."""
        return tuple(self.lr) if isinstance(self.lr, Sequence) else (self.lr,)

    @property
    def dtype(self) -> torch.dtype:
        """What parameters, normalisation and softmax are computed in; autocast only touches matrix products."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context of a step's matrix products."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype=dtype, enabled=self.precision in ("bf16", "fp16"))

    def rate(self, progress: float, peak: float) -> float:
        """Learning rate at this share of the training, 0 to 1, of parameters with this peak rate (``lr``, mostly)."""
        if progress < self.warmup:
            return peak * progress / self.warmup
        if self.schedule == "constant":
            return peak
        return peak * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2
