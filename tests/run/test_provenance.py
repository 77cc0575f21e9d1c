"""The digest of a method covers every module that makes its numbers, and a change without a new version is told."""

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from harness.contract.connector import CONNECTORS
from harness.contract.method import METHODS
from harness.contract.objective import OBJECTIVES
from harness.run.manifest import make_manifest
from harness.run.provenance import sources_of
from tests.stored import rewrite

ROOT = Path(__file__).parents[2]
SIGLIP = """
    import torch
    from torch.nn import functional


    def siglip(mapped, target, scale):
        logits = scale[..., None, None] * functional.normalize(mapped, dim=-1) @ target.mT - 10.0
        sign = 2 * torch.eye(logits.shape[-1]) - 1
        return -functional.logsigmoid(sign * logits).sum(-1).mean(-1)
"""
METHOD = """
    from dataclasses import dataclass
    from typing import ClassVar

    from baselines.ape import Ape

    from .core import twice


    @dataclass(frozen=True, kw_only=True)
    class Mine(Ape):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            return super().fit(problem, budget, seed=twice(seed), progress=progress)
"""
CORE = "def twice(seed):\n    return 2 * seed\n"


def sources(method: str, connector: str = "linear") -> dict[str, str]:
    return sources_of(METHODS.get(method), CONNECTORS.get(connector), OBJECTIVES.get("info_nce"))


def digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("method", "module"),
    [
        ("hyma", "hyma.decoders"),
        ("hyma", "hyma.feather_map"),  # imported by nothing: a registry names it
        ("hyma", "hyma.conditioning"),
        ("hyma", "harness.training.loop"),
        ("hyper_align", "hyma.scaling"),
        ("encoder_layers", "harness.training.counting"),
        ("add_encoder", "hyma.hypernetwork"),
        ("ape", "harness.training.recipe"),
        ("ape", "harness.training.collapse"),
        ("ape", "harness.contract.seeding"),
        ("ape_stacked", "baselines.ape"),
        ("ridge", "baselines.linalg"),
        ("cka", "baselines.linalg"),
        ("ape", "harness.connectors.low_rank"),
        ("ape", "harness.objectives.info_nce"),
        ("ape", "harness.objectives.contrastive"),
    ],
)
def test_a_methods_sources_are_the_files_that_make_its_numbers(method: str, module: str) -> None:
    found = sources(method, "low_rank")
    assert found[module] == digest(ROOT / f"{module.replace('.', '/')}.py")


def test_and_not_those_of_other_methods_and_kinds() -> None:
    found = sources("ape", "low_rank")
    assert not [name for name in found if name.startswith("hyma") or name in ("baselines.stacked", "baselines.linalg")]
    assert not {"harness.connectors.linear", "harness.connectors.mlp"} & set(found)
    assert "harness.training.loop" not in sources("ridge")


def test_plug_in_files_are_sources_wherever_they_lie(world) -> None:
    found = []
    for folder in ("one", "two"):
        world.write(f"{folder}/siglip.py", SIGLIP)
        plan = world.plan("world.yaml", f"connector={{loss: './{folder}/siglip.py:siglip'}}")
        found.append(make_manifest(plan).methods["hyma"].sources)
    assert found[0] == found[1]
    assert found[0]["siglip.py"] == digest(world.folder / "one/siglip.py")
    assert "harness.objectives.contrastive" in found[0], "what a plain function is made an objective by"


@pytest.mark.parametrize(
    ("changed", "labels"),
    [("hyma.decoders", {"hyma"}), ("harness.training.loop", {"ape", "hyma"}), ("baselines.ape", {"ape"})],
)
def test_a_run_of_another_source_is_warned_of(copy_of_world, without_plots, changed: str, labels: set[str]) -> None:
    path = copy_of_world.folder / "runs/world/manifest.json"
    manifest = json.loads(path.read_text())
    for method in manifest["methods"].values():
        method["sources"] |= {changed: "0" * 16} if changed in method["sources"] else {}
    rewrite(path, manifest)
    code, _, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial")
    assert code == 0
    warned = re.findall(r"warning: the source of '(\w+)' changed \((.*?)\) and its version \(\d+\) did not", err)
    assert warned == [(label, changed) for label in ("ape", "hyma") if label in labels]
    code, _, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial")
    assert "warning" not in err, "it is said once"


def sweep_of(method: str) -> tuple[str, ...]:
    methods = f"methods={{mine: {{method: '{method}', epochs: 1, batch_size: 64}}}}"
    return "sweep", "world.yaml", "--backend", "serial", "--seeds", "0", "--set", methods, "--set", "reference=null"


@pytest.fixture
def lab(world, without_plots, monkeypatch: pytest.MonkeyPatch):
    """A world with a package of somebody's own, importable from its folder as by ``python -m harness``."""
    world.write("lab/__init__.py", "")
    world.write("lab/core.py", CORE)
    world.write("lab/method.py", METHOD)
    monkeypatch.syspath_prepend(str(world.folder))
    yield world
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        del sys.modules[name]


def test_a_change_in_the_package_of_a_plug_in_is_warned_of(lab) -> None:
    method = "lab.method:Mine"
    assert lab.invoke(*sweep_of(method))[0] == 0
    lab.write("lab/core.py", CORE.replace("2 * seed", "seed + seed"))
    err = lab.harness(*sweep_of(method)).stderr
    assert "warning: the source of 'lab.method:Mine' changed (lab.core) and its version (1) did not" in err
    assert "nothing to run" in err


def test_a_changed_plug_in_file_runs_again_without_a_warning(world, without_plots) -> None:
    alone = METHOD.replace("from .core import twice", "def twice(seed):\n        return 2 * seed")
    world.write("mine.py", alone)
    assert world.invoke(*sweep_of("./mine.py:Mine"))[0] == 0
    world.write("mine.py", alone.replace("2 * seed", "seed + seed"))
    err = world.harness(*sweep_of("./mine.py:Mine")).stderr
    assert "cells 6/6 done" in err, "the file's content is part of the keys"
    assert "warning" not in err
