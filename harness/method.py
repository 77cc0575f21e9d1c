"""The page that the author of a method reads.

A method ranks pairs of encoders. It is one class in one file: a frozen dataclass whose fields are its settings in the
sweep file, with a ``kind``, a ``version`` and one function:

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit

``problem`` holds the training and validation banks (never the test split), the pairs, the kind of connector, the
device, the ledger that every FLOP is booked in, and ``score(pair, connector)``: the selection metric on validation
data. ``fit`` returns a score for each pair and, unless its kind is ``score``, a connector for each.

What a method may also have is a Protocol of its own: ``Estimates`` (what a cell will cost), ``PublishedEstimates``,
``RungEstimates``, ``TriesRates`` (learning rates), ``WithoutBudget``, ``ReadsParams``, ``Smokes``, ``Policy`` and
``AsyncPolicy`` (stopping trailing pairs). ``baselines/ape.py`` is a small method; ``docs/adding_a_method.md`` walks
through others.
"""

from harness.contract.budget import Budget
from harness.contract.connector import Connector, ConnectorKind, Dims, Layers, Tensors, TensorShape
from harness.contract.fit import Checkpoint, Estimate, Fit, Progress, Tuning
from harness.contract.ledger import PHASES, Ledger
from harness.contract.method import (
    METHODS,
    Convention,
    Estimates,
    Method,
    PublishedEstimates,
    ReadsParams,
    RungEstimates,
    Smokes,
    TriesRates,
    WithoutBudget,
    estimate_of,
    takes_budget,
)
from harness.contract.objective import LogitScale, Objective, ObjectiveSetting, StackedObjective
from harness.contract.pairs import Direction, Kind, Pair
from harness.contract.problem import Problem, ScoringCost, Sizes, UnitScores
from harness.contract.split import Batch, Split
from harness.contract.stopping import AsyncPolicy, Policy, Rung

__all__ = [
    "METHODS",
    "PHASES",
    "AsyncPolicy",
    "Batch",
    "Budget",
    "Checkpoint",
    "Connector",
    "ConnectorKind",
    "Convention",
    "Dims",
    "Direction",
    "Estimate",
    "Estimates",
    "Fit",
    "Kind",
    "Layers",
    "Ledger",
    "LogitScale",
    "Method",
    "Objective",
    "ObjectiveSetting",
    "Pair",
    "Policy",
    "Problem",
    "Progress",
    "PublishedEstimates",
    "ReadsParams",
    "Rung",
    "RungEstimates",
    "ScoringCost",
    "Sizes",
    "Smokes",
    "Split",
    "StackedObjective",
    "TensorShape",
    "Tensors",
    "TriesRates",
    "Tuning",
    "UnitScores",
    "WithoutBudget",
    "estimate_of",
    "takes_budget",
]
