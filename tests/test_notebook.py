"""The notebook of the documents runs as it is stored, in a real kernel."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_notebook_runs_and_shows_frames_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parents[1]), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in stored), "stored without outputs"
    work = tmp_path / "work"
    work.mkdir()
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(work)}}).execute()
    shown = [output for cell in stored for output in cell.outputs]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert kinds.count("image/png") == 4
    assert kinds.count("text/html") == 4, "frames"
    printed = [output.text for output in shown if output.output_type == "stream" and output.name == "stdout"]
    assert any("synthetic:" in text for text in printed)
    assert sorted(path.name for path in work.iterdir()) == ["connectors.pdf", "runs"]
