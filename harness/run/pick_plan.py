"""What a pick will cost at most, before anything is embedded."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.run.picked import WayCost
from harness.run.picking import grid_cost
from harness.run.stages import (
    LABEL,
    Stage,
    check_pick,
    encoding_of,
    first_stage,
    kept,
    larger_stage,
    last_stage,
    stage_sweep,
)
from harness.sweep.encoders import SweepEncoder
from harness.sweep.encoding import EncodingCost
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep


@dataclass(frozen=True)
class PlannedStage:
    """One stage at its most expensive.

    Attributes:
        stage: Its encoders and rows.
        cost: What it adds to the stages before it.
    """

    stage: Stage
    cost: WayCost


@dataclass(frozen=True)
class PickPlan:
    """A pick at its most expensive: rows grow to the most, and of each side the dearest encoders stay, as many as may.

    Attributes:
        stages: What will be done.
        grid: Embedding everything and one seed of the grid; None without a grid.
        grid_label: The grid.
        unknown: Encoders whose FLOPs are not known: costs are without theirs.
    """

    stages: tuple[PlannedStage, ...]
    grid: WayCost | None
    grid_label: str | None
    unknown: tuple[str, ...]

    @property
    def cost(self) -> WayCost:
        """All stages."""
        costs = [planned.cost for planned in self.stages]
        return WayCost(connectors=sum(c.connectors for c in costs), encode=sum(c.encode for c in costs))


def plan_pick(whole: Plan) -> PickPlan:
    """Plan the stages. Connectors are by the method's estimate, which for ``winner`` is that of one polish.

    Args:
        whole: The plan of the whole sweep, which may be of stand-ins for absent data.

    Raises:
        HarnessError: ``pick`` is wrong, or its method cannot tell what it will cost.
    """
    check_pick(whole.sweep)
    stages, unknown = [first_stage(whole)], set()
    while True:
        stage = stages[-1]
        images = _dearest(stage.images, whole.resolved.images, kept(stage.images, whole.sweep.pick))
        texts = _dearest(stage.texts, whole.resolved.texts, kept(stage.texts, whole.sweep.pick))
        larger = larger_stage(stage, images, texts, whole)
        if larger.train <= stage.train:
            break
        stages.append(larger)
    stages.append(last_stage(stage, (images[0], texts[0]), whole))
    encoded: dict[tuple[str, str, str], EncodingCost] = {}
    found = []
    for stage in stages:
        plan = make_plan(ResolvedSweep(stage_sweep(whole.sweep, stage)))
        planned = estimates(plan)[LABEL].flops_ours
        if planned is None:
            raise HarnessError(f"{whole.sweep.pick.method!r} cannot tell what it will cost", where="pick.method")
        before = sum(cost.flops for cost in encoded.values())
        encoded |= encoding_of(plan)
        unknown |= {name for cost in encoded.values() for name in cost.unknown}
        encode = sum(cost.flops for cost in encoded.values()) - before
        found.append(PlannedStage(stage, WayCost(connectors=planned["total"], encode=encode)))
    grid, label = grid_cost(whole)
    return PickPlan(tuple(found), grid, label, tuple(sorted(unknown)))


def _dearest(names: Sequence[str], encoders: dict[str, SweepEncoder], most: int) -> list[str]:
    """The encoders whose samples take most FLOPs, the dearest first; where that is not known, the largest ones."""
    infos = {name: encoders[name].info for name in names}
    return sorted(names, key=lambda name: (-(infos[name].flops_per_sample or 0.0), -infos[name].dim))[:most]
