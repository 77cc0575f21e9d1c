"""The one place where the record of a cell is made."""

from typing import Any

from harness.contract.ledger import Ledger
from harness.run.provenance import provenance
from harness.run.records import NOTHING_SPENT, CellRecord, LedgerRecord, Status
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell


def cell_record(plan: Plan, cell: PlannedCell, status: Status, ledger: Ledger | None = None, **rest: Any) -> CellRecord:
    """The record of a planned cell, with whatever else is known of it.

    Args:
        plan: The cell's plan.
        cell: The cell.
        status: How it ended.
        ledger: What it spent; nothing by default.
        rest: Further fields of ``CellRecord``.
    """
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
