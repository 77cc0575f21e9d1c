"""The sweep file as typed models: the only place that knows YAML.

Reading is strict: unknown keys, duplicate keys and wrong types are errors that name file, line and field.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from harness.errors import HarnessError
from harness.registry import near

BUDGET_KEYS = ("epochs", "updates_per_pair", "flops", "seconds")
ENCODER_FACTS = ("dim", "params", "license", "flops_per_sample", "seconds_per_sample")
TASK_KINDS = ("retrieval", "zero_shot")


class Model(BaseModel):
    """Base of every part of the sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderConfig(BaseModel):
    """``scheme:name``, or a mapping with ``id``, stated facts (``ENCODER_FACTS``) and options of the scheme."""

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


class ConnectorConfig(Model):
    """The connector that every method trains, and its objective."""

    hidden_layers: Literal[0, 1, 2] = 0
    width: Annotated[int, Field(gt=0)] = 1024
    direction: Literal["text_to_image", "image_to_text"] = "text_to_image"
    loss: str = "info_nce"


class TaskConfig(Model):
    """An evaluation. ``label`` names it where one kind is used twice; it is the kind otherwise."""

    kind: Literal["retrieval", "zero_shot"]
    label: str = ""
    data: dict[str, Any] | None = None
    classes: str | list[str] | None = None
    templates: str | list[str] = "simple"

    @model_validator(mode="before")
    @classmethod
    def _default_label(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, Mapping) and not value.get("label"):
            return {**value, "label": value.get("kind", "")}
        return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


class Constraints(Model):
    """Which pairs may be picked. A pair passes when its encoders are known to meet every limit that is given.

    Attributes:
        image_dim: Allowed image embedding dimensions.
        text_dim: Allowed text embedding dimensions.
        max_image_params: Most parameters of the image encoder.
        max_text_params: Most parameters of the text encoder.
        max_encode_flops: Most forward FLOPs of both encoders together, for one image and one caption.
        max_encode_latency_ms: Most milliseconds of both encoders together, for one image and one caption, as measured
            while the banks were extracted (per sample of a batch, on that machine) or as stated.
        licenses: Allowed licences of both encoders' weights.
    """

    image_dim: Annotated[list[int], BeforeValidator(_as_list)] | None = None
    text_dim: Annotated[list[int], BeforeValidator(_as_list)] | None = None
    max_image_params: Annotated[float, Field(gt=0)] | None = None
    max_text_params: Annotated[float, Field(gt=0)] | None = None
    max_encode_flops: Annotated[float, Field(gt=0)] | None = None
    max_encode_latency_ms: Annotated[float, Field(gt=0)] | None = None
    licenses: Annotated[list[str], BeforeValidator(_as_list)] | None = None


class SelectionConfig(Model):
    """The metric that methods pick by on validation data, and that pairs are scored with on test data.

    All pairs are run; ``constraints`` limit what the report picks and compares.
    """

    task: str
    metric: str
    constraints: Constraints = Constraints()


class Resources(Model):
    """What one cell of a method holds while it runs."""

    cpu: Annotated[float, Field(gt=0)] = 1
    gpu: Annotated[float, Field(ge=0)] = 0
    timeout_s: Annotated[float, Field(gt=0)] | None = None


class MethodConfig(Model):
    """One method: its registered name, resources, budget, and its own config."""

    method: str
    resources: Resources = Resources()
    budget: dict[Literal["epochs", "updates_per_pair", "flops", "seconds"], Annotated[float, Field(gt=0)]] = {}
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


class BankConfig(Model):
    """How embeddings are extracted and stored."""

    dtype: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, Field(gt=0)] = 64
    shard_rows: Annotated[int, Field(gt=0)] = 4096
    device: str = "cpu"


class Sweep(Model):
    """A whole sweep file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    data: dict[str, Any]
    image_encoders: list[EncoderConfig] | None = None
    text_encoders: list[EncoderConfig] | None = None
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
    source: Path = Path("sweep.yaml")
    """The sweep file itself: relative paths start in its folder. Not written by hand."""

    @field_validator("methods", mode="before")
    @classmethod
    def _name_methods(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        named = {k: {"method": k, **(v or {})} if isinstance(v, Mapping | None) else v for k, v in value.items()}
        return _climbed(named)

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError(f"a seed stands twice: {value}")
        return value

    @field_validator("image_encoders", "text_encoders")
    @classmethod
    def _distinct_encoders(cls, value: list[EncoderConfig] | None) -> list[EncoderConfig] | None:
        ids = [encoder.id for encoder in value or []]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"encoder {twice[0]!r} stands twice")
        if value == []:
            raise ValueError("the list is empty: there would be zero pairs")
        return value

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


def _climbed(methods: Mapping[str, Any]) -> dict[str, Any]:
    """A method with a ``ladder`` (one budget with a list of values) becomes one method per value: ``label@value``."""
    found: dict[str, Any] = {}
    for label, entry in methods.items():
        if not isinstance(entry, Mapping) or "ladder" not in entry:
            steps = {label: entry}
        else:
            rest = {key: value for key, value in entry.items() if key != "ladder"}
            steps = {f"{label}@{v:g}": {**rest, key: v} for key, v in _rungs_of_ladder(label, entry)}
        if twice := sorted(steps.keys() & found.keys()):
            raise ValueError(f"methods: label {twice[0]!r} stands twice")
        found |= steps
    return found


def _rungs_of_ladder(label: str, entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    ladder = entry["ladder"]
    if not isinstance(ladder, Mapping) or len(ladder) != 1 or not set(ladder) <= set(BUDGET_KEYS):
        raise ValueError(f"{label}: a ladder is one of {', '.join(BUDGET_KEYS)} with a list of values")
    ((key, values),) = ladder.items()
    numbers = isinstance(values, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not values or not numbers or len(set(values)) != len(values):
        raise ValueError(f"{label}: a ladder's {key} must be a list of different numbers")
    if given := [name for name in BUDGET_KEYS if entry.get(name) is not None]:
        raise ValueError(f"{label}: give a ladder or {given[0]}, not both")
    return [(key, value) for value in values]


def build_config(cls: type, values: Mapping[str, Any], *, where: str) -> Any:
    """A frozen config dataclass from a mapping, type-checked, unknown keys refused with the near ones.

    Args:
        cls: The dataclass (a method class, say).
        values: What the sweep file says.
        where: Named in errors.

    Raises:
        HarnessError: An unknown key or a wrong value.
    """
    fields = {field.name for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in fields:
            raise HarnessError(f"unknown key {key!r}", where=where, fix=near(key, [*fields, *BUDGET_KEYS, "resources"]))
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part in values or isinstance(part, int))
        raise HarnessError(_message(first), where=f"{where}.{place}" if place else where) from error


def load_sweep(path: Path, *, overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep file (YAML or JSON).

    Args:
        path: The file.
        overrides: ``a.b.c=value`` replacements, values written as YAML.

    Raises:
        HarnessError: One line with file, line and field.
    """
    if not path.is_file():
        raise HarnessError("no such sweep file", where=str(path), fix="see harness ls sweeps")
    node, values = _parse(path)
    if not isinstance(values, dict):
        raise HarnessError("is not a mapping of fields", where=str(path), fix="start with `name: ...`")
    for override in overrides:
        _override(values, override)
    try:
        return Sweep.model_validate({**values, "source": path.resolve()})
    except ValidationError as error:
        raise _located(error, Sweep, path, node) from error


def _located(
    error: ValidationError,
    model: type[BaseModel],
    path: Path,
    node: yaml.Node | None,
    under: tuple[str | int, ...] = (),
) -> HarnessError:
    """An error of the model's validation, with file, line and field; an unknown key before all others."""
    # A misspelt key is also a missing one: the misspelling says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where, line = [str(part) for part in under], None
    for part in under:
        node = _child(node, part)
        line = node.start_mark.line + 1 if node else line
    for number, part in enumerate(first["loc"]):
        child = _child(node, part)
        if child is not None:
            node, line = child, child.start_mark.line + 1
            where.append(str(part))
        elif _is_written(part, _fields_at(model, first["loc"][:number])) or first["type"] == "extra_forbidden":
            where.append(str(part))
    at = f"{path}:{line}" if line else str(path)
    unknown = first["type"] == "extra_forbidden"
    fix = near(str(first["loc"][-1]), _fields_at(model, first["loc"][:-1])) if unknown else ""
    return HarnessError(_message(first), where=": ".join(x for x in (at, ".".join(where)) if x), fix=fix)


def located_in_file(
    error: ValidationError, model: type[BaseModel], path: Path, under: tuple[str | int, ...]
) -> HarnessError:
    """The error of a part of the file that is validated later (``data`` of a dataset kind), with file, line, field."""
    return _located(error, model, path, _parse(path)[0] if path.is_file() else None, under)


def place(path: Path, field: str) -> str:
    """``file:line: field``, of the field or what encloses it; the field alone when there is no such file."""
    if not path.is_file():
        return field
    node, line = _parse(path)[0], 0
    for part in field.split("."):
        node = _child(node, int(part) if isinstance(node, yaml.SequenceNode) and part.isdigit() else part)
        if node is None:
            break
        line = node.start_mark.line + 1
    return f"{path}:{line}: {field}" if line else f"{path}: {field}"


def _is_written(part: str | int, fields: set[str]) -> bool:
    """Whether a part of pydantic's location is a field of the file, not the name of a validator or of our own."""
    return part in BUDGET_KEYS or (part in fields and part != "budget")


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> set[str]:
    """Names of the fields at a place of a model; list positions and free keys on the way are passed over."""
    models = [model]
    for part in loc:
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [m for annotation in inner for m in _models_in(annotation)] or models
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key {error['loc'][-1]!r}"
    if error["type"] == "missing":
        return "is missing"
    text = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    told = "got" in text or (isinstance(given, str) and repr(given) in text)
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) and not told else ""
    return text + shown


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None


def _parse(path: Path) -> tuple[yaml.Node | None, Any]:
    """The file as nodes (which know their lines) and as values."""
    try:
        text = path.read_text(encoding="utf-8")
        # JSON may be indented with tabs, which YAML forbids; JSON strings hold none.
        loader = yaml.SafeLoader(text.replace("\t", " ") if path.suffix == ".json" else text)
        node = loader.get_single_node()
        _refuse_duplicates(node, path)
        return node, None if node is None else loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise HarnessError("is not a text file", where=str(path)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise HarnessError(f"not valid YAML: {error.problem}", where=where) from error
    except RecursionError as error:
        raise HarnessError("not valid YAML: a value holds itself", where=str(path)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise HarnessError(f"not valid YAML: {' '.join(str(error).split())}", where=str(path)) from error


def _refuse_duplicates(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise HarnessError("a key must be a word", where=f"{path}:{key.start_mark.line + 1}")
            if key.value in seen:
                raise HarnessError(f"key {key.value!r} stands twice", where=f"{path}:{key.start_mark.line + 1}")
            seen.add(key.value)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(value, path)


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise HarnessError(f"--set {text!r} is not written field=value", fix="e.g. --set methods.ape.epochs=5")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise HarnessError(f"--set {text!r}: the value is not valid YAML") from error
    *parents, last = key.strip().split(".")
    here: Any = values
    for part in parents:
        if isinstance(here, dict):
            if here.get(part) is None:
                here[part] = {}
            here = here[part]
        elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            raise HarnessError(f"--set {text!r}: there is no field {part!r} to go into")
    if isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = parsed
    elif isinstance(here, dict):
        here[last] = parsed
    else:
        raise HarnessError(f"--set {text!r}: there is no field {last!r}")
