"""One training step of ape and of hyma at three sizes; hyma's also as a ratio to as many ape steps."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from baselines.ape import pair_generator
from harness.method import Connector
from harness.objectives.info_nce import info_nce
from hyma.hypernetwork import Architecture, Hypernetwork
from tests.benchmarks.clock import median_seconds
from tests.problems import numbered_sizes

pytestmark = pytest.mark.bench

SIZES = {"small": (64, 64, 64), "quickstart": (1280, 384, 128), "paper": (1024, 768, 512)}
"""Name -> (image dim, text dim, batch)."""
PAIRS_PER_STEP = 4


def _step(
    generate: Callable[[], Iterable[Connector]], tensors: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(tensors, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack([info_nce(connector(x), y, 14.3) for connector in generate()]).mean().backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("method", ["ape", "hyma"])
@pytest.mark.parametrize("size", SIZES)
def test_training_step(benchmark: Any, method: str, size: str) -> None:
    image_dim, text_dim, batch = SIZES[size]
    sizes = numbered_sizes([image_dim] * 3, [text_dim] * 2)
    x = torch.nn.functional.normalize(torch.randn(batch, text_dim), dim=-1)
    y = torch.nn.functional.normalize(torch.randn(batch, image_dim), dim=-1)
    pair = sizes.pairs[0]
    tensors = sizes.connector.init(sizes.dims(pair), pair_generator(0, pair))
    ape = _step(lambda: [Connector(sizes.connector, tensors)], list(tensors.values()), x, y)
    if method == "ape":
        benchmark(ape)
        return
    network = Hypernetwork(sizes, Architecture(), seed=0)
    hyma = _step(lambda: network(sizes.pairs[:PAIRS_PER_STEP]).values(), list(network.parameters()), x, y)
    as_many = PAIRS_PER_STEP * median_seconds(ape)
    benchmark.extra_info["ratio_to_as_many_ape_steps"] = median_seconds(hyma) / as_many
    benchmark(hyma)
