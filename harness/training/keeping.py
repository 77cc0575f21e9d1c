"""What is kept of a training while it goes on, and how a later attempt goes on from there, number by number.

Batches and the pairs of each step are functions of seed and step, so the steps that are done are skipped; the learning
rate is one of the step. What a method holds besides (an objective with a state that is none of its parameters) is not
kept.
"""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from harness.contract.budget import Budget
from harness.contract.fit import Checkpoint
from harness.contract.keeping import Kept, KeptBreak, KeptCount, KeptPoint, KeptRate, KeptTraining
from harness.contract.ledger_record import LedgerRecord
from harness.contract.pairs import Pair
from harness.errors import Diverged
from harness.training.course import Course
from harness.training.one_rate import Training
from harness.training.recipe import Recipe
from harness.training.resumption import of_rate, restore, saved, together

RNG, DEVICE_RNG = "random.host", "random.device"
"""Names of the states of torch's own random streams."""


def signature_of(budget: Budget, recipe: Recipe, trainings: Sequence[Training], seed: int) -> str:
    """What a training is, beside the data and the code: its settings, its pairs and the shapes that it trains."""
    pairs = trainings[0].problem.pairs
    shapes = [(tuple(tensor.shape), str(tensor.dtype)) for tensor in trainings[0].trained]
    return hashlib.sha256(repr((budget, recipe, seed, pairs, shapes)).encode()).hexdigest()


def kept(step: int, course: Course, trainings: Sequence[Training]) -> Kept:
    """The training after this step. Those of ``trainings`` that have broken down are kept without their tensors.

    Args:
        step: The step that is done.
        course: What the trainings have in common.
        trainings: One for each learning rate.
    """
    facts = KeptTraining(
        step=step,
        elapsed_s=course.horizon.elapsed(),
        counted=[KeptCount(shapes=list(shapes), flops=flops) for shapes, flops in course.counter.known.items()],
        rates=[_rate_of(training) for training in trainings],
    )
    going_on = {t.lr: saved(step, t.trained, t.optimizer) for t in trainings if not t.health.diverged}
    tensors = dict(together(going_on, [t.lr for t in trainings]) or {}) | {RNG: torch.get_rng_state()}
    device = trainings[0].problem.device
    if device.type == "cuda":
        tensors[DEVICE_RNG] = torch.cuda.get_rng_state(device)
    return Kept(facts, tensors)


def go_on(found: Kept, course: Course, trainings: Sequence[Training]) -> int:
    """The inverse of ``kept``, into fresh trainings; returns the steps done."""
    facts, rates = found.facts, [training.lr for training in trainings]
    course.horizon.start -= facts.elapsed_s
    course.counter.known |= {tuple(count.shapes): count.flops for count in facts.counted}
    for training, rate in zip(trainings, facts.rates, strict=True):
        _restore_rate(training, rate)
        if not training.health.diverged:
            state = of_rate(found.tensors, training.lr, rates)
            assert state is not None, "a training that goes on has been kept with its tensors"
            restore(state, training.trained, training.optimizer)
    _restore_random(found.tensors, trainings[0].problem.device)
    return facts.step


def _restore_random(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors[RNG])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors[DEVICE_RNG], device)


def _rate_of(training: Training) -> KeptRate:
    number = {pair: at for at, pair in enumerate(training.problem.pairs)}
    health = training.health
    return KeptRate(
        curve=[_point_of(point, number) for point in training.curve],
        scored=[number[pair] for pair in training.scored],
        warnings=training.warnings,
        lost={number[pair]: _break_of(why) for pair, why in health.lost.items()},
        diverged=_break_of(health.diverged) if health.diverged else None,
        ledger=LedgerRecord.of(training.problem.ledger),
    )


def _restore_rate(training: Training, rate: KeptRate) -> None:
    pairs, health = training.problem.pairs, training.health
    training.curve = [_checkpoint_of(point, pairs) for point in rate.curve]
    training.scored = tuple(pairs[at] for at in rate.scored)
    training.warnings = list(rate.warnings)
    health.lost = {pairs[at]: Diverged(why.step, why.reason) for at, why in rate.lost.items()}
    health.diverged = Diverged(rate.diverged.step, rate.diverged.reason) if rate.diverged else None
    rate.ledger.book(training.problem.ledger)


def _break_of(why: Diverged) -> KeptBreak:
    return KeptBreak(step=why.step, reason=why.reason)


def _point_of(point: Checkpoint, number: Mapping[Pair, int]) -> KeptPoint:
    scores = {number[pair]: score for pair, score in point.scores.items()}
    return KeptPoint(**(vars(point) | {"scores": scores}))


def _checkpoint_of(point: KeptPoint, pairs: Sequence[Pair]) -> Checkpoint:
    scores = {pairs[at]: score for at, score in point.scores.items()}
    return Checkpoint(**(dict(point) | {"scores": scores}))
