"""What embedding the rows of a sweep costs: the part of every comparison that is easily forgotten."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.data.request import BankRequest


@dataclass(frozen=True)
class EncodingCost:
    """The cost of banks, made or not.

    Attributes:
        flops: FLOPs of embedding the rows, without those of the ``unknown`` encoders.
        flops_left: The same of the rows that have not been embedded yet.
        seconds_left: Seconds for these, where encoders have been timed or their speed is stated; else None.
        disk: Bytes of the banks.
        unknown: Encoders whose FLOPs are not known before their weights are loaded.
    """

    flops: float = 0.0
    flops_left: float = 0.0
    seconds_left: float | None = 0.0
    disk: float = 0.0
    unknown: tuple[str, ...] = ()


def encoding_cost(requests: Iterable[BankRequest]) -> EncodingCost:
    """What these banks cost, from what their extraction measured or else from what is known of the encoders."""
    flops = left = disk = 0.0
    seconds: float | None = 0.0
    unknown = []
    for request in requests:
        meta, info = request.read_meta(), request.info
        per_row = meta.encode_flops / meta.count if meta and meta.encode_flops is not None else info.flops_per_sample
        todo = request.left
        disk += float(request.count) * info.dim * np.dtype(request.dtype).itemsize
        if per_row is None:
            unknown.append(info.id)
        else:
            flops, left = flops + per_row * request.count, left + per_row * todo
        if todo:
            known = seconds is not None and info.seconds_per_sample is not None
            seconds = seconds + todo * info.seconds_per_sample if known else None  # type: ignore[operator]
    return EncodingCost(flops, left, seconds, disk, tuple(dict.fromkeys(unknown)))
