"""The manifest: what a run says of itself."""

from PIL import Image

from harness.run.manifest import make_manifest
from hyma.method import Hyma


def test_the_manifest_holds_resolved_configs_and_facts(finished) -> None:
    plan = finished.plan()
    manifest = finished.store(plan).manifest()
    assert manifest.methods["hyma"].config["condition_dim"] == Hyma().condition_dim, "defaults are filled in"
    assert manifest.methods["ape"].budget == {"epochs": 3}
    assert manifest.rows == make_manifest(plan).rows
    assert manifest.rows["train"] + manifest.rows["validation"] + manifest.rows["test"] == 400
    assert [e.dim for e in manifest.image_encoders] == [12, 20, 12]
    assert manifest.elapsed_s is not None
    assert manifest.provenance["versions"]["torch"]


def test_the_latency_of_an_encoder_is_the_stated_one_or_else_the_measured(world, tmp_path, ticking) -> None:
    facts = "image_encoders=[{id: 'synthetic:8', seconds_per_sample: 0.25}, 'synthetic:9']"
    (tmp_path / "m.csv").write_text("image,caption\n" + "".join(f"{n}.png,number {n}\n" for n in range(12)))
    for n in range(12):
        Image.new("RGB", (8, 8), (20 * n, 0, 0)).save(tmp_path / f"{n}.png")
    data = f"data={{kind: manifest, file: '{tmp_path / 'm.csv'}', captions: [caption]}}"
    plan = world.plan("world.yaml", facts, data, "text_encoders=['synthetic:7']")
    before = [encoder.latency for encoder in make_manifest(plan).image_encoders]
    assert [latency and latency.seconds_per_sample for latency in before] == [0.25, None]
    plan.resolved.extraction.missing(list(plan.resolved.banks.values()))
    stated, measured = (encoder.latency for encoder in make_manifest(plan).image_encoders)
    assert stated is not None
    assert measured is not None
    assert (stated.seconds_per_sample, stated.device) == (0.25, None)
    assert measured.seconds_per_sample > 0
    assert (measured.device, measured.batch_size) == ("cpu", 64)
