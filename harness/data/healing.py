"""Damaged banks: set aside, so that they are extracted again."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.data.bank import EMBEDDINGS, META, open_bank
from harness.data.cache import KEPT
from harness.data.locks import only_one
from harness.data.parts import PARTS, BankPart, parts_in
from harness.data.request import BankRequest
from harness.encoders.base import scheme_of
from harness.errors import Damaged, HarnessError

ASIDE = "damaged"
"""Folder of a bank for files that were set aside; nothing in it is ever read."""


def heal_banks(requests: Iterable[BankRequest], *, anew: bool = False) -> list[str]:
    """Set aside what does not hold what was written, so that it is missing and extracted again.

    Args:
        requests: Banks, made or not.
        anew: Check their content although that has been done.

    Returns:
        What was wrong, a line for each file.

    Raises:
        Damaged: A bank is, and its encoder cannot be had to make it again.
        HarnessError: A bank's data is not finite.
    """
    told = []
    for request in requests:
        mirror = request.mirror
        for damage in mirror.damages(request.path, anew=anew) if mirror else ():
            _check_encoder(request, damage)
            mirror.set_aside(request.path)
            told.append(_told(damage))
        if mirror and request.whole and (request.path / KEPT).is_file():
            continue  # the copy that is here is compared when it is opened, and fetched again
        for damage in damages(request.path, request.identity, anew=anew):
            _check_encoder(request, damage)
            with only_one(request.path):
                for file in _files_of(Path(damage.where)):
                    _set_aside(file, request.path / ASIDE)
                    if mirror and file.parent.name == PARTS:
                        mirror.drop(file)
            told.append(_told(damage))
    return told


def _told(damage: Damaged) -> str:
    return f"damaged, set aside and made again: {damage.where}: {damage.what}"


def damages(bank: Path, identity: str | None = None, *, anew: bool = False) -> Iterator[Damaged]:
    """What is wrong with the bank in a folder, or with the parts of one that is not finished.

    Args:
        bank: The folder.
        identity: What decides the bank's numbers; None: not compared.
        anew: Check the content although that has been done. Parts are always read.

    Raises:
        HarnessError: The bank holds NaN or infinity as it was written.
    """
    if (bank / META).is_file():
        try:
            open_bank(bank, identity=identity, anew=anew)
        except Damaged as damage:
            yield damage
        return
    for part in parts_in(bank / PARTS):
        try:
            part.check()
        except Damaged as damage:
            yield damage


def _files_of(damaged: Path) -> list[Path]:
    """The files that go together: the description first, because a bank without one does not count as made."""
    if damaged.name in (META, EMBEDDINGS):
        return [damaged.with_name(META), damaged.with_name(EMBEDDINGS)]
    return [damaged, *(damaged.with_suffix(ending) for ending in BankPart.BESIDE)]


def _set_aside(file: Path, folder: Path) -> None:
    if file.is_file():
        folder.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.glob(f"{file.name}.*"))
        file.replace(folder / f"{file.name}.{number}")


def _check_encoder(request: BankRequest, damage: Damaged) -> None:
    modality = request.info.modality
    if request.dataset.own_encoders(modality) is None:
        try:
            scheme_of(request.spec).check(request.spec, modality)
        except HarnessError as error:
            what = f"{damage.what}, and it cannot be made again: {error}"
            raise Damaged(what, where=damage.where, fix="bring the encoder or a copy of the bank") from error
