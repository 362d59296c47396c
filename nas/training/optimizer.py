"""Where the trained parameters of many networks lie in memory, and one optimiser step for all of them.

Memory. All trained parameters of a network are a line of P numbers, each parameter and each line beginning at a
multiple of 64 numbers; matrices come first, because they are decayed. The lines of K networks of one shape are [K, P],
and those of several shapes lie one after another, so that one fused step serves all.

The optimiser is AdamW whose learning rate does not depend on the width. A weight of fan-in f trains at lr / sqrt(f)
with decay wd sqrt(f), so that what is taken off in a step, lr wd, stays. Under Adam, whose step ignores the scale of
the gradient, this equals the NTK parametrisation (weights of variance 1, divided by sqrt(f) in the forward pass) of
RealMLP at learning rate lr. Vectors train at lr / 10 without decay. What is stepped is not the weight w but
u = w / rate, with the rate of each parameter and row, at a learning rate that is the schedule alone; w = u rate
follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.training.forms import ALIGNED
from nas.training.recipe import Recipe

BETAS = (0.9, 0.95)
EPSILON = 1e-8
VECTORS = 0.1  # share of the learning rate that biases, norms and phases get
SMALLEST_RATE = 1e-30  # stands for 0: nothing moves


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


@dataclass(frozen=True)
class Part:
    """Where one parameter lies in a row: its first element, shape and fan-in."""

    name: str
    start: int
    shape: torch.Size
    fan_in: int | None

    def of(self, flat: Tensor) -> Tensor:
        """Returns the parameter of all rows, [K, *shape], as a view of [K, P]; filters lie with channels last."""
        tensor = flat[:, self.start : self.start + self.shape.numel()]
        if len(self.shape) != 4:
            return tensor.unflatten(1, self.shape) if self.shape else tensor.squeeze(1)
        out, channels, height, width = self.shape
        return tensor.unflatten(1, (out, height, width, channels)).permute(0, 1, 4, 2, 3)


@dataclass(frozen=True)
class Layout:
    """Where the trained parameters of a network lie in a row of ``size`` numbers, matrices in the first ``decayed``."""

    parts: tuple[Part, ...]
    decayed: int
    size: int

    @classmethod
    def of(cls, network: nn.Module) -> Layout:
        """Returns the layout of a network's parameters that have a gradient."""
        known = fan_ins(network)
        shapes = {name: p.shape for name, p in network.named_parameters() if p.requires_grad}
        ordered = sorted(shapes, key=lambda name: known[name] is None)
        parts, end, decayed = [], 0, 0
        for name in ordered:
            parts.append(Part(name, end, shapes[name], known[name]))
            end += -(-shapes[name].numel() // ALIGNED) * ALIGNED
            if known[name] is not None:
                decayed = end
        return cls(tuple(parts), decayed, max(end, ALIGNED))

    def rates(self, learning_rate: float) -> Tensor:
        """Returns the learning rate of each number of a row, [P], 1 where there is no parameter."""
        rates = torch.ones(self.size)
        for part in self.parts:
            share = VECTORS if part.fan_in is None else 1.0 / math.sqrt(part.fan_in)
            rates[part.start : part.start + part.shape.numel()] = max(learning_rate * share, SMALLEST_RATE)
        return rates


@dataclass(frozen=True, eq=False)
class Moving:
    """What a step changes: u = w / rate and Adam's two moments, [P] each, and the number of steps taken."""

    u: Tensor
    first: Tensor
    second: Tensor
    steps: float = 0.0

    @classmethod
    def of(cls, network: nn.Module, recipe: Recipe) -> Moving:
        """Returns where a network begins that has not been trained."""
        layout = Layout.of(network)
        device = next(iter([p.device for p in network.parameters()]), torch.device("cpu"))
        weights = torch.zeros(1, layout.size, device=device)
        for part in layout.parts:
            part.of(weights)[0].copy_(network.get_parameter(part.name).detach())
        u = weights[0] / layout.rates(recipe.learning_rate).to(device)
        return cls(u, torch.zeros_like(u), torch.zeros_like(u))


class Lines:
    """The rows of one shape: weights, gradients, and what the optimiser steps, [K, P] each."""

    def __init__(self, layout: Layout, recipes: Sequence[Recipe], u: Tensor, gradient: Tensor) -> None:
        self.layout, self.u, self.gradient = layout, u, gradient
        alike = len({recipe.learning_rate for recipe in recipes}) == 1
        rates = [layout.rates(recipe.learning_rate) for recipe in (recipes[:1] if alike else recipes)]
        self.rate = torch.stack(rates).to(u.device)
        self.weights = u * self.rate
        self._decays = [recipe.learning_rate * recipe.weight_decay for recipe in recipes]
        self._decayed = u[:, : layout.decayed] if layout.decayed and any(self._decays) else None

    def decay(self, factor: float) -> None:
        """Takes off what weight decay takes at ``factor`` times each row's learning rate."""
        if self._decayed is not None:
            left = [1.0 - factor * decay for decay in self._decays]  # in double precision, whatever the company
            alike = len(set(left)) == 1
            self._decayed.mul_(left[0] if alike else torch.tensor(left, device=self.u.device).unsqueeze(1))

    def weigh(self) -> None:
        """Makes the weights those of u."""
        torch.mul(self.u, self.rate, out=self.weights)


class Optimizer:
    """One AdamW for the rows of several shapes; for each shape its recipes, and where each of its rows stands.

    All rows have taken equally many steps.
    """

    def __init__(
        self, layouts: Sequence[Layout], recipes: Sequence[Sequence[Recipe]], moving: Sequence[Sequence[Moving]]
    ) -> None:
        every = [each for rows in moving for each in rows]
        device = every[0].u.device
        self._steps = torch.tensor(every[0].steps, device=device)
        self._u, self._first, self._second = (
            torch.cat([getattr(each, name) for each in every]) for name in ("u", "first", "second")
        )
        self._gradient = torch.zeros_like(self._u)
        sizes = [layout.size * len(rows) for layout, rows in zip(layouts, moving, strict=True)]
        views = [
            [part.view(-1, layout.size) for part, layout in zip(flat.split(sizes), layouts, strict=True)]
            for flat in (self._u, self._gradient, self._first, self._second)
        ]
        self.lines = [Lines(*each) for each in zip(layouts, recipes, *views[:2], strict=True)]
        self._moments = list(zip(*views[2:], strict=True))

    def step(self, factor: float) -> None:
        """Steps on the gradients at ``factor`` times each row's learning rate."""
        for lines in self.lines:
            lines.decay(factor)
        self._steps += 1
        torch._fused_adamw_(
            [self._u],
            [self._gradient],
            [self._first],
            [self._second],
            [],
            [self._steps],
            lr=factor,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )
        for lines in self.lines:
            lines.weigh()

    def moving(self, shape: int, row: int) -> Moving:
        """Returns a copy of where a row stands."""
        first, second = self._moments[shape]
        return Moving(self.lines[shape].u[row].clone(), first[row].clone(), second[row].clone(), float(self._steps))


def warm_up(device: torch.device) -> None:
    """Takes one step of nothing, because torch's first one in a process loads for a second or more."""
    nothing = nn.Parameter(torch.zeros(1, device=device))
    optimizer = torch.optim.AdamW([nothing])
    optimizer.zero_grad()
    optimizer.step()
