"""The plan of a run, from its manifest: what a worker process starts from."""

from functools import lru_cache

from harness.run.store import RunStore
from harness.sweep.config import Sweep
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep


def reopen(where: str, stamp: str) -> tuple[Plan, RunStore]:
    """The plan and the store of a run.

    Args:
        where: The run's place.
        stamp: Changes when the manifest does; a plan is kept for one stamp.
    """
    return _plan(where, stamp), RunStore(where)


@lru_cache(maxsize=2)
def _plan(where: str, stamp: str) -> Plan:
    del stamp
    # The run's own place, not what the manifest says: a worker has another working folder, a cluster another mount.
    storage = where.rpartition("/")[0]
    written = RunStore(where).manifest().sweep | {"storage": storage}
    return make_plan(ResolvedSweep(Sweep.model_validate(written)))
