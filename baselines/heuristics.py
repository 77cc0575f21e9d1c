"""Rankings that look at no pair: random, the best encoder of each side by itself, the most parameters.

The oracle is no method: only the report may see the reference's test scores, and it prints the oracle's row itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from baselines.linalg import cholesky_flops, cholesky_solve_flops, matmul_flops, regularised
from harness.contract.budget import Budget
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.pairs import Kind
from harness.contract.problem import Problem, Sizes
from harness.contract.registry import near
from harness.contract.split import Split
from harness.errors import HarnessError

Modality = Literal["image", "text"]
PROBE_CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class Random:
    """No opinion: every pair gets the same score.

    The report's statistics are expected values under ties, so that this row is the expected value of a random order in
    closed form, not a draw: Spearman 0, the mean regret over pairs, a hit in one of n.
    """

    kind: ClassVar[Kind] = "score"
    version: ClassVar[int] = 1

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Equal scores."""
        return Fit(scores=dict.fromkeys(problem.pairs, 0.0), ledger=problem.ledger)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Nothing is spent."""
        return Estimate({})


@dataclass(frozen=True, kw_only=True)
class Largest:
    """More parameters are better: ranks by image encoder's plus text encoder's, in units of 10^6.

    Precomputed banks and encoders whose hub cannot be reached may state ``params``.
    """

    kind: ClassVar[Kind] = "score"
    version: ClassVar[int] = 1
    reads_params: ClassVar[Literal[True]] = True

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Sum of both encoders' parameters."""
        images, texts = self._params(problem.sizes)
        return Fit(scores={(i, t): (images[i] + texts[t]) / 1e6 for i, t in problem.pairs}, ledger=problem.ledger)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Nothing is spent.

        Raises:
            HarnessError: An encoder's parameters are not known.
        """
        self._params(sizes)
        return Estimate({})

    def _params(self, sizes: Sizes) -> tuple[Mapping[str, float], Mapping[str, float]]:
        for known, position in ((sizes.image_params, 0), (sizes.text_params, 1)):
            unknown = sorted({pair[position] for pair in sizes.pairs} - set(known))
            if unknown:
                raise HarnessError(
                    f"the parameters of {unknown[0]!r} are not known", fix="state `params` of the encoder"
                )
        return sizes.image_params, sizes.text_params


@dataclass(frozen=True, kw_only=True)
class Unit1:
    """Best image encoder with best text encoder by a unimodal score ("UniT-1").

    A pair's score is the sum of both sides' scores, each standardised over its encoders. A side without given scores
    is probed: a classifier is fitted on the training rows' labels and its accuracy on validation rows counts; a
    caption has its image's label.

    Attributes:
        image_scores: Image encoder -> its score (ImageNet accuracy, say), larger is better.
        text_scores: Text encoder -> its score (MTEB average, say).
        probe: ``knn`` (majority of the k nearest by cosine, votes weighted by similarity) or ``linear`` (ridge
            regression onto one-hot labels).
        k: Neighbours.
        penalty: Of the linear probe, relative to the mean eigenvalue of the covariance.
    """

    image_scores: dict[str, float] | None = None
    text_scores: dict[str, float] | None = None
    probe: Literal["knn", "linear"] = "knn"
    k: Annotated[int, Field(ge=1)] = 20
    penalty: Annotated[float, Field(gt=0)] = 0.1

    kind: ClassVar[Kind] = "score"
    version: ClassVar[int] = 1

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Standardised unimodal scores, added."""
        self._check(problem.sizes)
        images = self._side(problem, "image", self.image_scores)
        texts = self._side(problem, "text", self.text_scores)
        return Fit(scores={(i, t): images[i] + texts[t] for i, t in problem.pairs}, ledger=problem.ledger)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """FLOPs of the probes; those of captions as if validation images had as many each as training images.

        Raises:
            HarnessError: An encoder has no given score, or there are no labels to probe with.
        """
        self._check(sizes)
        captions = sizes.train_images if sizes.train_captions is None else sizes.train_captions
        total = 0.0
        for modality, given, rows in (
            ("image", self.image_scores, sizes.train_images),
            ("text", self.text_scores, captions),
        ):
            if given is None:
                dims = sizes.image_dims if modality == "image" else sizes.text_dims
                asked = round(sizes.validation_images * rows / sizes.train_images)
                names = dict.fromkeys(pair[modality == "text"] for pair in sizes.pairs)
                total += sum(self.probe_flops(rows, asked, dims[name], sizes.classes) for name in names)
        return Estimate({"score": total})

    def _check(self, sizes: Sizes) -> None:
        for position, (field, given) in enumerate(
            (("image_scores", self.image_scores), ("text_scores", self.text_scores))
        ):
            missing = [] if given is None else sorted({pair[position] for pair in sizes.pairs} - set(given))
            if missing:
                raise HarnessError(f"{field} has no score of {missing[0]!r}", fix=near(missing[0], given or ()))
            if given is None and sizes.classes < 2:
                raise HarnessError(
                    "has nothing to rank encoders by: the data has no labels to probe with", fix=f"give {field}"
                )

    def _side(self, problem: Problem, modality: Modality, given: Mapping[str, float] | None) -> dict[str, float]:
        names = list(dict.fromkeys(pair[modality == "text"] for pair in problem.pairs))
        values = np.array(
            [given[name] if given is not None else self._probe(problem, modality, name) for name in names]
        )
        spread = values.std()
        standard = (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))
        return dict(zip(names, standard.tolist(), strict=True))

    def _probe(self, problem: Problem, modality: Modality, encoder: str) -> float:
        train, classes = _labelled(problem.train, modality, encoder), problem.sizes.classes
        asked = _labelled(problem.validation, modality, encoder)
        (x, y), (queries, right) = [
            (rows.to(problem.device), labels.to(problem.device)) for rows, labels in (train, asked)
        ]
        if not len(x) or not len(queries):
            raise HarnessError("no labelled rows to probe with", fix=f"give {modality}_scores")
        votes_of = self._linear if self.probe == "linear" else self._knn
        problem.ledger.add("score", self.probe_flops(len(x), len(queries), x.shape[1], classes))
        return float((votes_of(x, y, queries, classes).argmax(1) == right).double().mean())

    def probe_flops(self, rows: int, asked: int, dim: int, classes: int) -> float:
        """Closed form of one encoder's probe."""
        if self.probe == "knn":
            return matmul_flops(asked, dim, rows)
        solve = matmul_flops(dim, rows, dim) + matmul_flops(dim, rows, classes)
        return solve + cholesky_flops(dim) + cholesky_solve_flops(dim, classes) + matmul_flops(asked, dim, classes)

    def _knn(
        self, x: Float[Tensor, "rows dim"], y: Int64[Tensor, " rows"], queries: Float[Tensor, "asked dim"], classes: int
    ) -> Float[Tensor, "asked classes"]:
        votes = []
        for part in queries.split(PROBE_CHUNK):
            near_by = (part @ x.T).topk(min(self.k, len(x)), dim=1)
            # Shifted to 0..2: a vote of an opposite embedding must not count against its class.
            votes.append(
                torch.zeros(len(part), classes, device=x.device).scatter_add_(1, y[near_by.indices], near_by.values + 1)
            )
        return torch.cat(votes)

    def _linear(
        self, x: Float[Tensor, "rows dim"], y: Int64[Tensor, " rows"], queries: Float[Tensor, "asked dim"], classes: int
    ) -> Float[Tensor, "asked classes"]:
        x, queries = x.double(), queries.double()
        mean, hot = x.mean(0), torch.nn.functional.one_hot(y, classes).double()
        share = hot.mean(0)
        covariance = (x - mean).T @ (x - mean) / len(x)
        factor = torch.linalg.cholesky(regularised(covariance, self.penalty))
        return (queries - mean) @ torch.cholesky_solve((x - mean).T @ (hot - share) / len(x), factor) + share


def _labelled(split: Split, modality: Modality, encoder: str) -> tuple[Tensor, Tensor]:
    """Embeddings and classes of a split's labelled images, or of their captions."""
    if split.labels is None:
        raise HarnessError("no labelled rows to probe with", fix=f"give {modality}_scores")
    labels = split.labels if modality == "image" else split.labels[split.caption_image]
    at = np.flatnonzero(labels >= 0)
    rows = split.images(encoder, at) if modality == "image" else split.texts(encoder, at)
    return rows, torch.from_numpy(labels[at])
