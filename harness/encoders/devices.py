"""Devices that encoders compute on."""

import torch

from harness.errors import HarnessError


def check_device(name: str, *, where: str) -> None:
    """Refuse a device that torch cannot compute on here.

    Args:
        name: As torch writes it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        where: Named in the error.

    Raises:
        HarnessError: It is no device, or this machine has none such.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise HarnessError(f"{name!r} is no device", where=where, fix="cpu, cuda or cuda:1") from None
    if device.type == "cpu":
        return
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None or accelerator.type != device.type:
        raise HarnessError(f"this machine has no {device.type} device", where=where, fix="set it to cpu")
    if device.index is not None and device.index >= (count := torch.accelerator.device_count()):
        raise HarnessError(f"this machine has {count} {device.type} devices, and no {name}", where=where, fix="cuda:0")


def gpus_here() -> int:
    """GPUs of this machine that torch can compute on."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
