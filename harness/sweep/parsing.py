"""A YAML or JSON file as values and as nodes that know their lines. Duplicate keys are refused."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError


def parsed(path: Path) -> tuple[yaml.Node | None, Any]:
    """The file as nodes (which know their lines) and as values."""
    try:
        text = path.read_text(encoding="utf-8")
        # JSON may be indented with tabs, which YAML forbids; JSON strings hold none.
        loader = yaml.SafeLoader(text.replace("\t", " ") if path.suffix == ".json" else text)
        node = loader.get_single_node()
        _refuse_duplicates(node, path)
        return node, _values(path, text, loader, node)
    except UnicodeDecodeError as error:
        raise HarnessError("is not a text file", where=str(path)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise HarnessError(f"not valid YAML: {error.problem}", where=where) from error
    except RecursionError as error:
        raise HarnessError("not valid YAML: a value holds itself", where=str(path)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise HarnessError(f"not valid YAML: {' '.join(str(error).split())}", where=str(path)) from error


def _values(path: Path, text: str, loader: yaml.SafeLoader, node: yaml.Node | None) -> Any:
    if path.suffix == ".json":
        # YAML takes 1e-3, which is a number in JSON, for a word.
        with suppress(ValueError):
            return json.loads(text)
    return None if node is None else loader.construct_document(node)


def _refuse_duplicates(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise HarnessError("a key must be a word", where=f"{path}:{key.start_mark.line + 1}")
            if key.value in seen:
                raise HarnessError(f"key {key.value!r} stands twice", where=f"{path}:{key.start_mark.line + 1}")
            seen.add(key.value)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(value, path)


def child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    """The node of a field or list entry; None where there is none."""
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None
