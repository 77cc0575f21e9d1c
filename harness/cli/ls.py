"""``harness ls``: what there is to name in a sweep with its settings, and which runs there are."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli import listing
from harness.cli.common import Json, short, stdout
from harness.contract.registry import near
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WHAT = ("encoders", "datasets", "methods", "connectors", "objectives", "tasks", "sweeps", "runs")
NUMBERS = ("dim", "params", "encoders", "cells", "finished", "version")

MANY = 100_000
"""Numbers from here on are shown as 1.23 M."""


def ls(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(WHAT)}.", show_default=False)],
    name: Annotated[str | None, typer.Argument(help="A name, part of one, or a pattern.", show_default=False)] = None,
    as_json: Json = False,
    storage: Annotated[str, typer.Option(help="Where runs lie: a folder, or s3://BUCKET/PREFIX.")] = "runs",
) -> None:
    """List what a sweep may name, or runs; of one method, dataset, task or connector, list every setting.

    Examples: harness ls methods; harness ls method winner; harness ls encoders vit_small; harness ls runs --json
    """
    kinds: dict[str, Callable[[str | None], list[dict[str, Any]]]] = {
        "encoders": listing.encoders,
        "datasets": listing.datasets,
        "methods": listing.methods,
        "connectors": listing.connectors,
        "objectives": listing.objectives,
        "tasks": listing.tasks,
        "sweeps": listing.sweeps,
        "runs": functools.partial(listing.runs, storage),
    }
    kind = what if what in kinds else f"{what}s"
    if kind not in kinds:
        raise HarnessError(f"there are no {what!r} to list", fix=near(what, WHAT))
    if name and (described := _settings(kind, name)):
        _print_settings(*described, as_json=as_json)
        return
    rows = kinds[kind](name)
    if as_json:
        stdout.print_json(json.dumps(rows))
        return
    if name and not rows:
        raise HarnessError(f"no {kind.removesuffix('s')} matches {name!r}", fix=f"harness ls {kind}")
    if kind == "encoders" and name is None:
        _print_rows(listing.schemes_of(rows))
        stdout.print("harness ls encoders PART lists those with this part in their name, e.g. packaged: or vit_small")
        return
    if rows:
        _print_rows(rows)
    else:
        stdout.print(f"no {kind}")


def _settings(kind: str, name: str) -> tuple[str, type, Sequence[str]] | None:
    """(what it is, the class that holds its settings, budget keys) where the name is one of a registry's."""
    from harness.cli.settings import class_with_settings

    return class_with_settings(kind, name)


def _print_settings(title: str, cls: type, budgets: Sequence[str], *, as_json: bool) -> None:
    from harness.sweep.described import settings_of

    settings = settings_of(cls)
    if as_json:
        stdout.print_json(json.dumps([dataclasses.asdict(one) for one in settings]))
        return
    stdout.print(escape(plain(title)))
    if budgets:
        stdout.print(f"budget, one of them: {', '.join(budgets)}")
    if not settings:
        stdout.print("no settings")
        return
    table = Table("setting", "may be", "default", "meaning")
    for one in settings:
        shown = "must be given" if one.default is None else one.default
        table.add_row(*(escape(plain(cell)) for cell in (one.name, one.type, shown, one.about)))
    stdout.print(table)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    headers = [header for header in rows[0] if any(row.get(header) is not None for row in rows)]
    table = Table()
    for header in headers:
        table.add_column(header, overflow="fold", justify="right" if header in NUMBERS else "left")
    for row in rows:
        table.add_row(*(escape(_shown(row.get(header))) for header in headers))
    stdout.print(table)


def plain(value: object) -> str:
    """A text without the marks of code that docstrings have."""
    return str(value).replace("``", "")


def _shown(value: object) -> str:
    """A value in a table."""
    if isinstance(value, int) and value >= MANY:
        return short(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else plain(value) if value is not None else "-"
