"""The pair that a method hands over: its best by the mean validation score over seeds, within the constraints."""

from harness.contract.registry import near
from harness.errors import HarnessError
from harness.run.store import RunStore
from reports.compare import seed_mean
from reports.constraints import allowed_pairs
from reports.ranking import pick
from reports.rundata import load
from reports.schema import Pair


def picked_pair(store: RunStore, label: str) -> Pair:
    """The pair that a method of a run picks.

    Where trailing pairs were stopped, those that went further rank above those that did not.

    Raises:
        Damaged: A cell of the method is.
        HarnessError: No such method, or it has no pair to pick.
    """
    run = load(store)
    if label not in run.methods:
        raise HarnessError(f"the run has no method {label!r}", fix=near(label, run.methods))
    for cell in run.methods[label].cells:
        if cell.key in run.damaged:  # another pair might be the best one
            raise run.damaged[cell.key]
    best = pick(seed_mean(run.methods[label].ranking), allowed_pairs(run.manifest))
    if best is None:
        raise HarnessError(f"method {label!r} has no pair to pick", fix="run the sweep first, or name a --pair")
    return run.manifest.pairs[best]
