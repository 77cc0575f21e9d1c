"""Fixtures for all tests; shapes of arrays and tensors are checked at run time while tests run."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import hypothesis
import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from harness.run.store import RunStore
    from harness.sweep.plan import Plan

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Its deadline would be a test of the clock: a busy machine is no failure.
NO_FAILURE = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much]
hypothesis.settings.register_profile("no clock", deadline=None, suppress_health_check=NO_FAILURE)
hypothesis.settings.load_profile("no clock")

CHECKED = [
    "harness.contract.connector",
    "harness.contract.fit",
    "harness.contract.metric",
    "harness.contract.objective",
    "harness.contract.problem",
    "harness.contract.split",
    "harness.connectors",
    "harness.objectives",
    "harness.training",
    "harness.tasks",
    "harness.data",
    "harness.encoders",
    "hyma",
    "baselines",
    "reports",
]
_hook = install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(autouse=True, scope="session")
def _two_threads() -> None:
    import torch

    torch.set_num_threads(2)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For many small steps, which only lose by a second thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


HARNESS = [sys.executable, "-m", "harness"]


class Project:
    """A folder with sweep files, made from source strings, and the real command line run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        """Write a file, dedented."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path

    def harness(self, *args: str, code: int | None = 0, python: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``harness ARGS`` in a process of its own (of this interpreter) and check its exit code."""
        command = [str(python or HARNESS[0]), *HARNESS[1:]]
        done = subprocess.run([*command, *args], cwd=self.folder, capture_output=True, text=True, timeout=240)
        assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def invoke(self, *args: str) -> tuple[int, str, str]:
        """Run ``harness ARGS`` in this process: (exit code, stdout, stderr). Quicker, for what needs no isolation."""
        return invoke(self.folder, *args)

    def plan(self, name: str = "world.yaml", *overrides: str) -> "Plan":
        """The plan of a sweep file, with ``a.b=c`` overrides."""
        from harness.sweep.loading import load_sweep
        from harness.sweep.plan import make_plan
        from harness.sweep.resolve import ResolvedSweep

        return make_plan(ResolvedSweep(load_sweep(self.folder / name, overrides=overrides)))

    def store(self, plan: "Plan") -> "RunStore":
        """Where the run of a plan lies."""
        from harness.run.store import RunStore

        return RunStore(plan.sweep.run_place)

    def prepared(self, name: str = "world.yaml", *overrides: str) -> tuple["Plan", "RunStore"]:
        """A run that is checked, embedded and planned, before any cell has run."""
        from harness.run.manifest import make_manifest
        from harness.sweep.estimates import check

        plan = self.plan(name, *overrides)
        store = self.store(plan)
        check(plan)
        plan.resolved.extraction.missing(list(plan.resolved.banks.values()))
        store.write_manifest(make_manifest(plan))
        return plan, store

    def run(self, name: str = "world.yaml", *overrides: str) -> tuple["Plan", "RunStore"]:
        """Embed and run what a sweep lacks, one cell after another in this process; no report."""
        plan, store = self.prepared(name, *overrides)
        run_waves(plan, store)
        return plan, store


def run_waves(plan: "Plan", store: "RunStore") -> None:
    """Run what the store lacks in this process, wave by wave: methods with rungs ask for more after each."""
    from harness.run.cell import run_cell
    from harness.run.stopping import missing, next_wave

    cells = missing(plan, store)
    while cells:
        for cell in cells:
            run_cell(plan, store, cell)
        cells = next_wave(plan, store, cells)


def invoke(folder: Path, *args: str) -> tuple[int, str, str]:
    """See ``Project.invoke``."""
    import contextlib
    import io

    from harness.cli import app, common

    out, err = io.StringIO(), io.StringIO()
    code, before, argv = 0, Path.cwd(), sys.argv
    files = common.stdout.file, common.stderr.file
    common.stdout.file, common.stderr.file = out, err
    os.chdir(folder)
    sys.argv = ["harness", *args]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 1)
    finally:
        os.chdir(before)
        sys.argv = argv
        common.stdout.file, common.stderr.file = files
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def temp_project(tmp_path: Path) -> Project:
    """An empty project folder, its path with a space in it."""
    folder = tmp_path / "a project"
    folder.mkdir()
    return Project(folder)


SYNTHETIC = """
    name: world
    data: {kind: synthetic, rows: 400, image_encoders: 3, text_encoders: 2, image_dims: [12, 20], text_dims: [8, 16],
           seed: 0}
    selection: {task: retrieval, metric: text_to_image_r5}
    methods:
      ape:  {epochs: 3, batch_size: 64, lr: 1.0e-2}
      hyma: {epochs: 6, batch_size: 64, pairs_per_step: 3, lr: 1.0e-2, hidden: [16, 8]}
    reference: ape
    seeds: [0, 1]
    storage: runs
"""


@pytest.fixture
def world(temp_project: Project) -> Project:
    """A project with ``world.yaml``: a synthetic 3 x 2 grid that runs in seconds."""
    temp_project.write("world.yaml", SYNTHETIC)
    return temp_project


@pytest.fixture(scope="session")
def finished_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a project whose ``world.yaml`` has been swept by the serial backend; do not change it."""
    project = Project(tmp_path_factory.mktemp("finished world"))
    project.write("world.yaml", SYNTHETIC)
    code, out, err = project.invoke("sweep", "world.yaml", "--backend", "serial")
    assert code == 0, out + err
    return project.folder


@pytest.fixture
def finished(finished_world: Path) -> Project:
    """The finished world as a project; do not change it."""
    return Project(finished_world)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of an S3 server."""
    from tests.buckets import s3_server

    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """``s3://NAME`` of a bucket of its own; credentials, endpoint and a cache of banks are in the environment."""
    from tests.buckets import make_bucket

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    make_bucket(s3_endpoint, name)
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HARNESS_BANK_CACHE", str(tmp_path / "bank cache"))
    return f"s3://{name}"


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of commands run in this process hold no plots, which take most of their time."""
    monkeypatch.setattr("reports.build.write_plots", lambda analysis, into: {})


@pytest.fixture
def copy_of_world(finished_world: Path, tmp_path: Path) -> Project:
    """A copy of the finished world that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(finished_world, folder)
    return Project(folder)
