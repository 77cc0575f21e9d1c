"""What may be set, read from the code: every setting of a class with its type, its default and its meaning."""

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}

_SECTION = re.compile(r"^(?:Attributes|Args|Returns|Raises):$", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^(?P<name>\w+): (?P<about>.*)$")


@dataclass(frozen=True)
class Option:
    """One setting.

    Attributes:
        name: Its key in the sweep file.
        type: What it may be, in words: ``int > 0``, ``cosine | constant``.
        default: As it would be written; None: it must be given.
        about: What it means; empty: the code does not say.
    """

    name: str
    type: str
    default: str | None
    about: str


def settings_of(cls: type) -> list[Option]:
    """The settings of a dataclass (a method, a task, a connector kind) or of a part of the sweep file, in order."""
    hints, about = typing.get_type_hints(cls, include_extras=True), meanings(cls)
    if issubclass(cls, BaseModel):
        fields = [(name, _model_default(field)) for name, field in cls.model_fields.items()]
    else:
        declared = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
        fields = [(f.name, _dataclass_default(f)) for f in declared if f.init and not f.name.startswith("_")]
    return [Option(name, type_text(hints[name]), default, about.get(name, "")) for name, default in fields]


def meanings(cls: type) -> dict[str, str]:
    """What a class and its bases say of their attributes: under ``Attributes:``, or in a string below the field."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one.__module__ != "builtins":
            found |= _under_attributes(one.__dict__.get("__doc__") or "") | _below_fields(one)
    return found


def first_line(obj: object) -> str:
    """The first line of what a class says of itself."""
    return (obj.__doc__ or "").strip().partition("\n")[0]


def summary(obj: object) -> str:
    """What a class says of itself before the sections on its attributes, arguments and errors."""
    return " ".join(_SECTION.split(inspect.cleandoc(obj.__doc__ or ""))[0].split())


def type_text(annotation: Any) -> str:
    """A type in the words of a sweep file.

    Args:
        annotation: As ``typing.get_type_hints`` gives it, with extras.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bounds = [
            f"{BOUNDS[k]} {v:g}"
            for m in _metadata(annotation)
            for k in BOUNDS
            if (v := getattr(m, k, None)) is not None
        ]
        return " ".join([type_text(inner[0]), *bounds[:1], *(f"and {bound}" for bound in bounds[1:])])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(part) for part in inner)
    if origin is tuple:
        several = inner[-1] is Ellipsis
        return f"[{type_text(inner[0])}, ...]" if several else f"[{', '.join(map(type_text, inner))}]"
    if origin is not None and inner:
        names = {"list": "list of {}", "Sequence": "list of {}"}
        words = [type_text(part) for part in inner]
        kind = getattr(origin, "__name__", str(origin))
        return names[kind].format(*words) if kind in names else f"mapping of {words[0]} to {words[-1]}"
    plain = {type(None): "null", str: "text", bool: "true | false", float: "number", int: "integer", Path: "path"}
    return plain.get(annotation) or getattr(annotation, "__name__", "anything").removesuffix("Config").lower()


def _metadata(annotation: Any) -> list[Any]:
    """Bounds of an annotation: pydantic's Field keeps them in a list of its own."""
    found: list[Any] = []
    for one in annotation.__metadata__:
        found += getattr(one, "metadata", [one])
    return found


def _model_default(field: Any) -> str | None:
    if field.default is not PydanticUndefined:
        return written(field.default)
    return written(field.default_factory()) if field.default_factory else None


def _dataclass_default(field: "dataclasses.Field[Any]") -> str | None:
    if field.default is not dataclasses.MISSING:
        return written(field.default)
    factory: Any = field.default_factory
    return None if factory is dataclasses.MISSING else written(factory())


def written(value: Any) -> str:
    """A default as it would be written in YAML."""
    if isinstance(value, BaseModel):
        return written(value.model_dump())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {written(v)}" for k, v in value.items() if v not in (None, {})) + "}"
    names: dict[type, Callable[[Any], str]] = {
        type(None): lambda _: "null",
        bool: lambda v: str(v).lower(),
        float: lambda v: f"{v:g}",
    }
    return names.get(type(value), str)(value)


def _under_attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    _, heading, rest = inspect.cleandoc(text).partition("\nAttributes:\n")
    block = []
    for line in rest.splitlines() if heading else ():
        if line and not line.startswith(" "):
            break
        block.append(line)
    name = ""
    for line in textwrap.dedent("\n".join(block)).splitlines():
        if begun := _ATTRIBUTE.match(line):
            name = begun["name"]
            found[name] = begun["about"]
        elif name and line.startswith(" "):
            found[name] += f" {line.strip()}"
        else:
            name = ""
    return found


def _below_fields(cls: type) -> dict[str, str]:
    """Strings that stand below fields in the source of a class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, text in zip(body, body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            found[field.target.id] = " ".join(text.value.value.split())
    return found
