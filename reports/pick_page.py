"""The page of ``harness pick``: the pair, its delivered score, what it cost and what the grid would have cost."""

from harness.run.picked import PickRecord
from harness.run.store import RunStore
from harness.storage.blobs import Blobs
from reports import formatting
from reports.analysis import analyse
from reports.delivered import Resampled
from reports.html import environment
from reports.tables import TextTable
from reports.wording import counted, estimated, pair_name

RIVALS = 10
"""Pairs that the page lists beside the one that was picked."""


def write_pick(record: PickRecord, last: RunStore, into: Blobs, folder: str) -> list[str]:
    """Write ``index.html`` and ``pick.json``.

    Args:
        record: What the pick has come to.
        last: The run of its last stage.
        into: Where to write.
        folder: The exported model's folder.

    Returns:
        The verdict, sentence by sentence.
    """
    analysis = analyse(last)
    delivered = analysis.methods[record.label].delivered.best
    sentences = verdict(record, delivered)
    page = environment().get_template("pick.html.j2")
    content = page.render(
        title=f"{record.name}: the pair to stitch",
        verdict=sentences,
        cautions=cautions(record),
        folder=folder,
        costs=_costs(record),
        stages=_stages(record),
        rivals=_rivals(record),
        scores=_scores(record, last, delivered),
    )
    into.put("index.html", content.encode())
    into.put("pick.json", (record.model_dump_json(indent=1) + "\n").encode())
    return sentences


def verdict(record: PickRecord, delivered: Resampled) -> list[str]:
    """Which pair, how sure, what it cost and what the grid would have cost: a short sentence each."""
    image, text = (formatting.short_names([name])[name] for name in record.pair)
    others = len(record.not_separated) - 1
    found = f"Stitch {image} + {text}: {record.metric} {estimated(delivered)} on test data."
    sure = (
        f"No other of {counted(record.candidates, 'pair')} may be as good."
        if not others
        else f"{counted(others, 'other pair')} of {record.candidates} may be as good."
    )
    cost = f"That cost {formatting.flops(record.cost.total)}, {formatting.flops(record.cost.encode)} of it to embed."
    if record.unknown:
        cost = f"That cost {formatting.flops(record.cost.total)}, and an embedding of unknown FLOPs."
    return [found, sure, cost, *_saved(record)]


def _saved(record: PickRecord) -> list[str]:
    if record.grid is None or record.connector_saving is None:
        return []
    alone = f"{formatting.times(record.connector_saving)} for connectors alone"
    if record.saving is None:
        return [f"The grid ({record.grid_label}, one seed) would have cost {alone}."]
    whole = f"{formatting.flops(record.grid.total)}: {formatting.times(record.saving)} end to end"
    return [f"The grid ({record.grid_label}, one seed) would have cost {whole}, {alone}."]


def cautions(record: PickRecord) -> list[str]:
    """What a reader must know before they believe the numbers."""
    found = []
    if record.grid is None:
        found.append("The sweep names no grid, so nothing says what a grid search would have cost.")
    if record.unknown:
        names = ", ".join(record.unknown)
        found.append(f"The FLOPs of these encoders are not known and missing from all costs: {names}.")
    if record.stages[-1].validation_images < 200:
        count = record.stages[-1].validation_images
        found.append(f"Pairs were chosen on {count} validation images: differences of a few points are noise.")
    return found


def _costs(record: PickRecord) -> TextTable:
    ways = [("this pick", record.cost), *([(f"the grid, {record.grid_label}", record.grid)] if record.grid else [])]
    rows = [
        [name, *(formatting.flops(value) for value in (cost.encode, cost.connectors, cost.total))]
        for name, cost in ways
    ]
    if record.grid is not None:
        encode, connectors, _ = record.grid.times(record.cost)
        rows.append(["grid / pick", *map(formatting.times, (encode, connectors, record.saving))])
    return TextTable(["", "embedding", "connectors", "end to end"], rows)


def _stages(record: PickRecord) -> TextTable:
    columns = ["stage", "encoders", "training images", "validation images", "pairs left", "best validation score"]
    rows = [
        [
            str(number),
            f"{len(stage.images)} x {len(stage.texts)}",
            formatting.count(stage.train_images),
            formatting.count(stage.validation_images),
            f"{len(stage.racing)} of {len(stage.images) * len(stage.texts)}",
            formatting.number(stage.score),
            formatting.flops(stage.encode_flops),
            formatting.flops(stage.flops),
        ]
        for number, stage in enumerate(record.stages, start=1)
    ]
    return TextTable([*columns, "embedding", "connectors"], rows)


def _rivals(record: PickRecord) -> TextTable:
    rivals = [pair_name(pair) for pair in record.not_separated if pair != record.pair]
    rest = len(rivals) - RIVALS
    shown = [*rivals[:RIVALS], *([f"... and {rest} more"] if rest > 0 else [])]
    return TextTable(["pair"], [[name] for name in shown])


def _scores(record: PickRecord, last: RunStore, delivered: Resampled) -> TextTable:
    (cell,) = last.manifest().cells
    (metrics,) = [m for m in last.record(cell.key).metrics if (m.image, m.text) == record.pair]
    rows = [
        [task, name, estimated(delivered) if name == record.metric else formatting.number(value)]
        for task, values in metrics.test.items()
        for name, value in values.items()
    ]
    return TextTable(["task", "metric", "test score"], rows)
