"""The sweep file as a JSON schema, for editors that complete and check YAML."""

from typing import Any

from pydantic import TypeAdapter

from harness.contract.method import METHODS, takes_budget
from harness.data.base import DATASETS
from harness.sweep.collections import COLLECTIONS, LISTS
from harness.sweep.config import Sweep
from harness.sweep.described import meanings
from harness.sweep.ladders import BUDGET_KEYS

NOT_WRITTEN = ("source", "smoke")
"""Fields of ``Sweep`` that no file has."""

Schema = dict[str, Any]

SHORT_FORMS: dict[str, Schema] = {
    "EncoderConfig": {"type": "string", "description": "scheme:name"},
    "TaskConfig": {"type": "string", "description": "the kind of a task"},
    "EmbeddingFile": {"type": ["string", "array"], "description": "a file, or several that follow each other"},
    "Shape": {"type": "integer", "description": "its dimension"},
}
"""What may be written in the place of a mapping."""


def sweep_schema() -> Schema:
    """JSON schema of a sweep file: built-in methods and datasets by name, plug-ins as free mappings."""
    schema = Sweep.model_json_schema(mode="validation")
    definitions: Schema = schema["$defs"]
    for name in NOT_WRITTEN:
        schema["properties"].pop(name)
    for name in ("seeds", "tasks"):
        schema["properties"][name].pop("default", None)
    for name in LISTS:
        one = {"type": "string", "examples": list(COLLECTIONS), "description": "a collection, or a file of names"}
        schema["properties"][name]["anyOf"].append(one)
    for name, text in meanings(Sweep).items():
        if name in schema["properties"]:
            schema["properties"][name]["description"] = text
    schema["properties"]["data"] = {"anyOf": [_dataset(kind, definitions) for kind in DATASETS.names()]}
    schema["properties"]["methods"] |= {
        "properties": {name: {"anyOf": [_method(name, definitions), {"type": "null"}]} for name in METHODS.names()},
        "additionalProperties": {"type": ["object", "null"], "properties": _beside(True)},
    }
    definitions.pop("MethodConfig", None)
    definitions |= {name: {"anyOf": [short, definitions[name]]} for name, short in SHORT_FORMS.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "sweep file", **schema}


def _taken_in(schema: Schema, definitions: Schema) -> Schema:
    """A schema whose own definitions have moved among the document's."""
    definitions |= schema.pop("$defs", {})
    return schema


def _dataset(kind: str, definitions: Schema) -> Schema:
    config = DATASETS.get(kind).Config
    schema = _taken_in(config.model_json_schema(mode="validation"), definitions)
    schema["properties"]["kind"] = {"const": kind}
    schema["required"] = sorted({*schema.get("required", ()), "kind"})
    return _with_meanings(schema, config)


def _method(name: str, definitions: Schema) -> Schema:
    cls = METHODS.get(name)
    schema = _with_meanings(_taken_in(TypeAdapter(cls).json_schema(mode="validation"), definitions), cls)
    schema["properties"] = schema.get("properties", {}) | _beside(takes_budget(cls))  # type: ignore[arg-type]
    return schema | {"additionalProperties": False}


def _beside(budget: bool) -> Schema:
    """What may stand beside a method's own settings."""
    ladder = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "array", "items": {"type": "number"}}]}
    fields: Schema = {
        "method": {"type": "string", "description": "the registered name, or file.py:Class"},
        "resources": {"$ref": "#/$defs/Resources"},
        "ladder": {"type": "object"},
    }
    return fields | (dict.fromkeys(BUDGET_KEYS, ladder) if budget else {})


def _with_meanings(schema: Schema, cls: type) -> Schema:
    about = meanings(cls)
    for name, field in schema.get("properties", {}).items():
        if name in about and "description" not in field:
            field["description"] = about[name].replace("``", "")
    schema.pop("description", None)
    return schema
