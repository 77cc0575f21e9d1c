"""The words of the report and what they mean: printed at its end, and linked from wherever the evidence uses them."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """A technical term of the report.

    Attributes:
        word: As a heading.
        text: What it means.
        forms: How it is written in running text, longest first; the word itself where there is none.
    """

    word: str
    text: str
    forms: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return "def-" + re.sub(r"[^a-z0-9]+", "-", self.word.lower()).strip("-")


DEFINITIONS = (
    Definition("pair", "One image encoder and one text encoder.", ("pairs", "pair")),
    Definition(
        "connector",
        "The trained module that maps one encoder's embeddings into the other's space.",
        ("connectors", "connector"),
    ),
    Definition(
        "delivered score",
        "The test score of the connector that a method hands over: that of the pair with its best mean validation "
        "score over the seeds, within the constraints of the sweep. Mean over seeds.",
    ),
    Definition("mean score", "The test score of a method's own connectors, mean over all pairs and seeds."),
    Definition(
        "mean gap",
        "How far the mean score lies behind the reference's over the same pairs. Positive is worse, negative is "
        "better.",
    ),
    Definition(
        "reference",
        "The method that rankings are compared with, usually the grid: every pair trained by itself. It is one way "
        "of training, not the truth: another method's connectors may be better.",
    ),
    Definition(
        "untuned",
        "A grid whose learning rate was set by hand. A tuned one picks it among several on validation data, and the "
        "cost of the others is part of its cost.",
        ("untuned", "tuned"),
    ),
    Definition(
        "Spearman",
        "Rank correlation between a method's validation scores and the reference's test scores over the pairs: 1 is "
        "the same order, 0 is chance. Seed by seed against the mean of the reference's other seeds, then averaged.",
    ),
    Definition(
        "noise ceiling",
        "The reference's own row: each of its seeds against the others. No method can be expected to rank better.",
    ),
    Definition(
        "margin",
        "What counts as no loss when a method is said to rank as well as the reference: its whole interval must lie "
        "above minus the margin (a paired non-inferiority statement).",
    ),
    Definition(
        "regret",
        "The reference's test score of its best pair minus that of the pair that the method picks on validation "
        "data. 0 is perfect, positive is a loss whatever the metric's sign. Null where the reference has not scored "
        "the pick.",
        ("regret", "Regret"),
    ),
    Definition(
        "not separated",
        "Pairs whose difference from the best lies within a simultaneous 95 % interval over test data and seeds "
        "(multiple comparisons with the best). It does not say that they are equal.",
        ("not separated", "separated", "separates"),
    ),
    Definition(
        "95 % interval",
        "Bootstrap over test images (groups of images where the data is split by group), resampled for all pairs and "
        "methods together, so that differences are paired. Few seeds cannot be resampled: they are averaged, and "
        "shown.",
        ("95 % interval", "95% CI"),
    ),
    Definition(
        "oracle",
        "The pair with the reference's best mean test score, within the constraints of the sweep. No method sees test "
        "scores.",
    ),
    Definition(
        "best-pair hit", "Share of the seeds in which a method picks the oracle's pair, or one that ties with it."
    ),
    Definition("top-k overlap", "Share of the reference's first k pairs that are among the method's first k."),
    Definition(
        "p (permutation)",
        "How often an order of image encoders and of text encoders drawn at random ranks the pairs as well. Encoders "
        "are permuted, not pairs, because pairs that share an encoder score alike.",
    ),
    Definition(
        "undertrained",
        "A reference whose training ended too early: its scores still rise, or another method's connectors are far "
        "better on the same pairs.",
    ),
    Definition(
        "interaction share",
        "Share of the variance of pair scores that neither the image encoder nor the text encoder explains by "
        "itself, with seed noise and test noise removed.",
    ),
    Definition(
        "NDCG@k", "Discounted gain of the first k places, the gain being the score, beside what a random order has."
    ),
    Definition(
        "Kendall tau-b", "Another rank correlation: the share of pairs of pairs in the same order minus the rest."
    ),
    Definition(
        "cost ratio",
        "The reference's cost over the method's, in FLOPs and in device time: above 1 the method is cheaper. It "
        "stands beside both budgets; device time is not compared between different kinds of device.",
    ),
    Definition(
        "FLOPs",
        "Additions and multiplications inside the method (a multiply-accumulate is two), per seed: training, "
        "optimiser, solving, scoring and validation inside it, and work that was lost. Encoding and the common "
        "evaluation stand beside it.",
        ("FLOPs",),
    ),
    Definition(
        "updates per pair",
        "Training steps in which a pair took part. A step of a joint method trains only some of the pairs, so the "
        "same epochs are fewer updates.",
        ("updates per pair", "updates"),
    ),
    Definition("as run", "Each method with the budget that the sweep gave it.", ("As run", "as run")),
    Definition(
        "matched FLOPs",
        "Each side's best point, by validation score, under the same FLOPs: is the method better than the grid cut "
        "short? A grid that is cut on its curve still has a high learning rate there.",
        ("matched FLOPs",),
    ),
    Definition(
        "matched batch", "Only methods that used the reference's batch size: a step's FLOPs grow with its square."
    ),
    Definition("matched updates", "Both sides cut at a common checkpoint, with the same updates per pair."),
    Definition(
        "paper",
        "The published grid (batch 16,384, 558,128 rows) against the method at its own batch size, counted by the "
        "closed form and not run.",
        ("as published",),
    ),
    Definition(
        "device time",
        "Seconds inside the cells times the CPUs or GPUs that they held (wall), without start-up and queueing.",
        ("device time", "device-seconds"),
    ),
    Definition(
        "dominated",
        "Another entry costs no more and is at least as good, and better in one of both. What is not dominated is "
        "the frontier.",
        ("dominated", "frontier"),
    ),
)

_BY_FORM = {form: definition for definition in DEFINITIONS for form in (definition.forms or (definition.word,))}
_FORMS = re.compile(
    r"\b(?:" + "|".join(re.escape(form) for form in sorted(_BY_FORM, key=len, reverse=True)) + r")(?!\w)"
)
PLAIN = frozenset({"pair", "connector"})
"""Words that are used all over a report: they are defined, but not linked each time."""


def linked(text: str, link: Callable[[str, Definition], str], escape: Callable[[str], str] = str) -> str:
    """A text with the first use of each technical term linked to its definition.

    Args:
        text: Plain text.
        link: (word as written, its definition) -> the link.
        escape: Applied to everything else.
    """
    seen: set[str] = set(PLAIN)
    parts, end = [], 0
    for match in _FORMS.finditer(text):
        definition = _BY_FORM[match[0]]
        if definition.word in seen:
            continue
        seen.add(definition.word)
        parts += [escape(text[end : match.start()]), link(match[0], definition)]
        end = match.end()
    return "".join([*parts, escape(text[end:])])
