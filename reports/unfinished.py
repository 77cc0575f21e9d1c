"""What a run lacks: planned cells without a usable result, put together so that hundreds are one line."""

from dataclasses import dataclass

from reports.rundata import RunData
from reports.schema import Pair

NOT_RUN, DAMAGED = "not run yet", "damaged: "


@dataclass(frozen=True)
class Unfinished:
    """A planned cell without a usable result. ``status`` is failed, timeout, diverged or missing.

    ``alone``: a pair that diverged alone, in a cell whose other pairs are done.
    """

    label: str
    seed: int
    pairs: list[Pair]
    status: str
    reason: str
    alone: bool = False


@dataclass(frozen=True)
class Gap:
    """Unfinished cells of one method that ended in the same way.

    Attributes:
        label: The method.
        status: As in ``Unfinished``.
        alone: They are single pairs of cells that are done.
        planned: Cells that the method has in all.
        cells: The cells.
    """

    label: str
    status: str
    alone: bool
    planned: int
    cells: list[Unfinished]

    @property
    def damaged(self) -> bool:
        """They have been run, and a file of theirs is damaged."""
        return self.cells[0].reason.startswith(DAMAGED)

    @property
    def line(self) -> str:
        """The whole group in one line."""
        many = "s" if len(self.cells) > 1 else ""
        if self.alone:
            return f"{self.label}: {len(self.cells)} pair{many} diverged alone, in cells whose other pairs are done"
        reasons = dict.fromkeys(cell.reason for cell in self.cells)
        first = next(iter(reasons))
        why = first if len(reasons) == 1 else f"{first}, and {len(reasons) - 1} other reasons"
        state = self.status if self.status != "timeout" else "out of time"
        return f"{self.label}: {len(self.cells)} of {self.planned} cells {state} ({why})"


def unfinished_cells(run: RunData) -> list[Unfinished]:
    """All of them, in plan order."""
    found = []
    for data in run.methods.values():
        for cell in data.cells:
            record = data.records.get(cell.key)
            if record is None:
                damage = run.damaged.get(cell.key)
                reason = NOT_RUN if damage is None else f"{DAMAGED}{damage}"
                found.append(Unfinished(data.label, cell.seed, cell.pairs, "missing", reason))
            elif record.status not in ("done", "skipped"):
                step = "" if record.diverged_step is None else f" (step {record.diverged_step})"
                reason = (record.error or "no reason recorded") + step
                found.append(Unfinished(data.label, cell.seed, cell.pairs, record.status, reason))
            for lost in record.lost if record and record.status == "done" else ():
                found.append(
                    Unfinished(data.label, cell.seed, [(lost.image, lost.text)], "diverged", lost.error, alone=True)
                )
    return found


def gaps(cells: list[Unfinished], planned: dict[str, int]) -> list[Gap]:
    """The cells by method and by how they ended.

    Args:
        cells: What is unfinished.
        planned: Label -> cells of the method in all.
    """
    groups: dict[tuple[str, str, bool, str], list[Unfinished]] = {}
    for cell in cells:
        named = cell.reason if cell.reason.startswith(DAMAGED) else ""  # each damaged file is named
        groups.setdefault((cell.label, cell.status, cell.alone, named), []).append(cell)
    return [Gap(*key[:3], planned[key[0]], group) for key, group in groups.items()]
