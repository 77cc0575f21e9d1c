"""Which pairs may be picked: what is known of their encoders, against the limits of ``selection.constraints``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.sweep.planned import EncoderRecord

Encoders = tuple[EncoderRecord, EncoderRecord]
"""Image and text encoder of a pair."""


def encode_flops(pair: Encoders) -> float | None:
    """Forward FLOPs of one image and one caption; None where one of them is not known."""
    one, other = pair[0].flops_per_sample, pair[1].flops_per_sample
    return None if one is None or other is None else one + other


def encode_latency_ms(pair: Encoders) -> float | None:
    """Milliseconds of one image and one caption; None where one of them is not known."""
    one, other = pair[0].latency, pair[1].latency
    return None if one is None or other is None else 1e3 * (one.seconds_per_sample + other.seconds_per_sample)


def _at_most(value: float | None, limit: float) -> bool | None:
    return None if value is None else value <= limit


def _all_among(values: Sequence[str | None], names: Sequence[str]) -> bool | None:
    if any(value is not None and value not in names for value in values):
        return False
    return None if None in values else True


TESTS: Mapping[str, Callable[[Encoders, Any], bool | None]] = {
    "image_dim": lambda pair, dims: pair[0].dim in dims,
    "text_dim": lambda pair, dims: pair[1].dim in dims,
    "max_image_params": lambda pair, limit: _at_most(pair[0].params, limit),
    "max_text_params": lambda pair, limit: _at_most(pair[1].params, limit),
    "max_encode_flops": lambda pair, limit: _at_most(encode_flops(pair), limit),
    "max_encode_latency_ms": lambda pair, limit: _at_most(encode_latency_ms(pair), limit),
    "licenses": lambda pair, names: _all_among([encoder.license for encoder in pair], names),
}
"""Field of ``harness.sweep.config.Constraints`` -> whether a pair meets it; None: not known, which does not meet it."""

MEASURED = frozenset({"max_encode_flops", "max_encode_latency_ms"})
"""Constraints on what extraction measures, so that nothing is certain before it."""


def meets(pair: Encoders, constraints: Mapping[str, Any]) -> bool:
    """Whether the pair is known to meet all of them."""
    return all(TESTS[name](pair, value) for name, value in constraints.items())


def may_meet(pair: Encoders, constraints: Mapping[str, Any], *, unknown: frozenset[str] = MEASURED) -> bool:
    """Whether the pair may still turn out to meet all of them.

    Args:
        pair: Its encoders.
        constraints: The limits.
        unknown: Those whose facts may become known later.
    """
    found = {name: TESTS[name](pair, value) for name, value in constraints.items()}
    return all(met or (met is None and name in unknown) for name, met in found.items())
