"""Data in which some images have no caption: every method leaves them out of training, and nothing breaks."""

import pytest

from harness.sweep.estimates import estimates

METHODS = """methods={
  ape: {epochs: 30, batch_size: 32, lr: 1e-2},
  ape_stacked: {epochs: 30, batch_size: 32, lr: 1e-2},
  hyma: {epochs: 60, batch_size: 32, pairs_per_step: 1, lr: 1e-2},
  encoder_layers: {epochs: 60, batch_size: 32, pairs_per_step: 1, lr: 1e-2},
  ridge: {}, cca: {}, procrustes: {}, cka: {}, mutual_knn: {}, svcca: {}, random: {}}"""


HOLES = """
    from typing import ClassVar, Literal

    import numpy as np
    from pydantic import BaseModel

    from harness.data.base import Dataset, Index
    from harness.data.splits import SplitConfig, split_rows
    from harness.encoders.base import EncoderInfo

    OWNER = np.sort(np.concatenate([[n for n in range(200) if n % 3], [n for n in range(200) if n % 3 == 1]]))
    DIMS = {"image": {"a": 10, "b": 8}, "text": {"t": 9}}


    class Config(BaseModel):
        kind: str


    class Holes(Dataset):
        Config: ClassVar = Config
        name, digest = "holes", "0" * 64

        def __init__(self, config):
            split = SplitConfig(train=0.7, validation=0.15, test=0.15)
            self._index = Index(200, OWNER, split_rows(200, split))

        def index(self):
            return self._index

        def own_encoders(self, modality):
            return {name: EncoderInfo(name, modality, dim) for name, dim in DIMS[modality].items()}

        def embeddings(self, encoder, modality, start, stop):
            latent = np.random.default_rng(0).standard_normal((200, 6))
            rows = latent if modality == "image" else latent[OWNER]
            view = np.random.default_rng(ord(encoder)).standard_normal((6, DIMS[modality][encoder]))
            noise = np.random.default_rng(1).standard_normal((len(rows), DIMS[modality][encoder]))
            return (rows @ view + 0.2 * noise)[start:stop].astype(np.float32)
"""


@pytest.fixture
def holes(temp_project):
    """200 images of one world; every third has no caption, the others one or two, as two pairs of encoders see them."""
    temp_project.write("holes.py", HOLES)
    temp_project.write(
        "holes.yaml",
        """
        name: holes
        data: {kind: "./holes.py:Holes"}
        methods: {ape: {epochs: 1, batch_size: 32}}
        storage: runs
        """,
    )
    return temp_project


def test_every_method_trains_on_the_captioned_images(holes) -> None:
    plan, store = holes.run("holes.yaml", METHODS)
    index = plan.resolved.index
    captioned = {row for row in index.splits["train"].tolist() if row % 3}
    assert plan.resolved.sizes(()).train_images == len(captioned) < len(index.splits["train"])
    records = [store.record(cell.key) for cell in plan.cells]
    assert [(record.label, record.error) for record in records if record.status != "done"] == []
    for record in records:
        if record.batch_size:
            assert record.updates_per_pair == 30 * (len(captioned) // 32)
    chance = 5 / len(index.splits["validation"])
    for label in ("ape", "ape_stacked", "hyma", "encoder_layers", "ridge", "cca"):
        scores = [metrics.score for record in records if record.label == label for metrics in record.metrics]
        assert min(scores) > 2 * chance, label
    planned = estimates(plan)["ape"].flops
    spent = [record.ledger.flops for record in records if record.label == "ape"]
    assert planned is not None
    for phase in ("connector", "logits", "eval"):
        assert planned[phase] == pytest.approx(sum(flops[phase] for flops in spent))


def test_a_batch_of_all_captioned_images_is_the_largest(holes) -> None:
    captioned = holes.plan("holes.yaml").resolved.sizes(()).train_images
    plan, store = holes.run("holes.yaml", f"methods.ape.batch_size={captioned}")
    assert {store.record(cell.key).status for cell in plan.cells} == {"done"}
    code, _, err = holes.invoke("sweep", "holes.yaml", "--set", f"methods.ape.batch_size={captioned + 1}")
    assert code == 2
    assert f"batch_size {captioned + 1} is larger than the {captioned} training images" in err
