"""Problems over small banks that a test makes itself."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.flops import Ledger
from harness.losses import info_nce
from harness.metrics import METRICS

from harness.data.bank import EMBEDDINGS, META, Bank, BankMeta
from harness.encoders.base import Modality
from harness.method import Budget, Direction, Fit, Method, Pair, Problem, Sizes, Split
from harness.tasks.retrieval import Retrieval, retrieval_flops


def write_bank(folder: Path, modality: Modality, encoder: str, rows: np.ndarray) -> Bank:
    """A bank on disk, its rows normalised."""
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    path = folder / f"{modality}-{encoder}"
    path.mkdir(parents=True)
    np.save(path / EMBEDDINGS, rows)
    meta = BankMeta(
        identity="",
        digest="",
        count=len(rows),
        dim=rows.shape[1],
        dtype="float32",
        modality=modality,
        encoder=encoder,
        revision="",
        transform="",
        dataset="made up",
        dataset_digest="",
    )
    (path / META).write_text(meta.model_dump_json())
    return Bank(path)


@dataclass(frozen=True)
class Made:
    """A problem, and a way to fit a method on it and see its estimate."""

    problem: Problem

    def fit(self, method: Method, seed: int = 0, budget: Budget | None = None) -> Fit:
        return method.fit(self.problem, budget or Budget(epochs=1), seed=seed, progress=lambda step, steps: None)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """``make(images, texts, ...)``: a problem over these ``{encoder: [rows, dim]}`` arrays, three quarters training."""

    def build(
        images: dict[str, np.ndarray],
        texts: dict[str, np.ndarray],
        *,
        owner: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        direction: Direction = "text_to_image",
        metric: str = "text_to_image_r1",
        image_params: dict[str, float] | None = None,
        text_params: dict[str, float] | None = None,
    ) -> Made:
        n = len(next(iter(images.values())))
        owner = np.arange(n) if owner is None else owner
        image_banks = {e: write_bank(tmp_path, "image", e, x) for e, x in images.items()}
        text_banks = {e: write_bank(tmp_path, "text", e, x) for e, x in texts.items()}
        cut = n * 3 // 4

        def split(rows: np.ndarray) -> Split:
            captions = np.flatnonzero(np.isin(owner, rows))
            return Split(
                image_banks=image_banks,
                text_banks=text_banks,
                image_rows=rows,
                caption_rows=captions,
                caption_image=owner[captions] - rows[0],
                labels=None if labels is None else labels[rows],
            )

        train, validation = split(np.arange(cut)), split(np.arange(cut, n))
        task = Retrieval(label="retrieval", split=validation, direction=direction, device=torch.device("cpu"))

        def score_flops(pair: Pair) -> float:
            return retrieval_flops(sizes, pair, len(validation.image_rows), len(validation.caption_rows), 1)

        sizes = Sizes(
            pairs=tuple(product(images, texts)),
            image_dims={e: x.shape[1] for e, x in images.items()},
            text_dims={e: x.shape[1] for e, x in texts.items()},
            train_images=cut,
            hidden_layers=0,
            width=16,
            direction=direction,
            score_flops=score_flops,
            train_captions=len(train.caption_rows),
            validation_images=n - cut,
            classes=0 if labels is None else int(labels.max()) + 1,
            image_params=image_params or {},
            text_params=text_params or {},
        )
        return Made(
            Problem(
                sizes=sizes,
                train=train,
                validation=validation,
                loss=info_nce,
                device=torch.device("cpu"),
                ledger=Ledger(),
                scorer=lambda pair, layers: METRICS["retrieval"][metric](
                    task.ranks(pair, layers, ("text_to_image", "image_to_text"))
                ),
                higher_is_better=metric != "median_rank",
            )
        )

    return build


def _views(
    n: int, dims: dict[str, int], *, noise: dict[str, float] | None = None, latent: int = 6, seed: int = 0
) -> dict[str, np.ndarray]:
    """Noisy linear views of the same latent factors (those of seed 0), with an offset."""
    z = np.random.default_rng(99).standard_normal((n, latent))
    rng = np.random.default_rng([7, seed])
    return {
        name: z @ rng.standard_normal((latent, dim))
        + (noise or {}).get(name, 0.1) * rng.standard_normal((n, dim))
        + rng.standard_normal(dim)
        for name, dim in dims.items()
    }


@pytest.fixture
def views() -> Callable[..., dict[str, np.ndarray]]:
    """What tests need of this file, as a fixture (test folders are not packages)."""
    return _views
