"""The code of a sweep as one file, which Ray unpacks on every node before a worker starts there.

Ray's own ``py_modules`` would do for folders; a wheel it installs with all that the wheel depends on, torch among it,
once for every sweep. So both are packed here in one way, together with the plug-in files of the sweep.
"""

import importlib.util
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.contract.plugins import SHIPPED, loaded_files, shipped_as
from harness.contract.registry import near
from harness.errors import HarnessError
from harness.run.provenance import COMMIT, commit

PACKAGES = ("harness", "hyma", "baselines", "reports")
"""What is shipped; everything else (Ray, torch, other packages) each node has installed."""

SHIP, INSTALLED = "ship", "installed"
"""``--code``: the packages as this process imports them, or what every node has installed. Or a wheel's path."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file that is packed, so that the same code is the same file and is kept by a node."""


def check_code(code: str) -> None:
    """Refuse what ``--code`` cannot be.

    Raises:
        HarnessError: Neither of the two words, nor a wheel that is there and holds the harness.
    """
    if code in (SHIP, INSTALLED):
        return
    if not code.endswith(".whl"):
        fix = near(code, [SHIP, INSTALLED, "dist/stitch_harness-VERSION-py3-none-any.whl"])
        raise HarnessError(f"{code!r} is neither ship, installed nor a wheel", where="--code", fix=fix)
    if not zipfile.is_zipfile(code):
        raise HarnessError(f"no wheel {code!r}", where="--code", fix="make one: pip wheel --no-deps -w dist .")
    with zipfile.ZipFile(code) as wheel:
        if "harness/__init__.py" not in wheel.namelist():
            raise HarnessError(f"{code!r} is not a wheel of the harness", where="--code")


@contextmanager
def packed(code: str, beside: Mapping[str, bytes] | None = None) -> Iterator[Path]:
    """A zip file with the code and the plug-in files that this process has loaded; gone at the end.

    Args:
        code: ``ship``, ``installed`` (then plug-in files only) or a wheel.
        beside: Further files in the folder of what is shipped: name to content.

    Raises:
        HarnessError: See ``check_code``.
    """
    check_code(code)
    with tempfile.TemporaryDirectory(prefix="harness-code-") as folder:
        path = Path(folder) / "code.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name, content in sorted(_files(code, beside or {}).items()):
                target.writestr(zipfile.ZipInfo(name, LONG_AGO), content, zipfile.ZIP_DEFLATED)
        yield path


def _files(code: str, beside: Mapping[str, bytes]) -> dict[str, bytes]:
    files = {f"{SHIPPED}/{name}": content for name, content in beside.items()}
    files[f"{SHIPPED}/__init__.py"] = b""
    for plugin in loaded_files():
        if plugin.is_file():
            files[f"{SHIPPED}/{shipped_as(plugin)}"] = plugin.read_bytes()
    if code == SHIP:
        files[f"{SHIPPED}/{COMMIT}"] = (commit() or "").encode()
        for package in PACKAGES:
            files |= _package(package)
    elif code != INSTALLED:
        with zipfile.ZipFile(code) as wheel:
            files |= {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
    return files


def _package(name: str) -> dict[str, bytes]:
    spec = importlib.util.find_spec(name)
    assert spec and spec.origin, "the packages of the house are there"
    folder = Path(spec.origin).parent
    return {
        f"{name}/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
