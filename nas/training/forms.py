"""Modules side by side: what one place of K equal networks computes for all of them at once, forward and backward.

Here belongs, for each module class of ``nas.layers`` and torch that tables need, a form that maps [K, b, ...] to
[K, b, ...] with the parameters of each row, and its gradient. How rows lie in memory and when they are stepped belongs
to ``stack``. Forms are called without autograd: for networks this small it would cost more than the arithmetic. A form
returns what it computes and a function that takes the gradient of that, writes the gradients of the parameters where
they belong, and returns the gradient of the input.

Every form gives row k the same bits whatever K is and whichever rows stand beside it, given one thread and rows whose
memory is aligned (``optimizer``). Matrix products: a batched product whose rows are aligned runs the same kernel for
each K >= 1, apart from products of vectors (``product``). Elementwise functions: torch computes the last elements of a
tensor by another code, so that they are applied to all rows together only where a row is a whole number of vector
registers.

Symbols: K rows, b batch, i inputs, o outputs, n features, f frequencies, c columns, l levels, s size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas import layers

ALIGNED = 64  # elements: a multiple of every vector register, twice unrolled

Back = Callable[[Tensor], Tensor | None]
Form = Callable[[Tensor, bool], tuple[Tensor, Back]]
"""(input, whether its gradient is wanted) -> (output, gradient of the output -> gradient of the input or None)."""
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Place:
    """The same module of each row, the tensors [K, ...] of its parameters, and where their gradients are written."""

    path: str
    modules: Sequence[nn.Module]
    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    dropouts: list[Dropouts]

    def child(self, name: str) -> Place:
        """Returns the place of a child module."""
        modules = [module.get_submodule(name) for module in self.modules]
        return Place(f"{self.path}.{name}", modules, self.weights, self.gradients, self.dropouts)

    def parameter(self, name: str) -> tuple[Tensor, Tensor]:
        """Returns the parameter ``name`` of all rows, and where its gradient is written."""
        path = f"{self.path}.{name}"
        return self.weights[path], self.gradients[path]


def form_of(place: Place) -> Form:
    """Returns what the place computes; KeyError where a module has no form here."""
    return FORMS[type(place.modules[0])](place)


def has_form(module: nn.Module) -> bool:
    """Returns whether a module and all in it can be computed side by side."""
    if type(module) is nn.Sequential:
        return all(has_form(child) for child in module)
    if isinstance(module, layers.FeatureScale) and module.weight.dim() > 1:
        return False
    return type(module) in FORMS


# --- products and sums


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns the products [K, m, n] of [K, m, k] and [K, k, n], which ``out`` receives.

    Products of vectors are multiplied and summed: BLAS has kernels for them that depend on K.
    """
    if a.device.type != "cpu" or min(a.shape[1], a.shape[2], b.shape[2]) > 1:
        return torch.bmm(a, b) if out is None else torch.bmm(a, b, out=out)
    found = _product_of_vectors(a, b)
    return found if out is None else out.copy_(found)


def _product_of_vectors(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[2] == 1:
        return a * b
    if b.shape[2] > 1:
        return (a.transpose(1, 2) * b).sum(1, keepdim=True)
    terms = a * b.transpose(1, 2)
    if a.shape[1] > 1:
        return terms.sum(2, keepdim=True)
    return torch.stack([row.sum() for row in terms]).view(-1, 1, 1)


def column_sums(x: Tensor, out: Tensor) -> None:
    """Writes the sums over b of [K, ..., b, n] to ``out`` [K, ..., n]; single columns row by row.

    A sum over adjacent numbers is of another kind than one over columns, and depends on how many there are.
    """
    if x.shape[-1] > 1:
        torch.sum(x, -2, out=out)
    else:
        for row, into in zip(x.unbind(0), out.unbind(0), strict=True):
            torch.sum(row, -2, out=into)


def _linear(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, nn.Linear)
    weight, into = place.parameter("weight")
    bias, bias_into = place.parameter("bias") if module.bias is not None else (None, None)
    transposed = weight.transpose(1, 2)
    added = None if bias is None else bias.unsqueeze(1)
    at_once = added is not None and min(weight.shape[1:]) > 1

    def form(x: Tensor, wanted: bool) -> tuple[Tensor, Back]:
        if at_once:
            y = torch.baddbmm(added, x, transposed)
        else:
            y = product(x, transposed)
            if added is not None:
                y += added

        def back(gradient: Tensor) -> Tensor | None:
            product(gradient.transpose(1, 2), x, into)
            if bias_into is not None:
                column_sums(gradient, bias_into)
            return product(gradient, weight) if wanted else None

        return y, back

    return form


def _gated_linear(place: Place) -> Form:
    glu: Function = lambda x: F.glu(x, dim=-1)  # noqa: E731
    return _in_turn([(form_of(place.child("linear")), True), (_differentiated(glu), False), _part(place, "dropout")])


def _sequential(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, nn.Sequential)
    return _in_turn([_part(place, str(number)) for number in range(len(module))])


def _part(place: Place, name: str) -> tuple[Form, bool]:
    child = place.child(name)
    return form_of(child), has_parameters(child.modules[0])


def has_parameters(module: nn.Module) -> bool:
    """Returns whether a gradient is wanted of what a module returns, even where none is of its input."""
    return next(module.parameters(), None) is not None


def _in_turn(forms: Sequence[tuple[Form, bool]]) -> Form:
    """Returns the composition of forms, each with whether it has parameters."""

    def form(x: Tensor, wanted: bool) -> tuple[Tensor, Back]:
        backs = []
        for each, parameters in forms:
            x, back = each(x, wanted)
            backs.append(back)
            wanted = wanted or parameters

        def through(gradient: Tensor) -> Tensor | None:
            found: Tensor | None = gradient
            for back in reversed(backs):
                if found is None:
                    break
                found = back(found)
            return found

        return x, through

    return form


# --- by autograd


def _differentiated(function: Function) -> Form:
    """Returns the form of a function whose gradient autograd finds; parameters in it write their own (``_Spread``)."""

    def form(x: Tensor, wanted: bool) -> tuple[Tensor, Back]:
        x = x.detach()
        if wanted:
            x.requires_grad_()
        with torch.enable_grad():
            y = function(x)

        def back(gradient: Tensor) -> Tensor | None:
            if y.requires_grad:
                y.backward(gradient)
            return x.grad

        return y.detach(), back

    return form


class _Spread(torch.autograd.Function):
    """Parameters [K, ..., n] for each of b examples, [K, ..., b, n]; their gradient is written where it belongs."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, into: Tensor, b: int) -> Tensor:
        ctx.into = into
        return weight.unsqueeze(-2).expand(*weight.shape[:-1], b, weight.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        column_sums(gradient, ctx.into)
        return None, None, None


class _Products(torch.autograd.Function):
    """The products [K, n, b, s] of x [K, n, b, f] and weights [K, n, f, s], row after row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, into: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.into = weight, into
        return torch.stack([product(a, b) for a, b in zip(x.unbind(0), weight.unbind(0), strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        rows = list(zip(x.unbind(0), ctx.weight.unbind(0), gradient.unbind(0), ctx.into.unbind(0), strict=True))
        for a, _, g, into in rows:
            product(a.transpose(1, 2), g, into)
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return torch.stack([product(g, b.transpose(1, 2)) for _, b, g, _ in rows]), None, None


def _periodic_embedding(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, layers.PeriodicEmbedding)
    rows, n = len(place.modules), module.features
    vectors = [
        [tensor.view(rows, n, -1) for tensor in place.parameter(name)] for name in ("frequency", "phase", "bias")
    ]
    weight, into = place.parameter("weight")

    def embedding(x: Tensor) -> Tensor:
        columns = x.transpose(1, 2).unsqueeze(-1)  # [K, n, b, 1]
        frequency, phase, bias = (_Spread.apply(one, where, x.shape[1]) for one, where in vectors)
        waves = _each(torch.cos, torch.addcmul(phase, columns, 2.0 * math.pi * frequency))  # [K, n, b, f]
        learned = _Products.apply(waves, weight, into) + bias  # [K, n, b, s - 1]
        return torch.cat((columns, learned), dim=-1).transpose(1, 2).flatten(2)

    return _differentiated(embedding)


def _piecewise_linear(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, layers.PiecewiseLinear)
    return _differentiated(lambda x: (module.bins * x.unsqueeze(-1) - module.offsets).clamp(0.0, 1.0).flatten(2))


def _category_embedding(place: Place) -> Form:
    weight, into = place.parameter("weight")

    def embedding(x: Tensor) -> Tensor:
        y: Tensor = _Products.apply(x.transpose(1, 2), weight, into)  # [K, c, b, s]
        return y.transpose(1, 2).flatten(2)

    return _differentiated(embedding)


def _feature_scale(place: Place) -> Form:
    weight, into = place.parameter("weight")
    return _differentiated(lambda x: x * _Spread.apply(weight, into, x.shape[1]))


def _layer_norm(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, nn.LayerNorm)
    (weight, into), (bias, bias_into) = place.parameter("weight"), place.parameter("bias")
    shape, eps, scale, shift = list(module.normalized_shape), module.eps, weight.unsqueeze(1), bias.unsqueeze(1)

    def form(x: Tensor, wanted: bool) -> tuple[Tensor, Back]:
        normal, mean, inverse = torch.native_layer_norm(x, shape, None, None, eps)

        def back(gradient: Tensor) -> Tensor | None:
            column_sums(gradient, bias_into)
            column_sums(gradient * normal, into)
            if not wanted:
                return None
            found: Tensor = torch.ops.aten.native_layer_norm_backward(
                gradient * scale, x, shape, mean, inverse, None, None, [True, False, False]
            )[0]
            return found

        return torch.addcmul(shift, normal, scale), back

    return form


# --- without parameters


def _each(function: Function, x: Tensor) -> Tensor:
    """Returns an elementwise function of all rows, row by row where their ends would be computed differently."""
    if x.shape[0] == 1 or x[0].numel() % ALIGNED == 0 or x.device.type != "cpu":
        return function(x)
    return torch.stack([function(row) for row in x.unbind(0)])


def _elementwise(place: Place) -> Form:
    module = place.modules[0]
    return _differentiated(lambda x: _each(module, x))


def _relu(place: Place) -> Form:
    def form(x: Tensor, wanted: bool) -> tuple[Tensor, Back]:
        y = torch.relu(x)
        return y, lambda gradient: torch.ops.aten.threshold_backward(gradient, y, 0.0)

    return form


def _mish(place: Place) -> Form:
    def form(x: Tensor, wanted: bool) -> tuple[Tensor, Back]:
        if x.shape[0] == 1 or x[0].numel() % ALIGNED == 0 or x.device.type != "cpu":
            y, derivative = layers.mish_and_derivative(x)
        else:
            parts = zip(*map(layers.mish_and_derivative, x.unbind(0)), strict=True)
            y, derivative = (torch.stack(part) for part in parts)
        return y, lambda gradient: gradient * derivative

    return form


def _identity(place: Place) -> Form:
    return lambda x, wanted: (x, lambda gradient: gradient)


def _flatten(place: Place) -> Form:
    return lambda x, wanted: (x.flatten(2), lambda gradient: gradient.view(x.shape))


@dataclass(eq=False)
class Dropouts:
    """One place of dropout: probability of each row, and the random bits of this step, int16 [K, elements]."""

    p: Sequence[float]
    bits: Tensor | None = None
    elements: int = 0  # of one row, known after the first call
    level: Tensor = field(init=False)
    factor: Tensor = field(init=False)

    def __post_init__(self) -> None:
        levels = [min(round(p * 65_536), 65_535) for p in self.p]
        self.level = torch.tensor([level - 32_768 for level in levels], dtype=torch.int16)
        self.factor = torch.tensor([65_536 / (65_536 - level) for level in levels])

    def to(self, device: torch.device) -> None:
        """Moves the constants to a device."""
        self.level, self.factor = self.level.to(device), self.factor.to(device)

    def __call__(self, x: Tensor, wanted: bool = True) -> tuple[Tensor, Back]:
        """Drops elements of each row of ``x`` [K, ...] (to the nearest 1 / 65536) and scales the rest."""
        self.elements = x[0].numel()
        if self.bits is None or not any(self.p):
            return x, lambda gradient: gradient
        shape = (x.shape[0], *(1,) * (x.dim() - 1))
        kept = (self.bits.view(x.shape) >= self.level.view(shape)).to(x.dtype).mul_(self.factor.view(shape))
        return x * kept, lambda gradient: gradient * kept


def _dropout(place: Place) -> Form:
    dropouts = Dropouts([float(module.p) for module in place.modules])  # type: ignore[arg-type]
    place.dropouts.append(dropouts)
    return dropouts


FORMS: Mapping[type[nn.Module], Callable[[Place], Form]] = {
    nn.Linear: _linear,
    layers.GatedLinear: _gated_linear,
    layers.PeriodicEmbedding: _periodic_embedding,
    layers.PiecewiseLinear: _piecewise_linear,
    layers.CategoryEmbedding: _category_embedding,
    layers.FeatureScale: _feature_scale,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: _flatten,
    nn.Identity: _identity,
    nn.Sequential: _sequential,
    nn.ReLU: _relu,
    layers.Mish: _mish,
    layers.Dropout: _dropout,
    nn.Dropout: _dropout,
    **dict.fromkeys((layers.Zero, nn.GELU, nn.SiLU, nn.SELU, nn.Tanh), _elementwise),
}
