"""Model mini-batching: which pairs take part in each step."""

from collections.abc import Iterator, Sequence

import numpy as np

from harness.method import Pair

PAIRS_STREAM = 0x9A185
"""Keeps the pairs' random stream apart from the batches', which use the bare seed."""


def balanced(pairs: Sequence[Pair], per_step: int, seed: int) -> Iterator[tuple[Pair, ...]]:
    """Endless steps of ``per_step`` distinct pairs with equal exposure.

    Walks through random permutations of the pairs, so that after any number of steps the pairs' update counts differ
    by at most one. Independent of the data batches.

    Args:
        pairs: All pairs.
        per_step: Pairs in a step, at most ``len(pairs)``.
        seed: Seeds the permutations.
    """
    rng = np.random.default_rng([seed, PAIRS_STREAM])
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
