"""Model mini-batching: which pairs take part in each step, by name."""

from collections.abc import Callable, Iterator

from harness.contract.pairs import Pair
from harness.contract.problem import Sizes
from harness.contract.registry import Registry
from harness.contract.seeding import stream
from harness.errors import HarnessError

SAMPLERS: Registry[Callable[[Sizes, int, int], Iterator[tuple[Pair, ...]]]] = Registry(
    "sampling", {"balanced": "hyma.exposure:balanced", "published": "hyma.exposure:published"}, group="hyma.samplers"
)
"""(sizes, pairs per step, seed) -> endless steps of distinct pairs."""


def check_per_step(sizes: Sizes, per_step: int) -> None:
    """Refuse steps of more pairs than there are.

    Raises:
        HarnessError: ``per_step`` is too large.
    """
    if per_step > len(sizes.pairs):
        raise HarnessError(
            f"pairs_per_step {per_step} is larger than the {len(sizes.pairs)} pairs",
            fix=f"set pairs_per_step to {len(sizes.pairs)} or less",
        )


def balanced(sizes: Sizes, per_step: int, seed: int) -> Iterator[tuple[Pair, ...]]:
    """Equal exposure: after any number of steps the pairs' update counts differ by at most one.

    Walks through random permutations of the pairs, independent of the data batches.

    Args:
        sizes: Whose pairs.
        per_step: Pairs in a step.
        seed: Seeds the permutations.
    """
    check_per_step(sizes, per_step)
    return _balanced(sizes.pairs, per_step, seed)


def _balanced(pairs: tuple[Pair, ...], per_step: int, seed: int) -> Iterator[tuple[Pair, ...]]:
    rng = stream(seed, "pairs of each step")
    waiting: list[int] = []
    while True:
        step, waiting = waiting[:per_step], waiting[per_step:]
        if len(step) < per_step:
            fresh = rng.permutation(len(pairs)).tolist()
            # Those already in this step come last in the new round: no pair stands twice in a step.
            fresh = [p for p in fresh if p not in step] + [p for p in fresh if p in step]
            missing = per_step - len(step)
            step, waiting = step + fresh[:missing], fresh[missing:]
        yield tuple(pairs[p] for p in step)


def published(sizes: Sizes, per_step: int, seed: int) -> Iterator[tuple[Pair, ...]]:
    """Hyper-Align's: the image dimensions take turns, and within each the pairs follow one another. Not random.

    Exposure is unequal where the dimensions have different numbers of pairs: every dimension gets as many steps.

    Args:
        sizes: Whose pairs.
        per_step: Pairs in a step, all of one image dimension.
        seed: Not used.

    Raises:
        HarnessError: A dimension has fewer pairs than a step.
    """
    del seed
    check_per_step(sizes, per_step)
    groups: dict[int, list[Pair]] = {}
    for pair in sizes.pairs:
        groups.setdefault(sizes.image_dims[pair[0]], []).append(pair)
    for dim, group in groups.items():
        if len(group) < per_step:
            raise HarnessError(
                f"sampling published takes pairs_per_step {per_step} pairs of one image dimension, "
                f"and {dim} has {len(group)}",
                fix=f"set pairs_per_step to {len(group)} or less, or sampling: balanced",
            )
    return _cyclic([groups[dim] for dim in sorted(groups)], per_step)


def _cyclic(groups: list[list[Pair]], per_step: int) -> Iterator[tuple[Pair, ...]]:
    turn = 0
    while True:
        for group in groups:
            yield tuple(group[(turn * per_step + place) % len(group)] for place in range(per_step))
        turn += 1
