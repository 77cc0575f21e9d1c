"""The model card: a head that hubs read, and test numbers with their intervals."""

import json

import numpy as np
import pytest
import yaml

from harness.run.store import RunStore
from reports.intervals import connector_intervals


def test_the_head_is_yaml_and_the_table_has_intervals(finished, tmp_path) -> None:
    out = tmp_path / "model"
    assert finished.invoke("export", "world", "--method", "hyma", "--out", str(out))[0] == 0
    _, head, body = (out / "README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(head)
    assert fields["library_name"] == "stitch-harness"
    assert fields["license"] == "other"
    assert "unknown" in fields["license_name"]
    assert {"model-stitching", "retrieval"} <= set(fields["tags"])
    config = json.loads((out / "config.json").read_text())
    low, high = config["test_ci95"]["retrieval"]["text_to_image_r5"]
    value = config["test"]["retrieval"]["text_to_image_r5"]
    assert low <= value <= high
    assert f"{value:.4g} [{low:.4g}, {high:.4g}]" in body


def test_intervals_are_those_of_a_plain_bootstrap_of_the_stored_queries(finished) -> None:
    store = RunStore(str(finished.folder / "runs" / "world"))
    record = next(r for r in store.records(store.manifest()).values() if r.label == "hyma")
    pair = record.pairs[2]
    found = connector_intervals(store, record, pair)["retrieval"]
    arrays = store.queries(record.key)
    values, unit = arrays["2/retrieval/text_to_image_r5"], arrays["retrieval/text_to_image/unit"]
    rng, n = np.random.default_rng(1), int(unit.max()) + 1
    draws = []
    for _ in range(4000):
        weight = np.bincount(rng.integers(n, size=n), minlength=n)[unit]
        draws.append((weight * values).sum() / weight.sum())
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found["text_to_image_r5"] == pytest.approx((low, high), abs=0.02)
    assert set(found) == set(next(iter(record.metrics)).test["retrieval"])
    assert np.isfinite(list(found.values())).all()
