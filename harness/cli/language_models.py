"""``harness language-models``: small causal language models of a sweep's own captions, where no hub can be reached."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.common import Set, Storage, SweepFile, interruptible, open_sweep, stderr, stdout
from harness.errors import HarnessError

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
    """Train GPT-2s of one's own on the sweep's training captions, in STORAGE/models. Those that are there stay."""
    config = open_sweep(sweep_file, set_, None, storage)
    wanted = [_size(written) for written in sizes.split(",")]
    from harness.encoders.own_language_models import OwnModel, make_tokenizer, train_own
    from harness.run.threads import exact_threads
    from harness.sweep.datasets import datasets_of

    dataset, _ = datasets_of(config)
    captions = {
        split: [str(text) for text in dataset.samples("text", dataset.index().paired(split)[1].tolist())]
        for split in ("train", "validation")
    }
    if not all(captions.values()):
        raise HarnessError("the training or the validation split has no captions", where=str(sweep_file))
    tokenizer = make_tokenizer(captions["train"], vocabulary)
    with interruptible(), exact_threads(1):
        for layers, dim in wanted:
            size = OwnModel(layers, dim)
            folder = config.storage_path / "models" / size.name
            if (folder / "config.json").is_file():
                stdout.print(f"was there  {folder}", soft_wrap=True, markup=False)
                continue

            def told(epoch: int, loss: float, name: str = size.name) -> None:
                stderr.print(f"{name}  pass {epoch}  validation {loss:.4f} nats per token", markup=False)

            train, validation = captions["train"], captions["validation"]
            made = train_own(size, tokenizer, train, validation, folder, seed=seed, epochs=epochs, report=told)
            stdout.print(
                f"trained  {folder}  {made.params:,} parameters, {made.epochs} passes, "
                f"validation perplexity {made.perplexity:.1f}",
                soft_wrap=True,
                markup=False,
            )


def _size(written: str) -> tuple[int, int]:
    layers, mark, dim = written.strip().partition("x")
    if not (mark and layers.isdigit() and dim.isdigit() and int(layers) > 0 and int(dim) > 0 and int(dim) % 2 == 0):
        raise HarnessError(f"size {written!r} is not written LAYERSxDIM with an even DIM", fix="for example 2x64")
    return int(layers), int(dim)
