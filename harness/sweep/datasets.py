"""The datasets of a sweep: its own, and those that tasks bring."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from harness.data.base import DATASETS, Dataset
from harness.data.load import load_dataset
from harness.data.sampled import Sampled
from harness.errors import HarnessError, MissingData
from harness.sweep.config import Sweep
from harness.sweep.located import located_in_file, place


def datasets_of(sweep: Sweep) -> tuple[Dataset, dict[int, Dataset]]:
    """The main dataset, and those of the tasks that have their own, by number.

    Raises:
        MissingData: Files of one or more are absent: one line names all of these datasets.
        HarnessError: One is wrong.
    """
    configs: dict[tuple[str | int, ...], dict[str, Any]] = {("data",): sweep.data}
    configs |= {("tasks", n, "data"): task.data for n, task in enumerate(sweep.tasks) if task.data is not None}
    made: dict[tuple[str | int, ...], Dataset] = {}
    absent: list[MissingData] = []
    for under, config in configs.items():
        try:
            made[under] = _dataset(sweep, config, under)
        except MissingData as missing:
            absent.append(missing)
    if absent:
        raise MissingData("; ".join(dict.fromkeys(map(str, absent))))
    main = made.pop(("data",))
    if sweep.sample is not None:
        main = Sampled(main, sweep.sample)
    return main, {int(under[1]): dataset for under, dataset in made.items()}


def _dataset(sweep: Sweep, config: Mapping[str, Any], under: tuple[str | int, ...]) -> Dataset:
    try:
        return load_dataset(config, sweep.root)
    except ValidationError as error:
        model = DATASETS.get(str(config["kind"]), sweep.root).Config
        raise located_in_file(error, model, sweep.source, under) from error
    except HarnessError as error:
        where = error.where or place(sweep.source, ".".join(map(str, under)))
        raise type(error)(error.what, where=where, fix=error.fix) from error
