"""When a training stops."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When to stop: exactly one limit.

    Attributes:
        epochs: Passes over the training images (of one caption each), at every learning rate that is tried.
        updates_per_pair: Steps in which each pair takes part, at every learning rate that is tried.
        flops: The method's FLOPs of training (all pairs and learning rates of the cell together).
        seconds: Wall-clock of the training (all pairs and learning rates of the cell together). Where it ends depends
            on the machine, so such a budget is not reproducible.
    """

    epochs: float | None = None
    updates_per_pair: float | None = None
    flops: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(vars(self))}; got {sorted(given) or 'none'}")
        if next(iter(given.values())) <= 0:
            raise ValueError(f"a budget must be positive, got {given}")

    @property
    def limit(self) -> float:
        """The number that is given, in its own unit."""
        return next(value for value in vars(self).values() if value is not None)

    def steps(self, *, steps_per_epoch: int, updates_per_step: float, flops_per_step: float) -> int:
        """Optimiser steps within the budget, at least one. Seconds say nothing of steps: a ValueError.

        Args:
            steps_per_epoch: Steps of one epoch.
            updates_per_step: Share of the pairs that take part in a step: pairs_per_step / pairs.
            flops_per_step: FLOPs of one step.
        """
        if self.seconds is not None:
            raise ValueError("how many steps fit into a budget of seconds is not known beforehand")
        if self.epochs is not None:
            steps = self.epochs * steps_per_epoch
        elif self.updates_per_pair is not None:
            steps = self.updates_per_pair / updates_per_step
        else:
            steps = (self.flops or 0.0) / flops_per_step
        return max(1, round(steps) if self.flops is None else int(steps))

    def scaled(self, factor: float) -> "Budget":
        """The same limit, times a factor."""
        return Budget(**{name: value * factor for name, value in vars(self).items() if value is not None})

    def shared_by(self, pairs: int) -> "Budget":
        """One pair's part of a budget for several pairs that are trained one after the other.

        FLOPs and seconds are divided; epochs and updates are each pair's already.
        """
        return self if self.flops is None and self.seconds is None else self.scaled(1 / pairs)
