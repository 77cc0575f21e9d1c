"""The sweep file as typed models.

Reading is strict: unknown keys and wrong types are errors. ``harness.sweep.loading`` reads the file and says where.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from harness.contract.registry import near
from harness.data.sampled import SampleConfig
from harness.errors import HarnessError
from harness.sweep.constraint_config import Constraints, Section
from harness.sweep.ladders import BUDGET_KEYS, climbed
from harness.sweep.language_defaults import check_one_text_side, with_language_defaults
from harness.sweep.located import place

ENCODER_FACTS = ("dim", "params", "license", "flops_per_sample", "seconds_per_sample")


class EncoderConfig(BaseModel):
    """``scheme:name``, or a mapping with ``id``, stated facts and options of the scheme.

    Attributes:
        id: ``scheme:name``, or the name of embeddings that the data brings.
        dim: Stated dimension, where the encoder cannot be asked: its hub is out of reach.
        params: Stated number of parameters.
        license: Stated license of the weights.
        flops_per_sample: Stated FLOPs of one forward.
        seconds_per_sample: Stated seconds of one forward.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    dim: Annotated[int, Field(gt=0)] | None = None
    params: Annotated[float, Field(gt=0)] | None = None
    license: str | None = None
    flops_per_sample: Annotated[float, Field(gt=0)] | None = None
    seconds_per_sample: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """What is left for the scheme."""
        return dict(self.model_extra or {})

    @property
    def facts(self) -> dict[str, Any]:
        """What is stated."""
        return {name: value for name in ENCODER_FACTS if (value := getattr(self, name)) is not None}


class ConnectorConfig(BaseModel):
    """The connector that every method trains, and its objective.

    Attributes:
        kind: ``linear``, ``mlp``, ``low_rank`` or a plug-in; None: linear, or mlp where ``hidden_layers`` is not 0.
        direction: Which side is mapped.
        loss: The objective: ``info_nce``, ``causal_lm`` or a plug-in.
        bucket_batches: With language models: batches of a window within which captions are sorted by length, so that a
            batch is read only as far as its longest caption goes. 1: captions come as they are drawn, padded.

    Further keys are the kind's own settings, e.g. ``hidden_layers`` and ``width`` of an mlp.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str | None = None
    direction: Literal["text_to_image", "image_to_text"] = "text_to_image"
    loss: str = "info_nce"
    bucket_batches: Annotated[int, Field(ge=1)] = 1

    @property
    def settings(self) -> dict[str, Any]:
        """The kind's own settings."""
        return dict(self.model_extra or {})


class TaskConfig(BaseModel):
    """An evaluation.

    Attributes:
        kind: ``retrieval``, ``zero_shot`` or a plug-in.
        label: Names it where one kind is used twice; it is the kind otherwise.
        data: Data of its own; None: the sweep's.

    Further keys are the kind's own settings, e.g. ``classes`` and ``templates`` of zero_shot.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str
    label: str = ""
    data: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_label(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, Mapping) and not value.get("label"):
            return {**value, "label": str(value.get("kind", "")).rpartition(":")[2]}
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """The kind's own settings."""
        return dict(self.model_extra or {})


class SelectionConfig(Section):
    """The metric that methods pick by on validation data, and that pairs are scored with on test data.

    Attributes:
        task: Label of a task.
        metric: One of its metrics.
        constraints: Which pairs may be picked. All pairs are run; this limits what the report picks and compares.
    """

    task: str
    metric: str
    constraints: Constraints = Constraints()


class Resources(Section):
    """What one cell of a method holds while it runs.

    Attributes:
        cpu: CPUs, which is also the number of threads that it computes with.
        gpu: GPUs; a fraction shares one.
        timeout_s: Seconds after which it is stopped and recorded as timed out, two seconds later if it reports no
            progress.
    """

    cpu: Annotated[float, Field(gt=0)] = 1
    gpu: Annotated[float, Field(ge=0)] = 0
    timeout_s: Annotated[float, Field(gt=0)] | None = None


class MethodConfig(Section):
    """One method: its registered name, resources, budget, and its own settings (``harness ls method NAME``).

    Attributes:
        method: Its registered name, or ``file.py:Class``; the label that it stands under by default.
        resources: What one of its cells holds.
        budget: One of ``epochs``, ``updates_per_pair``, ``flops`` and ``seconds``, written beside the settings.
        config: Its own settings, which are written beside ``method``.
    """

    method: str
    resources: Resources = Resources()
    budget: dict[
        Literal["epochs", "updates_per_pair", "flops", "seconds"], Annotated[float, Field(gt=0, allow_inf_nan=False)]
    ] = {}
    config: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or {"config", "budget"} & set(value):
            return value
        known = {k: value[k] for k in ("method", "resources") if k in value}
        budget = {k: value[k] for k in BUDGET_KEYS if value.get(k) is not None}
        rest = {k: v for k, v in value.items() if k not in known and k not in BUDGET_KEYS}
        return {**known, "budget": budget, "config": rest}


class PickConfig(Section):
    """How ``harness pick`` looks for one pair: all encoders on few rows, then more rows for the few that remain.

    Attributes:
        method: What races pairs and trains the connector: ``winner`` or a plug-in with its fields ``polish``,
            ``at_most_gap`` and ``batch_size``. Its other settings are further fields of ``settings``.
        settings: Its settings, e.g. ``batch_size``.
        resources: What a stage holds while it runs.
        first: Training images of the first stage at most; of small data a tenth, at least 100.
        growth: Times the training images of one stage that the next one has.
        most: Most training images that are embedded; None: all that there are.
        validation: Most validation images, the same in all stages.
        test: Most test images, embedded for the pair that is picked only.
        keep: Share of each side's encoders that goes on from a stage at most, rounded up.
        at_most_gap: What is not worth another stage, in units of the selection metric: a pair that cannot be better by
            more leaves the race, and more rows that gain less end it.
    """

    method: str = "winner"
    settings: dict[str, Any] = {}
    resources: Resources = Resources()
    first: Annotated[int, Field(gt=1)] = 1000
    growth: Annotated[float, Field(gt=1)] = 4.0
    most: Annotated[int, Field(gt=1)] | None = 12_000
    validation: Annotated[int, Field(gt=1)] = 500
    test: Annotated[int, Field(gt=1)] = 2000
    keep: Annotated[float, Field(gt=0, le=1)] = 0.3333
    at_most_gap: Annotated[float, Field(ge=0)] = 0.005

    @field_validator("settings")
    @classmethod
    def _leaves_the_stages_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "polish" in value:
            raise ValueError("polish is not set here: the last stage polishes, and no other")
        if "at_most_gap" in value:
            raise ValueError("at_most_gap is not set here, but as pick.at_most_gap")
        return value


class BankConfig(Section):
    """How embeddings are extracted and stored.

    Attributes:
        dtype: What they are stored as.
        batch_size: Samples of one forward.
        shard_rows: Rows that are extracted between two writes; an interruption loses at most so many.
        device: Where the encoders compute: ``cpu``, ``cuda``, ``cuda:1``.
    """

    dtype: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, Field(gt=0)] = 64
    shard_rows: Annotated[int, Field(gt=0)] = 4096
    device: str = "cpu"


class Sweep(Section):
    """A whole sweep file.

    Attributes:
        name: Name of the run: its folder below ``storage``.
        data: Pictures and captions, or embeddings of them: a dataset ``kind`` with its settings.
        image_encoders: Image encoders; none: all that the data brings.
        text_encoders: Text encoders; none: all that the data brings.
        language_models: Language models in the place of text encoders: images are mapped to their input embeddings.
        connector: What every method trains, and with which objective.
        tasks: What connectors are measured on.
        selection: The metric that pairs are picked and compared by.
        methods: Label to method; the label is the method's name unless ``method`` says otherwise.
        reference: Label of the method that the others are compared with; none: the sweep's grid, if it has one.
        seeds: Every method runs once with each.
        storage: Folder of runs and banks, from the sweep file's folder; ``runs`` of the current one by default.
        bank: How embeddings are made and stored.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    data: dict[str, Any]
    sample: SampleConfig | None = None
    """Only some images of each split take part, and only these are embedded."""
    image_encoders: list[EncoderConfig] | None = None
    text_encoders: list[EncoderConfig] | None = None
    language_models: list[EncoderConfig] | None = None
    first_image_encoders: Annotated[int, Field(gt=0)] | None = None
    """Only the first so many image encoders take part: one list for experiments of growing size."""
    connector: ConnectorConfig = ConnectorConfig()
    tasks: Annotated[list[TaskConfig], Field(min_length=1)] = [TaskConfig(kind="retrieval", label="retrieval")]
    selection: Annotated[SelectionConfig, Field(validate_default=True)] = SelectionConfig(
        task="retrieval", metric="text_to_image_r5"
    )
    methods: Annotated[dict[str, MethodConfig], Field(min_length=1)]
    reference: str | None = None
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    storage: str = ""
    flop_convention: Literal["ours", "published"] = "ours"
    """How ``harness plan`` counts. Ledgers and reports always count as ours."""
    bank: BankConfig = BankConfig()
    smoke: bool = False
    """The sweep has been shrunk by ``--smoke``: its report gives no verdict. Not written by hand."""
    pick: PickConfig = PickConfig()
    """How ``harness pick`` goes about it; nothing else reads it."""
    source: Path = Path("sweep.yaml")
    """The sweep file itself: relative paths start in its folder. Not written by hand."""

    @field_validator("name")
    @classmethod
    def _not_the_banks_folder(cls, value: str) -> str:
        if value == "banks":
            raise ValueError("a run cannot be called 'banks': that folder of the storage holds the banks")
        return value

    @field_validator("methods", mode="before")
    @classmethod
    def _name_methods(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        named = {k: {"method": k, **(v or {})} if isinstance(v, Mapping | None) else v for k, v in value.items()}
        return climbed(named)

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError(f"a seed stands twice: {value}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _language_defaults(cls, value: Any) -> Any:
        return with_language_defaults(value)

    @field_validator("image_encoders", "text_encoders", "language_models")
    @classmethod
    def _distinct_encoders(cls, value: list[EncoderConfig] | None) -> list[EncoderConfig] | None:
        ids = [encoder.id for encoder in value or []]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"encoder {twice[0]!r} stands twice")
        if value == []:
            raise ValueError("the list is empty: there would be zero pairs")
        return value

    @model_validator(mode="after")
    def _one_text_side(self) -> "Sweep":
        connector = self.connector
        check_one_text_side(self.text_encoders, self.language_models, connector.direction, connector.bucket_batches)
        return self

    @property
    def text_side(self) -> list[EncoderConfig] | None:
        """The text encoders, or the language models in their place."""
        return self.text_encoders if self.language_models is None else self.language_models

    @field_validator("tasks")
    @classmethod
    def _distinct_tasks(cls, value: list[TaskConfig]) -> list[TaskConfig]:
        if len({task.label for task in value}) != len(value):
            raise ValueError("two tasks have the same label; give them different `label`s")
        return value

    @field_validator("selection")
    @classmethod
    def _selects_by_a_task(cls, value: SelectionConfig, info: ValidationInfo) -> SelectionConfig:
        labels = [task.label for task in info.data.get("tasks", ())]
        if labels and value.task not in labels:
            raise ValueError(f"task {value.task!r} is not one of the tasks; {near(value.task, labels)}")
        return value

    @field_validator("reference")
    @classmethod
    def _refers_to_a_method(cls, value: str | None, info: ValidationInfo) -> str | None:
        methods = info.data.get("methods", {})
        if value is not None and methods and value not in methods:
            raise ValueError(f"{value!r} is not one of the methods; {near(value, methods)}")
        return value

    def task(self, label: str) -> TaskConfig:
        """The task with this label."""
        return next(task for task in self.tasks if task.label == label)

    @property
    def storage_path(self) -> Path:
        """Absolute storage folder: as written relative to the sweep file, or ``runs`` below the current folder."""
        if "://" in self.storage:
            raise HarnessError(
                f"storage {self.storage!r}: only folders can be used",
                where=place(self.source, "storage"),
                fix="mount the bucket or use a path",
            )
        given = Path(self.storage).expanduser()
        return (self.root / given if self.storage else Path.cwd() / "runs").resolve()

    @property
    def root(self) -> Path:
        """Folder of the sweep file."""
        return self.source.parent
