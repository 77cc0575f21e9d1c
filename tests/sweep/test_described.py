"""What may be set is read from the code: names, types, defaults and meanings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, Field

from harness.cli import reference
from harness.contract.connector import CONNECTORS
from harness.contract.method import METHODS
from harness.contract.objective import OBJECTIVES
from harness.data.base import DATASETS
from harness.sweep.config import Sweep
from harness.sweep.described import Option, settings_of, summary, type_text, written
from harness.sweep.schema import sweep_schema
from harness.tasks.base import TASKS

ROOT = Path(__file__).parents[2]


@dataclass
class Base:
    """What is shared.

    Attributes:
        rate: How fast,
            in steps per second.
        kind: Which.
    """

    rate: Annotated[float, Field(gt=0, lt=1)]
    kind: Literal["a", "b"] = "a"


@dataclass
class Own(Base):
    """A method.

    It has more to say.

    Attributes:
        kind: Which of the two.
    """

    sizes: tuple[int, ...] = (1, 2)
    names: list[str] = field(default_factory=list)
    limit: int | None = None
    """Most of it."""
    _hidden: int = 0


def test_settings_come_with_the_words_of_the_class_and_its_bases() -> None:
    assert settings_of(Own) == [
        Option("rate", "number > 0 and < 1", None, "How fast, in steps per second."),
        Option("kind", "a | b", "a", "Which of the two."),
        Option("sizes", "[integer, ...]", "[1, 2]", ""),
        Option("names", "list of text", "[]", ""),
        Option("limit", "integer | null", "null", "Most of it."),
    ]
    assert summary(Own) == "A method. It has more to say."


class Part(BaseModel):
    """A part of a file."""

    where: Path | None = None
    on: bool = True
    weights: dict[str, float] = {"a": 1e-3}


def test_models_of_the_sweep_file_are_described_alike() -> None:
    assert [(one.name, one.type, one.default) for one in settings_of(Part)] == [
        ("where", "path | null", "null"),
        ("on", "true | false", "true"),
        ("weights", "mapping of text to number", "{a: 0.001}"),
    ]
    assert written(Part()) == "{on: true, weights: {a: 0.001}}"
    assert type_text(tuple[int, str]) == "[integer, text]"


@pytest.mark.parametrize("registry", [METHODS, CONNECTORS, OBJECTIVES, TASKS, DATASETS], ids=lambda r: r.noun)
def test_every_setting_of_what_is_built_in_has_a_meaning(registry) -> None:
    silent = [
        f"{name}.{one.name}"
        for name in registry.names()
        for one in settings_of(getattr(registry.get(name), "Config", registry.get(name)))
        if not one.about and one.name != "kind"
    ]
    assert silent == []


def test_every_field_of_the_sweep_file_has_a_meaning() -> None:
    assert [one.name for one in settings_of(Sweep) if not one.about] == []


def test_the_configuration_page_is_what_the_code_says() -> None:
    assert (ROOT / reference.PAGE).read_text(encoding="utf-8") == reference.page(), (
        "python -m harness.cli.reference writes it anew"
    )


@pytest.fixture(scope="module")
def checker() -> jsonschema.Draft202012Validator:
    schema = sweep_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_sweep_is_valid_by_the_schema(checker, file: Path) -> None:
    assert [error.message for error in checker.iter_errors(yaml.safe_load(file.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    "change",
    [
        {"nam": "x"},
        {"seeds": [-1]},
        {"methods": {"ape": {"epoch": 3}}},
        {"methods": {"ape": {"epochs": 3, "precision": "fp8"}}},
        {"methods": {"spectral": {"epochs": 3}}},
        {"data": {"kind": "shapes", "rows": "many", "image": {"a": 8}, "text": {"b": 8}}},
        {"data": {"kind": "unheard_of"}},
        {"bank": {"dtype": "int8"}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_reader_refuses(checker, change: dict) -> None:
    whole = {
        "name": "x",
        "data": {"kind": "shapes", "rows": 9, "image": {"a": 8}, "text": {"b": 8}},
        "methods": {"ape": {"epochs": 3}},
    }
    assert list(checker.iter_errors(whole)) == []
    assert list(checker.iter_errors(whole | change)) != []
