"""Hyper-Align: the whole linear connector in one shot, told by the mean image features (ICLR 2025 workshop)."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.contract.budget import Budget
from harness.contract.connector import layer_of
from harness.contract.fit import Estimate
from harness.contract.problem import Sizes
from harness.errors import HarnessError
from harness.training.counting import step_flops
from harness.training.recipe import Fraction, Positive, Rates
from hyma.hypernetwork import Architecture
from hyma.initialise import Init
from hyma.joint import Joint, Size
from hyma.scaling import ScalingName

PUBLISHED_OUT = 1024
"""Rows of the authors' maximal weight, whatever dimensions take part."""


@dataclass(frozen=True, kw_only=True)
class HyperAlign(Joint):
    """One-shot linear connectors: batch-mean features -> 32 -> 128 -> 512 -> a maximal weight, sliced and scaled.

    The default recipe is ours (clipping, warm-up and cosine decay, hyperfan-in; ``precision: bf16`` on a GPU);
    ``hyper_align_published`` is theirs.

    Attributes:
        max_out: Rows of the maximal weight; None: the largest dimension that is mapped into.
    """

    batch_size: Annotated[int, Field(gt=1)] = 512
    lr: Rates = 1e-2
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    logit_scale: Literal["learned"] | Positive = 100.0
    conditioning: str = "features"
    hidden: tuple[Size, ...] = (128, 512)
    scaling: ScalingName = "published"
    max_out: Size | None = None

    version: ClassVar[int] = 3

    def architecture(self, sizes: Sizes) -> Architecture:
        """One layer, so no embedding of it.

        Raises:
            HarnessError: A connector of several layers.
        """
        layers = {layer_of(name) for name in sizes.connector.shapes(sizes.dims(sizes.pairs[0]))}
        if len(layers) > 1:
            raise HarnessError(
                f"hyper_align predicts connectors of one layer in one shot, not {len(layers)} layers",
                where="connector",
                fix="set connector.hidden_layers to 0, or use hyma",
            )
        return dataclasses.replace(super().architecture(sizes), layer_dim=0, max_out=self.max_out)

    def published_estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """As the authors counted their own code, which differs from ours in three ways.

        Their loss computes the similarity matrix twice (8 B^2 I instead of 4 B^2 I), the maximal weight has at least
        1024 rows whatever dimensions take part, and an epoch has ceil(n / B) steps. Matrix products only.
        """
        wide = dataclasses.replace(self, max_out=max(PUBLISHED_OUT, self.max_out or 0))
        ours = wide.estimate(sizes, budget)
        share = self.pairs_per_step / len(sizes.pairs)
        epochs = ours.updates_per_pair / share / (sizes.train_images // self.batch_size)
        steps = epochs * math.ceil(sizes.train_images / self.batch_size)
        generated = (ours.flops["hypernet"] - ours.generation) / (ours.updates_per_pair / share)
        once = step_flops(sizes, sizes.pairs, self.batch_size)
        at_all_rates = share * len(self.rates)
        step = {
            "connector": at_all_rates * once["connector"],
            "logits": at_all_rates * 2 * once["logits"],
            "hypernet": generated,
        }
        return Estimate(
            flops={phase: steps * flops for phase, flops in step.items()},
            updates_per_pair=steps * share,
            trained_params=ours.trained_params,
        )


@dataclass(frozen=True, kw_only=True)
class HyperAlignPublished(HyperAlign):
    """Hyper-Align under the authors' recipe: constant rate, no clipping, fp16, default init, cyclic, unshuffled."""

    warmup: Fraction = 0.0
    schedule: Literal["cosine", "constant"] = "constant"
    clip: Positive | None = None
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp16"
    sampling: str = "published"
    shuffle: bool = False
    init: Init = "published"
    max_out: Size | None = PUBLISHED_OUT

    version: ClassVar[int] = 3
