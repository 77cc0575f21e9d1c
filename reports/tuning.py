"""Learning rates of a method: what was tried, what was kept, and what the choice cost."""

from collections import Counter

from reports.rundata import MethodData
from reports.schema import TuningSummary

RATE = "lr"
"""Config field of a method's learning rate."""


def is_untuned(data: MethodData, tuning: TuningSummary | None) -> bool:
    """Whether a method's learning rate was set by hand; False for one without a rate."""
    tuned = tuning is not None and len(tuning.rates) > 1
    return not tuned and isinstance(data.planned.config.get(RATE), int | float)


def tuning_of(data: MethodData) -> TuningSummary | None:
    """A method's learning rates; None for a method that has none, or of which no cell has run.

    FLOPs are summed over a seed's cells and averaged over the seeds whose cells have all run, or over those begun when
    none is complete, as ``reports.spending.cost_of`` does.
    """
    seeds = list(dict.fromkeys(cell.seed for cell in data.cells))
    whole = [seed for seed in seeds if data.complete(seed)]
    counted = whole or [seed for seed in seeds if data.of_seed(seed)]
    records = [record for record in data.records.values() if record.seed in counted and record.tuning]
    tunings = [record.tuning for record in records if record.tuning]
    if not tunings:
        return None
    # A pair with rungs keeps what its last rung picked.
    last = [record for seed in counted for record in data.of_seed(seed) if record.status == "done"]
    kept = Counter(rate for record in last if record.tuning for rate in record.tuning.picked if rate is not None)
    return TuningSummary(
        rates=sorted({rate for tuning in tunings for rate in tuning.tried}),
        picked={f"{rate:g}": kept[rate] for rate in sorted(kept)},
        flops=sum(tuning.flops for tuning in tunings) / len(counted),
        shared=any(tuning.shared for tuning in tunings),
    )
