import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from harness.encoders.base import Encoder, EncoderSpec, Modality, scheme_of


def load(name: str, modality: Modality, **options: object) -> Encoder:
    spec = EncoderSpec(f"synthetic:{name}", options=options)
    return scheme_of(spec).load(spec, modality)


def cosine(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def test_name_or_option_gives_the_dimension(pictures: list[Image.Image]) -> None:
    assert load("48", "image").encode(pictures).shape == (len(pictures), 48)
    assert load("any", "text", dim=20).encode(["a", "b"]).shape == (2, 20)
    assert load("any", "text").info.dim == 64


def test_like_inputs_have_like_embeddings() -> None:
    text = cosine(load("256", "text").encode(["red heart", "red hearts", "railway car"]))
    assert text[0, 1] > 0.6 > 0.3 > text[0, 2]
    red, pink, blue = (Image.new("RGB", (30, 20), c) for c in ("#ff0000", "#ff2020", "#0000ff"))
    image = cosine(load("256", "image").encode([red, pink, blue]))
    assert image[0, 1] > 0.9 > image[0, 2]


@pytest.mark.parametrize("sample", ["", Image.new("RGB", (9, 9), (127, 127, 127))], ids=["no text", "grey"])
def test_nothing_embeds_to_zero(sample: str | Image.Image) -> None:
    modality: Modality = "text" if isinstance(sample, str) else "image"
    assert np.linalg.norm(load("8", modality).encode([sample])) > 1e-3  # type: ignore[arg-type]


def test_same_everywhere_and_different_by_name_and_seed() -> None:
    code = (
        "from harness.encoders.base import EncoderSpec, scheme_of\n"
        "s = EncoderSpec('synthetic:16'); print(scheme_of(s).load(s, 'text').encode(['a cat']).tolist()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = load("16", "text").encode(["a cat"])[0]
    np.testing.assert_allclose(np.array(json.loads(done.stdout)), here, rtol=1e-6)
    for other in (load("16", "text", seed=1), load("word", "text", dim=16)):
        assert not np.allclose(other.encode(["a cat"])[0], here, atol=1e-2)


def test_flops_are_those_of_the_projection() -> None:
    encoder = load("32", "image")
    assert encoder.forward_flops() == 2 * (3 * 8 * 8 + 1) * 32 == encoder.info.flops_per_sample


def test_importing_it_does_not_import_torch() -> None:
    code = (
        "import sys; from harness.encoders.base import EncoderSpec, scheme_of\n"
        "for name in ('synthetic:8', 'packaged:glove50'):\n"
        "    s = EncoderSpec(name); scheme_of(s).names('text')\n"
        "s = EncoderSpec('synthetic:8'); scheme_of(s).describe(s, 'text')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_dimension(fails) -> None:
    assert "not positive" in fails("synthetic:0", "text")
    assert "'dim'" in fails("synthetic:x", "image", dims=3)
