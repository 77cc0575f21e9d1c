"""The code that is shipped to a cluster, unpacked elsewhere and imported by an interpreter of its own."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.contract.plugins import load_file
from harness.errors import HarnessError
from harness.run.backends.code import INSTALLED, SHIP, packed

ASK = """
import sys
from pathlib import Path
import harness
from harness.contract.plugins import load_file
print(Path(harness.__file__).parents[1])
module = load_file(Path(sys.argv[1]))
print(module.WORD, Path(module.__file__).name)
"""


def unpacked(code: str, folder: Path) -> set[str]:
    with packed(code, {"sweep.yaml": b"name: w"}) as file, zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
        return set(archive.namelist())


def test_the_packages_and_a_plug_in_are_imported_from_where_they_were_unpacked(tmp_path: Path) -> None:
    plugin = tmp_path / "here" / "own.py"
    plugin.parent.mkdir()
    plugin.write_text("WORD = 'shipped'\n")
    load_file(plugin)
    names = unpacked(SHIP, tmp_path / "there")
    assert {"harness/cli/app.py", "hyma/__init__.py", "harness_shipped/sweep.yaml"} <= names
    assert any(name.startswith("reports/") and name.endswith(".j2") for name in names), "what is no code too"
    assert not any("__pycache__" in name or name.startswith(("tests/", "docs/")) for name in names)
    plugin.unlink()  # as on another machine
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(plugin)],
        cwd=tmp_path / "there",
        env={"PYTHONPATH": str(tmp_path / "there")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [str(tmp_path / "there"), "shipped own.py"], done.stderr


def test_the_same_code_is_the_same_file() -> None:
    with packed(SHIP) as one, packed(SHIP) as other:
        assert one.read_bytes() == other.read_bytes()


def test_where_the_harness_is_installed_only_plug_ins_are_shipped(tmp_path: Path) -> None:
    assert all(name.startswith("harness_shipped/") for name in unpacked(INSTALLED, tmp_path))


def test_a_wheel_is_unpacked_and_anything_else_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "stitch_harness-9-py3-none-any.whl"
    with pytest.raises(HarnessError, match="no wheel"), packed(str(wheel)):
        pass
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other/__init__.py", "")
    with pytest.raises(HarnessError, match="is not a wheel of the harness"), packed(str(wheel)):
        pass
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("harness/__init__.py", "VERSION = 9")
    assert "harness/__init__.py" in unpacked(str(wheel), tmp_path / "there")
    assert (tmp_path / "there" / "harness" / "__init__.py").read_text() == "VERSION = 9"
    with pytest.raises(HarnessError, match="neither ship, installed nor a wheel"), packed("shipp"):
        pass
