"""Which methods a report describes: best connectors, the cheapest that ranks as the reference, joint training."""

from dataclasses import dataclass

from reports.analysis import Analysis
from reports.rows import MethodResult


@dataclass(frozen=True)
class Protagonist:
    """A method that the evidence speaks of at length.

    Attributes:
        result: The method.
        roles: Why it is spoken of.
    """

    result: MethodResult
    roles: tuple[str, ...]


def protagonists(analysis: Analysis) -> list[Protagonist]:
    """At most three methods, the reference not among them; one that has several roles stands once."""
    parts = [
        (_connector_role(analysis), best_delivered(analysis)),
        ("cheapest that ranks as well as the reference", passing(analysis)),
        (_joint_role(analysis), joint(analysis)),
    ]
    roles: dict[str, list[str]] = {}
    for role, result in parts:
        if result is not None:
            roles.setdefault(result.label, []).append(role)
    return [Protagonist(analysis.methods[label], tuple(own)) for label, own in roles.items()]


def others(analysis: Analysis) -> list[MethodResult]:
    """All methods but the reference, in plan order."""
    return [result for label, result in analysis.methods.items() if label != analysis.summary.reference]


def best_delivered(analysis: Analysis) -> MethodResult | None:
    """The method, other than the reference, whose handed-over connector has the best test score."""
    higher = analysis.summary.selection.higher_is_better
    found = [(result.summary.delivered.value, result) for result in others(analysis)]
    known = [(value if higher else -value, result) for value, result in found if value is not None]
    return max(known, key=lambda one: one[0])[1] if known else None


def passing(analysis: Analysis) -> MethodResult | None:
    """The cheapest method that ranks as well as the reference, named on validation data."""
    return None if analysis.passing is None else analysis.methods[analysis.passing]


def jointly_trained(analysis: Analysis) -> list[MethodResult]:
    """Methods whose steps train several pairs together, other than a grid that is computed together."""
    return [
        result
        for result in others(analysis)
        if result.data.planned.kind == "joint"
        and not result.data.planned.is_grid
        and (result.cost.pairs_per_step or 0) > 1
    ]


def joint(analysis: Analysis) -> MethodResult | None:
    """Of the jointly trained methods the one that ranks best."""

    def quality(result: MethodResult) -> float:
        value = result.summary.spearman.value
        return -2.0 if value is None else value

    return max(jointly_trained(analysis), key=quality, default=None)


def _connector_role(analysis: Analysis) -> str:
    """The others' best connector is not called the best where the reference's is better."""
    found = best_delivered(analysis)
    behind = found is not None and found.delivered.gain.value < 0
    return "best connector beside the reference's" if behind else "best connector"


def _joint_role(analysis: Analysis) -> str:
    count = len(jointly_trained(analysis))
    return "joint training" if count < 2 else f"joint training, the best of {count} such methods"
