"""Networks side by side: those of one shape as one stack, stacks of several shapes under one optimiser.

Here belongs how K networks are computed at once. Modules side by side are in ``forms``, their order in ``tape``,
memory and steps in ``optimizer``; batches, schedules and epochs in ``learn``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from nas.model import Network
from nas.training.forms import Dropouts, Form, Place, form_of, has_form, identity
from nas.training.optimizer import Layout, Lines, Moving, Optimizer
from nas.training.recipe import Recipe
from nas.training.tape import Give, Tape, folded, overwriting


def can_stack(network: Network) -> bool:
    """Returns whether a network's modules all have a form side by side; others are trained one by one."""
    parts = (network.nodes, network.adapters, network.heads)
    return network.bias is None and all(has_form(module) for part in parts for module in part.values())


class Stack:
    """K networks of one shape, whose parameters lie in ``lines`` until ``release``.

    Args:
        networks: Of one architecture and signature, on one device.
        lines: Where their parameters and gradients lie.
        stacked: Whether they are computed side by side (``can_stack``); otherwise there is one.
    """

    def __init__(self, networks: Sequence[Network], lines: Lines, *, stacked: bool) -> None:
        if not stacked and len(networks) > 1:
            raise ValueError("what has no form side by side is trained alone")
        self.networks, self.lines = networks, lines
        self.dropouts: list[Dropouts] = []
        self._words: list[Tensor] | None = None  # random bits of each row, once their number is known
        self._point()
        self._tape = Tape(networks[0], self._forms()) if stacked else None

    def _point(self) -> None:
        """Makes the networks' parameters views of the lines."""
        for part in self.lines.layout.parts:
            weights, gradients = part.of(self.lines.weights), part.of(self.lines.gradient)
            for row, network in enumerate(self.networks):
                parameter = network.get_parameter(part.name)
                parameter.data, parameter.grad = weights[row], gradients[row]

    def release(self) -> None:
        """Gives each network a memory of its own again."""
        for part in self.lines.layout.parts:
            weights = part.of(self.lines.weights)
            for row, network in enumerate(self.networks):
                parameter = network.get_parameter(part.name)
                parameter.data, parameter.grad = weights[row].clone(), None

    # ---- dropout

    def draw(self, generators: Sequence[torch.Generator], views: Mapping[str, Tensor]) -> None:
        """Draws the random bits of one step, each row's from its own generator, eight elements from 64 bits."""
        if self._words is None and any(any(dropouts.p) for dropouts in self.dropouts):
            self._words = self._room_for_bits(views)
        for row, generator in zip(self._words or (), generators, strict=False):
            row.random_(-(2**63), None, generator=generator)

    def _room_for_bits(self, views: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the memory of each row's random bits, of which every dropout has its part."""
        self.forward(views)  # tells the sizes
        starts = list(accumulate((-(-each.elements // (8 * 16)) * 16 for each in self.dropouts), initial=0))
        words = torch.empty(len(self.networks), starts[-1], dtype=torch.int64, device=self.lines.u.device)
        for dropouts, part in zip(self.dropouts, pairwise(starts), strict=True):
            dropouts.take(words[:, slice(*part)])
        return list(words)

    # ---- forward and backward

    def forward(self, views: Mapping[str, Tensor]) -> tuple[Tensor, Give]:
        """Returns what the networks say of views [K, b, ...], [K, b, outputs], and what takes the gradient of that.

        The gradients of the parameters are then in the lines.
        """
        return self._alone(views) if self._tape is None else self._tape(views)

    def _alone(self, views: Mapping[str, Tensor]) -> tuple[Tensor, Give]:
        """``forward`` by autograd, for a network whose modules have no form."""
        self.lines.gradient.zero_()
        with torch.enable_grad():
            answer = self.networks[0]({name: _channels_last(view[0]) for name, view in views.items()})

        def back(gradient: Tensor) -> None:
            if answer.requires_grad:
                answer.backward(gradient[0].to(answer.dtype))

        return answer.detach().unsqueeze(0), back

    def _forms(self) -> dict[str, Form]:
        """Returns the form of each node, adapter and head by its path."""
        weights, gradients = {}, {}
        for part in self.lines.layout.parts:
            weights[part.name] = part.of(self.lines.weights)
            gradients[part.name] = part.of(self.lines.gradient)
        forms = {}
        scales, free = folded(self.networks[0]), overwriting(self.networks[0])
        for group in ("nodes", "adapters", "heads"):
            for name in self.networks[0].get_submodule(group):  # type: ignore[attr-defined]
                path = f"{group}.{name}"
                modules = [network.get_submodule(path) for network in self.networks]
                place = Place(path, modules, weights, gradients, self.dropouts, scales.get(path), path in free)
                forms[path] = identity(place) if path in scales.values() else form_of(place)
        return forms


class Stacks:
    """Stacks of several shapes, stepped together.

    Args:
        networks: For each shape its networks.
        recipes: One a network.
        moving: Where each of them stands.
        stacked: Whether they are computed side by side; otherwise there is one network.
    """

    def __init__(
        self,
        networks: Sequence[Sequence[Network]],
        recipes: Sequence[Sequence[Recipe]],
        moving: Sequence[Sequence[Moving]],
        *,
        stacked: bool,
    ) -> None:
        self.optimizer = Optimizer([Layout.of(alike[0]) for alike in networks], recipes, moving)
        pairs = zip(networks, self.optimizer.lines, strict=True)
        self.stacks = [Stack(alike, lines, stacked=stacked) for alike, lines in pairs]

    def release(self) -> None:
        """Gives each network a memory of its own again."""
        for stack in self.stacks:
            stack.release()


def _channels_last(view: Tensor) -> Tensor:
    return view.contiguous(memory_format=torch.channels_last) if view.dim() == 4 else view
