"""The one place where the record of a cell is made."""

from typing import Any

from harness.contract.ledger import Ledger
from harness.contract.ledger_record import NOTHING_SPENT, LedgerRecord
from harness.run.provenance import provenance
from harness.run.records import CellRecord, Status
from harness.run.texts import TRACE_CHARS, cut, one_line
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell


def cell_record(plan: Plan, cell: PlannedCell, status: Status, ledger: Ledger | None = None, **rest: Any) -> CellRecord:
    """The record of a planned cell, with whatever else is known of it.

    Args:
        plan: The cell's plan.
        cell: The cell.
        status: How it ended.
        ledger: What it spent; nothing by default.
        rest: Further fields of ``CellRecord``. The error becomes one line, and long texts are cut.
    """
    for name, shorten in {"error": one_line, "traceback": _short_trace}.items():
        if rest.get(name):
            rest[name] = shorten(rest[name])
    rest["warnings"] = [one_line(warning) for warning in rest.get("warnings", ())]
    ready = plan.methods[cell.label]
    return CellRecord(
        key=cell.key,
        label=cell.label,
        method=ready.name,
        kind=ready.method.kind,
        version=ready.method.version,
        seed=cell.seed,
        pairs=cell.pairs,
        status=status,
        ledger=LedgerRecord.of(ledger) if ledger else NOTHING_SPENT,
        cpus=cell.cpus,
        gpus=cell.gpus,
        provenance=provenance(),
        **rest,
    )


def _short_trace(trace: str) -> str:
    return cut(trace, TRACE_CHARS)
