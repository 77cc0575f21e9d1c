"""The papers' checkpoints, and others saved from torch, as connectors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.connectors.released import connector_of, read_connector
from harness.errors import HarnessError
from harness.export.stitched import StitchedModel

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def mlp(hidden: int) -> nn.Sequential:
    """A connector as the papers define it."""
    torch.manual_seed(hidden)
    layers: list[nn.Module] = [
        nn.Linear(6, 8),
        nn.ReLU(),
        *[nn.Linear(8, 8), nn.ReLU()] * (hidden - 1),
        nn.Linear(8, 4),
    ]
    return nn.Sequential(*layers) if hidden else nn.Sequential(nn.Linear(6, 4))


@pytest.mark.parametrize("hidden", [0, 1, 2])
@pytest.mark.parametrize("kept", ["bare", "in a dict", "below a module", "safetensors", "our names"])
def test_saved_layers_map_as_their_module_does(tmp_path: Path, hidden: int, kept: str) -> None:
    module = mlp(hidden)
    state, file = dict(module.state_dict()), tmp_path / "connector.pt"
    if kept == "in a dict":
        torch.save({"epoch": 3, "model": state}, file)
    elif kept == "below a module":
        torch.save({f"module.net.{name}": tensor for name, tensor in state.items()}, file)
    elif kept == "safetensors":
        file = tmp_path / "connector.safetensors"
        save_file(state, file)
    elif kept == "our names":
        torch.save({f"layers.{int(n.split('.')[0]) // 2}.{n.split('.')[1]}": t for n, t in state.items()}, file)
    else:
        torch.save(state, file)
    connector = read_connector(file)
    assert connector.kind.name == ("mlp" if hidden else "linear")
    with torch.no_grad():
        torch.testing.assert_close(connector(X), module(X))


def test_a_layer_without_bias_has_none() -> None:
    weight = torch.randn(4, 6)
    torch.testing.assert_close(connector_of({"0.weight": weight})(X), X @ weight.T)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"conv.weight": torch.ones(2, 2)}, "tensor 'conv.weight' belongs to no numbered layer"),
        ({"0.bias": torch.ones(2)}, "layer 0 has no weight of two axes"),
        ({"0.weight": torch.ones(3, 6), "2.weight": torch.ones(4, 5)}, "layer 2 does not fit: weight (4, 5)"),
        ({f"{n}.weight": torch.ones(n + 2, n + 1) for n in range(3)}, "hidden layers of different widths: [2, 3]"),
        ({}, "it is no state dict"),
        ([torch.ones(2)], "it holds a list"),
    ],
)
def test_what_is_no_connector_is_one_line(tmp_path: Path, state: object, told: str) -> None:
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(HarnessError) as caught:
        read_connector(tmp_path / "x.pt")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    torch.save({"0.weight": Path("x")}, tmp_path / "x.pt")
    (tmp_path / "y.pt").write_bytes(b"garbage")
    for name in ("x.pt", "y.pt", "missing.pt", "missing.safetensors"):
        with pytest.raises(HarnessError) as caught:
            read_connector(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_released_connector_makes_a_model_that_is_saved_and_loaded(tmp_path: Path) -> None:
    torch.save(mlp(1).state_dict(), tmp_path / "connector.pt")
    connector = read_connector(tmp_path / "connector.pt")
    made = StitchedModel.of(connector, "synthetic:4", {"id": "synthetic:6", "seed": 2})
    loaded = StitchedModel.load(made.save(tmp_path / "model"))
    torch.testing.assert_close(loaded.encode_text(["a", "b c"]), made.encode_text(["a", "b c"]))
    assert made.encode_text("a").shape == (1, 4)
    with pytest.raises(HarnessError, match="is there already"):
        made.save(tmp_path / "model")
    with pytest.raises(HarnessError, match="unknown direction 'up'"):
        StitchedModel.of(connector, "synthetic:4", "synthetic:6", direction="up")
