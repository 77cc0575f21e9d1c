"""The spectral map: the linear connector that minimises the spectral contrastive loss, in closed form.

Over bilinear similarities ``s(x, y) = x' A y`` of centred sides, the loss ``-2 E[s(x, y+)] + E[s(x, y)^2]`` (positive
pairs first, independent ones second; HaoChen et al. 2021, "Provable guarantees for self-supervised deep learning with
spectral contrastive loss") is least at ``A = C_ss^-1 C_st C_tt^-1``. With canonical correlations near zero this also is
the bilinear part of the log density ratio of jointly Gaussian sides. Ridge regression lacks ``C_tt^-1``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from baselines.closed_form import check_similarity
from baselines.linalg import captions_of, matmul_flops, sides_of
from baselines.whitening import (
    Captions,
    PairedRows,
    Spread,
    chunk_of,
    row_count,
    spread_flops,
    spreads,
    whitening_flops,
)
from harness.connectors.linear import Linear
from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.method import Promise
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes

Penalty = Annotated[float, Field(gt=0)]
Penalties = tuple[Penalty, Penalty]
"""(of the mapped side, of the target side), relative to the mean eigenvalue of each side's covariance."""
Rows = Annotated[int, Field(ge=8)] | Literal["all"]


def usual_penalties(rows: int) -> Penalties:
    """Penalties for so many rows: 1000 / rows on the mapped side, at least 0.3, and 3000 / rows and 3 on the target's.

    Picked on the validation data of three banks. Flat around: half or twice as much costs a few tenths of a point.
    """
    return max(0.3, 1000 / rows), max(3.0, 3000 / rows)


@dataclass(frozen=True, kw_only=True)
class Spectral:
    """Closed-form minimiser of the spectral contrastive loss, from a sample of the rows.

    An encoder costs ``rows x dim^2`` once for all its pairs, a pair ``2 x rows x dim x dim`` and its score. The seed
    and the budget change nothing. The connector is linear whatever the sweep asks for, and is booked as such.

    Attributes:
        rows: Training images, the first of a fixed order; ``all``: every one. Each stands beside the mean of its
            captions.
        captions: What the covariance of a text encoder is of: every caption (``all``), or the ``mean`` of each
            image's, which is cheaper where there are many. An image counts as often as it has captions.
        penalties: Candidates, each ``[of the mapped side, of the target]``. Of several, one is chosen for all pairs:
            that of the best mean validation score over a few pairs in which every encoder takes part. None:
            ``usual_penalties``.
        centre: Project the direction of the target's mean out of the map, so that it says nothing about the match.
    """

    rows: Rows = 4096
    captions: Captions = "mean"
    penalties: Annotated[tuple[Penalties, ...], Field(min_length=1)] | None = None
    centre: bool = True

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 1
    without_budget: ClassVar[Literal[True]] = True
    recommended_for: ClassVar[tuple[Promise, ...]] = ("all",)

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Solve for all pairs, and score each once."""
        made = self.solve(problem)
        scores: dict[Pair, float] = {}
        for pair, connector in made.items():
            scores[pair] = problem.score(pair, connector)
            progress(len(scores), len(made))
        return Fit(
            scores=scores,
            connectors={pair: connector.frozen() for pair, connector in made.items()},
            ledger=problem.ledger,
            samples_per_pair=float(row_count(problem.sizes, self.rows)),
            trained_params=_params(problem.sizes),
        )

    def solve(self, problem: Problem) -> dict[Pair, Connector]:
        """The map of every pair of the problem, on its device; booked under ``solve``, a choice of penalties too."""
        sides, candidates = Sides(problem, self), self._candidates(problem.sizes)
        chosen = candidates[0]
        if len(candidates) > 1:
            few = cover(problem.sizes)
            sign = 1.0 if problem.higher_is_better else -1.0
            means = {}
            for penalties in candidates:
                made = sides.maps(penalties, few)
                means[penalties] = sign * sum(problem.score(pair, made[pair]) for pair in few)
            chosen = max(candidates, key=lambda penalties: means[penalties])
        return sides.maps(chosen, problem.pairs)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending, exact.

        Raises:
            HarnessError: The objective is no similarity.
        """
        check_similarity(sizes)
        scored = sum(sizes.score_flops(pair, Linear()) for pair in sizes.pairs)
        rows = row_count(sizes, self.rows)
        captions = captions_of(sizes) * rows / sizes.train_images if self.captions == "all" else None
        solve = spread_flops(sizes, rows, captions) + self._maps_flops(sizes, sizes.pairs)
        if (choices := len(self._candidates(sizes))) > 1:
            few = cover(sizes)
            solve += choices * self._maps_flops(sizes, few)
            scored += choices * sum(sizes.score_flops(pair, Linear()) for pair in few)
        return Estimate({"solve": solve, "eval": scored}, trained_params=_params(sizes))

    def _candidates(self, sizes: Sizes) -> tuple[Penalties, ...]:
        return self.penalties or (usual_penalties(row_count(sizes, self.rows)),)

    def _maps_flops(self, sizes: Sizes, pairs: Sequence[Pair]) -> float:
        every = self.captions == "all"
        return maps_flops(replace(sizes, pairs=tuple(pairs)), row_count(sizes, self.rows), every_caption=every)


@dataclass(frozen=True, kw_only=True)
class SpectralSample(Spectral):
    """``spectral`` from a sample of 700 rows: enough to rank the pairs, for a fraction of its cost."""

    rows: Rows = 700

    recommended_for: ClassVar[tuple[Promise, ...]] = ("selection",)


@dataclass
class Sides:
    """Both sides' moments, gathered once; maps for any penalties from them.

    Attributes:
        problem: Whose training rows.
        settings: Which rows.
    """

    problem: Problem
    settings: Spectral
    rows: PairedRows = field(init=False)
    source: Mapping[str, Spread] = field(init=False)
    target: Mapping[str, Spread] = field(init=False)

    def __post_init__(self) -> None:
        problem = self.problem
        self.rows = PairedRows(problem, self.settings.rows)
        self._maps_text = problem.sizes.direction == "text_to_image"
        sources, targets = sides_of(problem.sizes)
        with problem.ledger.section("moments"):
            captions = self.settings.captions
            self.source = spreads(self.rows, sources, text=self._maps_text, captions=captions)
            self.target = spreads(self.rows, targets, text=not self._maps_text, captions=captions)
        every = self.rows.captions if self.settings.captions == "all" else None
        problem.ledger.add("solve", spread_flops(problem.sizes, len(self.rows), every))

    def maps(self, penalties: Penalties, pairs: Sequence[Pair]) -> dict[Pair, Connector]:
        """The spectral maps of these pairs.

        Args:
            penalties: Of the mapped side and of the target.
            pairs: Some or all of the problem's.
        """
        sizes = replace(self.problem.sizes, pairs=tuple(pairs))
        sources, targets = sides_of(sizes)
        source = {e: self.source[e].whitener(penalties[0]) for e in sources}
        target = {e: self.target[e].whitener(penalties[1]) for e in targets}
        units = {e: white.mean / white.mean.norm().clamp_min(1e-12) for e, white in target.items()}
        totals: dict[tuple[str, ...], Tensor] = {}
        groups = list(_groups(sizes))
        for part in self.rows.chunks(chunk_of([*sources.values(), *targets.values()])):
            roots, read = self.rows.roots(part), self.rows.read
            whites = {e: w(read(e, text=self._maps_text, part=part), roots) for e, w in source.items()}
            others = {e: w(read(e, text=not self._maps_text, part=part), roots) for e, w in target.items()}
            if self.settings.centre:
                others = {e: rows - torch.outer(rows @ units[e], units[e]) for e, rows in others.items()}
            for own, with_ in groups:
                # All pairs of these encoders are blocks of one product.
                product = torch.cat([whites[e] for e in own], 1).T @ torch.cat([others[e] for e in with_], 1)
                totals[own] = product if own not in totals else totals[own].double() + product
        every = self.settings.captions == "all"
        self.problem.ledger.add("solve", maps_flops(sizes, len(self.rows), every_caption=every))
        cut: dict[tuple[str, str], Tensor] = {}
        for own, with_ in groups:
            bands = zip(own, totals[own].split([sources[e] for e in own], 0), strict=True)
            for one, band in bands:
                parts = band.split([targets[e] for e in with_], 1)
                cut |= {(one, other): part for other, part in zip(with_, parts, strict=True)}
        return {pair: _connector(cut[sizes.sides(pair)], source[sizes.sides(pair)[0]].mean) for pair in pairs}


def maps_flops(sizes: Sizes, rows: int, *, every_caption: bool) -> float:
    """FLOPs of ``Sides.maps`` for the pairs of these sizes."""
    shapes = [(sizes.dims(pair).in_dim, sizes.dims(pair).out_dim) for pair in sizes.pairs]
    products = sum(matmul_flops(s, rows, t) + matmul_flops(1, s, t) for s, t in shapes)
    return whitening_flops(sizes, rows, every_caption=every_caption) + products


def cover(sizes: Sizes) -> tuple[Pair, ...]:
    """Few pairs in which every encoder takes part, none more often than it must: along the grid's diagonal."""
    left: dict[str, None] = dict.fromkeys(encoder for pair in sizes.pairs for encoder in pair)
    found: list[Pair] = []
    for wanted in (2, 1):
        for pair in sizes.pairs:
            if sum(encoder in left for encoder in pair) >= wanted:
                found.append(pair)
                for encoder in pair:
                    left.pop(encoder, None)
    return tuple(pair for pair in sizes.pairs if pair in found)


def _groups(sizes: Sizes) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(mapped encoders, the targets that each of them is paired with): one group for a complete grid."""
    partners: dict[str, list[str]] = {}
    for source, target in map(sizes.sides, sizes.pairs):
        partners.setdefault(source, []).append(target)
    groups: dict[tuple[str, ...], list[str]] = {}
    for source, targets in partners.items():
        groups.setdefault(tuple(targets), []).append(source)
    return ((tuple(sources), targets) for targets, sources in groups.items())


def _connector(product: Float[Tensor, "source target"], mean: Float[Tensor, " source"]) -> Connector:
    """A linear connector of the centred source.

    Its scale says nothing, since mapped rows are normalised; the Frobenius norm is made sqrt(source dim), as that of an
    orthonormal map, so that pairs start their training alike.
    """
    product = product.float()
    weight = product * (len(product) ** 0.5 / product.norm().clamp_min(1e-30))
    return Connector(Linear(), {"layers.0.weight": weight.T.contiguous(), "layers.0.bias": -(mean @ weight)})


def _params(sizes: Sizes) -> int:
    return sum(Linear().params(sizes.dims(pair)) for pair in sizes.pairs)
