"""An exported folder in LAION's CLIP_benchmark: its numbers are those that the run measured."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.errors import HarnessError
from harness.export.clip_benchmark import load_stitched, tokenizer

benchmark_cli = pytest.importorskip("clip_benchmark.cli", reason="the extra clip-benchmark is not installed")

COLOURS = {"red": (220, 20, 20), "green": (20, 180, 40), "blue": (30, 40, 230), "white": (250, 250, 250)}
TEMPLATES = ["a picture of something {}", "{} on the left"]

SWEEP = """
    name: flags
    data: {{kind: manifest, file: rows.csv, captions: [caption, other], label: left,
           split: {{train: 0.5, validation: 0.2, test: 0.3}}}}
    image_encoders: [{image}]
    text_encoders: ["synthetic:20"]
    connector: {{direction: {direction}}}
    tasks: [retrieval, {{kind: zero_shot, templates: ["a picture of something {{class}}", "{{class}} on the left"]}}]
    methods:
      spectral: {{}}
    storage: runs
"""

ENCODERS = {
    "a network that takes pixels": '{id: "timm:test_vit", pretrained: false, seed: 1}',
    "an encoder that does not": '"synthetic:24"',
}


@pytest.fixture(params=zip(("text_to_image", "image_to_text"), ENCODERS, strict=True))
def exported(temp_project, request):
    """Flags of two colours in several shades, swept and exported: (folder, record's test numbers, plan)."""
    direction, image = request.param
    rows, rng = ["image,caption,other,left"], np.random.default_rng(0)
    for left, a in COLOURS.items():
        for right, b in COLOURS.items():
            for shade in range(3):
                pixels = np.zeros((12, 16, 3))
                pixels[:, :8], pixels[:, 8:] = a, b
                noisy = np.clip(pixels + rng.normal(0, 30, pixels.shape), 0, 255).astype(np.uint8)
                name = f"{left}-{right}-{shade}.png"
                Image.fromarray(noisy).save(temp_project.folder / name)
                rows.append(
                    f"{name},{left} left and {right} right {shade},a flag: {left} then {right} é {shade},{left}"
                )
    temp_project.write("rows.csv", "\n".join(rows) + "\n")
    temp_project.write("flags.yaml", SWEEP.format(direction=direction, image=ENCODERS[image]))
    plan, store = temp_project.run("flags.yaml")
    out = temp_project.folder / "exported"
    assert temp_project.invoke("export", "flags", "--method", "spectral", "--out", str(out))[0] == 0
    (record,) = (store.record(cell.key) for cell in plan.cells)
    return out, record.metrics[0].test, plan.resolved


def as_shards(resolved, folder: Path, *, retrieval: bool) -> None:
    """The test split in the benchmark's own layout of webdataset shards."""
    index, dataset = resolved.index, resolved.dataset
    test, captions, owner = index.paired("test")
    texts = list(dataset.samples("text", captions.tolist()))
    (folder / "test").mkdir(parents=True)
    (folder / "test/nshards.txt").write_text("1")
    if retrieval:
        (folder / "dataset_type.txt").write_text("retrieval")
    else:
        (folder / "classnames.txt").write_text("\n".join(index.class_names))
        written = "\n".join(template.replace("{}", "{c}") for template in TEMPLATES)
        (folder / "zeroshot_classification_templates.txt").write_text(written)
    with tarfile.open(folder / "test/0.tar", "w") as tar:
        for place, picture in enumerate(dataset.samples("image", test.tolist())):
            encoded = io.BytesIO()
            picture.save(encoded, "PNG")
            said = "\n".join(texts[n] for n in np.flatnonzero(owner == place))
            other = ("txt", said.encode()) if retrieval else ("cls", str(index.labels[test[place]]).encode())
            for ending, content in (("png", encoded.getvalue()), other):
                member = tarfile.TarInfo(f"{place:04d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def benchmarked(monkeypatch, exported: Path, data: Path, task: str) -> dict[str, float]:
    """What the benchmark's own command line writes."""
    from harness.export import clip_benchmark

    result = data / "result.json"
    options = {"dataset": "wds/flags", "dataset_root": data, "task": task, "output": result, "pretrained": exported}
    options |= {"model_type": "stitched", "model": "ours", "num_workers": 0, "batch_size": 7}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["clip_benchmark", "eval", *arguments, "--recall_k", "1", "5", "10", "--no_amp"])
    clip_benchmark.main()
    return json.loads(result.read_text())["metrics"]


def test_the_benchmark_measures_what_the_run_measured(exported, tmp_path: Path, monkeypatch, capsys) -> None:
    folder, test, resolved = exported
    as_shards(resolved, tmp_path / "retrieval", retrieval=True)
    found = benchmarked(monkeypatch, folder, tmp_path / "retrieval", "zeroshot_retrieval")
    for k in (1, 5, 10):
        assert found[f"image_retrieval_recall@{k}"] == pytest.approx(test["retrieval"][f"text_to_image_r{k}"], abs=1e-6)
        assert found[f"text_retrieval_recall@{k}"] == pytest.approx(test["retrieval"][f"image_to_text_r{k}"], abs=1e-6)
    as_shards(resolved, tmp_path / "classes", retrieval=False)
    found = benchmarked(monkeypatch, folder, tmp_path / "classes", "zeroshot_classification")
    assert found["acc1"] == pytest.approx(test["zero_shot"]["top1"], abs=1e-6)
    assert 0 < found["acc1"] < 1 or test["retrieval"]["text_to_image_r5"] < 1, "there was something to disagree about"


def test_the_loader_gives_what_the_benchmark_asks_for(exported) -> None:
    folder, _, resolved = exported
    model, transform, tokens = load_stitched("any", folder, None, "cpu")
    pictures = list(resolved.dataset.samples("image", range(5)))
    with torch.autocast("cpu"):
        images = model.eval().encode_image(torch.stack([transform(picture) for picture in pictures]))
        texts = model.encode_text(tokens(["red then blue", "é"]))
    assert (images.dtype, texts.dtype) == (torch.float32, torch.float32)
    from harness import load

    torch.testing.assert_close(images, load(folder).encode_image(pictures))
    torch.testing.assert_close(texts, load(folder).encode_text(["red then blue", "é"]))


def test_tokens_are_bytes_and_padding() -> None:
    assert tokenizer(["ab", "é", ""]).tolist() == [[97, 98], [195, 169], [-1, -1]]
    assert tokenizer("ab").tolist() == [[97, 98]]


def test_a_missing_package_and_a_wrong_folder_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="is not an exported model"):
        load_stitched("any", tmp_path)
    blocked = "import sys; sys.modules['clip_benchmark'] = None; from harness.export.clip_benchmark import main; main()"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith('(pip install "stitch-harness[clip-benchmark]")')
