"""The views: every ratio between the reference and a method beside the budget it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from reports import formatting
from reports.checkpoints import ranked
from reports.compare import Comparison
from reports.constraints import allowed_pairs
from reports.cuts import Cut, Runs, best_within, delivered, largest_common, mean_gap
from reports.paper import paper
from reports.rundata import MethodData, RunData
from reports.schema import CostRatio, Spent, ViewEntry, Views
from reports.scores import ReferenceScores, seed_mean
from reports.spending import MethodCost, ratio, seconds_ratio


@dataclass(frozen=True)
class CutReference:
    """How the reference itself does at the budget of a view, measured like every method.

    Attributes:
        spearman: Of its ranking there against its test scores at its full budget (seeds never meet themselves).
        regret: Of its pick there, in the same way.
        delivered: Test score of its own connector there for the pair it picks there; NaN where it is cut on its curve,
            because test scores are known at the end of a run only.
        mean_gap: How far the mean test score there lies behind that of its full budget; NaN in the same case.
        label: Whose run it is: the reference's own, cut or whole, or a shorter run of the same method.
        ended: It is the end of that run.
        decays: The learning rate of that run decays towards its end.
    """

    spearman: float = float("nan")
    regret: float = float("nan")
    delivered: float = float("nan")
    mean_gap: float = float("nan")
    label: str = ""
    ended: bool = True
    decays: bool = True


@dataclass(frozen=True)
class Side:
    """A method, its cost as run and its comparison as run."""

    data: MethodData
    cost: MethodCost
    comparison: Comparison


@dataclass(frozen=True)
class _Setting:
    """What all views of a run have in common."""

    run: RunData
    truth: ReferenceScores
    reference: Side
    allowed: Bool[np.ndarray, " pairs"]


def views_of(
    run: RunData, truth: ReferenceScores, reference: Side, methods: Mapping[str, Side]
) -> tuple[Views, dict[str, dict[str, CutReference]]]:
    """All views of all methods but the reference.

    Returns:
        The views, and for the matched ones (view -> label) how the reference does at the same point.
    """
    setting = _Setting(run, truth, reference, allowed_pairs(run.manifest))
    theirs = Runs.of(reference.data, run)
    tables: dict[str, dict[str, ViewEntry]] = {name: {} for name in Views.model_fields}
    cuts: dict[str, dict[str, CutReference]] = {"matched_updates": {}, "matched_flops": {}}
    for label, side in methods.items():
        ours, as_run = Runs.of(side.data, run), _as_run(setting, side)
        tables["as_run"][label] = as_run
        tables["matched_batch"][label] = _matched_batch(side, reference, as_run)
        for view, points in (("matched_updates", _at_same_updates), ("matched_flops", _at_same_flops)):
            found = points(ours, theirs, side.cost, reference.cost)
            if isinstance(found, str):
                tables[view][label], cuts[view][label] = ViewEntry(note=found), CutReference()
            else:
                tables[view][label], cuts[view][label] = _matched(setting, side, *found)
        tables["paper"][label] = paper(run, side.cost, reference.cost)
    return Views(**tables), cuts


def _as_run(setting: _Setting, side: Side) -> ViewEntry:
    reference, every = setting.reference, np.arange(len(setting.truth.ran))
    note = None
    if not (side.cost.complete and reference.cost.complete):
        note = "no ratio: " + " and ".join(
            f"{s.data.label} has no seed with all its cells" for s in (side, reference) if not s.cost.complete
        )
    elif side.cost.device != reference.cost.device:
        note = "no ratio of seconds: the two sides ran on different kinds of device"
    elif not side.cost.flops.total or not reference.cost.flops.total:
        free = side if not side.cost.flops.total else reference
        note = f"no ratio of FLOPs: {free.data.label} spends none"
    known = side.cost.complete or side.cost.wall_s is not None
    return ViewEntry(
        cost_ratio=cost_ratio(side.cost, reference.cost),
        spearman=side.comparison.spearman.value,
        regret=side.comparison.regret.value,
        delivered=delivered(side.data, seed_mean(side.data.ranking), every, setting.allowed),
        mean_gap=mean_gap(setting.truth, side.data, every),
        budget=side.cost.budget if known else Spent(),
        reference_budget=reference.cost.budget,
        note=note,
    )


def cost_ratio(cost: MethodCost, reference: MethodCost) -> CostRatio:
    """Reference / method as run; null while either is incomplete, of seconds also between kinds of device."""
    if not (cost.complete and reference.complete):
        return CostRatio()
    wall = seconds_ratio(reference, cost, reference.wall_s, cost.wall_s)
    return CostRatio(flops=ratio(reference.flops.total, cost.flops.total), wall=wall)


def _matched_batch(side: Side, reference: Side, as_run: ViewEntry) -> ViewEntry:
    own, theirs = side.cost.batch_size, reference.cost.batch_size
    if own is None or theirs is None:
        return ViewEntry(note=f"{(side if own is None else reference).data.label} has no single batch size")
    if own != theirs:
        return ViewEntry(note=f"batch sizes differ: {own} against {theirs}")
    return as_run


def _at_same_updates(ours: Runs, theirs: Runs, cost: MethodCost, reference: MethodCost) -> tuple[Cut, Cut] | str:
    """The largest number of updates per pair at which both have scores; at equal batch sizes samples are equal too."""
    if not ours.cuts or not theirs.cuts:
        return "no seed with all its cells on both sides"
    if cost.batch_size is None or reference.batch_size is None:
        return "one side has no updates of a single batch size"
    if cost.batch_size != reference.batch_size:
        return (
            f"updates and samples per pair cannot both be equal: batch sizes {cost.batch_size} against "
            f"{reference.batch_size}"
        )
    if ours.data.rungs is not None or theirs.data.rungs is not None:
        return "one side stops trailing pairs: its pairs have different numbers of updates"
    found = largest_common(ours, theirs)
    if found is None:
        return f"no common checkpoint: {ours.scored_at} and {theirs.scored_at} updates per pair"
    return found


def _at_same_flops(ours: Runs, theirs: Runs, cost: MethodCost, reference: MethodCost) -> tuple[Cut, Cut] | str:
    """Each side's best point within the smaller of both totals."""
    if not ours.cuts or not theirs.cuts or not cost.flops.total or not reference.flops.total:
        return "no seed with all its cells on both sides, or nothing spent"
    limit = min(cost.flops.total, reference.flops.total)
    own, other = best_within(ours, limit), best_within(theirs, limit)
    if own is None or other is None:
        name = "the method" if own is None else "the reference"
        return f"{name} has no checkpoint within {formatting.flops(limit)}, the other side's total"
    return own, other


def _matched(setting: _Setting, side: Side, ours: Cut, theirs: Cut) -> tuple[ViewEntry, CutReference]:
    run, truth, reference = setting.run, setting.truth, setting.reference
    found = ranked(truth, ours.data, run, ours.points, own=False)
    cut = ranked(truth, theirs.data, run, theirs.points, own=theirs.data is reference.data)
    mine, grid = ours.mean, theirs.mean
    entry = ViewEntry(
        cost_ratio=CostRatio(
            flops=ratio(grid.flops, mine.flops),
            wall=seconds_ratio(reference.cost, side.cost, grid.seconds, mine.seconds),
        ),
        spearman=found.spearman.value,
        regret=found.regret.value,
        delivered=_delivered(setting, ours),
        mean_gap=_mean_gap(setting, ours),
        budget=_budget(ours, side.cost),
        reference_budget=_budget(theirs, reference.cost),
        note="; ".join(_remarks(side, ours) + _remarks(reference, theirs)) or None,
    )
    return entry, CutReference(
        cut.spearman.value,
        cut.regret.value,
        _delivered(setting, theirs),
        _mean_gap(setting, theirs),
        theirs.data.label,
        theirs.ended,
        _decays(theirs.data),
    )


def _rows(setting: _Setting, cut: Cut) -> np.ndarray:
    """Numbers of the seeds of a cut."""
    return np.array([row for row, seed in enumerate(setting.run.manifest.seeds) if seed in cut.points])


def _delivered(setting: _Setting, cut: Cut) -> float:
    return delivered(cut.data, cut.mean.scores, _rows(setting, cut), setting.allowed) if cut.ended else float("nan")


def _mean_gap(setting: _Setting, cut: Cut) -> float:
    return mean_gap(setting.truth, cut.data, _rows(setting, cut)) if cut.ended else float("nan")


def _remarks(side: Side, cut: Cut) -> list[str]:
    """What a reader must know of how a side came to be at this point."""
    label = side.data.label
    if cut.data is not side.data:
        stands = f"{cut.data.label}, a shorter run with a schedule of its own, stands for {label}"
        if cut.curve > cut.score:
            score, curve = (formatting.number(abs(value)) for value in (cut.score, cut.curve))
            stands += f", whose own curve has a better mean validation score there ({curve} against {score})"
        return [stands]
    if cut.ended:
        return []
    rate = "where its learning rate had not decayed and" if _decays(side.data) else "where"
    return [f"{label} is cut on its curve, {rate} its test scores are not known"]


def _decays(data: MethodData) -> bool:
    return data.planned.config.get("schedule") != "constant"


def _budget(cut: Cut, cost: MethodCost) -> Spent:
    return Spent(
        batch_size=cost.batch_size,
        updates_per_pair=cut.mean.updates,
        samples_per_pair=cut.mean.samples,
        flops=cut.mean.flops,
    )
