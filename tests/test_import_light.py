"""``import harness`` and ``harness --help`` answer at once: nothing heavy is imported before it is needed."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "timm", "transformers", "sentence_transformers", "open_clip", "matplotlib", "pandas", "scipy")


def loaded_by(code: str) -> set[str]:
    """Heavy modules in a fresh interpreter after this code."""
    report = f"import sys; print('\\nheavy:', *(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "code",
    [
        "import harness",
        "from typer.testing import CliRunner; from harness.cli.app import app\n"
        "assert 'sweep' in CliRunner().invoke(app, ['--help']).output",
        "import harness.run.store, harness.contract.metric, harness.contract.registry, harness.sweep.config",
    ],
    ids=["import", "help", "store"],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert loaded_by(code) == set()


def test_reading_a_run_needs_no_torch(finished_world) -> None:
    run = repr(str(finished_world / "runs" / "world"))
    code = f"from harness.run.store import RunStore; s = RunStore({run}); assert len(s.records(s.manifest())) == 14"
    assert "torch" not in loaded_by(code)


def test_the_reader_of_a_report_needs_no_torch(copy_of_world) -> None:
    run = repr(str(copy_of_world.folder / "runs" / "world"))
    code = (
        f"from harness.run.store import RunStore; from reports.build import build_report; build_report(RunStore({run}))"
    )
    assert "torch" not in loaded_by(code)
