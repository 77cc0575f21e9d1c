"""What embedding the rows of a sweep costs: the part of every comparison that is easily forgotten."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.data.request import BankRequest
from harness.encoders.base import Fetches, scheme_of
from harness.sweep.estimates import MethodEstimate
from harness.sweep.plan import Plan

BYTES_PER_PARAMETER = 4.0
"""Weights and connectors are float32."""


@dataclass(frozen=True)
class EncodingCost:
    """The cost of banks, made or not.

    Attributes:
        flops: FLOPs of embedding the rows, without those of the ``unknown`` encoders.
        flops_left: The same of the rows that will be embedded here and have not been yet. Embeddings that the data
            brings cost nothing any more.
        seconds_left: Seconds for these, where the encoders' speed is stated; else None.
        disk: Bytes of the banks.
        unknown: Encoders whose FLOPs are not known before their weights are loaded.
    """

    flops: float = 0.0
    flops_left: float = 0.0
    seconds_left: float | None = 0.0
    disk: float = 0.0
    unknown: tuple[str, ...] = ()

    @property
    def whole(self) -> float | None:
        """FLOPs of embedding the rows; None where those of an encoder are not known."""
        return None if self.unknown else self.flops


@dataclass(frozen=True)
class Saving:
    """How many times fewer FLOPs a method takes than the reference, for one seed.

    Attributes:
        connectors: Of the methods' own totals, as if the embeddings were there.
        end_to_end: The same with embedding all rows on both sides; None where its FLOPs are not known.
    """

    connectors: float
    end_to_end: float | None


def encoding_cost(requests: Iterable[BankRequest]) -> EncodingCost:
    """What these banks cost, from what their extraction measured or else from what is known of the encoders."""
    flops = left = disk = 0.0
    seconds: float | None = 0.0
    unknown = []
    for request in requests:
        per_row, info = request.flops_per_row, request.info
        todo = request.left if request.dataset.own_encoders(info.modality) is None else 0
        disk += float(request.count) * info.dim * np.dtype(request.dtype).itemsize
        if per_row is None:
            unknown.append(info.id)
        else:
            flops, left = flops + per_row * request.count, left + per_row * todo
        if todo:
            speed = info.seconds_per_sample
            seconds = None if seconds is None or speed is None else seconds + todo * speed
    return EncodingCost(flops, left, seconds, disk, tuple(dict.fromkeys(unknown)))


@dataclass(frozen=True)
class Fetching:
    """Weights that are not on this machine yet.

    Attributes:
        encoders: Whose.
        size: Bytes at four per parameter, of those whose parameters are known.
    """

    encoders: tuple[str, ...]
    size: float


def to_fetch(requests: Iterable[BankRequest]) -> Fetching:
    """Weights that have to be fetched before these banks can be made."""
    params: dict[str, float] = {}
    for request in requests:
        if request.done or request.dataset.own_encoders(request.info.modality) is not None:
            continue
        scheme = scheme_of(request.spec)
        if isinstance(scheme, Fetches) and scheme.to_fetch(request.spec, request.info.modality):
            params[request.spec.id] = float(request.info.params or 0)
    return Fetching(tuple(params), BYTES_PER_PARAMETER * sum(params.values()))


def connector_bytes(plan: Plan) -> float:
    """Bytes of the connectors that all cells of a plan leave in the store."""
    sizes, pairs = plan.resolved.sizes(plan.resolved.pairs), plan.resolved.pairs
    every = BYTES_PER_PARAMETER * sum(float(sizes.connector.params(sizes.dims(pair))) for pair in pairs)
    trained = [ready for ready in plan.methods.values() if ready.method.kind != "score"]
    return every * len(trained) * len(plan.sweep.seeds)


def savings(counted: Mapping[str, MethodEstimate], reference: str | None, cost: EncodingCost) -> dict[str, Saving]:
    """The saving of every method whose FLOPs are known, stated twice; empty without a reference's FLOPs.

    Args:
        counted: Label -> closed-form cost per seed.
        reference: Label of the reference.
        cost: Of embedding all rows, which every method shares.
    """
    totals = {label: e.flops_ours["total"] for label, e in counted.items() if e.flops_ours}
    base = totals.get(reference or "")
    if base is None:
        return {}
    encode = cost.whole
    return {
        label: Saving(base / total, None if encode is None else (encode + base) / (encode + total))
        for label, total in totals.items()
        if label != reference and total > 0
    }
