"""The part of a sweep file that limits which pairs may be picked."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """Base of every part of the sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


class Constraints(Section):
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

    image_dim: Annotated[list[int], BeforeValidator(_as_list, json_schema_input_type=int | list[int])] | None = None
    text_dim: Annotated[list[int], BeforeValidator(_as_list, json_schema_input_type=int | list[int])] | None = None
    max_image_params: Annotated[float, Field(gt=0)] | None = None
    max_text_params: Annotated[float, Field(gt=0)] | None = None
    max_encode_flops: Annotated[float, Field(gt=0)] | None = None
    max_encode_latency_ms: Annotated[float, Field(gt=0)] | None = None
    licenses: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] | None = None
