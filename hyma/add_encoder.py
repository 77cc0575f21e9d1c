"""A new encoder after a joint run: only a new condition is fitted, the hypernetwork stays ("auto-decoding")."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from harness.connectors import Layers
from harness.errors import HarnessError
from harness.flops import Ledger
from harness.method import Budget, Checkpoint, Estimate, Fit, Pair, Problem, Progress, Sizes
from harness.registry import near
from harness.training import LogitScales, Positive, Trainee, estimate_training, train
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
    budget is the joint run's.

    Attributes:
        held_out: Id of the image or text encoder that the joint run does not see.
        condition_updates: Updates of each of its pairs.
        condition_lr: Peak learning rate of the new condition.
    """

    held_out: str
    conditioning: str = "factored"
    condition_updates: Annotated[int, Field(gt=0)] = 200
    condition_lr: Positive = 1e-2

    version: ClassVar[int] = 2
    smoke: ClassVar[Mapping[str, int]] = {"condition_updates": 1}

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """The joint run, then the new condition; scores and connectors of all pairs."""
        known, new = self._parts(problem.sizes)
        network = self.network(known, seed).to(problem.device)
        of_known = dataclasses.replace(problem, sizes=known)
        trainee = joint_trainee(self, of_known, network, seed)
        joint = train(of_known, budget, self, trainee, seed=seed, progress=progress)
        if joint.diverged:
            return joint
        spent = problem.ledger.total
        added = self._fit_condition(dataclasses.replace(problem, sizes=new), network, seed, progress)
        scores = {**joint.scores, **added.scores}
        note = (
            f"the condition of {self.held_out} took {problem.ledger.total - spent:.4g} FLOPs and "
            f"{added.trained_params} parameters; the joint run without it {spent:.4g} FLOPs"
        )
        return dataclasses.replace(
            joint,
            scores=scores,
            connectors={**(joint.connectors or {}), **(added.connectors or {})},
            curve=(_last(joint, added, scores, problem.ledger),),
            updates_per_pair=problem.ledger.updates / len(problem.pairs),
            samples_per_pair=problem.ledger.samples / len(problem.pairs),
            trained_params=joint.trained_params + added.trained_params,
            diverged=added.diverged,
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
            trained_params=rows * self.condition_dim + len(new.pairs) * (self.logit_scale == "learned"),
            hypernet_step=network.decoder.condition_step_flops(per_step),
        )
        phases = {*joint.flops, *added.flops}
        weight = len(new.pairs) / len(sizes.pairs)
        return Estimate(
            flops={phase: joint.flops.get(phase, 0.0) + added.flops.get(phase, 0.0) for phase in phases},
            updates_per_pair=(1 - weight) * joint.updates_per_pair + weight * added.updates_per_pair,
            trained_params=joint.trained_params + added.trained_params,
        )

    def _parts(self, sizes: Sizes) -> tuple[Sizes, Sizes]:
        """(without the new encoder, its pairs).

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
            room, need = (max(getattr(sizes.shape(pair), side) for pair in pairs) for pairs in (known, new))
            if need > room:
                raise HarnessError(
                    f"{self.held_out!r} needs connectors of {side} {need}, the joint run's largest is {room}",
                    fix="hold out an encoder that is not the largest",
                )
        return dataclasses.replace(sizes, pairs=known), dataclasses.replace(sizes, pairs=new)

    def _condition_recipe(self, new: Sizes) -> "AddEncoder":
        return dataclasses.replace(
            self, lr=self.condition_lr, sampling="balanced", pairs_per_step=min(self.pairs_per_step, len(new.pairs))
        )

    def _fit_condition(self, problem: Problem, network: Hypernetwork, seed: int, progress: Progress) -> Fit:
        recipe = self._condition_recipe(problem.sizes)
        network.requires_grad_(False)
        condition = NewCondition(network, problem.sizes, bank_means(problem) if network.needs_means else {})
        trainee = Trainee(
            parameters=[condition.offset],
            generate=condition,
            scales=LogitScales(problem.pairs, self.logit_scale, problem.device),
            pair_sampler=SAMPLERS.get("balanced")(problem.sizes, recipe.pairs_per_step, seed),
            pairs_per_step=recipe.pairs_per_step,
            hypernet_step=network.decoder.condition_step_flops(recipe.pairs_per_step),
            shuffle=self.shuffle,
        )
        budget = Budget(updates_per_pair=self.condition_updates)
        return train(problem, budget, recipe, trainee, seed=seed, progress=progress)


class NewCondition(nn.Module):
    """Connectors of an encoder that a trained hypernetwork has not seen: a fixed start plus a trained offset.

    Args:
        network: The trained hypernetwork.
        sizes: The new pairs.
        means: Mean embeddings over the training banks, for a conditioning on features.
    """

    def __init__(self, network: Hypernetwork, sizes: Sizes, means: Means) -> None:
        super().__init__()
        self._network, self._sizes = network, sizes
        with torch.no_grad():
            start = network.condition.of_new(sizes.pairs, means)
        self._start = dict(zip(sizes.pairs, start, strict=True))
        shared = network.condition.shared_by_encoder
        self._row = {pair: 0 if shared else row for row, pair in enumerate(sizes.pairs)}
        rows = 1 if shared else len(sizes.pairs)
        self.offset = nn.Parameter(torch.zeros(rows, start.shape[-1], device=start.device))

    def conditions(self, pairs: Sequence[Pair]) -> Float[Tensor, "pairs dim"]:
        """The new condition of each pair."""
        return torch.stack([self._start[pair] + self.offset[self._row[pair]] for pair in pairs])

    def forward(self, pairs: Sequence[Pair]) -> Mapping[Pair, Layers]:
        """The connector of each pair."""
        shapes = [self._sizes.shape(pair).layers for pair in pairs]
        return dict(zip(pairs, self._network.generate(self.conditions(pairs), shapes), strict=True))


def _last(joint: Fit, added: Fit, scores: Mapping[Pair, float], ledger: Ledger) -> Checkpoint:
    """The end of both parts as one checkpoint."""
    pairs = len(scores)
    first, second = joint.curve[-1], added.curve[-1] if added.curve else joint.curve[-1]
    return Checkpoint(
        step=first.step + second.step,
        epoch=first.epoch + second.epoch,
        updates_per_pair=ledger.updates / pairs,
        samples_per_pair=ledger.samples / pairs,
        flops=ledger.total,
        seconds=first.seconds + second.seconds,
        scores=scores,
    )
