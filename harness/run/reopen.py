"""The plan of a run, from its manifest: what a worker process starts from."""

from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError
from harness.run.store import RunStore
from harness.sweep.config import Sweep
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep


def reopen(where: str, stamp: str) -> tuple[Plan, RunStore]:
    """The plan and the store of a run.

    Args:
        where: The run's place.
        stamp: Changes when the manifest does; a plan is kept for one stamp.

    Raises:
        HarnessError: The code of this process plans other cells: it is another version.
    """
    return _plan(where, stamp), RunStore(where)


@lru_cache(maxsize=2)
def _plan(where: str, stamp: str) -> Plan:
    del stamp
    # The run's own place, not what the manifest says: a worker has another working folder, a cluster another mount.
    storage = where.rpartition("/")[0]
    manifest = RunStore(where).manifest()
    plan = make_plan(ResolvedSweep(Sweep.model_validate(manifest.sweep | {"storage": storage})))
    if unknown := {cell.key for cell in manifest.cells} - plan.by_key.keys():
        raise HarnessError(
            f"the code here ({Path(__file__).parents[2]}) plans other cells than the sweep did ({len(unknown)} differ)",
            fix="start the sweep with --code ship, or install the same version on every node",
        )
    return plan
