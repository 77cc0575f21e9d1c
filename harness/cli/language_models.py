"""``harness language-models``: small causal language models of a sweep's own captions, where no hub can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.common import Set, Storage, SweepFile, interruptible, open_sweep, stderr, stdout
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.data.base import Dataset

Sizes = Annotated[str, typer.Option(help="Layers x dimension of each model, e.g. 2x128,4x128.")]


def language_models(
    sweep_file: SweepFile,
    sizes: Sizes = "2x128,4x128,3x192",
    vocabulary: Annotated[int, typer.Option(min=300, help="Tokens of their byte-pair tokenizer.")] = 1024,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the training captions.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and dropout.")] = 0,
    storage: Storage = None,
    set_: Set = None,
) -> None:
    """Train GPT-2s of one's own on the sweep's training captions, in STORAGE/models. Those that are there stay.

    Example: harness language-models sweeps/hyma_vlm_small.yaml --sizes 2x128
    """
    config = open_sweep(sweep_file, set_, None, storage)
    wanted = [_size(written) for written in sizes.split(",")]
    from harness.encoders.own_language_models import OwnModel, make_tokenizer, texts_of, train_own
    from harness.run.threads import exact_threads
    from harness.sweep.datasets import datasets_of

    dataset, _ = datasets_of(config)
    train, validation = (_captions(dataset, split) for split in ("train", "validation"))
    if not train or not validation:
        raise HarnessError("the training or the validation split has no captions", where=str(sweep_file))
    tokenizer = make_tokenizer([caption for own in train for caption in own], vocabulary)
    with interruptible(), exact_threads(1):
        for layers, dim in wanted:
            size = OwnModel(layers, dim)
            folder = config.storage_path / "models" / size.name
            if (folder / "config.json").is_file():
                stdout.print(f"was there  {folder}", soft_wrap=True, markup=False)
                continue

            def told(epoch: int, loss: float, name: str = size.name) -> None:
                stderr.print(f"{name}  pass {epoch}  validation {loss:.4f} nats per token", markup=False)

            texts = texts_of(train), texts_of(validation)
            made = train_own(size, tokenizer, *texts, folder, seed=seed, epochs=epochs, report=told)
            stdout.print(
                f"trained  {folder}  {made.params:,} parameters, {made.epochs} passes, "
                f"validation perplexity {made.perplexity:.1f}",
                soft_wrap=True,
                markup=False,
            )


def _captions(dataset: Dataset, split: str) -> list[list[str]]:
    """The captions of every image of a split that has any."""
    _, rows, owner = dataset.index().paired(split)
    found: dict[int, list[str]] = {}
    for image, caption in zip(owner.tolist(), dataset.samples("text", rows.tolist()), strict=True):
        found.setdefault(image, []).append(str(caption))
    return list(found.values())


def _size(written: str) -> tuple[int, int]:
    layers, mark, dim = written.strip().partition("x")
    if not (mark and layers.isdigit() and dim.isdigit() and int(layers) > 0 and int(dim) > 0 and int(dim) % 2 == 0):
        raise HarnessError(f"size {written!r} is not written LAYERSxDIM with an even DIM", fix="for example 2x64")
    return int(layers), int(dim)
