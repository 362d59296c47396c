"""The field's operations: what each is called, which shape it gives, how its module is built.

Here belong the value ``Operation``, the constant mapping ``BUILTIN`` and, for each operation, one shape function and
one build function. The module classes torch does not have live in ``nas.layers``; which operation follows which is an
architecture's business. Shapes are without the batch: ``(features,)`` for vectors, ``(columns, levels)`` for
categories as one-hot rows, ``(channels, height, width)`` for images, ``(channels, 1, steps)`` for series. Nothing here
loads torch before a module is built. Parametrisation is torch's own (``nn.Linear``, ``nn.Conv2d``): a learning rate
that does not depend on the width is the trainer's business.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from nas.errors import ArchitectureError, ShapeError

if TYPE_CHECKING:
    from torch import nn

Value = str | int | float | bool | None
Shape = tuple[int, ...]

MAX_WIDTH = 1_000_000  # keeps every product of two widths far below 2**63
MAX_KERNEL, MAX_DILATION = 255, 1024  # steps of a series


@dataclass(frozen=True)
class Operation:
    """One operation a node can carry.

    ``build(shape, **parameters)`` gives the ``nn.Module`` for inputs of ``shape``; ``shape(shape, **parameters)`` the
    shape it returns, ``ShapeError`` where it cannot apply; ``parameters`` the declared names with their defaults. A
    parameter whose fan-in is not ``prod(weight.shape[1:])`` says so through the attribute ``fan_in: dict[str, int]``
    of the module that holds it. ``version`` grows when the same name starts to mean another computation.
    """

    name: str
    version: int
    build: Callable[..., nn.Module]
    shape: Callable[..., Shape]
    parameters: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.name or self.version < 1:
            raise ArchitectureError(
                f"an operation needs a name and `version >= 1`, but got {self.name!r} and version={self.version}."
            )
        object.__setattr__(self, "parameters", dict(self.parameters))

    @property
    def source(self) -> str:
        """The text of ``build``."""
        return inspect.getsource(self.build)


# --- shapes


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ArchitectureError(f"`{low} <= {name} <= {high}` must hold for a whole number, but got {name}={value!r}.")
    return value


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ArchitectureError(f"`{low} <= {name} <= {high}` must hold, but got {name}={value!r}.")
    return float(value)


def _width(width: object, default: int) -> int:
    return default if width is None else _whole("width", width, 1, MAX_WIDTH)


def _vector(shape: Shape, name: str) -> int:
    if len(shape) != 1:
        raise ShapeError(
            f"{name} takes a vector (features,), but got an input of shape {tuple(shape)}; "
            "put `flatten` or `global_avg_pool` before it."
        )
    return shape[0]


def _image(shape: Shape, name: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ShapeError(
            f"{name} takes an image (channels, height, width), but got an input of shape {tuple(shape)}; "
            "use it on the images of an image dataset, before `flatten` or `global_avg_pool`."
        )
    return shape[0], shape[1], shape[2]


def _series(shape: Shape, name: str) -> tuple[int, int]:
    if len(shape) != 3 or shape[1] != 1:
        raise ShapeError(
            f"{name} takes a series (channels, 1, steps), but got an input of shape {tuple(shape)}; "
            "use it on the series of a series dataset, before `flatten` or a global pool."
        )
    return shape[0], shape[2]


def _same(shape: Shape) -> Shape:
    return tuple(shape)


def _dropout_shape(shape: Shape, p: float | None = None) -> Shape:
    if p is not None:
        _number("p", p, 0.0, 0.95)
    return tuple(shape)


def _linear_shape(shape: Shape, width: int | None = None) -> Shape:
    return (_width(width, _vector(shape, "`linear`")),)


def _gated_linear_shape(shape: Shape, width: int | None = None, dropout: float = 0.0) -> Shape:
    _number("dropout", dropout, 0.0, 0.95)
    return (_width(width, _vector(shape, "`gated_linear`")),)


def _norm_shape(shape: Shape) -> Shape:
    if len(shape) not in (1, 3):
        raise ShapeError(
            "a norm or scale takes a vector (features,) or an image (channels, height, width), "
            f"but got an input of shape {tuple(shape)}; put `flatten` before it."
        )
    return tuple(shape)


def _flatten_shape(shape: Shape) -> Shape:
    size = 1
    for length in shape:
        size *= length
    return (size,)


def _global_pool_shape(shape: Shape) -> Shape:
    return (_image(shape, "a global pool")[0],)


def _conv_shape(shape: Shape, width: int | None = None, stride: int = 1) -> Shape:
    channels, height, columns = _image(shape, "a convolution or pool")
    step = _whole("stride", stride, 1, 4)
    return (_width(width, channels), (height - 1) // step + 1, (columns - 1) // step + 1)


def _block_shape(shape: Shape, width: int | None = None) -> Shape:
    return _conv_shape(shape, width)


def _pool3x3_shape(shape: Shape, stride: int = 1) -> Shape:
    return _conv_shape(shape, None, stride)


def _max_pool2x2_shape(shape: Shape) -> Shape:
    channels, height, columns = _image(shape, "`max_pool2x2`")
    if height < 2 or columns < 2:
        raise ShapeError(
            f"`max_pool2x2` takes images of at least 2 x 2 pixels, but got an input of shape {tuple(shape)}; "
            "use fewer operations that halve the image."
        )
    return (channels, height // 2, columns // 2)


def _reduction_shape(shape: Shape, width: int | None = None) -> Shape:
    channels = _image(shape, "`reduction`")[0]
    return _conv_shape(shape, _width(width, 2 * channels), 2)


def _conv1d_shape(shape: Shape, width: int | None = None, kernel: int = 3, dilation: int = 1, stride: int = 1) -> Shape:
    channels, steps = _series(shape, "a convolution over steps")
    if _whole("kernel", kernel, 1, MAX_KERNEL) % 2 == 0:
        raise ArchitectureError(f"`kernel` must be odd, so that steps stay centred, but got kernel={kernel}.")
    _whole("dilation", dilation, 1, MAX_DILATION)
    return (_width(width, channels), 1, (steps - 1) // _whole("stride", stride, 1, 16) + 1)


def _pool1d_shape(shape: Shape, size: int = 2) -> Shape:
    channels, steps = _series(shape, "a pool over steps")
    if steps < _whole("size", size, 1, 1024):
        raise ShapeError(
            f"a pool of {size} steps takes series of at least as many, but got an input of shape {tuple(shape)}; "
            "use fewer operations that shorten the series."
        )
    return (channels, 1, steps // size)


def _periodic_embedding_shape(shape: Shape, frequencies: int = 16, sigma: float = 0.1, size: int = 4) -> Shape:
    _whole("frequencies", frequencies, 1, 1024)
    _number("sigma", sigma, 0.0, 1e4)
    return (_vector(shape, "`periodic_embedding`") * _whole("size", size, 2, 1024),)


def _piecewise_linear_shape(shape: Shape, bins: int = 16) -> Shape:
    return (_vector(shape, "`piecewise_linear`") * _whole("bins", bins, 1, 1024),)


def _category_embedding_shape(shape: Shape, size: int = 8) -> Shape:
    if len(shape) != 2:
        raise ShapeError(
            "`category_embedding` takes one-hot categories (columns, levels), "
            f"but got an input of shape {tuple(shape)}; connect it to the `categorical` view of a table."
        )
    return (shape[0] * _whole("size", size, 1, 1024),)


# --- modules


def _zero(shape: Shape) -> nn.Module:
    from nas import layers

    return layers.Zero()


def _identity(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.Identity()


def _linear(shape: Shape, width: int | None = None) -> nn.Module:
    from torch import nn

    return nn.Linear(shape[0], width or shape[0])


def _gated_linear(shape: Shape, width: int | None = None, dropout: float = 0.0) -> nn.Module:
    from nas import layers

    return layers.GatedLinear(shape[0], width or shape[0], dropout)


def _relu(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.ReLU()


def _gelu(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.GELU()


def _silu(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.SiLU()


def _selu(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.SELU()


def _mish(shape: Shape) -> nn.Module:
    from nas import layers

    return layers.Mish()


def _tanh(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.Tanh()


def _dropout(shape: Shape, p: float | None = None) -> nn.Module:
    from nas import layers

    return layers.Dropout(p)


def _layer_norm(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.LayerNorm(shape[0]) if len(shape) == 1 else nn.GroupNorm(1, shape[0])


def _batch_norm(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.BatchNorm2d(shape[0])


def _flatten(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.Flatten()


def _global_avg_pool(shape: Shape) -> nn.Module:
    from nas import layers

    return layers.GlobalAvgPool()


def _global_max_pool(shape: Shape) -> nn.Module:
    from nas import layers

    return layers.GlobalMaxPool()


def _conv1d(shape: Shape, width: int | None = None, kernel: int = 3, dilation: int = 1, stride: int = 1) -> nn.Module:
    from torch import nn

    padding = dilation * (kernel // 2)
    return nn.Conv2d(shape[0], width or shape[0], (1, kernel), stride, (0, padding), (1, dilation))


def _separable1d(
    shape: Shape, width: int | None = None, kernel: int = 3, dilation: int = 1, stride: int = 1
) -> nn.Module:
    from torch import nn

    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(
        shape[0], shape[0], (1, kernel), stride, (0, padding), (1, dilation), groups=shape[0], bias=False
    )
    return nn.Sequential(depthwise, nn.Conv2d(shape[0], width or shape[0], 1))


def _avg_pool1d(shape: Shape, size: int = 2) -> nn.Module:
    from torch import nn

    return nn.AvgPool2d((1, size))


def _max_pool1d(shape: Shape, size: int = 2) -> nn.Module:
    from torch import nn

    return nn.MaxPool2d((1, size))


def _conv1x1(shape: Shape, width: int | None = None, stride: int = 1) -> nn.Module:
    from torch import nn

    return nn.Conv2d(shape[0], width or shape[0], 1, stride)


def _conv3x3(shape: Shape, width: int | None = None, stride: int = 1) -> nn.Module:
    from torch import nn

    return nn.Conv2d(shape[0], width or shape[0], 3, stride, padding=1)


def _conv5x5(shape: Shape, width: int | None = None, stride: int = 1) -> nn.Module:
    from torch import nn

    return nn.Conv2d(shape[0], width or shape[0], 5, stride, padding=2)


def _separable3x3(shape: Shape, width: int | None = None, stride: int = 1) -> nn.Module:
    from torch import nn

    depthwise = nn.Conv2d(shape[0], shape[0], 3, stride, padding=1, groups=shape[0], bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(shape[0], width or shape[0], 1))


def _avg_pool3x3(shape: Shape, stride: int = 1) -> nn.Module:
    from torch import nn

    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


def _max_pool3x3(shape: Shape, stride: int = 1) -> nn.Module:
    from torch import nn

    return nn.MaxPool2d(3, stride, padding=1)


def _max_pool2x2(shape: Shape) -> nn.Module:
    from torch import nn

    return nn.MaxPool2d(2)


def _relu_conv1x1_bn(shape: Shape, width: int | None = None) -> nn.Module:
    from nas import layers

    return layers.relu_conv_bn(shape[0], width or shape[0], 1, 1)


def _relu_conv3x3_bn(shape: Shape, width: int | None = None) -> nn.Module:
    from nas import layers

    return layers.relu_conv_bn(shape[0], width or shape[0], 3, 1)


def _reduction(shape: Shape, width: int | None = None) -> nn.Module:
    from nas import layers

    return layers.Reduction(shape, width or 2 * shape[0])


def _periodic_embedding(shape: Shape, frequencies: int = 16, sigma: float = 0.1, size: int = 4) -> nn.Module:
    from nas import layers

    return layers.PeriodicEmbedding(shape[0], frequencies, sigma, size)


def _piecewise_linear(shape: Shape, bins: int = 16) -> nn.Module:
    from nas import layers

    return layers.PiecewiseLinear(bins)


def _category_embedding(shape: Shape, size: int = 8) -> nn.Module:
    from nas import layers

    return layers.CategoryEmbedding(shape[0], shape[1], size)


def _feature_scale(shape: Shape) -> nn.Module:
    from nas import layers

    return layers.FeatureScale(shape)


_STEPS: Mapping[str, Value] = {"width": None, "kernel": 3, "dilation": 1, "stride": 1}

BUILTIN: Mapping[str, Operation] = MappingProxyType(
    {
        operation.name: operation
        for operation in (
            Operation("zero", 1, _zero, _same),
            Operation("identity", 1, _identity, _same),
            Operation("linear", 1, _linear, _linear_shape, {"width": None}),
            Operation("gated_linear", 1, _gated_linear, _gated_linear_shape, {"width": None, "dropout": 0.0}),
            Operation("relu", 1, _relu, _same),
            Operation("gelu", 1, _gelu, _same),
            Operation("silu", 1, _silu, _same),
            Operation("selu", 1, _selu, _same),
            Operation("mish", 1, _mish, _same),
            Operation("tanh", 1, _tanh, _same),
            Operation("dropout", 1, _dropout, _dropout_shape, {"p": None}),
            Operation("layer_norm", 1, _layer_norm, _norm_shape),
            Operation("batch_norm", 1, _batch_norm, _norm_shape),
            Operation("flatten", 1, _flatten, _flatten_shape),
            Operation("global_avg_pool", 1, _global_avg_pool, _global_pool_shape),
            Operation("global_max_pool", 1, _global_max_pool, _global_pool_shape),
            Operation("conv1x1", 1, _conv1x1, _conv_shape, {"width": None, "stride": 1}),
            Operation("conv3x3", 1, _conv3x3, _conv_shape, {"width": None, "stride": 1}),
            Operation("conv5x5", 1, _conv5x5, _conv_shape, {"width": None, "stride": 1}),
            Operation("separable3x3", 1, _separable3x3, _conv_shape, {"width": None, "stride": 1}),
            Operation("avg_pool3x3", 1, _avg_pool3x3, _pool3x3_shape, {"stride": 1}),
            Operation("max_pool3x3", 1, _max_pool3x3, _pool3x3_shape, {"stride": 1}),
            Operation("max_pool2x2", 1, _max_pool2x2, _max_pool2x2_shape),
            Operation("relu_conv1x1_bn", 1, _relu_conv1x1_bn, _block_shape, {"width": None}),
            Operation("relu_conv3x3_bn", 1, _relu_conv3x3_bn, _block_shape, {"width": None}),
            Operation("reduction", 1, _reduction, _reduction_shape, {"width": None}),
            Operation("conv1d", 1, _conv1d, _conv1d_shape, _STEPS),
            Operation("separable1d", 1, _separable1d, _conv1d_shape, _STEPS),
            Operation("avg_pool1d", 1, _avg_pool1d, _pool1d_shape, {"size": 2}),
            Operation("max_pool1d", 1, _max_pool1d, _pool1d_shape, {"size": 2}),
            Operation(
                "periodic_embedding",
                1,
                _periodic_embedding,
                _periodic_embedding_shape,
                {"frequencies": 16, "sigma": 0.1, "size": 4},
            ),
            Operation("piecewise_linear", 1, _piecewise_linear, _piecewise_linear_shape, {"bins": 16}),
            Operation("category_embedding", 1, _category_embedding, _category_embedding_shape, {"size": 8}),
            Operation("feature_scale", 1, _feature_scale, _norm_shape),
        )
    }
)
