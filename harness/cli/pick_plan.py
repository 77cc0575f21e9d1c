"""``harness pick --plan``: what a pick will cost at most, beside the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from harness.cli.common import planned_anyhow, stdout
from reports.formatting import count, flops, times

if TYPE_CHECKING:
    from harness.run.picked import WayCost
    from harness.sweep.config import Sweep


def print_plan(config: Sweep) -> None:
    """Print the stages of a pick at its most expensive. Embeds and downloads nothing."""
    from harness.run.pick_plan import plan_pick

    planned = plan_pick(planned_anyhow(config)[0])
    title = f"{config.name}: a pick at its most expensive (FLOPs)"
    table = Table("", "encoders", "images", "embedding", "connectors", "end to end", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in planned.stages:
        stage = each.stage
        name = f"stage {stage.number}, the last" if stage.last else f"stage {stage.number}"
        rows = f"{count(stage.train)} + {count(stage.validation)}"
        table.add_row(name, f"{len(stage.images)} x {len(stage.texts)}", rows, *_cells(each.cost))
    table.add_section()
    table.add_row("the pick", "", "", *_cells(planned.cost))
    if planned.grid is not None:
        table.add_row(f"the grid, {planned.grid_label}", "", "", *_cells(planned.grid))
        table.add_row("grid / pick", "", "", *map(times, planned.grid.times(planned.cost)))
    stdout.print(table)
    text = "images: training + validation. The encoders that cost most are taken to stay longest, and rows to grow on."
    if planned.unknown:
        text += f" Not counted, because unknown before they are loaded: {', '.join(planned.unknown)}."
    if planned.grid is None:
        text += " The sweep names no grid to compare with."
    stdout.print(text, markup=False, highlight=False, soft_wrap=True)


def _cells(cost: WayCost) -> list[str]:
    return [flops(cost.encode), flops(cost.connectors), flops(cost.total)]
