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
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas import layers

ALIGNED = 64  # elements: a multiple of every vector register, twice unrolled

Columns = slice | None
"""The columns of an input, [K, b, columns, ...], whose gradient is wanted; None: none."""
ALL = slice(None)
Back = Callable[[Tensor], Tensor | None]
Form = Callable[[Tensor, Columns], tuple[Tensor, Back]]
"""(input, what is wanted) -> (output, gradient of the output -> gradient of the input or None).

The gradient of the input has all columns, with anything in those that are not wanted, or the wanted ones alone. That of
the output may be overwritten.
"""
Function = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor, Tensor, Tensor], Tensor]
ATEN = torch.ops.aten


@dataclass(frozen=True)
class Place:
    """The same module of each row, the tensors [K, ...] of its parameters, and where their gradients are written.

    scale: The path of a ``FeatureScale`` the input has yet to go through, for modules that ``fold`` it.
    free: Whether the input may be overwritten, because nobody else needs it.
    """

    path: str
    modules: Sequence[nn.Module]
    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    dropouts: list[Dropouts]
    scale: str | None = None
    free: bool = False

    def child(self, name: str) -> Place:
        """Returns the place of a child module."""
        modules = [module.get_submodule(name) for module in self.modules]
        return replace(self, path=f"{self.path}.{name}", modules=modules, free=False)

    def parameter(self, name: str, path: str | None = None) -> tuple[Tensor, Tensor]:
        """Returns the parameter ``name`` of all rows, and where its gradient is written."""
        path = f"{path or self.path}.{name}"
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
    factor, factor_into = (None, None) if place.scale is None else place.parameter("weight", place.scale)
    added = None if bias is None else bias.unsqueeze(1)
    of_matrices = min(weight.shape[1:]) > 1
    multiply = torch.bmm if of_matrices else product  # as product does
    matrix = weight if factor is None else torch.empty_like(weight)  # the latter holds the scaled weights of a step
    transposed = matrix.transpose(1, 2)

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        if factor is not None:
            torch.mul(weight, factor.unsqueeze(1), out=matrix)
        if added is not None and of_matrices:
            y = torch.baddbmm(added, x, transposed)
        else:
            y = multiply(x, transposed)
            if added is not None:
                y += added

        def back(gradient: Tensor) -> Tensor | None:
            multiply(gradient.transpose(1, 2), x, out=into)
            if bias_into is not None:
                column_sums(gradient, bias_into)
            passed = None
            if wanted is not None:
                passed = multiply(gradient, matrix) if wanted == ALL else product(gradient, matrix[..., wanted])
            if factor is not None and factor_into is not None:
                column_sums(torch.mul(into, weight, out=matrix), factor_into)
                into.mul_(factor.unsqueeze(1))
            return passed

        return y, back

    return form


def _gated_linear(place: Place) -> Form:
    return _in_turn([(form_of(place.child("linear")), True), (_glu, False), _part(place, "dropout")])


def _glu(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
    return F.glu(x, dim=-1), lambda gradient: ATEN.glu_backward(gradient, x, -1)


def _sequential(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, nn.Sequential)
    return _in_turn([_part(place, str(number)) for number in range(len(module))])


def _part(place: Place, name: str) -> tuple[Form, bool]:
    child = place.child(name)
    return form_of(child), has_parameters(child.modules[0])


def folds(module: nn.Module) -> bool:
    """Returns whether a module can take over the ``FeatureScale`` before it, whose products are then of weights."""
    return type(module) in (nn.Linear, layers.GatedLinear)


def has_parameters(module: nn.Module) -> bool:
    """Returns whether a gradient is wanted of what a module returns, even where none is of its input."""
    return next(module.parameters(), None) is not None


def _in_turn(forms: Sequence[tuple[Form, bool]]) -> Form:
    """Returns the composition of forms, each with whether it has parameters."""

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        backs = []
        for each, parameters in forms:
            x, back = each(x, wanted)
            backs.append(back)
            wanted = ALL if wanted or parameters else None

        def through(gradient: Tensor) -> Tensor | None:
            found: Tensor | None = gradient
            for back in reversed(backs):
                if found is None:
                    break
                found = back(found)
            return found

        return x, through

    return form


# --- embeddings and scales


def _products(x: Tensor, weight: Tensor) -> Tensor:
    """Returns the products [K, n, b, s] of x [K, n, b, f] and weights [K, n, f, s]."""
    return product(x.flatten(0, 1), weight.flatten(0, 1)).unflatten(0, x.shape[:2])


def _products_back(x: Tensor, weight: Tensor, gradient: Tensor, into: Tensor, wanted: Columns) -> Tensor | None:
    """Writes the gradient of the weights of ``_products`` to ``into``; returns that of ``x`` where it is wanted."""
    into.copy_(_products(x.transpose(2, 3), gradient))
    return _products(gradient, weight.transpose(2, 3)) if wanted else None


def _sums(x: Tensor) -> Tensor:
    """Returns the sums over the last dimension of x [K, ...], row after row."""
    return torch.stack([row.sum(-1) for row in x.unbind(0)])


def _periodic_embedding(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, layers.PeriodicEmbedding)
    rows, n = len(place.modules), module.features
    (frequency, frequency_into), (phase, phase_into), (bias, bias_into) = (
        [tensor.view(rows, n, -1) for tensor in place.parameter(name)] for name in ("frequency", "phase", "bias")
    )
    weight, into = place.parameter("weight")

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        columns = x.transpose(1, 2).contiguous().unsqueeze(-1)  # [K, n, b, 1]
        speed = 2.0 * math.pi * frequency.unsqueeze(2)  # [K, n, 1, f]
        angles = torch.addcmul(phase.unsqueeze(2), columns, speed)  # [K, n, b, f]
        waves = _each(torch.cos, angles)
        y = x.new_empty(*x.shape, 1 + bias.shape[2])  # [K, b, n, s]
        y[..., 0] = x
        torch.add(_products(waves, weight).transpose(1, 2), bias.unsqueeze(1), out=y[..., 1:])

        def back(gradient: Tensor) -> Tensor | None:
            of_y = gradient.view(y.shape).transpose(1, 2)  # [K, n, b, s]
            of_learned = of_y[..., 1:].contiguous()
            column_sums(of_learned, bias_into)
            of_waves = _products_back(waves, weight, of_learned, into, ALL)
            assert of_waves is not None
            of_angles = _each(torch.sin, angles).mul_(of_waves)  # but for its sign
            column_sums(of_angles, phase_into)
            column_sums(of_angles * columns, frequency_into)
            phase_into.neg_()
            frequency_into.mul_(-2.0 * math.pi)
            return (of_y[..., 0] - _sums(of_angles * speed)).transpose(1, 2) if wanted else None

        return y.flatten(2), back

    return form


def _piecewise_linear(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, layers.PiecewiseLinear)
    bins, offsets = module.bins, module.offsets

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        steps = (bins * x).unsqueeze(-1) - offsets  # [K, b, n, bins]
        y = steps.clamp(0.0, 1.0) if wanted else steps.clamp_(0.0, 1.0)

        def back(gradient: Tensor) -> Tensor | None:
            if not wanted:
                return None
            return bins * _sums(ATEN.hardtanh_backward(gradient.view(y.shape), steps, 0.0, 1.0))

        return y.flatten(2), back

    return form


def _category_embedding(place: Place) -> Form:
    weight, into = place.parameter("weight")
    rows, columns, levels_, size = weight.shape
    table = weight.new_zeros(rows, columns, levels_ + 1, size)  # the first level of each column is none
    starts = torch.arange(0, rows * columns * (levels_ + 1), levels_ + 1, device=weight.device).view(rows, 1, columns)

    def looked_up(x: Tensor) -> tuple[Tensor, Back]:
        """The same for numbers of levels [K, b, c] from ``levels_of``."""
        table[:, :, 1:] = weight
        places = (x + starts).view(-1)
        y = torch.embedding(table.view(-1, size), places)

        def back(gradient: Tensor) -> None:
            sums = torch.zeros_like(table)
            sums.view(-1, size).index_put_((places,), gradient.reshape(-1, size), accumulate=True)
            into.copy_(sums[:, :, 1:])

        return y.view(*x.shape[:2], -1), back

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        if x.dim() == 3:
            return looked_up(x)
        levels = x.transpose(1, 2)  # [K, c, b, l]
        y = _products(levels, weight).transpose(1, 2)  # [K, b, c, s]

        def back(gradient: Tensor) -> Tensor | None:
            found = _products_back(levels, weight, gradient.view(y.shape).transpose(1, 2), into, wanted)
            return None if found is None else found.transpose(1, 2)

        return y.flatten(2), back

    return form


def _feature_scale(place: Place) -> Form:
    weight, into = place.parameter("weight")
    factor = weight.unsqueeze(1)

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        def back(gradient: Tensor) -> Tensor | None:
            column_sums(gradient * x, into)
            return gradient * factor if wanted else None

        return x * factor, back

    return form


def _layer_norm(place: Place) -> Form:
    module = place.modules[0]
    assert isinstance(module, nn.LayerNorm)
    (weight, into), (bias, bias_into) = place.parameter("weight"), place.parameter("bias")
    shape, eps, scale, shift = list(module.normalized_shape), module.eps, weight.unsqueeze(1), bias.unsqueeze(1)

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        normal, mean, inverse = torch.native_layer_norm(x, shape, None, None, eps)

        def back(gradient: Tensor) -> Tensor | None:
            column_sums(gradient, bias_into)
            column_sums(normal.mul_(gradient), into)
            if not wanted:
                return None
            found: Tensor = ATEN.native_layer_norm_backward(
                gradient.mul_(scale), x, shape, mean, inverse, None, None, [True, False, False]
            )[0]
            return found

        return torch.addcmul(shift, normal, scale), back

    return form


# --- without parameters


def _each(function: Callable[..., Tensor], *xs: Tensor) -> Tensor:
    """Returns an elementwise function of all rows, row by row where their ends would be computed differently."""
    if not _in_rows(xs[0]):
        return function(*xs)
    return torch.stack([function(*row) for row in zip(*[x.unbind(0) for x in xs], strict=True)])


def _in_rows(x: Tensor) -> bool:
    rows = len(x)
    return rows > 1 and x.numel() // rows % ALIGNED != 0 and x.device.type == "cpu"


def _elementwise(function: Function, slope: Slope) -> Callable[[Place], Form]:
    """Returns the form of an activation: (x) -> y, and (gradient, x, y) -> gradient of x."""

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        y = _each(function, x)
        return y, lambda gradient: _each(slope, gradient, x, y)

    return lambda place: form


def _relu(place: Place) -> Form:
    relu = torch.relu_ if place.free else torch.relu  # exact, hence of all rows at once

    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        y = relu(x)
        return y, lambda gradient: ATEN.threshold_backward.grad_input(gradient, y, 0.0, grad_input=gradient)

    return form


def _mish(place: Place) -> Form:
    def form(x: Tensor, wanted: Columns) -> tuple[Tensor, Back]:
        if _in_rows(x):
            parts = zip(*map(layers.mish_and_derivative, x.unbind(0)), strict=True)
            y, derivative = (torch.stack(part) for part in parts)
        else:
            y, derivative = layers.mish_and_derivative(x)
        return y, lambda gradient: derivative.mul_(gradient)

    return form


def _zero(place: Place) -> Form:
    return lambda x, wanted: (torch.zeros_like(x), lambda gradient: None)


def identity(place: Place) -> Form:
    """Returns what gives its input."""
    return lambda x, wanted: (x, lambda gradient: gradient)


def _flatten(place: Place) -> Form:
    return lambda x, wanted: (x.flatten(2), lambda gradient: gradient.view(x.shape))


@dataclass(eq=False)
class Dropouts:
    """One place of dropout: probability of each row, and the random bits of this step, int8 like the input [K, ...].

    free: Whether the input may be overwritten. shape: Of the input, known after the first call.
    """

    p: Sequence[float]
    free: bool = False
    bits: Tensor | None = None
    shape: tuple[int, ...] = ()
    level: Tensor = field(init=False)
    factor: Tensor = field(init=False)

    def __post_init__(self) -> None:
        levels = [min(round(p * 256), 255) for p in self.p]
        self.level = torch.tensor([level - 128 for level in levels], dtype=torch.int8)
        self.factor = torch.tensor([256 / (256 - level) for level in levels])

    @property
    def elements(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.shape[1:])

    def take(self, bits: Tensor) -> None:
        """Makes the first bytes [K, ...] of a memory the random bits of every step."""
        self.bits = bits.view(torch.int8)[:, : self.elements].view(self.shape)
        ones = (len(self.p), *(1,) * (len(self.shape) - 1))
        self.level, self.factor = (each.to(bits.device).view(ones) for each in (self.level, self.factor))

    def __call__(self, x: Tensor, wanted: Columns = ALL) -> tuple[Tensor, Back]:
        """Drops elements of each row of ``x`` [K, ...] (to the nearest 1 / 256) and scales the rest."""
        self.shape = x.shape
        if self.bits is None or not any(self.p):
            return x, lambda gradient: gradient
        kept = torch.ge(self.bits, self.level, out=torch.empty_like(x)).mul_(self.factor)  # faster than a cast
        return x.mul_(kept) if self.free else x * kept, lambda gradient: kept.mul_(gradient)


def _dropout(place: Place) -> Form:
    dropouts = Dropouts([float(module.p) for module in place.modules], place.free)  # type: ignore[arg-type]
    place.dropouts.append(dropouts)
    return dropouts


FORGET = frozenset([nn.Linear, layers.GatedLinear, nn.LayerNorm, nn.ReLU, nn.GELU, nn.SiLU, layers.Mish])
"""Modules whose output may be overwritten by dropout or ReLU: it is their own, and their gradient is the same after it.

That of ReLU asks which numbers are positive; those that dropout makes 0 have no gradient anyway.
"""

_SELU = (1.6732632423543772, 1.0507009873554805, 1.0)  # alpha, scale, scale of the input (Klambauer et al. 2017)

FORMS: Mapping[type[nn.Module], Callable[[Place], Form]] = {
    nn.Linear: _linear,
    layers.GatedLinear: _gated_linear,
    layers.PeriodicEmbedding: _periodic_embedding,
    layers.PiecewiseLinear: _piecewise_linear,
    layers.CategoryEmbedding: _category_embedding,
    layers.FeatureScale: _feature_scale,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: _flatten,
    nn.Identity: identity,
    nn.Sequential: _sequential,
    nn.ReLU: _relu,
    nn.GELU: _elementwise(F.gelu, lambda g, x, y: ATEN.gelu_backward(g, x)),
    nn.SiLU: _elementwise(F.silu, lambda g, x, y: ATEN.silu_backward(g, x)),
    nn.SELU: _elementwise(F.selu, lambda g, x, y: ATEN.elu_backward(g, *_SELU, True, y)),
    nn.Tanh: _elementwise(torch.tanh, lambda g, x, y: ATEN.tanh_backward(g, y)),
    layers.Mish: _mish,
    layers.Zero: _zero,
    layers.Dropout: _dropout,
    nn.Dropout: _dropout,
}
