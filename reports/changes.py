"""What has changed from one run to another, and what of it is beyond noise: for those who change a method.

Both runs are resampled with the same weights over the same test units (images, or groups), so differences are paired.
All of them are held to one simultaneous bound (the largest standardised excess over all differences, as in
``reports.delivered.surely_better``), and a change counts only if every seed says so too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from harness.contract.pairs import Pair
from harness.errors import HarnessError
from harness.run.records import Manifest
from harness.run.store import RunStore
from reports.bootstrap import percentile_interval
from reports.constraints import allowed_pairs
from reports.ranking import pick
from reports.rundata import RunData, load
from reports.scores import ReferenceScores, seed_mean, test_scores
from reports.spending import cost_of

LEVEL = 0.95

Verdict: TypeAlias = Literal["worse", "better", "not separated"]
ORDER: tuple[Verdict, ...] = ("worse", "not separated", "better")


@dataclass(frozen=True)
class Change:
    """One number of one method in two runs.

    Attributes:
        method: Label, the same in both.
        quantity: ``delivered score``, or ``mean score`` over the pairs that both runs have.
        before: In the first run, as the metric is written.
        after: In the other.
        difference: ``after`` minus ``before``.
        ci95: Interval of the difference, over test units.
        verdict: Beyond noise or not, by the simultaneous bound.
        flops: FLOPs of the method in both runs; None where they are not known.
    """

    method: str
    quantity: str
    before: float
    after: float
    difference: float
    ci95: tuple[float, float]
    verdict: Verdict
    flops: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class _Gain:
    """A difference, larger is better, with its draws and what each seed says."""

    method: str
    quantity: str
    before: float
    after: float
    draws: np.ndarray
    per_seed: tuple[float, ...]

    @property
    def value(self) -> float:
        return self.after - self.before


def changes(base: RunStore, other: RunStore, *, seed: int = 0) -> list[Change]:
    """Every method that two runs share, regressions first, then by the size of the difference.

    Args:
        base: The run that is compared with.
        other: The run that may be better or worse.
        seed: Of the resampling.

    Raises:
        HarnessError: The runs have other test data or another selection metric, or share no method or no pair.
    """
    first, second = load(base), load(other)
    _check_same_test(first.manifest, second.manifest)
    pairs = [pair for pair in first.manifest.pairs if pair in set(second.manifest.pairs)]
    labels = [label for label in first.methods if label in second.methods]
    if not pairs or not labels:
        raise HarnessError("the runs share no " + ("method" if pairs else "pair"), where="harness compare")
    gains = [gain for label in labels for gain in _gains(first, second, label, pairs, seed)]
    sign = 1.0 if first.manifest.selection.higher_is_better else -1.0
    found = [
        Change(
            gain.method,
            gain.quantity,
            sign * gain.before,
            sign * gain.after,
            sign * gain.value,
            _interval(sign * gain.draws),
            verdict,
            (_flops(first, gain.method), _flops(second, gain.method)),
        )
        for gain, verdict in zip(gains, verdicts([g.draws for g in gains], [g.per_seed for g in gains]), strict=True)
    ]
    return sorted(found, key=lambda one: (ORDER.index(one.verdict), sign * one.difference))


def verdicts(draws: Sequence[np.ndarray], per_seed: Sequence[Sequence[float]]) -> list[Verdict]:
    """Which differences are beyond noise, all together at 95 %.

    Args:
        draws: ``[resamples]`` of each difference, larger is better.
        per_seed: What each seed says of it.
    """
    found: list[Verdict] = ["not separated"] * len(draws)
    moving = [number for number, drawn in enumerate(draws) if drawn.std() > 0]
    if not moving:
        return found
    drawn = np.stack([draws[number] for number in moving])
    middle, spread = drawn.mean(axis=1), drawn.std(axis=1)
    bound = float(np.quantile((np.abs(drawn - middle[:, None]) / spread[:, None]).max(axis=0), LEVEL))
    for number, centre, scale in zip(moving, middle, spread, strict=True):
        if centre > bound * scale and min(per_seed[number], default=0.0) > 0:
            found[number] = "better"
        elif -centre > bound * scale and max(per_seed[number], default=0.0) < 0:
            found[number] = "worse"
    return found


def _check_same_test(first: Manifest, second: Manifest) -> None:
    """Refuse runs whose differences cannot be paired."""
    one, two = ((m.selection.task, m.selection.metric) for m in (first, second))
    if one != two:
        raise HarnessError(f"the runs select by other metrics: {' '.join(one)} and {' '.join(two)}")
    shared = first.banks.keys() & second.banks.keys()
    other = [name for name in sorted(shared) if first.banks[name].digest != second.banks[name].digest]
    splits = [(m.sweep.get("data") or {}).get("split") for m in (first, second)]
    rows = [(m.rows["test"], m.sweep.get("sample")) for m in (first, second)]
    if not shared or other or splits[0] != splits[1] or rows[0] != rows[1]:
        why = "no bank is in both" if not shared else f"{other[0]} differs" if other else "they are split otherwise"
        raise HarnessError(f"the runs have other test data: {why}", fix="compare runs of one dataset and split")


def _gains(first: RunData, second: RunData, label: str, pairs: Sequence[Pair], seed: int) -> list[_Gain]:
    found = []
    sides = [(run, run.methods[label], test_scores(run, run.methods[label], seed=seed)) for run in (first, second)]
    if any(scores.draws is None for _, _, scores in sides) or sides[0][2].units != sides[1][2].units:
        return []
    places = [[run.manifest.pairs.index(pair) for pair in pairs] for run, _, _ in sides]
    known = np.all([np.isfinite(s.mean[at]) for (_, _, s), at in zip(sides, places, strict=True)], axis=0)
    common = [[p for p, ok in zip(at, known, strict=True) if ok] for at in places]
    picks = [pick(seed_mean(data.ranking), allowed_pairs(run.manifest)) for run, data, _ in sides]
    chosen = {"mean score": common, "delivered score": [[one] if one is not None else [] for one in picks]}
    for quantity, (before, after) in chosen.items():
        if before and after:
            numbers = [_means(scores, at) for (_, _, scores), at in zip(sides, (before, after), strict=True)]
            (old, old_draws, old_seeds), (new, new_draws, new_seeds) = numbers
            seeds = tuple(value - old for value in new_seeds) + tuple(new - value for value in old_seeds)
            if np.isfinite([old, new]).all():
                found.append(_Gain(label, quantity, old, new, new_draws - old_draws, seeds))
    return found


def _means(scores: ReferenceScores, among: Sequence[int]) -> tuple[float, np.ndarray, tuple[float, ...]]:
    """Mean over these pairs of the mean over seeds: its value, its draws, and the value of every seed."""
    assert scores.draws is not None, "runs without stored queries are left out"
    rows = [row[list(among)] for row in scores.scores]
    per_seed = tuple(float(row.mean()) for row in rows if np.isfinite(row).all())
    draws = seed_mean(scores.draws)[:, list(among)].mean(axis=1)
    return float(scores.mean[list(among)].mean()), draws, per_seed


def _interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = percentile_interval(draws)
    return float(low), float(high)


def _flops(run: RunData, label: str) -> float | None:
    cost = cost_of(run.methods[label], run.manifest)
    return cost.flops.total if cost.complete else None
