"""What contrastive objectives share: a temperature for each pair, and both sides of a batch."""

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contract.connector import Connector, Dims
from harness.contract.objective import LogitScale, Objective, ObjectiveSetting
from harness.contract.pairs import Pair
from harness.contract.split import Batch

LARGEST_SCALE = 100.0
"""Cap of a learned logit scale (CLIP)."""

FIRST_SCALE = 1 / 0.07
"""Where a learned logit scale starts (CLIP)."""

SCALES = (7.0, 14.0, 28.0, 56.0, LARGEST_SCALE)
"""Logit scales that are tried where one is fitted."""


class Contrastive:
    """Base of objectives that compare every mapped row of a batch with every row of the other side.

    A subclass writes ``contrast``. The logit scale of each pair is fixed, or learned in log space.

    Args:
        setting: Pairs, direction, device, precision and logit scale.
    """

    def __init__(self, setting: ObjectiveSetting) -> None:
        self._setting = setting
        self._row = {pair: row for row, pair in enumerate(setting.pairs)}
        learned = setting.logit_scale == "learned"
        start = math.log(FIRST_SCALE) if learned else math.log(float(setting.logit_scale))
        self.log_scale = torch.full((len(setting.pairs),), start, device=setting.device, dtype=setting.dtype)
        self.log_scale.requires_grad_(learned)

    @abstractmethod
    def contrast(
        self,
        mapped: Float[Tensor, "*pairs batch dim"],
        target: Float[Tensor, "*pairs batch dim"],
        scale: Float[Tensor, "*pairs"],
    ) -> Float[Tensor, "*pairs"]:
        """The loss of each pair.

        Args:
            mapped: Connector output, not yet normalised.
            target: L2-normalised embeddings of the other side; row i belongs to row i.
            scale: Logit scale (inverse temperature).
        """

    def parameters(self) -> Sequence[Tensor]:
        """The logarithms of the logit scales, where they are learned."""
        return [self.log_scale] if self.log_scale.requires_grad else []

    @property
    def scales(self) -> Float[Tensor, " pairs"]:
        """``[pairs]`` logit scales; learned ones are capped."""
        log_scale = self.log_scale
        return (log_scale.clamp(max=math.log(LARGEST_SCALE)) if log_scale.requires_grad else log_scale).exp()

    def loss(self, connector: Connector, pair: Pair, batch: Batch) -> Float[Tensor, ""]:
        """The pair's loss over the batch."""
        source, target = (side.to(self._setting.dtype) for side in batch.sides(pair, self._setting.direction))
        # Back from bf16, so that normalisation and softmax keep their precision under autocast.
        mapped = connector(source).to(self._setting.dtype)
        return self.contrast(mapped, target, self.scales[self._row[pair]])

    def stacked_loss(self, connector: Connector, pairs: Sequence[Pair], batch: Batch) -> Float[Tensor, " pairs"]:
        """``[pairs]`` losses of connectors of equal shape, computed together."""
        mapped, target = self._stacked_sides(connector, pairs, batch)
        scales = self.scales
        of_pairs = scales if tuple(pairs) == self._setting.pairs else scales[[self._row[pair] for pair in pairs]]
        return self.contrast(mapped, target, of_pairs)

    @torch.no_grad()
    def fit_scale(self, connector: Connector, pairs: Sequence[Pair], batch: Batch) -> None:
        """The best of ``SCALES`` for each pair, by its loss over the batch."""
        if not self.log_scale.requires_grad:
            return
        mapped, target = self._stacked_sides(connector, pairs, batch)
        tried = torch.tensor(SCALES, dtype=mapped.dtype, device=mapped.device)
        losses = torch.stack([self.contrast(mapped, target, scale.expand(len(pairs))) for scale in tried])
        self.log_scale[[self._row[pair] for pair in pairs]] = tried[losses.argmin(0)].log()

    @classmethod
    def fit_scale_flops(cls, dims: Dims, pair: Pair, batch_size: int, logit_scale: LogitScale) -> float:
        """One logits product for each scale that is tried."""
        return len(SCALES) * 2.0 * batch_size * batch_size * dims.out_dim if logit_scale == "learned" else 0.0

    def _stacked_sides(
        self, connector: Connector, pairs: Sequence[Pair], batch: Batch
    ) -> tuple[Float[Tensor, "pairs batch dim"], Float[Tensor, "pairs batch dim"]]:
        """(what the connectors make of the mapped side, the targets)."""
        sides = [batch.sides(pair, self._setting.direction) for pair in pairs]
        source, target = (torch.stack([pair[side] for pair in sides]).to(self._setting.dtype) for side in (0, 1))
        return connector(source).to(self._setting.dtype), target

    @classmethod
    def step_flops(cls, dims: Dims, pair: Pair, batch_size: int) -> Mapping[str, float]:
        """One logits product and its gradient with respect to the mapped side: 4 B^2 d."""
        return {"logits": 4.0 * batch_size * batch_size * dims.out_dim}

    @classmethod
    def trained_params(cls, pairs: int, logit_scale: LogitScale) -> int:
        """One logit scale for each pair, where it is learned."""
        return pairs if logit_scale == "learned" else 0


Contrast = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(mapped, target, logit scale) -> loss of each pair, as ``Contrastive.contrast``."""


def as_objective(found: "type[Objective] | Contrast") -> type[Objective]:
    """An objective class; a plain function is taken for the ``contrast`` of one."""
    if inspect.isclass(found):
        return found
    members = {"contrast": staticmethod(found), "__module__": found.__module__}
    return type(getattr(found, "__name__", "Contrast"), (Contrastive,), members)
