"""Further forms of an export: for the hub, and as ONNX."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.contract.connector import CONNECTORS, Connector, Dims
from harness.errors import HarnessError
from tests.conftest import Project

KINDS = {
    "linear": {},
    "mlp": {"hidden_layers": 2, "width": 16},
    "low_rank": {"rank": 3},
    "prefix": {"length": 3},
}


WORLD = """
    name: world
    data: {kind: synthetic, rows: 200, image_encoders: 2, text_encoders: 1, image_dims: [12], text_dims: [8], seed: 0}
    methods:
      spectral: {}
    storage: runs
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small run without a report."""
    project = Project(tmp_path_factory.mktemp("swept"))
    project.write("world.yaml", WORLD)
    project.run("world.yaml")
    return project


def test_every_kind_is_tried() -> None:
    assert set(KINDS) == set(CONNECTORS.names())


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_computes_what_torch_computes(kind: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from harness.export.onnx import connector_onnx

    made = CONNECTORS.get(kind)(**KINDS[kind])  # type: ignore[call-arg]
    connector = Connector(made, made.init(Dims(10, 7), torch.Generator().manual_seed(0)))
    session = onnxruntime.InferenceSession(connector_onnx(connector, 10))
    for rows in (1, 5, 33):
        x = torch.randn(rows, 10, generator=torch.Generator().manual_seed(rows)) * 4
        mapped, unit = session.run(["mapped", "unit"], {"rows": x.numpy()})
        with torch.no_grad():
            wanted = connector(x / x.norm(dim=1, keepdim=True))
        np.testing.assert_allclose(mapped, wanted, atol=1e-5)
        np.testing.assert_allclose(unit, wanted / wanted.norm(dim=1, keepdim=True), atol=1e-5)


def test_an_export_as_onnx_still_loads(swept, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    out = tmp_path / "model"
    assert swept.invoke("export", "world", "--method", "spectral", "--to", "onnx", "--out", str(out))[0] == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["README.md", "config.json", "connector.onnx", "connector.safetensors"]
    model, session = harness.load(out), onnxruntime.InferenceSession(out / "connector.onnx")
    (given,) = session.get_inputs()
    x = torch.randn(4, given.shape[1])
    (unit,) = session.run(["unit"], {"rows": x.numpy()})
    np.testing.assert_allclose(unit, model.placed(x, "text"), atol=1e-5)


def test_a_folder_for_the_hub_has_a_card_that_the_hub_reads(swept, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    out = tmp_path / "model"
    assert swept.invoke("export", "world", "--method", "spectral", "--to", "hub", "--out", str(out))[0] == 0
    config = json.loads((out / "config.json").read_text())
    card: Any = ModelCard.load(out / "README.md")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert results == config["test"]["retrieval"]
    assert card.data.library_name == "stitch-harness"
    assert card.data.license == "other"
    code = card.text.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 4
    assert "snapshot_download" in code
    assert "data of kind synthetic" in card.text
    assert "*.safetensors filter=lfs" in (out / ".gitattributes").read_text()
    assert harness.load(out).config["direction"] == "text_to_image"


def test_base_models_and_data_are_those_of_the_hub(swept) -> None:
    from harness.export.hub_card import hub_head
    from harness.run.store import RunStore

    store = RunStore(str(swept.folder / "runs" / "world"))
    manifest = store.manifest()
    record = next(iter(store.records(manifest).values()))
    metrics = record.metrics[0]
    revisions = {metrics.image: "timm/vit@abc", metrics.text: "folder:0123"}
    sides = {
        side: [e.model_copy(update={"revision": revisions.get(e.id, "")}) for e in getattr(manifest, side)]
        for side in ("image_encoders", "text_encoders")
    }
    sweep = {**manifest.sweep, "data": {"kind": "huggingface", "name": "someone/pictures"}}
    head = hub_head(manifest.model_copy(update={**sides, "sweep": sweep}), metrics)
    assert 'base_model: ["timm/vit"]' in head
    assert 'datasets: ["someone/pictures"]' in head


def test_an_unknown_form_is_one_line(swept, tmp_path: Path) -> None:
    options = ("export", "world", "--method", "spectral", "--to", "hubs", "--out", str(tmp_path / "x"))
    code, _, err = swept.invoke(*options)
    assert code == 2
    assert "unknown form of export 'hubs' (did you mean 'hub'?)" in err
    assert not (tmp_path / "x").exists()


def test_an_operation_that_onnx_has_not_is_one_line() -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from harness.connectors.linear import Linear
    from harness.export.onnx import connector_onnx

    class Strange(Linear):
        def apply(self, tensors, x):
            return torch.linalg.svd(super().apply(tensors, x)).U

    kind = Strange()
    connector = Connector(kind, kind.init(Dims(4, 4), torch.Generator()))
    with pytest.raises(HarnessError, match="connector kind 'linear' cannot be written as ONNX") as caught:
        connector_onnx(connector, 4)
    assert "\n" not in str(caught.value)
