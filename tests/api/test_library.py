"""``import harness`` as a library: the verbs as functions, runs as objects, against what the command line gives."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import harness
from harness.errors import HarnessError
from harness.run.store import RunStore
from tests.conftest import SYNTHETIC

SMALL = {
    "name": "small",
    "data": {
        "kind": "synthetic",
        "rows": 200,
        "image_encoders": 2,
        "text_encoders": 2,
        "image_dims": [12, 16],
        "text_dims": [8],
        "seed": 0,
    },
    "methods": {"ape": {"epochs": 2, "batch_size": 32}, "spectral": None, "random": {}},
    "reference": "ape",
}


@pytest.fixture(autouse=True)
def _quick(without_plots) -> None:
    """The plots have tests of their own."""


@pytest.fixture(scope="module")
def run(finished_world: Path):
    return harness.open_run(finished_world / "runs" / "world")


def test_a_sweep_of_a_mapping_is_the_sweep_of_its_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended: list[str] = []
    ran = harness.sweep(SMALL, backend="serial", seeds=[0, 1], told=lambda record: ended.append(record.label))  # type: ignore[operator]
    assert sorted(set(ended)) == ["ape", "random", "spectral"]
    assert len(ended) == 2 * (4 + 1 + 1)
    assert ran.manifest.seeds == [0, 1]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    again = harness.sweep("small.yaml", backend="serial", seeds=[0, 1], told=ended.append)  # type: ignore[operator]
    assert len(ended) == 12, "nothing is done twice"
    assert again.summary == ran.summary
    assert (Path(ran.store.where) / "report" / "index.html").is_file()


def test_overrides_take_the_place_of_fields(tmp_path: Path) -> None:
    ran = harness.sweep(  # type: ignore[operator]
        SMALL, backend="serial", storage=tmp_path, methods=["ape"], overrides={"methods.ape.epochs": 1, "name": "other"}
    )
    frame = ran.to_frame()
    assert (ran.name, set(frame["method"])) == ("other", {"ape"})
    assert json.loads((tmp_path / "other" / "manifest.json").read_text())["sweep"]["methods"]["ape"]["budget"] == {
        "epochs": 1.0
    }


def test_the_frame_holds_every_number_once(run) -> None:
    frame = run.to_frame()
    assert list(frame.columns) == ["image", "text", "method", "seed", "split", "task", "metric", "value"]
    assert not frame.duplicated(["image", "text", "method", "seed", "split", "task", "metric"]).any()
    records = run.store.records(run.manifest).values()
    for record in records:
        for pair in record.metrics:
            mine = frame[
                (frame["image"] == pair.image)
                & (frame["text"] == pair.text)
                & (frame["method"] == record.label)
                & (frame["seed"] == record.seed)
                & (frame["metric"] == "text_to_image_r5")
            ].set_index("split")["value"]
            assert mine["test"] == pair.test["retrieval"]["text_to_image_r5"]
            assert mine["validation"] == pair.score
    test = frame[(frame["split"] == "test") & (frame["metric"] == "text_to_image_r5")]
    means = test.groupby("method")["value"].mean()
    for label, method in run.summary.methods.items():
        assert means[label] == pytest.approx(method.mean_score)


def test_a_connector_is_the_one_that_is_exported(run, tmp_path: Path) -> None:
    pair = run.pairs[3]
    connector = run.connector("hyma", pair, seed=1)
    folder = run.export("hyma", tmp_path / "model", pair, seed=1)
    exported = harness.load(folder)
    width = next(t for t in connector.tensors.values() if t.ndim == 2).shape[1]
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((5, width)).astype(np.float32))
    assert torch.equal(connector(features), exported._connector(features))
    assert run.connector("ape").tensors.keys() == connector.tensors.keys()
    assert run.picked("ape") in run.pairs


def test_a_pick_is_that_of_the_command_line(temp_project, tmp_path: Path) -> None:
    temp_project.write("world.yaml", SYNTHETIC)
    code, out, err = temp_project.invoke("pick", "world.yaml", "--out", "model")
    assert code == 0, err
    found = harness.pick(temp_project.folder / "world.yaml", storage=tmp_path / "elsewhere", out=tmp_path / "mine")
    there = json.loads((temp_project.folder / "model" / "config.json").read_text())
    mine = json.loads((found.folder / "config.json").read_text())
    assert (mine["validation"], mine["test"], mine["selection"]) == (
        there["validation"],
        there["test"],
        there["selection"],
    )
    assert f"Stitch {found.pair[0]} + {found.pair[1]}" in out
    assert found.load().config == mine


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: harness.open_run("nowhere/at/all"), "nowhere/at/all: holds no run"),
        (lambda: harness.sweep("none.yaml"), "none.yaml: no such sweep file"),  # type: ignore[operator]
        (lambda: harness.sweep({"name": "x"}), "data: is missing"),  # type: ignore[operator]
        (lambda: harness.sweep(SMALL, methods=["hyma"]), "unknown method 'hyma'"),  # type: ignore[operator]
        (lambda: harness.pick(SMALL, overrides={"pick.keep": 2}), "pick.keep"),
    ],
)
def test_mistakes_are_one_line(call, told: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError) as raised:
        call()
    assert told in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_still_a_package_and_import_is_light() -> None:
    code = "import sys, harness; assert callable(harness.sweep); from harness.sweep.config import Sweep; "
    code += "assert callable(harness.sweep); assert harness.sweep.config.Sweep is Sweep; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'nothing'"):
        harness.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_run_says_how_far_it_is(run) -> None:
    assert repr(run) == "OpenRun('world': 14 of 14 cells, 6 pairs)"
    assert run.store.where == RunStore(run.store.where).where


def test_the_page_runs_as_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert repr(names["run"]) == "OpenRun('small': 14 of 14 cells, 6 pairs)"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both.pdf", "model", "picked", "runs"]
