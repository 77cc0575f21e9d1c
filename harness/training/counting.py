"""FLOPs of a training: closed forms before it runs, and steps counted while it runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.contract.budget import Budget
from harness.contract.connector import ConnectorKind
from harness.contract.fit import Estimate
from harness.contract.flops import adamw_step
from harness.contract.objective import CostsByBatch
from harness.contract.pairs import Pair
from harness.contract.problem import Sizes
from harness.contract.split import Batch
from harness.training.recipe import Recipe
from harness.training.schedule import checkpoint_steps

MIXTURES = 8
"""Steps over different shapes after which what makes their connectors counts as known, if it cost the same in each."""


def step_flops(
    sizes: Sizes,
    pairs: Sequence[Pair],
    batch_size: int,
    kind: ConnectorKind | None = None,
    batch: Batch | None = None,
) -> dict[str, float]:
    """Closed form of the connectors' and the objective's share of one step over these pairs.

    Args:
        sizes: Shapes and objective.
        pairs: The step's pairs.
        batch_size: Samples.
        kind: Kind of connector that the step applies; None: the sweep's.
        batch: The step's samples, for objectives whose cost depends on them; None: the most that they cost.
    """
    kind, objective = kind or sizes.connector, sizes.objective
    found = {"connector": sum(kind.step_flops(sizes.dims(pair), batch_size) for pair in pairs)}
    for pair in pairs:
        spent = (
            objective.batch_flops(sizes.dims(pair), pair, batch)
            if batch is not None and isinstance(objective, CostsByBatch)
            else objective.step_flops(sizes.dims(pair), pair, batch_size)
        )
        for phase, flops in spent.items():
            found[phase] = found.get(phase, 0.0) + flops
    return found


def estimate_training(
    sizes: Sizes,
    budget: Budget,
    recipe: Recipe,
    *,
    pairs_per_step: int,
    parameters: int,
    hypernet_step: float = 0.0,
    generation: float = 0.0,
    kind: ConnectorKind | None = None,
) -> Estimate:
    """Closed form of what ``train`` books at all rates, the mean over the pairs standing for the pairs of a step.

    Args:
        sizes: The cell's shapes.
        budget: When training stops.
        recipe: Training settings.
        pairs_per_step: Pairs in one step.
        parameters: Parameters that the optimiser updates, without the objective's own.
        hypernet_step: FLOPs of generating one step's connectors, forward and backward.
        generation: FLOPs of making the connectors of all pairs once, for scoring.
        kind: Kind of connector that a step applies; None: the sweep's.
    """
    trained = parameters + sizes.objective.trained_params(len(sizes.pairs), recipe.logit_scale)
    share = pairs_per_step / len(sizes.pairs)
    step = {phase: flops * share for phase, flops in step_flops(sizes, sizes.pairs, recipe.batch_size, kind).items()}
    step |= {"hypernet": hypernet_step, "optimizer": adamw_step(trained)}
    per_epoch = sizes.steps_per_epoch(recipe.batch_size)
    rates = len(recipe.rates)
    flops_per_step = rates * sum(step.values())
    steps = budget.steps(steps_per_epoch=per_epoch, updates_per_step=share, flops_per_step=flops_per_step)
    checkpoints = len(checkpoint_steps(steps, per_epoch / share))
    spent = {phase: flops * steps for phase, flops in step.items() if flops}
    made = checkpoints * generation
    if made:
        spent["hypernet"] = spent.get("hypernet", 0.0) + made
    scored = checkpoints * sum(sizes.score_flops(pair) for pair in sizes.pairs)
    return Estimate(
        flops={phase: rates * flops for phase, flops in (spent | {"eval": scored}).items()},
        updates_per_pair=steps * share,
        trained_params=trained,
        generation=rates * made,
    )


def counted(step: Callable[[], object]) -> float:
    """FLOPs of one eager call, forward and backward, by torch's FlopCounterMode. Runs the call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


@dataclass
class StepCounter:
    """FLOPs of a step, counted once for each combination of shapes.

    A step that is counted takes several times as long, and in a large grid nearly every step of a joint run combines
    other shapes. Connectors and objective have closed forms, so only the rest has to be counted, and no more than
    ``MIXTURES`` times where it does not depend on the shapes.

    Attributes:
        sizes: Shapes and objective.
        batch_size: Samples of a step.
        kind: Kind of connector that a step applies; None: the sweep's.
        known: Combination of shapes -> FLOPs that have no closed form.
    """

    sizes: Sizes
    batch_size: int
    kind: ConnectorKind | None = None
    known: dict[tuple[object, ...], float] = field(default_factory=dict)

    def run(self, pairs: Sequence[Pair], step: Callable[[], None], batch: Batch | None = None) -> dict[str, float]:
        """Run a step over these pairs and this batch; phase -> FLOPs that it took."""
        signature = tuple(sorted((d.in_dim, d.out_dim) for d in map(self.sizes.dims, pairs)))
        closed = step_flops(self.sizes, pairs, self.batch_size, self.kind, batch)
        rest = self._rest(signature)
        if rest is None:
            rest = self.known[signature] = counted(step) - sum(closed.values())
        else:
            step()
        # What is neither connector nor objective made the connectors; rounding leaves no such rest for APE.
        return closed | ({"hypernet": rest} if rest > 0 else {})

    def _rest(self, signature: tuple[object, ...]) -> float | None:
        if signature in self.known:
            return self.known[signature]
        alike = [rest for other, rest in self.known.items() if len(other) == len(signature)]
        return alike[0] if len(alike) >= MIXTURES and len(set(alike)) == 1 else None
