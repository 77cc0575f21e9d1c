"""The plan as stored with a run."""

import dataclasses
import json
from typing import Any

from harness.connectors.stored import described
from harness.data.repeats import embedded, repeated_captions, written
from harness.run.banks import bank_records
from harness.run.provenance import provenance, sources_of
from harness.run.records import Manifest, PlannedMethod, SelectionRecord, TaskRecord
from harness.sweep.encoders import encoder_record
from harness.sweep.plan import Plan, ReadyMethod
from harness.sweep.resolve import ResolvedSweep


def make_manifest(plan: Plan) -> Manifest:
    """The plan as a record."""
    resolved, sweep = plan.resolved, plan.sweep
    index = resolved.index
    return Manifest(
        name=sweep.name,
        sweep=json.loads(sweep.model_dump_json()),
        image_encoders=[encoder_record(resolved.bank(resolved.dataset, "image", name)) for name in resolved.images],
        text_encoders=[encoder_record(resolved.bank(resolved.dataset, "text", name)) for name in resolved.texts],
        pairs=list(resolved.pairs),
        methods={label: _method_record(resolved, ready) for label, ready in plan.methods.items()},
        reference=plan.reference,
        seeds=sweep.seeds,
        tasks=[_task_record(resolved, number) for number in range(len(sweep.tasks))],
        selection=SelectionRecord(
            task=sweep.selection.task,
            metric=sweep.selection.metric,
            higher_is_better=resolved.higher_is_better,
            constraints=sweep.selection.constraints.model_dump(exclude_none=True),
        ),
        connector={
            **described(resolved.connector),
            "direction": sweep.connector.direction,
            "loss": sweep.connector.loss,
        },
        smoke=sweep.smoke,
        repeated_captions=_repeated_captions(resolved),
        rows={
            **{split: len(rows) for split, rows in index.splits.items()},
            "captions": index.n_captions,
            "skipped": len(index.skipped),
        },
        cells=list(plan.cells),
        banks=bank_records(plan),
        provenance=provenance(),
    )


def _repeated_captions(resolved: ResolvedSweep) -> int:
    """Test captions of more than one test image; 0 where captions are embeddings that are not there yet."""
    dataset = resolved.dataset
    if dataset.own_encoders("text") is None:
        return repeated_captions(resolved.index, "test", written(dataset))
    request = resolved.bank(dataset, "text", next(iter(resolved.texts)))
    return repeated_captions(resolved.index, "test", embedded(request.open())) if request.done else 0


def _method_record(resolved: ResolvedSweep, ready: ReadyMethod) -> PlannedMethod:
    objective = resolved.objective if isinstance(resolved.objective, type) else type(resolved.objective)
    return PlannedMethod(
        method=ready.name,
        kind=ready.method.kind,
        version=ready.method.version,
        config=_as_json(ready.method),
        budget={str(limit): value for limit, value in ready.config.budget.items()},
        is_grid=ready.is_grid,
        sources=sources_of(type(ready.method), type(resolved.connector), objective),
    )


def _task_record(resolved: ResolvedSweep, number: int) -> TaskRecord:
    config, evaluation = resolved.sweep.tasks[number], resolved.evaluations[number]
    return TaskRecord(
        label=config.label,
        kind=resolved.tasks[number].name,
        config={**_as_json(resolved.tasks[number]), "data": config.data},
        metrics=dict(evaluation.metrics),
        chance={} if resolved.without_test else dict(evaluation.chance("test")),
    )


def _as_json(settings: Any) -> dict[str, Any]:
    """A frozen dataclass of settings as plain JSON."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))
