"""The training loop: steps of AdamW, scored on validation data at geometric checkpoints, at one rate or several."""

import itertools
from collections.abc import Callable
from dataclasses import replace

from harness.contract.budget import Budget
from harness.contract.fit import Fit, Progress
from harness.contract.problem import Problem
from harness.training.course import Course
from harness.training.keeping import go_on, kept, signature_of
from harness.training.one_rate import Training
from harness.training.recipe import Recipe
from harness.training.schedule import check_rung
from harness.training.trainee import Trainee
from harness.training.tuning import best_of


def train(
    problem: Problem, budget: Budget, recipe: Recipe, fresh: Callable[[], Trainee], *, seed: int, progress: Progress
) -> Fit:
    """AdamW on the loss of each step's pairs, scored on validation data at geometric checkpoints.

    With several learning rates every rate trains something fresh over the same batches, each of which is read once,
    and ``harness.training.tuning`` says which rate a pair keeps.

    A gradient or weight that is not finite ends the training at its rate, and connectors that are at chance after it
    have collapsed: the Fit then carries ``diverged``, unless another rate is left. Where pairs are trained
    independently it ends that of its pair only, which is ``lost``, until none is left. Under ``problem.rung`` training
    goes on where the rung before left off and stops at this rung's budget, with the batches and the learning rates that
    an uninterrupted training of the whole budget has at the same steps. So it does after an attempt that was killed,
    from what ``problem.keeper`` has kept.

    Args:
        problem: What is trained on.
        budget: When to stop.
        recipe: Settings.
        fresh: Makes what is trained, the same at every call.
        seed: Of the batches.
        progress: Told of every step.

    Returns:
        The Fit, with the connectors and scores of the last checkpoint.
    """
    trainees = [fresh() for _ in recipe.rates]
    course = Course(problem, budget, recipe, trainees[0])
    trainings = [
        Training(replace(problem, ledger=problem.ledger.part()), course, recipe, trainee, lr)
        for trainee, lr in zip(trainees, recipe.rates, strict=True)
    ]
    first = max(training.done_before for training in trainings)
    check_rung(first, course.last)
    place = problem.keeper.place(signature_of(budget, recipe, trainings, seed)) if problem.keeper else None
    found = place.found() if place else None
    if found:
        first = go_on(found, course, trainings)
    running = [training for training in trainings if not training.health.diverged]
    batches = problem.batches(recipe.batch_size, seed, shuffle=trainees[0].shuffle)
    samples = zip(trainees[0].pair_sampler, batches, strict=False)
    for step, (pairs, batch) in enumerate(itertools.islice(samples, first, None), start=first + 1):
        spent = course.horizon.share(step)
        running = [training for training in running if training.step(step, spent, pairs, batch)]
        if not running:
            break
        progress(step, course.last or course.horizon.expected(step))
        ended = course.ends_with(step)
        own = ended or course.scores_after(step)
        if own or step in course.asked_for:
            running = [training for training in running if training.score(step, beside=not own)]
        if ended:
            for training in running:
                training.look_for_collapse(step)
            break
        if place and place.due():
            running = [training for training in running if training.settled()]
            if not running:
                break
            place.keep(kept(step, course, trainings))
    fits = {training.lr: training.fit() for training in trainings}
    return best_of(fits, problem, shared=recipe.tune == "shared")
