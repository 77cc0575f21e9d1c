"""What ``harness report`` prints: the verdict first, a table that fits the screen, then the evidence."""

import pytest

from harness.cli import common


@pytest.fixture
def at_width(monkeypatch):
    """Sets the screen's columns."""

    def at_width(columns: int) -> None:
        monkeypatch.setattr(common.stdout, "width", columns)

    return at_width


@pytest.mark.parametrize("columns", [80, 160])
def test_two_levels_fit_the_screen(copy_of_world, at_width, columns: int) -> None:
    at_width(columns)
    code, out, _ = copy_of_world.invoke("report", "world")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "world"
    assert lines[1].startswith("Stitch image")
    assert lines[-1].startswith("report: ")
    assert max(len(line) for line in lines[:-1]) <= columns
    assert "…" not in out, "no number is cut off"
    table = next(n for n, line in enumerate(lines) if "───" in line)
    evidence = next(n for n, line in enumerate(lines) if line.startswith("The reference: ape."))
    verdict = " ".join(line for line in lines[1:table] if line.strip())
    assert 1 < table < evidence
    assert "Spearman" in " ".join(lines[evidence:])
    assert "regret" not in verdict.split("Careful")[0]
    assert ("best pair" in out.split("───")[0]) == (columns == 160), "a wide screen has more columns"


def test_missing_cells_are_one_line_each(copy_of_world) -> None:
    for path in sorted(copy_of_world.folder.glob("runs/world/cells/*.json"))[:9]:
        path.unlink()
    code, out, _ = copy_of_world.invoke("report", "world")
    assert code == 0
    assert "Not finished: " in out.splitlines()[1]
    assert sum("cells missing (not run yet)" in line for line in out.splitlines()) <= 2


def test_a_smoke_run_ends_without_a_verdict(world) -> None:
    code, out, err = world.invoke("sweep", "world.yaml", "--backend", "serial", "--smoke")
    assert code == 0, out + err
    assert "This was a smoke run" in out
    assert "Stitch" not in out
    assert "The reference" not in out
