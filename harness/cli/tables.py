"""Tables that fit the screen: one that is too wide goes on below itself, with its first column again."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

PADDING = 3
"""Characters that a column takes beside its text."""


def fitted(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[Table]:
    """The rows in as few tables as the width allows; numbers are never cut.

    Args:
        title: Above the first table.
        headers: One per column; the first column names the row and stands in every table.
        rows: As many cells as headers.
        width: Characters of the screen.
    """
    widths = [max(len(cell) for cell in column) + PADDING for column in zip(headers, *rows, strict=True)]
    groups: list[list[int]] = [[]]
    for column in range(1, len(headers)):
        taken = widths[0] + 1 + sum(widths[other] for other in groups[-1])
        if groups[-1] and taken + widths[column] > width:
            groups.append([])
        groups[-1].append(column)
    tables = []
    for number, group in enumerate(groups):
        table = Table(title=None if number else title, title_justify="left")
        table.add_column(headers[0], overflow="fold")
        for column in group:
            table.add_column(headers[column], justify="right", no_wrap=True)
        for row in rows:
            table.add_row(escape(row[0]), *(escape(row[column]) for column in group))
        tables.append(table)
    return tables
