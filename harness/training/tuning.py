"""What is kept of the trainings at several learning rates: each pair's connector at its best one on validation data."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from harness.contract.fit import Checkpoint, Fit, Tuning
from harness.contract.pairs import Pair
from harness.contract.problem import Problem
from harness.training.resumption import together

T = TypeVar("T")

Fits = Mapping[float, Fit]
"""Peak learning rate, rising -> the Fit of its training, with a ledger of its own."""


def best_of(fits: Fits, problem: Problem, *, shared: bool) -> Fit:
    """One Fit from those of all rates.

    A pair keeps score, connector and curve of the rate at which it scores best, the lowest of equals; with ``shared``
    all pairs keep those of the rate with the fewest lost pairs and then the best mean score. A rate that diverged, or
    at which the pair was lost, is not picked; the training has diverged when none is left, and the pair is lost when
    it is lost at all of them. FLOPs, also those of the curve, are of all rates together.

    Args:
        fits: The Fit of each rate.
        problem: The cell's problem, whose ledger holds what all rates have spent.
        shared: Whether all pairs keep the same rate.
    """
    # Where all have diverged, the lowest rate tells how.
    sound = {lr: fit for lr, fit in fits.items() if not fit.diverged} or dict(list(fits.items())[:1])
    picked = _shared(sound, problem) if shared else _of_pairs(sound, problem)
    kept = {lr: fit for lr, fit in sound.items() if lr in picked.values()}
    lost = _own(picked, {lr: fit.lost for lr, fit in kept.items()})
    share = {lr: sum(own == lr for own in picked.values()) / len(picked) for lr in fits}
    return replace(
        max(kept.values(), key=lambda fit: fit.updates_per_pair),
        scores=_own(picked, {lr: fit.scores for lr, fit in kept.items()}),
        connectors=_own(picked, {lr: fit.connectors or {} for lr, fit in kept.items()}) or None,
        curve=_curve(fits, kept, picked),
        ledger=problem.ledger,
        lost=lost,
        tuning=Tuning(
            tried=tuple(fits),
            picked=_own(picked, {lr: fit.tuning.picked if fit.tuning else {} for lr, fit in kept.items()}),
            shared=shared,
            flops=sum(fit.ledger.total * (1 - share[lr]) for lr, fit in fits.items()),
        ),
        warnings=(*_from(kept), *_broken(fits, problem.pairs), *_at_the_edge(fits, picked, lost)),
        state=together({lr: fit.state for lr, fit in sound.items() if fit.state}, tuple(fits)),
    )


def _own(picked: Mapping[Pair, float], found: Mapping[float, Mapping[Pair, T]]) -> dict[Pair, T]:
    """What was found for each pair at its rate; pairs for which nothing was found there are left out."""
    return {pair: found[lr][pair] for pair, lr in picked.items() if pair in found[lr]}


def _quality(problem: Problem) -> Callable[[float], float]:
    """A score so that larger is better; one that is no number is worst."""
    sign = 1.0 if problem.higher_is_better else -1.0
    return lambda score: sign * score if math.isfinite(score) else -math.inf


def _of_pairs(fits: Fits, problem: Problem) -> dict[Pair, float]:
    """The best rate of each pair; of a pair that was lost at all rates the one at which it lasted longest."""
    quality = _quality(problem)

    def best(pair: Pair) -> float:
        scored = [lr for lr in fits if pair in fits[lr].scores]
        if scored:
            return max(scored, key=lambda lr: quality(fits[lr].scores[pair]))
        return max(fits, key=lambda lr: fits[lr].lost[pair].step if pair in fits[lr].lost else 0)

    return {pair: best(pair) for pair in problem.pairs}


def _shared(fits: Fits, problem: Problem) -> dict[Pair, float]:
    """The same rate for all pairs."""
    quality = _quality(problem)

    def worth(lr: float) -> tuple[int, float]:
        scores = [quality(score) for score in fits[lr].scores.values()]
        return len(scores), sum(scores) / max(1, len(scores))

    return dict.fromkeys(problem.pairs, max(fits, key=worth))


def _curve(fits: Fits, kept: Fits, picked: Mapping[Pair, float]) -> tuple[Checkpoint, ...]:
    """Checkpoints with every pair's score at its rate, and with what all rates had spent by then."""
    scored = {lr: {point.step: point for point in fit.curve} for lr, fit in fits.items()}
    found = []
    for step, point in next(iter(scored[lr] for lr in kept)).items():
        # A rate that has no such checkpoint had broken down before, and spent what it spent.
        spent = [own[step].flops if step in own else fits[lr].ledger.total for lr, own in scored.items()]
        seconds = max(own[step].seconds for own in scored.values() if step in own)
        scores = _own(picked, {lr: scored[lr][step].scores for lr in kept})
        found.append(replace(point, flops=sum(spent), seconds=seconds, scores=scores))
    return tuple(found)


def _from(kept: Fits) -> Sequence[str]:
    return list(dict.fromkeys(warning for fit in kept.values() for warning in fit.warnings))


def _broken(fits: Fits, pairs: Sequence[Pair]) -> list[str]:
    """Which of several rates were too high."""
    if len(fits) == 1:
        return []
    found = [f"the rate {lr:g} was not picked: it {fit.diverged}" for lr, fit in fits.items() if fit.diverged]
    for lr, fit in fits.items():
        if fit.lost and not fit.diverged:
            first = " x ".join(next(iter(fit.lost)))
            found.append(f"the rate {lr:g} diverged for {len(fit.lost)} of {len(pairs)} pairs, first {first}")
    return found


def _at_the_edge(fits: Fits, picked: Mapping[Pair, float], lost: Mapping[Pair, object]) -> list[str]:
    """Whether a rate beyond those that were tried might be better."""
    own = [lr for pair, lr in picked.items() if pair not in lost]
    found = []
    for name, lr in (("largest", max(fits)), ("smallest", min(fits))) if len(fits) > 1 else ():
        if count := own.count(lr):
            of_some = f", for {count} of {len(own)} pairs" if count < len(own) else ""
            found.append(f"the best rate is the {name} tried, {lr:g}{of_some}")
    return found
