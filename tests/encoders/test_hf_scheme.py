"""Image and text encoders of transformers, tried on tiny models with random weights that are saved on disk."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)
from transformers import ViTImageProcessor as Processor

from harness.encoders.base import Encoder, EncoderSpec, scheme_of
from harness.encoders.modules import TakesPixels
from harness.errors import HarnessError
from tests.language import random_model

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "red", "query", ":"]
TEXTS = ["a cat", "a red dog dog a cat", "", "red"]
SIDE, PATCH = 32, 8


def saved(folder: Path, model: Any, *, images: bool) -> Path:
    """A model's folder with what reads its pictures or texts."""
    folder.mkdir()
    model.save_pretrained(folder)
    if images:
        Processor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    else:
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny models by family."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    small: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.4}
    vit = ViTConfig(hidden_size=16, intermediate_size=24, image_size=SIDE, patch_size=PATCH, **small)
    bert = BertConfig(vocab_size=len(WORDS), hidden_size=16, intermediate_size=24, max_position_embeddings=20, **small)
    maps = ConvNextConfig(hidden_sizes=[4, 6, 8, 10], depths=[1, 1, 1, 1], image_size=SIDE, initializer_range=0.4)
    t5 = T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, pad_token_id=0)
    parts = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPConfig(
        text_config={**parts, "vocab_size": len(WORDS), "max_position_embeddings": 20, "eos_token_id": 3},
        vision_config={**parts, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=12,
    )
    return {
        "vit": saved(root / "vit", ViTModel(vit), images=True),
        "convnext": saved(root / "convnext", ConvNextModel(maps), images=True),
        "bert": saved(root / "bert", BertModel(bert), images=False),
        "t5": saved(root / "t5", T5Model(t5), images=False),
        "clip": saved(root / "clip", CLIPModel(clip), images=True),
        "gpt": random_model(root / "gpt"),
    }


def load(folder: Path, side: Any, **options: Any) -> Encoder:
    spec = EncoderSpec(f"local:{folder}", options=options)
    return scheme_of(spec).load(spec, side)


def hidden_of_pictures(folder: Path, pictures: list[Image.Image]) -> Any:
    """transformers' own output on these pictures."""
    pixels = Processor.from_pretrained(folder)(images=[p.convert("RGB") for p in pictures], return_tensors="pt")
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return getattr(model, "vision_model", model)(pixel_values=pixels["pixel_values"])


@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler", "last"])
def test_image_poolings_are_what_they_say(models, pictures, pooling: str) -> None:
    output = hidden_of_pictures(models["vit"], pictures)
    hidden = output.last_hidden_state
    wanted = {
        "cls": hidden[:, 0],
        "mean": hidden[:, 1:].mean(1),  # of the 16 patches, not of the class token
        "pooler": output.pooler_output,
        "last": hidden[:, -1],
    }[pooling]
    encoder = load(models["vit"], "image", pooling=pooling)
    np.testing.assert_allclose(encoder.encode(pictures), wanted, atol=1e-5)
    assert isinstance(encoder, TakesPixels)
    assert encoder.info.input_size == (3, SIDE, SIDE)


def test_feature_maps_are_averaged_and_have_no_class_token(models, pictures) -> None:
    hidden = hidden_of_pictures(models["convnext"], pictures).last_hidden_state
    encoder = load(models["convnext"], "image", pooling="mean")
    np.testing.assert_allclose(encoder.encode(pictures), hidden.mean((2, 3)), atol=1e-5)
    with pytest.raises(HarnessError, match="a map, which has no cls token"):
        load(models["convnext"], "image")


def test_each_tower_of_a_model_of_two(models, pictures) -> None:
    output = hidden_of_pictures(models["clip"], pictures)
    encoder = load(models["clip"], "image", pooling="pooler")
    np.testing.assert_allclose(encoder.encode(pictures), output.pooler_output, atol=1e-5)
    whole = AutoModel.from_pretrained(models["clip"])
    assert encoder.info.params == sum(p.numel() for p in whole.vision_model.parameters())


def own_output(folder: Path, text: str) -> Any:
    """transformers' own output on one text, without any padding."""
    model = AutoModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=20)
    with torch.no_grad():
        reads = model.get_encoder() if model.config.is_encoder_decoder else model
        return reads(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])


@pytest.mark.parametrize(
    ("family", "pooling"),
    [("bert", "cls"), ("bert", "mean"), ("bert", "pooler"), ("bert", "last"), ("t5", "mean"), ("gpt", "last")],
)
def test_text_poolings_do_not_see_padding(models, family: str, pooling: str) -> None:
    texts = TEXTS if family != "gpt" else ["red", "green yellow blue", "blue red"]
    rows = load(models[family], "text", pooling=pooling).encode(texts)
    for row, text in zip(rows, texts, strict=True):
        output = own_output(models[family], text)
        (hidden,) = output.last_hidden_state
        pooled = {"cls": hidden[0], "mean": hidden.mean(0), "last": hidden[-1]}
        wanted = output.pooler_output[0] if pooling == "pooler" else pooled[pooling]
        np.testing.assert_allclose(row, wanted, atol=1e-5)


def test_a_prompt_stands_before_every_text_and_makes_another_bank(models) -> None:
    plain, prompted = (load(models["bert"], "text", pooling="mean", prompt=prompt) for prompt in ("", "query : "))
    np.testing.assert_allclose(prompted.encode(TEXTS), plain.encode(["query : " + text for text in TEXTS]), atol=1e-6)
    assert prompted.info.transform != plain.info.transform
    assert "prompt='query : '" in prompted.info.transform


def test_captions_are_cut_where_the_model_or_the_option_says(models) -> None:
    long = " ".join(["cat"] * 50)
    whole = load(models["bert"], "text", pooling="mean")  # 20 positions, though the tokenizer says 64
    np.testing.assert_allclose(whole.encode([long]), whole.encode([" ".join(["cat"] * 18)]), atol=1e-6)
    cut = load(models["bert"], "text", pooling="mean", max_tokens=4)
    np.testing.assert_allclose(cut.encode([long]), whole.encode(["cat cat"]), atol=1e-6)


def test_facts_are_known_before_the_weights(models, tmp_path: Path) -> None:
    for family, side in (("vit", "image"), ("bert", "text")):
        folder = tmp_path / family
        shutil.copytree(models[family], folder)
        (folder / "model.safetensors").unlink()
        spec = EncoderSpec(f"local:{folder}", options={"pooling": "mean"})
        info = scheme_of(spec).describe(spec, side)  # type: ignore[arg-type]
        model = AutoModel.from_pretrained(models[family])
        assert (info.dim, info.params) == (16, sum(p.numel() for p in model.parameters()))
        loaded = load(models[family], side, pooling="mean")
        counted = loaded.forward_flops()
        assert info.flops_per_sample == loaded.info.flops_per_sample
        assert counted is not None and info.flops_per_sample is not None
        assert info.flops_per_sample <= counted <= 1.3 * info.flops_per_sample  # fvcore books norms, too


def test_other_weights_are_another_revision(models, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(models["vit"], copy)
    before = load(copy, "image").info.revision
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert load(copy, "image").info.revision != before


def test_weights_that_are_not_in_the_file_are_refused_where_they_are_read(models, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(models["bert"], copy)
    torch.manual_seed(0)
    BertModel(BertConfig.from_pretrained(copy), add_pooling_layer=False).save_pretrained(copy)
    assert load(copy, "text", pooling="cls").encode(["a cat"]).shape == (1, 16)
    with pytest.raises(HarnessError, match="lacks 2 of the weights that would be read, e.g. pooler"):
        load(copy, "text", pooling="pooler")


def test_only_safetensors_are_read(models, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(models["vit"], copy)
    torch.save(AutoModel.from_pretrained(copy).state_dict(), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(HarnessError) as caught:
        load(copy, "image")
    assert "\n" not in str(caught.value)


def test_no_code_of_a_folder_is_run(models, tmp_path: Path) -> None:
    copy, ran = tmp_path / "copy", tmp_path / "ran"
    shutil.copytree(models["vit"], copy)
    config = json.loads((copy / "config.json").read_text()) | {"model_type": "own", "auto_map": {"AutoConfig": "own.C"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass C: ...")
    with pytest.raises(HarnessError) as caught:
        load(copy, "image")
    assert "\n" not in str(caught.value)
    assert not ran.exists()


def test_what_is_wrong_is_one_line(models, fails) -> None:
    assert "pooling 'max'" in fails(f"local:{models['bert']}", "text", pooling="max")
    assert "takes input_ids, not pixel_values" in fails(f"local:{models['bert']}", "image")
    assert "takes pixel_values, not input_ids" in fails(f"local:{models['vit']}", "text", pooling="mean")
    assert "unknown option 'prompt'" in fails(f"local:{models['vit']}", "image", prompt="x")
    assert "its folder is not there, and its dim is not stated" in fails("local:nowhere", "image")


def test_hub_names_need_a_dimension_then_the_hub(calls_to_hub: list[object], fails) -> None:
    assert "its dim is not stated" in fails("hf:org/model", "image")
    spec = EncoderSpec("hf:org/model@abc", dim=384, params=2.2e7, options={"pooling": "mean"})
    info = scheme_of(spec).describe(spec, "text")
    assert (info.dim, info.params, info.revision) == (384, 22_000_000, "org/model@abc")
    with pytest.raises(HarnessError, match=r"org/model is not in .* does not answer"):
        scheme_of(spec).load(spec, "text")
    assert calls_to_hub == [("127.0.0.1", 9)], "asked once, not again and again"


def test_a_model_in_the_hub_cache_needs_no_hub(cached, calls_to_hub: list[object], models, pictures) -> None:
    cached("org/vit", {file.name: file.read_bytes() for file in models["vit"].iterdir()})
    spec = EncoderSpec("hf:org/vit")
    encoder = scheme_of(spec).load(spec, "image")
    np.testing.assert_allclose(encoder.encode(pictures), load(models["vit"], "image").encode(pictures), atol=1e-6)
    assert calls_to_hub == []
