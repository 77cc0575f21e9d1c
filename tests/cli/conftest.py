import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _quick(without_plots) -> None:
    """The plots have tests of their own."""


@pytest.fixture
def refused():
    """Runs a command that must stop with exit code 2 and one line; returns the line."""

    def refused(project, *args: str, quiet: bool = True) -> str:
        code, out, err = project.invoke(*args)
        assert code == 2, out + err
        lines = err.strip().splitlines()
        told = [line for line in lines if line.startswith("error: ")]
        assert len(told) == 1
        assert lines[-1] == told[0], "the error is the last line"
        assert not quiet or (len(lines) == 1 and out == ""), "nothing but the error is printed"
        assert "Traceback" not in out + err
        return told[0].removeprefix("error: ")

    return refused


PRECOMPUTED = """
    name: own
    data: {kind: precomputed, image: {a: a.npy}, text: {b: b.npy}, captions_per_image: 5}
    methods: {ape: {epochs: 1, batch_size: 16}}
    storage: runs
"""


@pytest.fixture
def own(temp_project):
    """A project with embeddings of its own: 60 images, five captions each."""
    rng = np.random.default_rng(0)
    np.save(temp_project.folder / "a.npy", rng.standard_normal((60, 8)).astype(np.float32))
    np.save(temp_project.folder / "b.npy", rng.standard_normal((300, 6)).astype(np.float32))
    temp_project.write("own.yaml", PRECOMPUTED)
    return temp_project
