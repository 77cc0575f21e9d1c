"""fp64: accepted by validate, run by every method that trains, and really computed with more digits."""

import torch
from safetensors.torch import load

JOINT = "epochs: 2, batch_size: 32, lr: 1.0e-2, pairs_per_step: 3, hidden: [8, 4]"
SWEEP = f"""
    name: digits
    data: {{kind: synthetic, rows: 160, image_encoders: 2, text_encoders: 2, image_dims: [12, 10], text_dims: [8],
           seed: 0}}
    methods:
      ape: {{epochs: 2, batch_size: 32, precision: PRECISION}}
      hyma: {{{JOINT}, precision: PRECISION}}
      hyper_align: {{{JOINT}, precision: PRECISION}}
      shared_connector: {{epochs: 2, batch_size: 32, precision: PRECISION}}
    storage: runs
"""


def test_fp64_validates_and_runs_and_rounds_less(temp_project, without_plots) -> None:
    found = {}
    for precision in ("fp32", "fp64"):
        temp_project.write("digits.yaml", SWEEP.replace("PRECISION", precision))
        code, out, err = temp_project.invoke("validate", "digits.yaml")
        assert code == 0, out + err
        plan, store = temp_project.run("digits.yaml", f"name={precision}")
        for cell in plan.cells:
            record = store.record(cell.key)
            assert record.status == "done", f"{cell.label}: {record.error}"
            data = store.connectors(cell.key)
            assert data is not None
            found[precision, cell.label, tuple(cell.pairs)] = load(data)
    for _, label, pairs in found:
        one, other = found["fp32", label, pairs], found["fp64", label, pairs]
        for name, tensor in one.items():
            assert tensor.dtype == other[name].dtype == torch.float32, "connectors are handed over in fp32"
            torch.testing.assert_close(tensor, other[name], rtol=1e-2, atol=1e-4)
        assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items()), f"{label}: no digit more"
