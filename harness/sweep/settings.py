"""Settings of a method, a task or a connector kind: from the sweep file's keys to a frozen dataclass."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.contract.registry import near
from harness.errors import HarnessError
from harness.sweep.located import message_of

T = TypeVar("T")


def build_config(cls: type[T], values: Mapping[str, object], *, where: str, beside: Sequence[str] = ()) -> T:
    """A frozen config dataclass from a mapping, type-checked, unknown keys refused with the near ones.

    Args:
        cls: The dataclass (a method class, say).
        values: What the sweep file says.
        where: Named in errors.
        beside: Keys that may stand beside these settings, for the hint at a misspelt one.

    Raises:
        HarnessError: An unknown key or a wrong value.
    """
    declared = dataclasses.fields(cls)  # type: ignore[arg-type]
    fields = {field.name for field in declared if field.init and not field.name.startswith("_")}
    for key in values:
        if key not in fields:
            raise HarnessError(f"unknown key {key!r}", where=where, fix=near(key, [*fields, *beside]))
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part in values or isinstance(part, int))
        raise HarnessError(message_of(first), where=f"{where}.{place}" if place else where) from error
