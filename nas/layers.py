"""The module classes that ``nas.operations`` needs and torch does not have, and the adapters that joins need.

Here belong small ``nn.Module`` classes that depend on torch alone, so that the text of this file can stand beside an
exported network. What an operation is called and which shape it gives belongs to ``nas.operations``; how modules are
put together belongs to ``nas.model``. Every class exports to ONNX with a dynamic batch and runs under autocast.

Symbols: b rows, n features, c columns, l levels, f frequencies, s size of an embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Zero(nn.Module):
    """Zeros of the shape of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns zeros like ``x``."""
        return torch.zeros_like(x)


class Dropout(nn.Module):
    """Dropout with probability ``p``; ``p=None`` follows the training setting, which ``follow`` gives it."""

    def __init__(self, p: float | None) -> None:
        super().__init__()
        self.follows = p is None
        self.p = 0.0 if p is None else float(p)

    def follow(self, p: float) -> None:
        """Sets the probability where the operation left it to the training setting."""
        if self.follows:
            self.p = float(p)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``x`` with elements dropped in training, ``x`` itself otherwise."""
        if not self.training or not self.p:
            return x
        return x * dropout_mask(x, self.p) if x.device.type == "cpu" else F.dropout(x, self.p)

    def extra_repr(self) -> str:
        """Shows ``p``."""
        return f"p={self.p}"


def dropout_mask(x: Tensor, p: float) -> Tensor:
    """Returns factors like ``x``: 0 with probability ``p`` (to the nearest 1 / 65536), else 1 / (1 - p).

    On the CPU the random bits are most of what dropout costs, so four elements share one draw of 64 bits.
    """
    level = min(round(p * 65_536), 65_535)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)  # uniform on -32768 .. 32767
    kept = torch.ge(bits, level - 32_768, out=torch.empty_like(x))  # faster than a cast
    return kept.mul_(65_536 / (65_536 - level))


class Mish(nn.Module):
    """x tanh(softplus(x)) (Misra 2019), on the CPU by a formula with a single exponential."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the activation of ``x``, of any shape."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():  # an exported network names the function
            return F.mish(x)
        if x.requires_grad and torch.is_grad_enabled():
            out: Tensor = _Mish.apply(x)
            return out
        return mish(x)


def mish(x: Tensor) -> Tensor:
    """Returns mish in a third of the time of torch's on the CPU: m / (m + 1) x with e = exp(x), m = e + e^2 / 2."""
    e, m = _powers(x)
    return torch.add(m, 1.0, out=e).reciprocal_().mul_(m).mul_(x)


def mish_and_derivative(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mish and its derivative in one pass, half the time of torch's on the CPU.

    With e = exp(x), m = e + e^2 / 2, r = 1 / (m + 1): mish = x m r, mish' = m r + x (2 m - e) r^2.
    """
    e, m = _powers(x)
    r = (m + 1.0).reciprocal_()
    tanh = m * r
    bend = m.sub_(e, alpha=0.5).mul_(r).mul_(r)
    return x * tanh, torch.addcmul(tanh, x, bend, value=2.0, out=bend)


def _powers(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns e = exp(x) and e + e^2 / 2, where they do not overflow."""
    e = x.clamp(max=20.0).exp_()
    return e, torch.addcmul(e, e, e, value=0.5)


class _Mish(torch.autograd.Function):
    """Mish by ``mish_and_derivative``."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        y, derivative = mish_and_derivative(x)
        ctx.save_for_backward(derivative)
        return y

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (derivative,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * derivative


class GatedLinear(nn.Module):
    """Gated linear unit: (W x + b) * sigmoid(V x + c) (Dauphin et al. 2017), then dropout."""

    def __init__(self, features: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, features] to [b, width]."""
        out: Tensor = self.dropout(F.glu(self.linear(x), dim=-1))
        return out


class GlobalAvgPool(nn.Module):
    """Mean over the pixels of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, channels, height, width] to [b, channels]."""
        return x.mean(dim=(2, 3))


class GlobalMaxPool(nn.Module):
    """Largest value of each channel, over the pixels of an image or the steps of a series."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, channels, height, width] to [b, channels]."""
        return x.amax(dim=(2, 3))


def relu_conv_bn(channels: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    """Returns ReLU, convolution without bias, batch norm: the basic step of NAS-Bench-201 (Dong and Yang 2020)."""
    conv = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(width))


class Reduction(nn.Module):
    """Residual block that halves the image: f(x) + conv1x1(pool(x)), the reduction of NAS-Bench-201.

    The pool pads odd sides by one, not counted in the mean, so that both branches give ``ceil(side / 2)``.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, height, columns = shape
        self.block = nn.Sequential(relu_conv_bn(channels, width, 3, 2), relu_conv_bn(width, width, 3, 1))
        pool = nn.AvgPool2d(2, 2, padding=(height % 2, columns % 2), count_include_pad=False)
        self.skip = nn.Sequential(pool, nn.Conv2d(channels, width, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, channels, h, w] to [b, width, ceil(h / 2), ceil(w / 2)]."""
        out: Tensor = self.block(x) + self.skip(x)
        return out


class PeriodicEmbedding(nn.Module):
    """PBLD: each number x becomes (x, W cos(2 pi v x + u) + b), its own v, u, W, b (RealMLP, Holzmueller et al. 2024).

    ``frequency`` v ~ N(0, sigma^2) and ``phase`` u ~ U(-pi, pi) are vectors, hence trained slowly and not decayed.
    """

    def __init__(self, features: int, frequencies: int, sigma: float, size: int) -> None:
        super().__init__()
        self.features, self.frequencies = features, frequencies
        self.frequency = nn.Parameter(sigma * torch.randn(features * frequencies))
        self.phase = nn.Parameter(math.pi * (2.0 * torch.rand(features * frequencies) - 1.0))
        bound = 1.0 / math.sqrt(frequencies)
        self.weight = nn.Parameter(bound * (2.0 * torch.rand(features, frequencies, size - 1) - 1.0))
        self.bias = nn.Parameter(bound * (2.0 * torch.rand(features * (size - 1)) - 1.0))
        self.fan_in = {"weight": frequencies}

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, n] to [b, n * s]; the numbers themselves come first within each feature."""
        frequency = self.frequency.view(self.features, self.frequencies)
        phase = self.phase.view(self.features, self.frequencies)
        waves = torch.cos(2.0 * math.pi * frequency * x.unsqueeze(-1) + phase)  # [b, n, f]
        learned = torch.einsum("bnf,nfs->bns", waves, self.weight)  # [b, n, s - 1]
        learned = learned + self.bias.view(self.features, -1)
        return torch.cat((x.unsqueeze(-1).to(learned.dtype), learned), dim=-1).flatten(1)


class PiecewiseLinear(nn.Module):
    """Piecewise-linear encoding of u in [0, 1]: component k is clip(bins u - k, 0, 1) (Gorishniy et al. 2022)."""

    offsets: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.register_buffer("offsets", torch.arange(bins, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, n] to [b, n * bins]."""
        return (self.bins * x.unsqueeze(-1) - self.offsets).clamp(0.0, 1.0).flatten(1)


class CategoryEmbedding(nn.Module):
    """A learned vector for each level of each column, N(0, 1) at first; rows of zeros (unknown levels) give zeros."""

    def __init__(self, columns: int, levels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(columns, levels, size))
        self.fan_in = {"weight": 1}  # one level at a time

    def forward(self, x: Tensor) -> Tensor:
        """Maps one-hot rows [b, c, l] to [b, c * s]."""
        return torch.einsum("bcl,cls->bcs", x, self.weight).flatten(1)


class FeatureScale(nn.Module):
    """A learned factor for each feature or channel, 1 at first (the scaling layer of RealMLP)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape[0], *(1,) * (len(shape) - 1)))
        self.fan_in = {"weight": 1}

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``x`` of any shape scaled along its first dimension after the batch."""
        return x * self.weight


class Resize(nn.Module):
    """Mean over areas: images of one size become images of another, as adaptive average pooling does.

    Written as two matrix products where the sides do not divide, because that exports everywhere.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        super().__init__()
        self.kernel = (source[0] // target[0], source[1] // target[1])
        self.divides = source[0] % target[0] == 0 and source[1] % target[1] == 0
        if not self.divides:
            self.register_buffer("rows", _areas(source[0], target[0]), persistent=False)
            self.register_buffer("columns", _areas(source[1], target[1]).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [b, channels, *source] to [b, channels, *target]."""
        if self.divides:
            return F.avg_pool2d(x, self.kernel)
        return torch.matmul(torch.matmul(self.rows, x), self.columns)


def _areas(source: int, target: int) -> Tensor:
    """Returns [target, source] weights: row i averages source pixels floor(i s / t) to ceil((i + 1) s / t)."""
    weights = torch.zeros(target, source)
    for i in range(target):
        first, last = i * source // target, -((-(i + 1) * source) // target)
        weights[i, first:last] = 1.0 / (last - first)
    return weights
