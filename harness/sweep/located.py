"""Errors of a sweep file with their place: file, line and field."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from harness.contract.registry import near
from harness.errors import HarnessError
from harness.sweep.ladders import BUDGET_KEYS
from harness.sweep.parsing import child, parsed


def located(
    error: ValidationError,
    model: type[BaseModel],
    path: Path,
    node: yaml.Node | None,
    under: tuple[str | int, ...] = (),
) -> HarnessError:
    """An error of the model's validation, with file, line and field; an unknown key before all others."""
    # A misspelt key is also a missing one: the misspelling says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where, line = [str(part) for part in under], None
    for part in under:
        node = child(node, part)
        line = node.start_mark.line + 1 if node else line
    for number, part in enumerate(first["loc"]):
        found = child(node, part)
        if found is not None:
            node, line = found, found.start_mark.line + 1
            where.append(str(part))
        elif _is_written(part, _fields_at(model, first["loc"][:number])) or first["type"] == "extra_forbidden":
            where.append(str(part))
    at = f"{path}:{line}" if line else str(path)
    unknown = first["type"] == "extra_forbidden"
    fix = near(str(first["loc"][-1]), _fields_at(model, first["loc"][:-1])) if unknown else ""
    return HarnessError(message_of(first), where=": ".join(x for x in (at, ".".join(where)) if x), fix=fix)


def located_in_file(
    error: ValidationError, model: type[BaseModel], path: Path, under: tuple[str | int, ...]
) -> HarnessError:
    """The error of a part of the file that is validated later (``data`` of a dataset kind), with file, line, field."""
    return located(error, model, path, parsed(path)[0] if path.is_file() else None, under)


def place(path: Path, field: str) -> str:
    """``file:line: field``, of the field or what encloses it; the field alone when there is no such file."""
    if not path.is_file():
        return field
    node, line = parsed(path)[0], 0
    for part in field.split("."):
        node = child(node, int(part) if isinstance(node, yaml.SequenceNode) and part.isdigit() else part)
        if node is None:
            break
        line = node.start_mark.line + 1
    return f"{path}:{line}: {field}" if line else f"{path}: {field}"


def _is_written(part: str | int, fields: set[str]) -> bool:
    """Whether a part of pydantic's location is a field of the file, not the name of a validator or of our own."""
    return part in BUDGET_KEYS or (part in fields and part != "budget")


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> set[str]:
    """Names of the fields at a place of a model; list positions and free keys on the way are passed over."""
    models = [model]
    for part in loc:
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [m for annotation in inner for m in _models_in(annotation)] or models
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def message_of(error: Any) -> str:
    """One of pydantic's errors in plain words."""
    if error["type"] == "extra_forbidden":
        return f"unknown key {error['loc'][-1]!r}"
    if error["type"] == "missing":
        return "is missing"
    text = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    told = "got" in text or (isinstance(given, str) and repr(given) in text)
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) and not told else ""
    return text + shown


@contextmanager
def errors_located(path: Path, field: str) -> Iterator[None]:
    """Errors inside name the sweep file and the line of the field that they name, or else of this one."""
    try:
        yield
    except HarnessError as error:
        where = place(path, error.where or field)
        raise type(error)(error.what, where=where, fix=error.fix) from error
