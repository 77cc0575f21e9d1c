"""Names to classes: near names, plug-in files, and whatever goes wrong inside them."""

from pathlib import Path

import pytest
from harness.registry import Registry, near

from harness.errors import HarnessError

NUMBERS: Registry[float] = Registry("number", {"pi": "math:pi", "euler": "math:e"}, group="harness.test_numbers")


def test_a_name_and_a_dotted_target_give_the_same_object() -> None:
    import math

    assert NUMBERS.get("pi") == NUMBERS.get("math:pi") == math.pi
    assert NUMBERS.names() == ["euler", "pi"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("eular", "unknown number 'eular' (did you mean 'euler'?)"),
        ("zzz", "unknown number 'zzz' (known: euler, pi)"),
        ("math:tau2", "number 'math:tau2' cannot be loaded: AttributeError"),
        ("no_such_module:x", "number 'no_such_module:x' cannot be loaded: ModuleNotFoundError"),
        (":", "number ':' cannot be loaded: ValueError"),
    ],
)
def test_what_cannot_be_had_is_one_line(name: str, told: str) -> None:
    with pytest.raises(HarnessError) as caught:
        NUMBERS.get(name)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_a_file_is_relative_to_the_root_and_loaded_once(temp_project, monkeypatch: pytest.MonkeyPatch) -> None:
    temp_project.write("plug.py", "value = object()\n")
    monkeypatch.chdir("/")
    first = NUMBERS.get("./plug.py:value", temp_project.folder)
    assert first is NUMBERS.get("plug.py:value", temp_project.folder)
    assert first is NUMBERS.get(f"{temp_project.folder}/plug.py:value")
    with pytest.raises(HarnessError, match="no such file: /plug.py"):
        NUMBERS.get("./plug.py:value")


@pytest.mark.parametrize(
    ("source", "told"),
    [("def (:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError: division by zero"), ("x = 1\n", "AttributeError")],
)
def test_a_broken_file_is_one_line_and_is_tried_again(tmp_path: Path, source: str, told: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(HarnessError) as caught:
        NUMBERS.get("broken.py:value", tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    if told != "AttributeError":  # a module that failed to import is not remembered
        file.write_text("value = 3\n")
        assert NUMBERS.get("broken.py:value", tmp_path) == 3


def test_near_names_come_closest_first() -> None:
    assert near("retreival", ["zero_shot", "retrieval"]) == "did you mean 'retrieval'?"
    assert near("x", []) == "none is known"


@pytest.mark.parametrize("of", ["methods", "encoders", "datasets", "losses", "backends"])
def test_every_built_in_entry_can_be_loaded(of: str) -> None:
    from harness.backends.base import BACKENDS
    from harness.losses import LOSSES

    from harness.data.base import DATASETS
    from harness.encoders.base import SCHEMES
    from harness.method import METHODS

    known: dict[str, Registry[object]] = {
        "methods": METHODS,
        "encoders": SCHEMES,
        "datasets": DATASETS,
        "losses": LOSSES,
        "backends": BACKENDS,
    }  # type: ignore[dict-item]
    registry = known[of]
    assert registry.names()
    assert all(callable(registry.get(name)) for name in registry.names())
