"""The class behind a name of ``harness ls``, whose fields are what may be set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.contract.registry import Registry


def class_with_settings(kind: str, name: str) -> tuple[str, type, tuple[str, ...]] | None:
    """What a name stands for.

    Args:
        kind: ``methods``, ``datasets``, ``tasks``, ``connectors`` or ``objectives``; others have no settings.
        name: A registered name, or a plug-in's ``file.py:Class``.

    Returns:
        What it says of itself, the class whose fields are its settings, and the budget keys beside them; None where
        the name is not one of the registry's.
    """
    from harness.sweep.described import summary

    registry = _registries().get(kind)
    if registry is None or (name not in registry.names() and ".py:" not in name):
        return None
    found = registry.get(name)
    title = f"{name}: {summary(found)}"
    return title, found.Config if kind == "datasets" else found, _budgets(kind, found)


def _registries() -> Mapping[str, Registry[Any]]:
    from harness.contract.connector import CONNECTORS
    from harness.contract.method import METHODS
    from harness.contract.objective import OBJECTIVES
    from harness.data.base import DATASETS
    from harness.tasks.base import TASKS

    return {
        "methods": METHODS,
        "datasets": DATASETS,
        "tasks": TASKS,
        "connectors": CONNECTORS,
        "objectives": OBJECTIVES,
    }


def _budgets(kind: str, found: Any) -> tuple[str, ...]:
    if kind != "methods":
        return ()
    from harness.contract.method import takes_budget
    from harness.sweep.ladders import BUDGET_KEYS

    return tuple(BUDGET_KEYS) if takes_budget(found) else ()
