"""What the trainings of a cell have in common, whatever their learning rates: their steps and checkpoints."""

from harness.contract.budget import Budget
from harness.contract.problem import Problem
from harness.training.counting import StepCounter, estimate_training
from harness.training.recipe import Recipe
from harness.training.schedule import Horizon, is_checkpoint, steps_at
from harness.training.trainee import Trainee


class Course:
    """The steps of a training.

    Args:
        problem: What is trained on.
        budget: Of the whole training, at all rates together.
        recipe: Its settings.
        trainee: What is trained, at any of the rates.

    Attributes:
        share: Share of the pairs that take part in a step.
        per_epoch: Steps of an epoch.
        horizon: How much of the budget is spent.
        last: The last step; None: the clock decides.
        asked_for: Steps at which the harness wants scores for its comparisons (``Problem.ends``).
        counter: Counts the FLOPs of steps.
    """

    def __init__(self, problem: Problem, budget: Budget, recipe: Recipe, trainee: Trainee) -> None:
        self._problem, self._recipe, self._trainee = problem, recipe, trainee
        sizes, rung = problem.sizes, problem.rung
        self.share = trainee.pairs_per_step / len(sizes.pairs)
        self.per_epoch = sizes.steps_per_epoch(recipe.batch_size)
        self.counter = StepCounter(sizes, recipe.batch_size, trainee.kind)
        # The clock starts here.
        self.horizon = Horizon(budget.seconds, None if budget.seconds is not None else self._steps_of(budget))
        self.last = min(self._steps_of(rung.budget), self.horizon.steps or 1) if rung else self.horizon.steps
        self.asked_for = frozenset() if rung else steps_at(problem.ends, self.share)

    def ends_with(self, step: int) -> bool:
        """Whether this step is the last one: of the training, or of its rung."""
        return step == self.last or self.horizon.over()

    def scores_after(self, step: int) -> bool:
        """Whether a checkpoint inside the training falls on this step. A rung is scored at its end only."""
        return not self._problem.rung and is_checkpoint(step, self.per_epoch / self.share)

    def _steps_of(self, budget: Budget) -> int:
        sizes, trainee, recipe = self._problem.sizes, self._trainee, self._recipe
        params = sum(parameter.numel() for parameter in trainee.trained)
        spent = estimate_training(
            sizes,
            budget,
            recipe,
            pairs_per_step=trainee.pairs_per_step,
            parameters=params - sizes.objective.trained_params(len(sizes.pairs), recipe.logit_scale),
            hypernet_step=trainee.hypernet_step,
            kind=trainee.kind,
        )
        return round(spent.updates_per_pair / self.share)
