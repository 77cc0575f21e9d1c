"""Symmetric InfoNCE from one logits product."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from harness.objectives.contrastive import Contrastive


class InfoNce(Contrastive):
    """Symmetric InfoNCE over in-batch negatives (CLIP; Radford et al. 2021, figure 3)."""

    def contrast(
        self,
        mapped: Float[Tensor, "*pairs batch dim"],
        target: Float[Tensor, "*pairs batch dim"],
        scale: Float[Tensor, "*pairs"],
    ) -> Float[Tensor, "*pairs"]:
        """See ``info_nce``."""
        return info_nce(mapped, target, scale)


def info_nce(
    mapped: Float[Tensor, "*pairs batch dim"],
    target: Float[Tensor, "*pairs batch dim"],
    scale: Float[Tensor, "*pairs"] | float,
) -> Float[Tensor, "*pairs"]:
    """Symmetric InfoNCE over in-batch negatives.

    One matrix product serves both directions: its rows are one softmax, its columns the other.

    Args:
        mapped: Connector output, not yet normalised.
        target: L2-normalised embeddings of the other side; row i belongs to row i.
        scale: Logit scale (inverse temperature), one per pair.

    Returns:
        Mean of both directions' cross-entropy in nats, one per pair.
    """
    scale = torch.as_tensor(scale, dtype=mapped.dtype, device=mapped.device)
    logits = scale[..., None, None] * functional.normalize(mapped, dim=-1) @ target.transpose(-1, -2)
    right = logits.diagonal(dim1=-2, dim2=-1)
    both = torch.logsumexp(logits, dim=-1) + torch.logsumexp(logits, dim=-2)
    return (both / 2 - right).mean(dim=-1)
