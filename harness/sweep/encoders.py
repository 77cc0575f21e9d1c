"""The encoders of a sweep: what the file writes, checked against the data and the schemes."""

from dataclasses import dataclass

from harness.contract.record import Latency
from harness.contract.registry import near
from harness.data.base import Dataset
from harness.data.extract import describe
from harness.data.request import BankRequest
from harness.encoders.base import EncoderInfo, EncoderSpec, Modality
from harness.errors import HarnessError
from harness.sweep.config import ENCODER_FACTS, EncoderConfig, Sweep
from harness.sweep.located import place
from harness.sweep.planned import EncoderRecord


@dataclass(frozen=True)
class SweepEncoder:
    """One encoder of the sweep.

    Attributes:
        spec: As written.
        info: What is known of it.
    """

    spec: EncoderSpec
    info: EncoderInfo


def encoders_of(sweep: Sweep, dataset: Dataset, modality: Modality) -> dict[str, SweepEncoder]:
    """One side's encoders by id, in the order of the sweep file; all that the data brings where none are written.

    Raises:
        HarnessError: None are written and the data brings none, or one is not what it is said to be.
    """
    own = dataset.own_encoders(modality)
    configs = sweep.image_encoders if modality == "image" else sweep.text_side
    if configs is None:
        if not own:
            raise HarnessError(
                f"{modality}_encoders is missing", where=str(sweep.source), fix="see harness ls encoders"
            )
        configs = [EncoderConfig(id=name) for name in own]
    configs = configs[: sweep.first_image_encoders] if modality == "image" else configs
    found = {}
    for config in configs:
        if own is not None and config.id not in own:
            raise HarnessError(
                f"the data holds no {modality} embeddings of {config.id!r}",
                where=place(sweep.source, f"{modality}_encoders"),
                fix=near(config.id, own),
            )
        # What the data says of its own encoders is known where a task's own data needs them run, too.
        known = own[config.id].facts if own else {}
        facts = dict.fromkeys(ENCODER_FACTS) | known | config.facts
        spec = EncoderSpec(config.id, options=config.options, **facts)
        info = describe(dataset, spec, modality)
        if modality == "text" and sweep.text_side is not None:
            _check_side(sweep, info)
        found[config.id] = SweepEncoder(spec, info)
    return found


def _check_side(sweep: Sweep, info: EncoderInfo) -> None:
    """Language models are listed as such, and nothing else is."""
    listed = sweep.language_models is not None
    if listed != (info.language is not None):
        what, field = ("no language model", "text_encoders") if listed else ("a language model", "language_models")
        where = place(sweep.source, "language_models" if listed else "text_encoders")
        fix = f"list it under {field}" + (
            "" if listed else ", or give it a pooling, e.g. mean, to use it as an encoder"
        )
        raise HarnessError(f"{info.id!r} is {what}", where=where, fix=fix)


def encoder_record(request: BankRequest) -> EncoderRecord:
    """What is known of an encoder, with what its extraction measured."""
    info, meta = request.info, request.read_meta()
    measured = meta.encode_flops / meta.count if meta and meta.encode_flops else None
    stated = None if info.seconds_per_sample is None else Latency(seconds_per_sample=info.seconds_per_sample)
    return EncoderRecord(
        id=info.id,
        modality=info.modality,
        dim=info.dim,
        params=info.params,
        license=info.license,
        revision=info.revision,
        flops_per_sample=info.flops_per_sample if measured is None else measured,
        encode_flops=meta.encode_flops if meta else None,
        encode_s=meta.encode_seconds if meta else None,
        # Stated goes before measured: it may be of the hardware that matters.
        latency=stated or (meta.latency if meta else None),
    )
