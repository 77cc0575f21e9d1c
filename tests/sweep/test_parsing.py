"""Sweep files as text: values as YAML says, every node with its line, and nothing said twice."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.sweep.loading import load_sweep
from harness.sweep.located import place
from harness.sweep.parsing import child, parsed

WORDS = st.text(alphabet="abcXYZ_09 :#'\"\\é\n", max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsing")


@given(st.dictionaries(WORDS, VALUES, min_size=1, max_size=4), st.booleans())
def test_yaml_comes_back_as_it_was_dumped(folder: Path, values: dict, flow: bool) -> None:
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump(values, default_flow_style=flow, allow_unicode=True), encoding="utf-8")
    assert parsed(path)[1] == values


@given(st.dictionaries(WORDS, VALUES, min_size=1, max_size=4), st.sampled_from([None, 2, "\t"]))
def test_json_comes_back_however_it_is_indented(folder: Path, values: dict, indent: int | str | None) -> None:
    path = folder / "s.json"
    path.write_text(json.dumps(values, indent=indent), encoding="utf-8")
    assert parsed(path)[1] == values


def test_a_number_of_json_is_a_number_where_yaml_would_see_a_word(tmp_path: Path) -> None:
    for name, expected in (("s.json", 0.001), ("s.yaml", "1e-3")):
        (tmp_path / name).write_text('{"lr": 1e-3}')
        assert parsed(tmp_path / name)[1] == {"lr": expected}
    (tmp_path / "s.json").write_text('{"lr": 1.0e-3,} # as forgiving as YAML')
    assert parsed(tmp_path / "s.json")[1] == {"lr": 0.001}


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
def test_a_place_is_the_line_of_the_field(folder: Path, names: list[str]) -> None:
    path = folder / "lines.yaml"
    path.write_text("# a comment\n" + "".join(f"{name}:\n  inner: [1,\n    2]\n" for name in names))
    for number, name in enumerate(names):
        line = 2 + 3 * number
        # A mapping begins with its first field.
        assert place(path, f"{name}.inner") == f"{path}:{line + 1}: {name}.inner"
        assert place(path, f"{name}.inner.1") == f"{path}:{line + 2}: {name}.inner.1"
        assert place(path, f"{name}.other").startswith(f"{path}:"), "what encloses it"
    assert place(path, "zzzz") == f"{path}: zzzz"
    assert place(folder / "none.yaml", "a.b") == "a.b"


def test_a_child_that_is_not_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("a: [1, {b: 2}]\n3: x\n")
    root, values = parsed(path)
    assert values == {"a": [1, {"b": 2}], 3: "x"}
    second = child(child(root, "a"), 1)
    assert child(second, "b") is not None
    assert child(root, 3) is not None
    for node, part in ((root, "b"), (second, "c"), (child(root, "a"), 2), (child(root, "a"), "0"), (None, "a")):
        assert child(node, part) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: key 'a' stands twice"),
        ("a:\n  b: 1\n  b: 2\n", ":3: key 'b' stands twice"),
        ("a: [{b: 1, b: 2}]\n", ":1: key 'b' stands twice"),
        ("? [1, 2]\n: x\n", ":1: a key must be a word"),
        ("a: [1, 2\nb: 3\n", "not valid YAML: "),
        ("a: *nothing\n", ":1: not valid YAML: found undefined alias"),
        ("a: &x [*x]\n", ": not valid YAML: a value holds itself"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: "),
        ("a: !!python/object:os.system x\n", "not valid YAML: "),
        ("a: 2026-02-31\n", "not valid YAML: "),
        ("\ta: 1\n", "not valid YAML: "),
    ],
)
def test_what_is_not_yaml_is_one_line_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(HarnessError) as caught:
        load_sweep(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"- a\n", b"text\n", b"3\n"])
def test_a_file_of_no_fields_says_how_to_begin(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match="is not a mapping of fields .start with `name: "):
        load_sweep(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(HarnessError, match=r"s\.yaml: is not a text file$"):
        load_sweep(path)
