"""AdamW whose learning rate does not depend on the width.

A weight of fan-in f trains at lr / sqrt(f) with decay wd sqrt(f), so that what is taken off in a step, lr wd, stays.
Under Adam, whose step ignores the scale of the gradient, this equals the NTK parametrisation (weights of variance 1,
divided by sqrt(f) in the forward pass) of RealMLP at learning rate lr. Vectors train at lr / 10 without decay.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from nas.training.recipe import Recipe

BETAS = (0.9, 0.95)
VECTORS = 0.1  # share of the learning rate that biases, norms and phases get


def fan_ins(network: nn.Module) -> dict[str, int | None]:
    """Returns the fan-in of each parameter by name, None for vectors.

    It is ``prod(shape[1:])`` unless the module that holds the parameter says otherwise in ``fan_in``.
    """
    result: dict[str, int | None] = {}
    for path, module in network.named_modules():
        declared: dict[str, int] = getattr(module, "fan_in", {})
        for name, parameter in module.named_parameters(recurse=False):
            default = math.prod(parameter.shape[1:]) if parameter.dim() > 1 else None
            result[f"{path}.{name}" if path else name] = declared.get(name, default)
    return result


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Returns the optimiser's groups, one a fan-in; ``base`` is the learning rate before the schedule."""
    by_fan_in: dict[int | None, list[nn.Parameter]] = {}
    parameters = dict(network.named_parameters())
    for name, fan_in in fan_ins(network).items():
        if name in parameters:  # a parameter two modules share counts once
            by_fan_in.setdefault(fan_in, []).append(parameters[name])
    groups = []
    for fan_in, members in by_fan_in.items():
        base = recipe.learning_rate * (VECTORS if fan_in is None else 1.0 / math.sqrt(fan_in))
        decay = 0.0 if fan_in is None else recipe.weight_decay * math.sqrt(fan_in)
        groups.append({"params": members, "lr": base, "base": base, "weight_decay": decay})
    return groups


def adamw(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Returns AdamW over the network's groups, fused where the device has it."""
    device = next(network.parameters()).device
    return torch.optim.AdamW(
        parameter_groups(network, recipe), betas=BETAS, fused=True if device.type in ("cpu", "cuda") else None
    )


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's learning rate to ``factor`` times its base."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["base"]


def warm_up(device: torch.device) -> None:
    """Takes one step of nothing, because torch's first one in a process loads for a second or more."""
    nothing = nn.Parameter(torch.zeros(1, device=device))
    optimizer = torch.optim.AdamW([nothing])
    optimizer.zero_grad()
    optimizer.step()
