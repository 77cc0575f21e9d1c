import tracemalloc

import pytest

from harness.data.load import load_dataset
from harness.errors import HarnessError


def test_a_grid_on_paper_is_counted_not_made():
    tracemalloc.start()
    image = {"vit_s": 384, "vit_l": {"dim": 1024, "params": 3.04e8, "flops_per_sample": 1.23e11}}
    data = load_dataset({"kind": "shapes", "rows": 558128, "image": image, "text": {"t5": 768}})
    index = data.index()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {name: len(rows) for name, rows in index.splits.items()} == {"train": 558128, "validation": 0, "test": 0}
    assert index.n_images == index.n_captions == 558128
    assert peak < 30 * 2**20
    info = data.own_encoders("image") or {}
    assert {name: i.dim for name, i in info.items()} == {"vit_s": 384, "vit_l": 1024}
    assert (info["vit_l"].params, info["vit_l"].flops_per_sample) == (304_000_000, 1.23e11)
    with pytest.raises(HarnessError, match="shapes are for planning only"):
        data.embeddings("vit_s", "image", 0, 10)
