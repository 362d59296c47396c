"""Networks of one shape side by side: flat memory, one optimiser step, one forward pass for all rows.

Here belongs how K rows lie in memory and how a step is taken on all of them. Modules side by side are in ``forms``,
batches, schedules and epochs in ``learn``.

Memory. All trained parameters of a row are one line of [K, P] tensors, each parameter and each line beginning at a
multiple of 64 numbers. Matrices come first, because they are decayed.

The optimiser is AdamW whose learning rate does not depend on the width. A weight of fan-in f trains at lr / sqrt(f)
with decay wd sqrt(f), so that what is taken off in a step, lr wd, stays. Under Adam, whose step ignores the scale of
the gradient, this equals the NTK parametrisation (weights of variance 1, divided by sqrt(f) in the forward pass) of
RealMLP at learning rate lr. Vectors train at lr / 10 without decay. It is one fused step for all rows: what is stepped
is not the weight w but u = w / rate, with the rate of each parameter and row, at a learning rate that is the schedule
alone; w = u rate follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn

from nas.model import Network, Step
from nas.training.forms import ALIGNED, Dropouts, Form, Place, form_of, has_form, has_parameters
from nas.training.recipe import Recipe

BETAS = (0.9, 0.95)
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


def can_stack(network: Network) -> bool:
    """Returns whether a network's modules all have a form side by side; others are trained one by one."""
    parts = (network.nodes, network.adapters, network.heads)
    return network.bias is None and all(has_form(module) for part in parts for module in part.values())


Give = Callable[[Tensor], None]


class Stack:
    """K networks of one shape, ready for steps; their parameters live here until ``release``.

    Args:
        networks: Of one architecture and signature, on one device.
        recipes: One a network.
        moving: Where each of them stands.
        stacked: Whether they are computed side by side (``can_stack``); otherwise there is one.
    """

    def __init__(
        self, networks: Sequence[Network], recipes: Sequence[Recipe], moving: Sequence[Moving], *, stacked: bool
    ) -> None:
        self.networks = networks
        self.layout = Layout.of(networks[0])
        device = moving[0].u.device
        rates = {recipe.learning_rate for recipe in recipes}
        lines = [self.layout.rates(recipe.learning_rate) for recipe in (recipes[:1] if len(rates) == 1 else recipes)]
        self.rate = torch.stack(lines).to(device)
        self.u = torch.stack([each.u for each in moving])
        self.weights = self.u * self.rate
        self.gradient = torch.zeros_like(self.u)
        self.u.grad = self.gradient
        self.optimizer = torch.optim.AdamW(
            [self.u], betas=BETAS, weight_decay=0.0, fused=True if device.type in ("cpu", "cuda") else None
        )
        self._adam = {
            "step": torch.tensor(moving[0].steps, device=device),
            "exp_avg": torch.stack([each.first for each in moving]),
            "exp_avg_sq": torch.stack([each.second for each in moving]),
        }
        self.optimizer.state[self.u] = self._adam
        self._decays = [recipe.learning_rate * recipe.weight_decay for recipe in recipes]
        self._decayed = self.u[:, : self.layout.decayed]
        self._point()
        self.dropouts: list[Dropouts] = []
        parts = {"nodes": networks[0].nodes, "adapters": networks[0].adapters}
        self._learned = {f"{p}.{name}": has_parameters(module) for p in parts for name, module in parts[p].items()}
        self._forms = self._build() if stacked else None
        if self._forms is None and len(networks) > 1:
            raise ValueError("what has no form side by side is trained alone")

    def _point(self) -> None:
        """Makes the networks' parameters views of the lines here."""
        for part in self.layout.parts:
            weights, gradients = part.of(self.weights), part.of(self.gradient)
            for row, network in enumerate(self.networks):
                parameter = network.get_parameter(part.name)
                parameter.data, parameter.grad = weights[row], gradients[row]

    def moving(self, row: int) -> Moving:
        """Returns a copy of what the next stack of this row needs."""
        first, second = self._adam["exp_avg"], self._adam["exp_avg_sq"]
        return Moving(self.u[row].clone(), first[row].clone(), second[row].clone(), float(self._adam["step"]))

    def release(self) -> None:
        """Gives each network a memory of its own again."""
        for part in self.layout.parts:
            weights = part.of(self.weights)
            for row, network in enumerate(self.networks):
                parameter = network.get_parameter(part.name)
                parameter.data, parameter.grad = weights[row].clone(), None

    def step(self, factor: float) -> None:
        """Steps on the gradients at ``factor`` times each row's learning rate."""
        if self.layout.decayed and any(self._decays):
            left = [1.0 - factor * decay for decay in self._decays]  # in double precision, whatever the company
            alike = len(set(left)) == 1
            self._decayed.mul_(left[0] if alike else torch.tensor(left, device=self.u.device).unsqueeze(1))
        self.optimizer.param_groups[0]["lr"] = factor
        self.optimizer.step()
        torch.mul(self.u, self.rate, out=self.weights)

    # ---- dropout

    def draw(self, generators: Sequence[torch.Generator], views: Mapping[str, Tensor]) -> None:
        """Draws the random bits of one step, each row's from its own generator, four elements from 64 bits."""
        active = [dropouts for dropouts in self.dropouts if any(dropouts.p)]
        if not active:
            return
        if not active[0].elements:
            self.forward(views)  # tells the sizes
        starts = list(accumulate((-(-each.elements // (4 * 16)) * 16 for each in self.dropouts), initial=0))
        words = torch.empty(len(self.networks), starts[-1], dtype=torch.int64, device=self.u.device)
        for row, generator in zip(words, generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        for dropouts, start, stop in zip(self.dropouts, starts, starts[1:], strict=False):
            dropouts.bits = words[:, start:stop].view(torch.int16)[:, : dropouts.elements]

    # ---- forward and backward

    def forward(self, views: Mapping[str, Tensor]) -> tuple[Tensor, Give]:
        """Returns what the networks say of views [K, b, ...], [K, b, outputs], and what takes the gradient of that.

        The gradients of the parameters are then in ``gradient``.
        """
        if self._forms is None:
            return self._alone(views)
        network, tape = self.networks[0], _Tape(self._forms, self._learned)
        for step in network.steps:
            if step.operation == "input":
                tape.values.append(views[str(network.architecture.nodes[step.node].parameters[0][1])])
                tape.wanted.append(False)
            elif step.operation == "output":
                break
            else:
                tape.add(step)
        return tape.end(network.steps[-1])

    def _alone(self, views: Mapping[str, Tensor]) -> tuple[Tensor, Give]:
        """``forward`` by autograd, for a network whose modules have no form."""
        self.gradient.zero_()
        with torch.enable_grad():
            answer = self.networks[0]({name: _channels_last(view[0]) for name, view in views.items()})

        def back(gradient: Tensor) -> None:
            if answer.requires_grad:
                answer.backward(gradient[0].to(answer.dtype))

        return answer.detach().unsqueeze(0), back

    def _build(self) -> dict[str, Form]:
        """Returns the form of each node, adapter and head by its path."""
        weights, gradients = {}, {}
        for part in self.layout.parts:
            weights[part.name] = part.of(self.weights).detach().requires_grad_()
            gradients[part.name] = part.of(self.gradient)
        forms = {}
        for group in ("nodes", "adapters", "heads"):
            for name in self.networks[0].get_submodule(group):  # type: ignore[attr-defined]
                path = f"{group}.{name}"
                modules = [network.get_submodule(path) for network in self.networks]
                forms[path] = form_of(Place(path, modules, weights, gradients, self.dropouts))
        for dropouts in self.dropouts:
            dropouts.to(self.u.device)
        return forms


class _Tape:
    """What one forward pass has computed, node after node, so that its gradients can be found in reverse."""

    def __init__(self, forms: Mapping[str, Form], learned: Mapping[str, bool]) -> None:
        self.forms, self.learned = forms, learned
        self.values: list[Tensor] = []
        self.wanted: list[bool] = []
        self.backs: list[tuple[int, Give]] = []
        self.gradients: dict[int, Tensor] = {}

    def add(self, step: Step) -> None:
        """Computes one node."""
        joined, give = self._joined(step)
        value, back = self.forms[f"nodes.{step.node}"](joined, give is not None)
        self.values.append(value)
        wanted = give is not None or self.learned[f"nodes.{step.node}"]
        self.wanted.append(wanted)
        if not wanted:
            return

        def through(gradient: Tensor) -> None:
            found = back(gradient)
            if give is not None and found is not None:
                give(found)

        self.backs.append((step.node, through))

    def end(self, step: Step) -> tuple[Tensor, Give]:
        """Returns the sum of the heads and what takes its gradient."""
        total: Tensor | None = None
        heads = []
        for source, times in step.sources:
            part, back = self.forms[f"heads.{source}"](self.values[source], self.wanted[source])
            part = part if times == 1 else times * part
            total = part if total is None else total + part
            heads.append((source, times, back))
        assert total is not None

        def backward(gradient: Tensor) -> None:
            for source, times, back in heads:
                found = back(gradient if times == 1 else times * gradient)
                if found is not None:
                    self._give(source, found)
            for node, back in reversed(self.backs):
                if node in self.gradients:
                    back(self.gradients.pop(node))

        return total, backward

    def _joined(self, step: Step) -> tuple[Tensor, Give | None]:
        """Returns the join of a node's sources, and what passes its gradient on to them, None where nobody wants it."""
        parts, gives = [], []
        for source, times in step.sources:
            part, give = self._adapted(source, step.node)
            parts.append((part, times))
            gives.append((give, times))
        if len(parts) == 1 and parts[0][1] == 1:
            return parts[0][0], gives[0][0]
        if step.join == "concat":
            joined = torch.cat([part for part, times in parts for _ in range(times)], dim=2)
        else:
            joined = _total([part if times == 1 else times * part for part, times in parts])
        widths = [part.shape[2] for part, _ in parts]

        def pass_on(gradient: Tensor) -> None:
            start = 0
            for (give, times), width in zip(gives, widths, strict=True):
                if step.join == "concat":
                    shares = [gradient.narrow(2, start + width * i, width) for i in range(times)]
                    start += width * times
                    share = _total(shares)
                else:
                    share = gradient if times == 1 else times * gradient
                if give is not None:
                    give(share)

        return joined, pass_on if any(give is not None for give, _ in gives) else None

    def _adapted(self, source: int, node: int) -> tuple[Tensor, Give | None]:
        """Returns a value as a node takes it, and what takes its gradient."""
        adapter, value = self.forms.get(f"adapters.{source}_{node}"), self.values[source]
        give = partial(self._give, source) if self.wanted[source] else None
        if adapter is None:
            return value, give
        value, back = adapter(value, give is not None)
        if give is None and not self.learned[f"adapters.{source}_{node}"]:
            return value, None

        def through(gradient: Tensor) -> None:
            found = back(gradient)
            if give is not None and found is not None:
                give(found)

        return value, through

    def _give(self, node: int, gradient: Tensor) -> None:
        """Adds to the gradient of a node's value."""
        before = self.gradients.get(node)
        self.gradients[node] = gradient if before is None else before + gradient


def _channels_last(view: Tensor) -> Tensor:
    return view.contiguous(memory_format=torch.channels_last) if view.dim() == 4 else view


def _total(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def warm_up(device: torch.device) -> None:
    """Takes one step of nothing, because torch's first one in a process loads for a second or more."""
    nothing = nn.Parameter(torch.zeros(1, device=device))
    optimizer = torch.optim.AdamW([nothing])
    optimizer.zero_grad()
    optimizer.step()
