"""The house is built as CONTRIBUTING says: one-way arrows, heavy libraries in their rooms, short files."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("harness", "hyma", "baselines", "reports")
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]

BELOW = {
    "harness.contract": (),
    "harness.storage": ("harness.contract",),
    "harness.connectors": ("harness.contract",),
    "harness.objectives": ("harness.contract",),
    "harness.encoders": ("harness.contract",),
    "harness.data": ("harness.contract", "harness.encoders", "harness.storage"),
    "harness.tasks": ("harness.contract", "harness.data", "harness.encoders"),
    "harness.training": ("harness.contract",),
    "harness.sweep": (
        "harness.contract",
        "harness.storage",
        "harness.connectors",
        "harness.objectives",
        "harness.encoders",
        "harness.data",
        "harness.tasks",
    ),
    "harness.run": (
        "harness.contract",
        "harness.storage",
        "harness.connectors",
        "harness.data",
        "harness.encoders",
        "harness.sweep",
    ),
    "hyma": ("baselines", "harness.contract", "harness.connectors", "harness.training"),
    "baselines": ("harness.contract", "harness.connectors", "harness.training"),
    "reports": (
        "harness.contract",
        "harness.sweep.planned",
        "harness.sweep.constraints",
        "harness.run.records",
        "harness.run.picked",
        "harness.run.store",
        "harness.storage",
    ),
}
"""Room -> what it may import besides itself and ``harness.errors``."""

KEPT_IN = {
    "ray": ("harness.run.backends",),
    "obstore": ("harness.storage",),
    "timm": ("harness.encoders", "harness.data", "harness.tasks"),
    "open_clip": ("harness.encoders", "harness.data", "harness.tasks"),
    "sentence_transformers": ("harness.encoders", "harness.data", "harness.tasks"),
    "transformers": ("harness.encoders", "harness.data", "harness.tasks"),
    "torchvision": ("harness.encoders", "harness.data", "harness.tasks"),
}
"""Library -> the only rooms that import it."""


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


@pytest.mark.parametrize("room", BELOW)
def test_arrows_point_one_way(room: str) -> None:
    allowed = (room, "harness.errors", *BELOW[room])
    for file in FILES:
        if within(module_of(file), room):
            own = [name for name in imports_of(file) if name.partition(".")[0] in PACKAGES]
            wrong = [name for name in own if not any(within(name, other) for other in allowed)]
            assert not wrong, f"{module_of(file)} imports {wrong}"


@pytest.mark.parametrize("library", KEPT_IN)
def test_heavy_libraries_stay_in_their_rooms(library: str) -> None:
    for file in FILES:
        if any(name.partition(".")[0] == library for name in imports_of(file)):
            assert any(within(module_of(file), room) for room in KEPT_IN[library]), f"{module_of(file)}: {library}"


def test_no_module_imports_itself_through_others() -> None:
    """Not even for types: a circle under TYPE_CHECKING is a circle in the reader's head."""
    graph = {module_of(file): set(imports_of(file)) & {module_of(f) for f in FILES} for file in FILES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_files_are_short_and_few_are_loose() -> None:
    long = {module_of(file): n for file in FILES if (n := len(file.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long
    loose = [file.name for file in (ROOT / "harness").glob("*.py") if not file.name.startswith("_")]
    assert sorted(loose) == ["errors.py", "method.py"]


def test_no_library_code_prints() -> None:
    for file in FILES:
        calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), file


def test_a_class_name_means_one_thing() -> None:
    """In the whole house, so that a name in a sentence or a traceback needs no module beside it."""
    places: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(module_of(file))
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
