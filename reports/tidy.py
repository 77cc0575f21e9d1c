"""A run as tidy data frames: what its figures are drawn from, and anyone else's."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.contract.ledger import PHASES
from reports.analysis import Analysis
from reports.compare import seed_mean
from reports.drawn.costs import cost_parts
from reports.ranking import places
from reports.traces import traces


@dataclass(frozen=True)
class Frames:
    """A run as frames; numbers are means over seeds, and NaN where they are not known.

    Attributes:
        pairs: A row for each method with scores and each pair: ``image``, ``text``, ``method``, ``score`` (what the
            method ranks it by), ``test`` (its connector's test score), ``place`` (1 is best) and ``picked``; then what
            the ``reference`` (its label) says of the pair: ``reference_test``, ``reference_place``, ``not_separated``
            from its best. ``metric`` and ``higher_is_better`` say what scores are.
        methods: A row for each method: ``flops`` and ``seconds`` per seed (NaN until a seed is complete),
            ``delivered``, ``mean_score``, ``mean_gap``, ``spearman`` and ``regret``, each with ``_low`` and ``_high``;
            the mean score is over ``pairs_scored`` of ``pairs``. ``reference`` says whether it is the reference.
        curves: A row for each method and checkpoint: ``updates`` and ``samples`` per pair, ``epoch``, ``flops``,
            ``seconds``, ``score`` (mean validation score over pairs) and ``spearman`` with the reference's test scores.
        costs: A row for each method, ``unit`` (``flops`` or ``seconds``) and ``part``, with its ``value`` per seed.
    """

    pairs: pd.DataFrame
    methods: pd.DataFrame
    curves: pd.DataFrame
    costs: pd.DataFrame


def frames_of(analysis: Analysis) -> Frames:
    """All frames of a run."""
    return Frames(pair_frame(analysis), method_frame(analysis), curve_frame(analysis), part_frame(analysis))


PAIR_COLUMNS = (
    "image",
    "text",
    "method",
    "score",
    "test",
    "place",
    "picked",
    "reference",
    "reference_test",
    "reference_place",
    "not_separated",
    "metric",
    "higher_is_better",
    "score_higher_is_better",
)
CURVE_COLUMNS = (
    "method",
    "updates",
    "samples",
    "epoch",
    "flops",
    "seconds",
    "score",
    "spearman",
    "metric",
    "noise_ceiling",
)


def pair_frame(analysis: Analysis) -> pd.DataFrame:
    """``Frames.pairs``."""
    manifest, truth = analysis.manifest, analysis.truth
    nothing, selection = np.full(len(manifest.pairs), np.nan), manifest.selection
    theirs = nothing if truth is None else truth.mean
    reference_places = places(theirs) if np.isfinite(theirs).any() else nothing
    sign, close = (1.0 if selection.higher_is_better else -1.0), set(analysis.ties or [])
    rows = []
    for label, result in analysis.methods.items():
        score, test = seed_mean(result.data.scores), seed_mean(result.data.test)
        if not np.isfinite(score).any():
            continue
        place, best = places(seed_mean(result.data.ranking)), result.summary.best_pair
        for n, pair in enumerate(manifest.pairs):
            numbers = float(score[n]), float(test[n]), float(place[n]), pair == best
            yardstick = float(sign * theirs[n]), float(reference_places[n]), pair in close
            kinds = selection.metric, selection.higher_is_better, result.data.score_higher
            rows.append((*pair, label, *numbers, manifest.reference, *yardstick, *kinds))
    return pd.DataFrame(rows, columns=pd.Index(PAIR_COLUMNS))


def method_frame(analysis: Analysis) -> pd.DataFrame:
    """``Frames.methods``."""
    rows = []
    for label, result in analysis.methods.items():
        whole, got, compared = result.cost.complete, result.delivered, result.comparison
        row: dict[str, object] = {"method": label, "reference": label == analysis.summary.reference}
        row |= {"kind": result.summary.kind, "complete": whole}
        row |= {"flops": result.cost.flops.total if whole else None, "seconds": result.cost.wall_s if whole else None}
        row |= {"pairs": analysis.summary.n_pairs, "pairs_scored": result.connectors}
        estimates = {"delivered": got.best, "mean_score": got.mean, "mean_gap": got.gap}
        for name, found in {**estimates, "spearman": compared.spearman, "regret": compared.regret}.items():
            row |= {name: found.value, f"{name}_low": found.ci95[0], f"{name}_high": found.ci95[1]}
        row["regret_chance"] = compared.regret.chance
        budget = result.cost.budget
        row |= {name: getattr(budget, name) for name in ("batch_size", "updates_per_pair", "samples_per_pair")}
        selection = analysis.manifest.selection
        row |= {"metric": selection.metric, "higher_is_better": selection.higher_is_better}
        rows.append(row)
    frame = pd.DataFrame(rows)
    numbers = ["flops", "seconds", "batch_size", "updates_per_pair", "samples_per_pair"]
    return frame.astype(dict.fromkeys(numbers, float))


def curve_frame(analysis: Analysis) -> pd.DataFrame:
    """``Frames.curves``."""
    metric, ceiling = analysis.manifest.selection.metric, analysis.summary.noise_ceiling.spearman
    rows = []
    for one in traces(analysis):
        unknown = [float("nan")] * len(one.points)
        for point, score, rank in zip(one.points, one.scores or unknown, one.ranks or unknown, strict=True):
            spent = point.updates, point.samples, point.epoch, point.flops, point.seconds
            rows.append((one.label, *spent, score, rank, metric, float("nan") if ceiling is None else ceiling))
    return pd.DataFrame(rows, columns=pd.Index(CURVE_COLUMNS))


def part_frame(analysis: Analysis) -> pd.DataFrame:
    """``Frames.costs``: methods that spent something, and parts that cost any of them something."""
    shown = {label: r for label, r in analysis.methods.items() if r.summary.flops.total}
    parts = cost_parts(analysis)
    rows = []
    for label, result in shown.items():
        flops, seconds = result.summary.flops, result.cost.seconds
        rows += [(label, "flops", part, getattr(flops, part) or 0.0) for part in parts if part in PHASES]
        rows += [(label, "seconds", part, seconds[part]) for part in parts if part in seconds]
    frame = pd.DataFrame(rows, columns=pd.Index(["method", "unit", "part", "value"]))
    spent = frame.groupby(["unit", "part"])["value"].transform("max") > 0
    return frame[spent].reset_index(drop=True)
