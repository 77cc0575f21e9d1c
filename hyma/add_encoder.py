"""A new encoder after a joint run: only a new condition is fitted, the hypernetwork stays ("auto-decoding")."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Checkpoint, Estimate, Fit, Progress, Tuning
from harness.contract.ledger import Ledger
from harness.contract.pairs import Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.registry import near
from harness.errors import HarnessError
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Positive
from harness.training.trainee import PairByPair
from hyma.conditioning import Means
from hyma.exposure import SAMPLERS
from hyma.hypernetwork import Hypernetwork
from hyma.joint import bank_means, joint_trainee
from hyma.method import Hyma


@dataclass(frozen=True, kw_only=True)
class AddEncoder(Hyma):
    """A joint run without one encoder, and then a condition for that encoder alone.

    Both of the authors' modes: with ``conditioning: pair`` or ``factored`` (lookup tables) the new vector starts at the
    mean of the known ones; with ``features`` at what the trained map makes of the new encoder's mean embedding. The
    budget is the joint run's. The curve's last two points are the end of the joint run, where the new pairs have the
    score of the condition's start, and the end of the fit: what lies between is what adding the encoder cost.

    The new connectors are combinations of what the decoder learnt for others, so this can only work for an encoder
    that is like one of them; ``seen`` tells whether a failure is the fit's or the decoder's.

    Attributes:
        held_out: Id of the image or text encoder that the joint run does not see.
        condition_updates: Updates of each of its pairs.
        condition_lr: Peak learning rate of the new condition.
        seen: Control: the joint run sees the encoder too; its condition is then forgotten and fitted again.
    """

    held_out: str
    conditioning: str = "factored"
    condition_updates: Annotated[int, Field(gt=0)] = 200
    condition_lr: Positive = 1e-1
    seen: bool = False

    version: ClassVar[int] = 4
    smoke: ClassVar[Mapping[str, int]] = {"condition_updates": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.rates) > 1:
            raise ValueError("the new condition is fitted to one joint run; give lr one rate")

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """The joint run, then the new condition; scores and connectors of all pairs."""
        known, new = self._parts(problem.sizes)
        network = self.network(known, seed).to(problem.device, self.dtype)
        of_known = dataclasses.replace(problem, sizes=known)
        trainee = joint_trainee(self, of_known, network, seed, partial(bank_means, of_known, self.dtype))
        joint = train(of_known, budget, self, lambda: trainee, seed=seed, progress=progress)
        if joint.diverged:
            return joint
        of_new, ledger = dataclasses.replace(problem, sizes=new), problem.ledger
        network.requires_grad_(False)
        means = bank_means(of_new, self.dtype) if network.needs_means else {}
        condition = NewCondition(network, new, self.held_out, means)
        ledger.add("hypernet", network.decoder.forward_flops(len(new.pairs)))
        with torch.no_grad():
            untouched = {pair: made.frozen() for pair, made in condition(new.pairs).items()}
        before = {**joint.scores, **{pair: of_new.score(pair, made) for pair, made in untouched.items()}}
        start = _point(joint.curve[-1], before, ledger)
        spent, scored = ledger.total, ledger.flops.get("eval", 0.0)
        added = self._fit_condition(of_new, network, condition, seed, progress)
        scores = {**joint.scores, **added.scores}
        picked = {pair: self.rates[0] for pair in known.pairs} | {pair: self.condition_lr for pair in new.pairs}
        training = ledger.total - spent - (ledger.flops.get("eval", 0.0) - scored)
        note = (
            f"the condition of {self.held_out} took {training / len(new.pairs):.4g} FLOPs of training for each of "
            f"{len(new.pairs)} pairs (the `flops` of an equal ape), {added.trained_params} parameters; the joint run "
            f"{'with' if self.seen else 'without'} it {start.flops:.4g} FLOPs"
        )
        return dataclasses.replace(
            joint,
            scores=scores,
            connectors={**(joint.connectors or {}), **(added.connectors or {})},
            curve=(start, *(_point(point, scores, ledger, joint.curve[-1]) for point in added.curve[-1:])),
            updates_per_pair=ledger.updates / len(problem.pairs),
            samples_per_pair=ledger.samples / len(problem.pairs),
            trained_params=joint.trained_params + added.trained_params,
            diverged=added.diverged,
            tuning=Tuning(tried=self.rates, picked=picked),
            warnings=(*joint.warnings, *added.warnings, note),
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Both parts."""
        known, new = self._parts(sizes)
        joint = super().estimate(known, budget)
        with torch.device("meta"):
            network = self.network(known, 0)
        per_step = min(self.pairs_per_step, len(new.pairs))
        rows = len(new.pairs) if self.conditioning == "pair" else 1
        added = estimate_training(
            new,
            Budget(updates_per_pair=self.condition_updates),
            self._condition_recipe(new),
            pairs_per_step=per_step,
            parameters=rows * self.condition_dim,
            hypernet_step=network.decoder.condition_step_flops(per_step),
            generation=network.decoder.forward_flops(len(new.pairs)),
        )
        phases = {*joint.flops, *added.flops}
        both = {phase: joint.flops.get(phase, 0.0) + added.flops.get(phase, 0.0) for phase in phases}
        untouched = sum(map(sizes.score_flops, new.pairs))
        made = network.decoder.forward_flops(len(new.pairs))
        both["hypernet"] += made
        updates = len(known.pairs) * joint.updates_per_pair + len(new.pairs) * added.updates_per_pair
        return Estimate(
            flops=both | {"eval": both.get("eval", 0.0) + untouched},
            updates_per_pair=updates / len(sizes.pairs),
            trained_params=joint.trained_params + added.trained_params,
            generation=joint.generation + added.generation + made,
        )

    def _parts(self, sizes: Sizes) -> tuple[Sizes, Sizes]:
        """(what the joint run trains, the new encoder's pairs).

        Raises:
            HarnessError: No such encoder, none is left without it, or it is larger than all that the joint run sees.
        """
        new = tuple(pair for pair in sizes.pairs if self.held_out in pair)
        known = tuple(pair for pair in sizes.pairs if self.held_out not in pair)
        names = [name for pair in sizes.pairs for name in pair]
        if not new:
            raise HarnessError(f"held_out {self.held_out!r} is no encoder of the sweep", fix=near(self.held_out, names))
        if not known:
            raise HarnessError(f"no pair is left without {self.held_out!r}", fix="give the sweep another encoder")
        for side in ("in_dim", "out_dim"):
            room, need = (max(vars(sizes.dims(pair))[side] for pair in pairs) for pairs in (known, new))
            if need > room:
                raise HarnessError(
                    f"{self.held_out!r} needs connectors of {side} {need}, the joint run's largest is {room}",
                    fix="hold out an encoder that is not the largest",
                )
        trained = sizes if self.seen else dataclasses.replace(sizes, pairs=known)
        return trained, dataclasses.replace(sizes, pairs=new)

    def _condition_recipe(self, new: Sizes) -> "AddEncoder":
        return dataclasses.replace(
            self, lr=self.condition_lr, sampling="balanced", pairs_per_step=min(self.pairs_per_step, len(new.pairs))
        )

    def _fit_condition(
        self, problem: Problem, network: Hypernetwork, condition: "NewCondition", seed: int, progress: Progress
    ) -> Fit:
        recipe = self._condition_recipe(problem.sizes)
        trainee = PairByPair(
            parameters=[condition.offset],
            objective=problem.objective(logit_scale=self.logit_scale, dtype=self.dtype),
            connectors=condition,
            pair_sampler=SAMPLERS.get("balanced")(problem.sizes, recipe.pairs_per_step, seed),
            pairs_per_step=recipe.pairs_per_step,
            hypernet_step=network.decoder.condition_step_flops(recipe.pairs_per_step),
            generation=network.decoder.forward_flops(len(problem.pairs)),
            shuffle=self.shuffle,
        )
        budget = Budget(updates_per_pair=self.condition_updates)
        return train(problem, budget, recipe, lambda: trainee, seed=seed, progress=progress)


class NewCondition(nn.Module):
    """Connectors of an encoder that a trained hypernetwork has not seen: a fixed start plus a trained offset.

    Args:
        network: The trained hypernetwork.
        sizes: The new pairs.
        new: The encoder.
        means: Mean embeddings over the training banks, for a conditioning on features.
    """

    def __init__(self, network: Hypernetwork, sizes: Sizes, new: str, means: Means) -> None:
        super().__init__()
        self._network, self._sizes = network, sizes
        with torch.no_grad():
            start = network.condition.of_new(new, sizes.pairs, means)
        self._start = dict(zip(sizes.pairs, start, strict=True))
        shared = network.condition.shared_by_encoder
        self._row = {pair: 0 if shared else row for row, pair in enumerate(sizes.pairs)}
        rows = 1 if shared else len(sizes.pairs)
        self.offset = nn.Parameter(torch.zeros(rows, start.shape[-1], device=start.device, dtype=start.dtype))

    def conditions(self, pairs: Sequence[Pair]) -> Float[Tensor, "pairs dim"]:
        """The new condition of each pair."""
        return torch.stack([self._start[pair] + self.offset[self._row[pair]] for pair in pairs])

    def forward(self, pairs: Sequence[Pair]) -> Mapping[Pair, Connector]:
        """The connector of each pair."""
        shapes = [self._sizes.connector.shapes(self._sizes.dims(pair)) for pair in pairs]
        return dict(zip(pairs, self._network.generate(self.conditions(pairs), shapes), strict=True))


def _point(
    point: Checkpoint, scores: Mapping[Pair, float], ledger: Ledger, after: Checkpoint | None = None
) -> Checkpoint:
    """A checkpoint of one part (``after`` the end of the other) as one of all pairs, with all that is spent by now."""
    return Checkpoint(
        step=point.step + (after.step if after else 0),
        epoch=point.epoch + (after.epoch if after else 0),
        updates_per_pair=ledger.updates / len(scores),
        samples_per_pair=ledger.samples / len(scores),
        flops=ledger.total,
        seconds=point.seconds + (after.seconds if after else 0),
        scores=scores,
    )
