"""Encoders that are torch modules: seeds, the image loop, counting a forward."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional

from harness.encoders.base import EncoderInfo
from harness.encoders.counting import forward_flops

CPU_CHUNK = 4
"""Images per forward on a CPU: few, so that activations stay in its cache."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's CPU random numbers from this seed inside, and leave the caller's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def first(output: object) -> Tensor:
    """A tower's embedding: what it returns, or the first of several outputs."""
    return cast("Tensor", output[0] if isinstance(output, (tuple, list)) else output)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot-product attention as two matrix products, which fvcore can count."""
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, float("-inf")) if hidden else scores + attn_mask
    return scores.softmax(-1) @ value


@contextmanager
def countable_attention() -> Iterator[None]:
    """Attention of timm, open_clip and transformers runs as plain matrix products inside: fvcore sees no fused one."""
    fused, fast = functional.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()
    functional.scaled_dot_product_attention = _attention  # type: ignore[assignment]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = fused
        torch.backends.mha.set_fastpath_enabled(fast)


def count_forward(module: nn.Module, *inputs: Tensor) -> float | None:
    """Forward FLOPs on these inputs, attention included; None when the graph cannot be traced or counted."""
    try:
        with torch.no_grad(), countable_attention():
            return forward_flops(module, *inputs)
    except Exception:  # tracing runs arbitrary model code; a count that cannot be had is not a failure
        return None


def digest_of(module: nn.Module) -> str:
    """First 16 hex digits of the sha256 over a module's weights, by name."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


@contextmanager
def single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads in which torch computes with one thread each.

    For many small forwards that is faster than one forward on all threads (preprocessing is spread as well, and a busy
    machine costs little), and each result does not depend on how many threads there are.
    """
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)  # the pool's setting is also the default of threads to come


@runtime_checkable
class TakesPixels(Protocol):
    """An image encoder whose preprocessing can be had apart from its network."""

    transform: Callable[[Image], Tensor]
    """PIL RGB image to ``[3, height, width]``."""

    def embed(self, pixels: Tensor) -> Float[np.ndarray, "n dim"]:
        """Embed a batch of preprocessed images ``[n, 3, height, width]``: float32 ``[n, dim]``, not normalised."""
        ...


class TorchImageEncoder:
    """An image encoder that is one torch module behind one transform.

    Args:
        info: What is known of it.
        module: Maps ``[b, 3, height, width]`` to ``[b, dim]``.
        transform: PIL RGB image to ``[3, height, width]``.
        device: Where it runs.
    """

    def __init__(
        self, info: EncoderInfo, module: nn.Module, transform: Callable[[Image], Tensor], *, device: str
    ) -> None:
        self.info, self.transform, self.device = info, transform, device
        # Channels last: on CPUs the depthwise convolutions are twice as fast.
        self.module = module.to(device=device, memory_format=torch.channels_last).float().eval()  # type: ignore[call-overload]

    def encode(self, samples: Sequence[Image] | Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Embed PIL images: float32 ``[n, dim]``, not normalised."""
        images, out = cast("Sequence[Image]", samples), np.empty((len(samples), self.info.dim), np.float32)
        size = CPU_CHUNK if self.device == "cpu" else 256

        def work(start: int) -> None:
            chunk = images[start : start + size]
            out[start : start + len(chunk)] = self._forward([self.transform(image.convert("RGB")) for image in chunk])

        starts, threads = range(0, len(images), size), torch.get_num_threads()
        if self.device != "cpu" or threads == 1 or len(starts) < threads:
            for start in starts:
                work(start)
        else:
            with single_threads(threads) as pool:
                list(pool.map(work, starts))
        return out

    def embed(self, pixels: Tensor) -> Float[np.ndarray, "n dim"]:
        """Embed preprocessed images ``[n, 3, height, width]``: float32 ``[n, dim]``, not normalised."""
        chunks = pixels.split(CPU_CHUNK if self.device == "cpu" else 256)
        return np.concatenate([self._forward(list(chunk)) for chunk in chunks])

    @torch.inference_mode()
    def _forward(self, pixels: list[Tensor]) -> Float[np.ndarray, "n dim"]:
        batch = torch.stack(pixels).to(self.device).contiguous(memory_format=torch.channels_last)
        return first(self.module(batch)).float().cpu().numpy()

    def weights_digest(self) -> str:
        """Digest of the loaded weights."""
        return digest_of(self.module)

    @functools.cached_property
    def _flops(self) -> float | None:
        size = self.info.input_size
        return None if size is None else count_forward(self.module, torch.zeros(1, *size, device=self.device))

    def forward_flops(self) -> float | None:
        """FLOPs of one image; None when the graph cannot be counted."""
        return self._flops
