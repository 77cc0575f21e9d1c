"""Sweep file -> cells with keys: what is to be done. Pure: nothing here looks at what has been done."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.contract.budget import Budget
from harness.contract.method import METHODS, Method, TrainsPairsAlone, estimate_of, takes_budget
from harness.contract.pairs import Pair
from harness.contract.stopping import AsyncPolicy, Policy
from harness.errors import HarnessError
from harness.sweep.config import MethodConfig, Sweep
from harness.sweep.constraints import MEASURED, Encoders, may_meet, meets
from harness.sweep.encoders import encoder_record
from harness.sweep.ends import ends_of
from harness.sweep.keys import CellKeys, without_folder
from harness.sweep.ladders import BUDGET_KEYS
from harness.sweep.located import errors_located, place
from harness.sweep.planned import PlannedCell
from harness.sweep.resolve import ResolvedSweep
from harness.sweep.settings import build_config

KINDS = ("per_pair", "joint", "score")


@dataclass(frozen=True)
class ReadyMethod:
    """One method of the sweep, ready to run.

    Attributes:
        label: Its label in the sweep file.
        method: The method with its settings.
        budget: When it stops.
        config: As written.
        rungs: Where the rungs end, for a method that stops trailing pairs.
    """

    label: str
    method: Method
    budget: Budget
    config: MethodConfig
    rungs: tuple[Budget, ...] = ()

    @property
    def name(self) -> str:
        """The method's name without the folder of a plug-in file."""
        return without_folder(self.config.method)

    @property
    def is_grid(self) -> bool:
        """Whether it trains every pair for itself, and to the end."""
        return isinstance(self.method, TrainsPairsAlone) and not self.rungs

    def groups(self, pairs: tuple[Pair, ...]) -> list[tuple[Pair, ...]]:
        """Pairs of each of its cells."""
        # In one order, so that a joint cell does not depend on the order of the sweep file.
        return [(pair,) for pair in pairs] if self.method.kind == "per_pair" else [tuple(sorted(pairs))]


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        resolved: The resolved sweep.
        methods: Its methods by label.
        cells: All cells; joint ones first, because they take longest.
    """

    resolved: ResolvedSweep
    methods: Mapping[str, ReadyMethod]
    cells: tuple[PlannedCell, ...]

    @property
    def sweep(self) -> Sweep:
        """The sweep file."""
        return self.resolved.sweep

    @property
    def reference(self) -> str | None:
        """What rankings are compared with: as written, else the sweep's grid, of several the one with most training."""
        if self.sweep.reference is not None:
            return self.sweep.reference
        grids = [ready for ready in self.methods.values() if ready.is_grid]
        units = {unit for ready in grids for unit in ready.config.budget}
        if len(units) > 1:  # passes and FLOPs, say, cannot be compared before anything has run
            return grids[0].label
        return max(grids, key=lambda ready: ready.budget.limit).label if grids else None

    @cached_property
    def by_key(self) -> Mapping[str, PlannedCell]:
        """Key -> cell. Labels of equal methods share their cells; the first one stands."""
        found: dict[str, PlannedCell] = {}
        for cell in self.cells:
            found.setdefault(cell.key, cell)
        return found

    @cached_property
    def ends(self) -> Mapping[str, tuple[float, ...]]:
        """Label -> updates per pair at which methods end that it is compared with; see ``Problem.ends``."""
        updates = {label: self._updates(ready) for label, ready in self.methods.items()}
        return ends_of(self.sweep.reference, {label: known for label, known in updates.items() if known is not None})

    def _updates(self, ready: ReadyMethod) -> float | None:
        """Updates that each pair will have had; None where they are not known, or not the same for all pairs."""
        groups = ready.groups(self.resolved.pairs)
        try:
            # Only a budget of FLOPs ends earlier for a pair of larger encoders.
            counts = [
                estimate_of(ready.method, self.resolved.sizes(group), ready.budget)
                for group in (groups if ready.budget.flops is not None else groups[:1])
            ]
        except HarnessError:
            return None  # the method refuses these shapes, which is for its own cells to say
        updates = {count.updates_per_pair for count in counts if count is not None}
        alike = len(updates) == 1 and None not in counts and not ready.rungs
        return updates.pop() if alike else None

    @cached_property
    def _chains(self) -> Mapping[tuple[str, int, tuple[Pair, ...]], list[PlannedCell]]:
        found: dict[tuple[str, int, tuple[Pair, ...]], list[PlannedCell]] = {}
        for cell in self.cells:
            if cell.rung is not None:
                found.setdefault((cell.label, cell.seed, tuple(cell.pairs)), []).append(cell)
        return found

    def rungs_from(self, cell: PlannedCell) -> list[PlannedCell]:
        """This rung cell and the same pair's rungs above it, in order."""
        own = self._chains[cell.label, cell.seed, tuple(cell.pairs)]
        return [other for other in own if (other.rung or 0) >= (cell.rung or 0)]

    def rung_before(self, cell: PlannedCell) -> PlannedCell | None:
        """The cell of the same pair, seed and label one rung below."""
        if not cell.rung:
            return None
        own = self._chains[cell.label, cell.seed, tuple(cell.pairs)]
        return next(other for other in own if other.rung == cell.rung - 1)

    def allows(self, pair: Pair) -> bool:
        """Whether a pair is known to meet the constraints on what may be picked."""
        given = self._constraints
        return not given or meets(self._encoders(pair), given)

    def may_allow(self, pair: Pair) -> bool:
        """Whether a pair may turn out to meet them once it is embedded."""
        given = self._constraints
        return not given or may_meet(self._encoders(pair), given)

    @property
    def _constraints(self) -> Mapping[str, Any]:
        return self.sweep.selection.constraints.model_dump(exclude_none=True)

    def _encoders(self, pair: Pair) -> Encoders:
        dataset, (image, text) = self.resolved.dataset, pair
        found = self.resolved.bank(dataset, "image", image), self.resolved.bank(dataset, "text", text)
        return encoder_record(found[0]), encoder_record(found[1])

    def check_constraints(self, *, without_data: bool = False) -> None:
        """Find constraints that no pair can meet, from what is known before anything is extracted.

        Args:
            without_data: The encoders are stand-ins, of which more may be known later.

        Raises:
            HarnessError: No pair can.
        """
        resolved, given = self.resolved, self.sweep.selection.constraints.model_dump(exclude_none=True)
        if not given:
            return
        images = [encoder_record(resolved.bank(resolved.dataset, "image", name)) for name in resolved.images]
        texts = [encoder_record(resolved.bank(resolved.dataset, "text", name)) for name in resolved.texts]
        pairs = list(itertools.product(images, texts))
        unknown = frozenset(given) if without_data else MEASURED
        if not any(may_meet(pair, given, unknown=unknown) for pair in pairs):
            raise HarnessError(
                f"none of the {len(pairs)} pairs can meet the constraints",
                where=place(self.sweep.source, "selection.constraints"),
                fix="loosen them, or state params or license of the encoders where they are not known",
            )


def make_plan(resolved: ResolvedSweep) -> Plan:
    """Cells of every method, with keys. Checks methods, settings and budgets.

    Raises:
        HarnessError: A method, a setting or a budget is wrong.
    """
    sweep, pairs = resolved.sweep, resolved.pairs
    methods = {label: _ready(sweep, label, config, len(pairs)) for label, config in sweep.methods.items()}
    ordered = sorted(methods.values(), key=lambda ready: ready.method.kind == "per_pair")
    keys = {label: CellKeys(resolved, ready.config, ready.method) for label, ready in methods.items()}
    cells = tuple(
        PlannedCell(
            key=keys[ready.label].of(group, seed, ready.rungs[rung] if rung is not None else None),
            label=ready.label,
            seed=seed,
            pairs=list(group),
            cpus=ready.config.resources.cpu,
            gpus=ready.config.resources.gpu,
            rung=rung,
        )
        for ready in ordered
        for seed in sweep.seeds
        for rung in (range(len(ready.rungs)) if ready.rungs else (None,))
        for group in ready.groups(pairs)
    )
    return Plan(resolved, methods, cells)


def _ready(sweep: Sweep, label: str, config: MethodConfig, pairs: int) -> ReadyMethod:
    with errors_located(sweep.source, f"methods.{label}"):
        method = _method(sweep, label, config)
        if len(config.budget) > 1:
            raise HarnessError(f"two budgets: {', '.join(config.budget)}", fix="give one of them")
        if not config.budget and takes_budget(method):
            raise HarnessError("has no budget", fix="give epochs, updates_per_pair, flops or seconds")
        if config.budget and not takes_budget(method):
            raise HarnessError(f"takes no budget, but {next(iter(config.budget))} is given", fix="leave it out")
        budget = Budget(**(dict(config.budget) or {"epochs": 1}))
        rungs = tuple(method.rungs(pairs, budget)) if isinstance(method, Policy | AsyncPolicy) else ()
    return ReadyMethod(label, method, budget, config, rungs)


def _method(sweep: Sweep, label: str, config: MethodConfig) -> Method:
    found = METHODS.get(config.method, sweep.root)
    if not isinstance(found, type) or not hasattr(found, "__dataclass_fields__"):
        raise HarnessError(f"{config.method!r} is not a method", fix="write a frozen dataclass")
    method = build_config(found, config.config, where=f"methods.{label}", beside=(*BUDGET_KEYS, "resources"))
    if not isinstance(method, Method) or method.kind not in KINDS:
        raise HarnessError(f"{config.method!r} is not a method", fix=f"it needs kind ({KINDS}), version and fit")
    return method
