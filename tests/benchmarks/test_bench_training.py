"""One training step of ape and of hyma at three sizes; hyma's also as a ratio to as many ape steps."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from harness.losses import info_nce

from baselines.ape import pair_generator
from harness.connectors import Layers, connect, init_layers, parameters
from harness.method import Pair, Sizes
from hyma.hypernetwork import Architecture, Hypernetwork

pytestmark = pytest.mark.bench

SIZES = {"small": (64, 64, 64), "quickstart": (1280, 384, 128), "paper": (1024, 768, 512)}
"""Name -> (image dim, text dim, batch)."""
PAIRS_PER_STEP = 4


def _sizes(image_dim: int, text_dim: int) -> Sizes:
    images, texts = {f"i{n}": image_dim for n in range(3)}, {f"t{n}": text_dim for n in range(2)}
    pairs = tuple(itertools.product(images, texts))
    return Sizes(pairs, images, texts, 1024, 0, 1024, "text_to_image", lambda pair: 0.0)


def _step(
    generate: Callable[[], list[Layers]], tensors: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(tensors, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack([info_nce(connect(layers, x), y, 14.3) for layers in generate()]).mean().backward()
        optimizer.step()

    return step


def _seconds(step: Callable[[], None], rounds: int = 5) -> float:
    step()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2]


@pytest.mark.parametrize("method", ["ape", "hyma"])
@pytest.mark.parametrize("size", SIZES)
def test_training_step(benchmark: Any, method: str, size: str) -> None:
    image_dim, text_dim, batch = SIZES[size]
    sizes = _sizes(image_dim, text_dim)
    x = torch.nn.functional.normalize(torch.randn(batch, text_dim), dim=-1)
    y = torch.nn.functional.normalize(torch.randn(batch, image_dim), dim=-1)
    layers = init_layers(sizes.shape(sizes.pairs[0]), pair_generator(0, sizes.pairs[0]))
    ape = _step(lambda: [layers], parameters(layers), x, y)
    if method == "ape":
        benchmark(ape)
        return
    network = Hypernetwork(sizes, Architecture(), seed=0)
    chosen: list[Pair] = list(sizes.pairs[:PAIRS_PER_STEP])
    hyma = _step(lambda: list(network(chosen).values()), list(network.parameters()), x, y)
    benchmark.extra_info["ratio_to_as_many_ape_steps"] = _seconds(hyma) / (PAIRS_PER_STEP * _seconds(ape))
    benchmark(hyma)
