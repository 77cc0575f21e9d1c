"""The tensors of a training that stops: what a later one, or the next rung, needs to go on exactly."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def saved(step: int, trained: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of parameters and both moments, and the steps done."""
    state = {"step": torch.tensor(step)}
    for number, parameter in enumerate(trained):
        state[f"parameter.{number}"] = _copy(parameter)
        for name, value in optimizer.state[parameter].items():
            state[f"{name}.{number}"] = _copy(value)
    return state


def _copy(tensor: Tensor) -> Tensor:
    """On the CPU, and in a storage of its own, as safetensors wants it."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def together(states: Mapping[float, Mapping[str, Tensor]], rates: Sequence[float]) -> Mapping[str, Tensor] | None:
    """The states of those of these learning rates that go on, as one; None without any."""
    if len(rates) < 2:
        return next(iter(states.values()), None)
    return {f"{lr!r}/{name}": tensor for lr, state in states.items() for name, tensor in state.items()} or None


def of_rate(state: Mapping[str, Tensor], lr: float, rates: Sequence[float]) -> Mapping[str, Tensor] | None:
    """The inverse of ``together`` for one of these rates; None if it has no state: its training had broken down."""
    if len(rates) < 2:
        return state
    return {name.partition("/")[2]: tensor for name, tensor in state.items() if name.startswith(f"{lr!r}/")} or None


def restore(state: Mapping[str, Tensor], trained: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> int:
    """The inverse of ``saved``; returns the steps done."""
    for number, parameter in enumerate(trained):
        with torch.no_grad():
            parameter.copy_(state[f"parameter.{number}"])
        own = [name for name in state if name.endswith(f".{number}") and not name.startswith("parameter.")]
        # A fused AdamW keeps its count of steps beside the parameter, like the moments.
        optimizer.state[parameter] = {
            name.rpartition(".")[0]: state[name].to(parameter.device, copy=True) for name in own
        }
    return int(state["step"])
