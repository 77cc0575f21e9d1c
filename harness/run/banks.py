"""The banks of a run: what they held when its cells were made, and whether they still do."""

from collections import defaultdict

from harness.data.request import BankRequest
from harness.errors import HarnessError
from harness.run.records import BankRecord, Manifest
from harness.run.stopping import RETRIED
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell


def bank_name(request: BankRequest) -> str:
    """What a run calls a bank."""
    return f"{request.dataset.name} {request.info.modality} {request.spec.id}"


def bank_records(plan: Plan) -> dict[str, BankRecord]:
    """The content of every bank of the plan that is there."""
    found = {}
    for request in plan.resolved.banks.values():
        meta = request.read_meta()
        if meta is not None:
            found[bank_name(request)] = BankRecord(
                encoder=request.spec.id, modality=request.info.modality, digest=meta.digest, weights=meta.weights
            )
    return found


def banks_of(plan: Plan, cell: PlannedCell) -> dict[str, str]:
    """Content digests of the banks that a cell is made from and evaluated on."""
    names = {name for pair in cell.pairs for name in pair}
    requests = {bank_name(request): request for request in plan.resolved.banks.values() if request.spec.id in names}
    found = {name: request.read_meta() for name, request in requests.items()}
    return {name: meta.digest for name, meta in found.items() if meta is not None}


def check_same_weights(plan: Plan) -> None:
    """Refuse banks of one encoder that were made with different weights.

    A name such as ``main`` may have meant other weights when the bank of another dataset was made.

    Raises:
        HarnessError: An encoder has two.
    """
    by_encoder: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for request in plan.resolved.banks.values():
        meta = request.read_meta()
        if meta is not None and meta.weights:
            by_encoder[request.info.modality, request.spec.id].setdefault(meta.weights, request.place)
    for (_, encoder), places in by_encoder.items():
        if len(places) > 1:
            (one, first), (other, second) = list(places.items())[:2]
            raise HarnessError(
                f"its banks were made with different weights: {one} in {first} and {other} in {second}",
                where=encoder,
                fix="delete the older bank and run harness embed again",
            )


def check_unchanged(now: Manifest, store: RunStore) -> None:
    """Refuse a bank that was made again with other content while finished cells of the run are of the old one.

    Every cell says itself what it was made from, so nothing is forgotten when a sweep leaves an encoder out. Cells that
    will be tried again anyway do not count.

    Args:
        now: The manifest that is about to replace the run's.
        store: The run.

    Raises:
        HarnessError: There is such a bank.
    """
    stale: dict[str, list[str]] = defaultdict(list)
    for record in store.records(now).values():
        for name, digest in record.banks.items() if record.status not in RETRIED else ():
            if name in now.banks and now.banks[name].digest != digest:
                stale[name].append(digest)
    for name, old in stale.items():
        raise HarnessError(
            f"bank {name!r} holds other embeddings ({now.banks[name].digest[:12]}) than when {len(old)} finished cells "
            f"were made ({old[0][:12]})",
            where=store.where,
            fix="bring the old bank back, or sweep under another name",
        )
