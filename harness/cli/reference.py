"""The configuration reference ``docs/configuration.md``, made from the code: ``python -m harness.cli.reference``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.contract.connector import CONNECTORS
from harness.contract.method import METHODS, takes_budget
from harness.contract.objective import OBJECTIVES
from harness.contract.registry import Registry
from harness.data.base import DATASETS
from harness.data.sampled import SampleConfig
from harness.sweep.config import (
    BankConfig,
    ConnectorConfig,
    Constraints,
    EncoderConfig,
    MethodConfig,
    PickConfig,
    Resources,
    SelectionConfig,
    Sweep,
    TaskConfig,
)
from harness.sweep.described import Option, settings_of, summary
from harness.sweep.ladders import BUDGET_KEYS
from harness.sweep.schema import NOT_WRITTEN
from harness.tasks.base import TASKS
from harness.training.recipe import Recipe

PAGE = Path("docs", "configuration.md")
"""Where the page is, from the repository's root."""

OPENING = """# The sweep file

Every setting, read from the code by `python -m harness.cli.reference`, which writes this page.
`harness ls method NAME` shows one method's, `harness schema` prints a JSON schema that editors complete and check with.
Any field can be replaced on the command line: `--set methods.ape.epochs=5`. Relative paths start in the
sweep file's folder.
"""

PARTS = {
    "encoder": EncoderConfig,
    "connector": ConnectorConfig,
    "task": TaskConfig,
    "selection": SelectionConfig,
    "constraints": Constraints,
    "method": MethodConfig,
    "resources": Resources,
    "sample": SampleConfig,
    "pick": PickConfig,
    "bank": BankConfig,
}


def page() -> str:
    """The whole page."""
    fields = [one for one in settings_of(Sweep) if one.name not in NOT_WRITTEN]
    text = [OPENING, "## Fields\n", _table(fields)]
    text += ["## Parts\n", *(_section(name, part, settings_of(part)) for name, part in PARTS.items())]
    shared = {one.name: one for one in settings_of(Recipe)}
    text += ["## Settings of training\n", "Methods with gradient steps share these; a default may differ, see there.\n"]
    text += [_table(list(shared.values())), "## Methods\n", "Budget of those that take one: one of "]
    text[-1] += f"{', '.join(f'`{key}`' for key in BUDGET_KEYS)}, or `ladder: {{epochs: [5, 10]}}` for several.\n"
    for name in METHODS.names():
        cls = METHODS.get(name)
        own = [one for one in settings_of(cls) if shared.get(one.name) != one]
        text.append(_section(name, cls, own, notes=_notes(cls)))
    for title, registry in (("Data", DATASETS), ("Connector kinds", CONNECTORS)):
        text += [f"## {title}\n", *_sections(registry)]
    for title, registry in (("Objectives", OBJECTIVES), ("Tasks", TASKS)):
        text += [f"## {title}\n", *_sections(registry)]
    return "\n".join(text)


def _notes(cls: type) -> str:
    recipe = "the settings of training, and " if issubclass(cls, Recipe) else ""
    return f"Takes {recipe}{'a' if takes_budget(cls) else 'no'} budget.\n"  # type: ignore[arg-type]


def _sections(registry: Registry[Any]) -> Iterable[str]:
    for name in registry.names():
        found = registry.get(name)
        yield _section(name, found, settings_of(getattr(found, "Config", found)))


def _section(name: str, cls: type, settings: list[Option], notes: str = "") -> str:
    about = f"{summary(cls).replace('``', '`')}\n"
    return "\n".join([f"### {name}\n", about, *([notes] if notes else []), *([_table(settings)] if settings else [])])


def _table(settings: list[Option]) -> str:
    rows = ["| field | may be | default | meaning |", "|---|---|---|---|"]
    for one in settings:
        default = "" if one.default is None else f"`{one.default}`" if one.default else "empty"
        cells = (f"`{one.name}`", one.type, default or "must be given", one.about)
        rows.append("| " + " | ".join(cell.replace("``", "`").replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    (Path(__file__).parents[2] / PAGE).write_text(page(), encoding="utf-8")
