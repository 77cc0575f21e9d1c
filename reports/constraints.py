"""Constraints on picks, constraint levels, and the Pareto set of score against encoder cost."""

import numpy as np
from jaxtyping import Bool, Float

from harness.errors import HarnessError
from harness.run.records import Manifest
from harness.sweep.constraints import Encoders, encode_flops, encode_latency_ms, meets

PARAM_LEVELS = (30e6, 120e6)
"""Borders of the levels of image-encoder parameters (those of the Hyper-Align poster)."""


def _encoders(manifest: Manifest) -> list[Encoders]:
    """Both encoders of every pair."""
    images = {encoder.id: encoder for encoder in manifest.image_encoders}
    texts = {encoder.id: encoder for encoder in manifest.text_encoders}
    return [(images[image], texts[text]) for image, text in manifest.pairs]


def allowed_pairs(manifest: Manifest) -> Bool[np.ndarray, " pairs"]:
    """Pairs that meet the run's constraints; all without any.

    Raises:
        HarnessError: No pair does.
    """
    given = manifest.selection.constraints
    if not given:
        return np.ones(len(manifest.pairs), dtype=bool)
    met = np.array([meets(pair, given) for pair in _encoders(manifest)])
    if not met.any():
        raise HarnessError(
            f"none of the {len(met)} pairs is known to meet the constraints",
            where="selection.constraints",
            fix="loosen them, or state params, license, flops_per_sample or seconds_per_sample of the encoders",
        )
    return met


def limits(manifest: Manifest) -> str:
    """The constraints in few words, and how many pairs meet them."""
    written = ", ".join(f"{name} {value}" for name, value in manifest.selection.constraints.items())
    return f"{written} ({int(allowed_pairs(manifest).sum())} of {len(manifest.pairs)} pairs)"


def levels(manifest: Manifest) -> dict[str, Bool[np.ndarray, " pairs"]]:
    """Constraint levels with the pairs inside: every image dimension, and image-encoder parameters in three ranges."""
    pairs = _encoders(manifest)
    found = {
        f"image dim {dim}": np.array([image.dim == dim for image, _ in pairs])
        for dim in sorted({image.dim for image, _ in pairs})
    }
    low, high = PARAM_LEVELS
    for name, least, most in (
        (f"image parameters < {low / 1e6:.0f} M", 0.0, low),
        (f"image parameters {low / 1e6:.0f}-{high / 1e6:.0f} M", low, high),
        (f"image parameters >= {high / 1e6:.0f} M", high, np.inf),
    ):
        inside = np.array([image.params is not None and least <= image.params < most for image, _ in pairs])
        if inside.any():
            found[name] = inside
    return found


def pareto(manifest: Manifest, truth: Float[np.ndarray, " pairs"]) -> tuple[str, list[tuple[int, float]]] | None:
    """Pairs whose score no pair of the same or lower encoder cost reaches, cheapest first.

    Args:
        manifest: The plan.
        truth: Scores, larger is better; NaN is left out.

    Returns:
        (``encode FLOPs``, ``parameters`` or ``encode latency``, [(pair's number, cost)]), the first of them that is
        known of all pairs; latency in milliseconds. None where none is.
    """
    pairs = _encoders(manifest)
    for kind, costs in (
        ("encode FLOPs", [encode_flops(pair) for pair in pairs]),
        ("parameters", [None if None in (i.params, t.params) else (i.params or 0) + (t.params or 0) for i, t in pairs]),
        ("encode latency", [encode_latency_ms(pair) for pair in pairs]),
    ):
        known = [float(cost) for cost in costs if cost is not None]
        if len(known) < len(costs):
            continue
        order = sorted((n for n in range(len(pairs)) if np.isfinite(truth[n])), key=lambda n: (known[n], -truth[n]))
        best, kept = -np.inf, []
        for n in order:
            if truth[n] > best:
                best = truth[n]
                kept.append((n, known[n]))
        return kind, kept
    return None
