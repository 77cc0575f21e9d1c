"""``harness sweep`` and ``embed``: runs what is missing, redoes nothing, lists what failed."""

import json
import re

import pytest

from hyma.method import Hyma
from tests.stored import rewrite


def stamps(project, pattern: str = "runs/world/cells/*.json") -> dict[str, int]:
    """When each of these files was written."""
    return {path.name: path.stat().st_mtime_ns for path in project.folder.glob(pattern)}


def metrics(project, run: str = "world") -> dict[str, object]:
    cells = [json.loads(path.read_text()) for path in project.folder.glob(f"runs/{run}/cells/*.json")]
    return {cell["key"]: cell["metrics"] for cell in cells}


def test_a_finished_sweep_is_not_redone(copy_of_world) -> None:
    before = stamps(copy_of_world), stamps(copy_of_world, "runs/banks/*/*/embeddings.npy")
    assert len(before[0]) == 14
    code, out, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial")
    assert code == 0
    assert "nothing to run: 14 of 14 cells are done" in err
    assert "report/index.html" in out
    assert (stamps(copy_of_world), stamps(copy_of_world, "runs/banks/*/*/embeddings.npy")) == before


def test_a_partial_run_is_reported_and_then_completed_to_the_same_numbers(copy_of_world) -> None:
    whole, kept = metrics(copy_of_world), stamps(copy_of_world)
    for name in sorted(kept)[::4]:
        (copy_of_world.folder / "runs" / "world" / "cells" / name).unlink()
        kept.pop(name)
    assert len(kept) == 10
    code, out, _ = copy_of_world.invoke("report", "world")
    assert code == 0
    assert sum(int(count) for count in re.findall(r"(\d+) of \d+ cells missing \(not run yet\)", out)) == 4
    summary = json.loads((copy_of_world.folder / "runs/world/report/summary.json").read_text())
    assert sum(method["status"]["missing"] for method in summary["methods"].values()) == 4
    code, out, err = copy_of_world.invoke("status", "world")
    assert (code, "10 of 14 cells" in out) == (0, True)

    code, _, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial")
    assert code == 0
    assert "cells 14/14 done" in err
    assert metrics(copy_of_world) == whole
    after = stamps(copy_of_world)
    assert {name: after[name] for name in kept} == kept, "what was there was left alone"


FAILING = """
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from baselines.ape import Ape


    @dataclass(frozen=True, kw_only=True)
    class Failing(Ape):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            if problem.pairs == (("image01", "text00"),) and Path("broken").exists():
                raise RuntimeError("a [bracket] and\\na second line")
            return super().fit(problem, budget, seed=seed, progress=progress)
"""


def test_a_failing_cell_is_listed_at_the_end_and_tried_again(world) -> None:
    world.write("failing.py", FAILING)
    (world.folder / "broken").touch()
    methods = "methods={bad: {method: './failing.py:Failing', epochs: 1, batch_size: 64}}"
    command = ("sweep", "world.yaml", "--backend", "serial", "--set", methods, "--set", "reference=bad", "--seeds", "0")
    code, out, err = world.invoke(*command)
    assert code == 1
    assert "cells 5/6 done · 1 failed" in err
    last = out.strip().splitlines()[-1]
    assert last == "failed: bad seed 0 image01 x text00: RuntimeError: a [bracket] and"
    assert "Traceback" not in out + err

    code, out, _ = world.invoke("status", "world")
    assert code == 0
    assert last in out

    done = stamps(world)
    (world.folder / "broken").unlink()
    code, out, err = world.invoke(*command)
    assert code == 0
    assert "cells 6/6 done · 0 failed" in err
    after = stamps(world)
    assert sum(after[name] != done[name] for name in done) == 1, "only the failed cell ran again"


def test_only_the_chosen_methods_run(world) -> None:
    code, _, err = world.invoke("sweep", "world.yaml", "--backend", "serial", "--methods", "hyma", "--seeds", "1")
    assert code == 0
    assert "cells 1/1 done" in err
    (record,) = (json.loads(path.read_text()) for path in world.folder.glob("runs/world/cells/*.json"))
    assert (record["label"], record["seed"]) == ("hyma", 1)
    assert len(json.loads((world.folder / "runs/world/manifest.json").read_text())["cells"]) == 7, "the plan is whole"


@pytest.mark.slow
def test_every_cell_may_fail_and_there_is_still_a_report(world) -> None:
    """Diverged cells are the method's own result (exit code 0), late ones are not (1)."""
    late = ("--set", "methods.hyma.resources.timeout_s=1e-6")
    wild = ("--set", "methods.ape.lr=1e38", "--set", "methods.ape.clip=null")
    code, out, err = world.invoke("sweep", "world.yaml", "--backend", "serial", "--seeds", "0", *late, *wild)
    assert code == 1
    assert "cells 0/7 done · 7 failed" in err
    assert "timeout: hyma seed 0 image00 x text00 ...: stopped after 1e-06 s at step 1 of 24" in out
    assert "diverged: ape seed 0 image00 x text00: diverged at step " in out
    summary = json.loads((world.folder / "runs/world/report/summary.json").read_text())
    assert summary["methods"]["ape"]["status"]["diverged"] == 6


@pytest.mark.slow
def test_a_run_whose_reference_has_no_score_is_drawn_too(world, tmp_path) -> None:
    from harness.storage.blobs import FolderBlobs
    from reports.analysis import analyse
    from reports.plots import write_plots

    _, store = world.run("world.yaml", "methods.ape.resources.timeout_s=1e-6", "seeds=[0]")
    drawn = write_plots(analyse(store), FolderBlobs(tmp_path))
    assert "heatmaps" in drawn
    assert all((tmp_path / name).stat().st_size > 1000 for names in drawn.values() for name in names)


def test_a_changed_source_without_a_new_version_is_warned_of(copy_of_world) -> None:
    path = copy_of_world.folder / "runs" / "world" / "manifest.json"
    manifest = json.loads(path.read_text())
    sources = {label: method["sources"] for label, method in manifest["methods"].items()}
    assert "hyma.joint" in sources["hyma"] and "hyma.joint" not in sources["ape"]
    sources["hyma"]["hyma.joint"] = "0" * 16
    rewrite(path, manifest)
    _, _, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial")
    assert f"warning: the source of 'hyma' changed (hyma.joint) and its version ({Hyma.version}) did not" in err
    assert "'ape' changed" not in err


def test_embed_extracts_once(world) -> None:
    code, out, _ = world.invoke("embed", "world.yaml")
    assert (code, out.count("extracted  "), out.count("was there  ")) == (0, 5, 0)
    before = stamps(world, "runs/banks/*/*/embeddings.npy") | stamps(world, "runs/banks/*/*/meta.json")
    code, out, _ = world.invoke("embed", "world.yaml")
    assert (code, out.count("extracted  "), out.count("was there  ")) == (0, 0, 5)
    assert stamps(world, "runs/banks/*/*/embeddings.npy") | stamps(world, "runs/banks/*/*/meta.json") == before
    assert not (world.folder / "runs" / "world").exists(), "embed begins no run"


def test_storage_may_have_any_name(world) -> None:
    folder = world.folder / "a #1: b"
    code, _, _ = world.invoke("embed", "world.yaml", "--storage", folder.name)
    assert code == 0
    assert list(folder.glob("banks/*/*/meta.json"))
