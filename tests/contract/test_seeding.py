"""Random streams belong to a purpose: no two purposes ever draw the same numbers."""

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.ape import pair_generator
from harness.connectors.linear import Linear
from harness.contract.problem import ScoringCost, Sizes
from harness.contract.seeding import generator, stream
from harness.contract.split import Split
from harness.data.splits import SplitConfig, split_rows
from harness.objectives.info_nce import InfoNce
from hyma.exposure import balanced

ROOT = Path(__file__).parents[2]
N = 60
SEEDS = range(5)


def data_orders(seed: int, epochs: int) -> list[tuple[int, ...]]:
    split = Split({}, {}, np.arange(N), np.arange(N), np.arange(N))
    return [tuple(batch.images.tolist()) for batch in itertools.islice(split.batches(N, seed), epochs)]


def pair_order(seed: int) -> tuple[int, ...]:
    pairs = tuple((f"i{n}", "t") for n in range(N))
    sizes = Sizes(
        pairs=pairs,
        image_dims={image: 4 for image, _ in pairs},
        text_dims={"t": 4},
        train_images=N,
        connector=Linear(),
        direction="text_to_image",
        objective=InfoNce,
        scoring=ScoringCost(images=1, texts=1, comparisons=1.0),
    )
    return tuple(pairs.index(pair) for pair in next(balanced(sizes, N, seed)))


def test_numpy_itself_does_not_keep_them_apart() -> None:
    """Why a stream starts from its name: numbers alone run together."""
    assert np.random.default_rng(0).random() == np.random.default_rng([0, 0]).random()


def test_a_stream_is_that_of_its_seed_and_its_whole_name() -> None:
    names: list[tuple[str | int, ...]] = [(), (0,), ("a",), ("b",), ("a", 0), ("a", 1), ("a", "b"), ("ab",), ("b", "a")]
    drawn = {(seed, name): stream(seed, *name).random() for seed in (0, 1) for name in names}
    assert len(set(drawn.values())) == len(drawn)
    assert drawn == {(seed, name): stream(seed, *name).random() for seed, name in drawn}
    torchs = {key: torch.rand(1, generator=generator(key[0], *key[1])).item() for key in drawn}
    assert len(set(torchs.values())) == len(torchs)
    plain = {np.random.default_rng(bare).random() for bare in (0, 1, [0, 0], [0, 1], [1, 0], [1, 1])}
    assert not plain & set(drawn.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_the_split_does_not_give_the_order_of_the_first_epoch(seed: int) -> None:
    """With one stream for both, the first training images would be those that were drawn first for training."""
    train = split_rows(N, SplitConfig(train=0.7, validation=0.1, test=0.2, seed=seed))["train"]
    first = data_orders(seed, 1)[0][: len(train)]
    assert set(first) != set(train.tolist())


def test_orders_of_the_data_and_of_the_pairs_are_all_different() -> None:
    orders = [order for seed in SEEDS for order in (*data_orders(seed, 3), pair_order(seed))]
    assert len(set(orders)) == len(orders) == 4 * len(SEEDS)
    assert {len(set(order)) for order in orders} == {N}


def test_initial_weights_belong_to_seed_and_pair() -> None:
    pairs = [("a", "b"), ("b", "a"), ("a", "c"), ("ab", "")]
    drawn = [torch.rand(4, generator=pair_generator(seed, pair)) for seed in SEEDS for pair in pairs]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(drawn, 2))


OTHERS = {
    "harness/contract/seeding.py": "where streams come from",
    "harness/data/synthetic.py": "the synthetic world, from numbered streams of its own",
    "harness/encoders/synthetic.py": "projections, from a hash of the encoder's name",
    "harness/encoders/modules.py": "weights of untrained encoders, as the library draws them",
    "harness/run/problems.py": "a net below methods that draw from torch's own generator",
    "reports/ranking.py": "permutations of a report, which trains nothing",
}


def test_nobody_else_seeds_a_generator_of_their_own() -> None:
    for package in ("harness", "hyma", "baselines", "reports"):
        for file in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            if named & {"default_rng", "manual_seed", "RandomState", "SeedSequence"}:
                assert str(file.relative_to(ROOT)) in OTHERS
