"""Raw inputs -> views, by fixed layers fitted on the training rows, so that a saved network takes raw numbers.

Here belongs what is fitted without gradients: scales, quantiles, kept levels. What is learned is an operation
(``nas.operations``); what a column means is decided by ``nas.dataset``. Everything is float32 buffers and integer
tables, and exports to ONNX with a dynamic batch.

Symbols: b rows, d numeric columns, c categorical columns, l slots of a categorical column, q knots.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import DataError, nearest
from nas.operations import Shape

if TYPE_CHECKING:
    from nas.dataset import Dataset

QUANTILES = 64
LEVELS = 32  # commonest levels of a column that keep a slot of their own
FIT_ROWS = 20_000  # at most so many training rows, evenly spaced, decide scales and quantiles
LARGE = 1e6  # of a scaled number, before the smooth clip
CLIP = 10.0  # deviations that a value of a series stays within


class Numeric(nn.Module):
    """Numbers to the ``numeric``, ``quantile`` and ``missing`` views of a table."""

    center: Tensor
    scale: Tensor
    first: Tensor
    knots: Tensor
    slopes: Tensor
    steps: Tensor
    gaps: Tensor

    def __init__(self, values: np.ndarray) -> None:
        """Fits scales and quantiles to ``values``, float32 [n, d], NaN where missing."""
        super().__init__()
        some = values[np.linspace(0, len(values) - 1, min(len(values), FIT_ROWS)).astype(np.int64)]
        grid = _grid(some)
        center, scale = _robust_scale(grid)
        first, knots, slopes, steps = _pieces(grid[_SHARES])
        self.register_buffer("center", torch.from_numpy(center))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("first", torch.from_numpy(first))
        self.register_buffer("knots", torch.from_numpy(knots))
        self.register_buffer("slopes", torch.from_numpy(slopes))
        self.register_buffer("steps", torch.from_numpy(steps))
        self.register_buffer("gaps", torch.from_numpy(np.flatnonzero(np.isnan(values).any(axis=0))))

    def numeric(self, x: Tensor) -> Tensor:
        """Returns robustly scaled, smoothly clipped numbers [b, d] in (-3, 3), 0 where missing (RealMLP)."""
        x = torch.where(torch.isnan(x), self.center, x).clamp(-1e30, 1e30)
        x = ((x - self.center) * self.scale).clamp(-LARGE, LARGE)
        return x / torch.sqrt(1.0 + (x / 3.0) ** 2)

    def quantile(self, x: Tensor) -> Tensor:
        """Returns the share of training rows below each number, [b, d] in [0, 1], .5 where missing."""
        shares = ((x.unsqueeze(-1) - self.knots) * self.slopes).clamp(0.0, 1.0)  # [b, d, q - 1]
        shares = self.first + (shares * self.steps).sum(dim=-1)
        return torch.where(torch.isnan(x), torch.full_like(shares, 0.5), shares)

    def missing(self, x: Tensor) -> Tensor:
        """Returns 1 where a number is missing, [b, columns that had gaps in training]."""
        return torch.isnan(x).to(torch.float32).index_select(1, self.gaps)


class Categorical(nn.Module):
    """Codes to the ``onehot`` and ``categorical`` views of a table.

    Each column has a slot for each of its 32 commonest levels, and one for the rest where training rows had any
    (rarer levels and gaps). Codes that training never saw fall into the rest, or nowhere. Slots in use are filled up
    with a few zeros, so that splits that differ by a rare level give networks of one shape.
    """

    table: Tensor
    starts: Tensor
    sizes: Tensor
    slots: Tensor
    kept: Tensor

    def __init__(self, codes: np.ndarray, sizes: Sequence[int]) -> None:
        """Fits the slots to ``codes``, int64 [n, c], -1 where missing; ``sizes``: levels in each vocabulary."""
        super().__init__()
        tables = [_slots(codes[:, column], size) for column, size in enumerate(sizes)]
        used = [int(table.max()) + 1 for table in tables]
        width = max(max(used), 1)
        kept = [column * width + slot for column, count in enumerate(used) for slot in range(count)]
        starts = np.cumsum([0, *(len(table) for table in tables[:-1])])
        kept += [width * len(used)] * (_rounded(len(kept)) - len(kept))  # behind the last slot there is a zero
        self.width = width
        self.register_buffer("table", torch.from_numpy(np.concatenate(tables)))
        self.register_buffer("starts", torch.from_numpy(starts.astype(np.int64)))
        self.register_buffer("sizes", torch.tensor(list(sizes), dtype=torch.int64))
        self.register_buffer("slots", torch.arange(width))
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.int64))

    def categorical(self, codes: Tensor) -> Tensor:
        """Returns one-hot rows [b, c, l], all zero for a level that has no slot."""
        known = torch.where((codes >= 0) & (codes < self.sizes), codes + 1, torch.zeros_like(codes))
        slot = self.table[known + self.starts]  # [b, c]
        return (slot.unsqueeze(-1) == self.slots).to(torch.float32)

    def onehot(self, codes: Tensor) -> Tensor:
        """Returns the slots in use of all columns side by side, then zeros, [b, slots]."""
        return nn.functional.pad(self.categorical(codes).flatten(1), (0, 1)).index_select(1, self.kept)


class Pixels(nn.Module):
    """Bytes [b, height, width, channels] to standardised float images [b, channels, height, width]."""

    mean: Tensor
    inverse: Tensor

    def __init__(self, images: np.ndarray) -> None:
        """Fits the mean and deviation of each channel to ``images``, uint8 [n, height, width, channels]."""
        super().__init__()
        mean, deviation = _channel_moments(images)
        self.register_buffer("mean", torch.from_numpy(mean).view(-1, 1, 1))
        self.register_buffer("inverse", torch.from_numpy(1.0 / deviation).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns images with mean 0 and deviation 1 of each channel over the training rows."""
        return (images.permute(0, 3, 1, 2).to(torch.float32) - self.mean) * self.inverse


class Steps(nn.Module):
    """Series [b, channels, steps], NaN where missing, to standardised ones [b, channels', 1, steps].

    Where training rows had gaps or ends of different length, one more channel says what was observed.
    """

    mean: Tensor
    inverse: Tensor

    def __init__(self, series: np.ndarray, gaps: bool | None = None) -> None:
        """Fits the mean and deviation of each channel to ``series``, float32 [n, channels, steps].

        ``gaps`` says whether there is a channel for what was observed; found in ``series`` unless given.
        """
        super().__init__()
        mean, deviation = _step_moments(series)
        self.gaps = bool(np.isnan(series).any()) if gaps is None else gaps
        self.register_buffer("mean", torch.from_numpy(mean).view(-1, 1))
        self.register_buffer("inverse", torch.from_numpy(1.0 / deviation).view(-1, 1))

    def forward(self, series: Tensor) -> Tensor:
        """Returns channels of mean 0 and deviation 1 over the training rows, smoothly clipped, 0 where missing.

        The last channel, where there is one, is the share of channels observed at each step.
        """
        missing = torch.isnan(series)
        x = torch.where(missing, self.mean, series).clamp(-1e30, 1e30)
        x = ((x - self.mean) * self.inverse).clamp(-LARGE, LARGE)
        x = x / torch.sqrt(1.0 + (x / CLIP) ** 2)
        if self.gaps:
            x = torch.cat((x, 1.0 - missing.to(torch.float32).mean(dim=1, keepdim=True)), dim=1)
        return x.unsqueeze(2)


class Preprocess(nn.Module):
    """Fixed layers from raw tensors to named views.

    ``raw`` names the raw tensors in the order ``forward`` takes them, ``shapes`` the views that exist with their
    shapes, ``views`` those of them that ``forward`` returns.
    """

    def __init__(self, raw: tuple[str, ...], parts: Mapping[str, nn.Module], shapes: Mapping[str, Shape]) -> None:
        super().__init__()
        self.raw = raw
        self.parts = nn.ModuleDict(dict(parts))
        self.shapes = dict(shapes)
        self.views = tuple(shapes)

    @classmethod
    def fit(cls, dataset: Dataset, rows: np.ndarray) -> Preprocess:
        """Returns the layers fitted on ``rows`` of a dataset, with every view that has at least one element.

        Raises:
            DataError: There is no row, or no view is left.
        """
        if len(rows) == 0:
            raise DataError("preprocessing needs at least one training row, but got none; pass more rows.")
        if dataset.kind == "image":
            images = dataset.inputs["image"]
            _, height, width, channels = images.shape
            return cls(("image",), {"image": Pixels(images[rows])}, {"x": (channels, height, width)})
        if dataset.kind == "series":
            series = dataset.inputs["series"]
            steps = Steps(series[rows])
            return cls(("series",), {"series": steps}, {"x": (series.shape[1] + steps.gaps, 1, series.shape[2])})
        return cls._fit_table(dataset, rows)

    @classmethod
    def _fit_table(cls, dataset: Dataset, rows: np.ndarray) -> Preprocess:
        raw = tuple(name for name in ("numeric", "categorical") if name in dataset.inputs)
        parts: dict[str, nn.Module] = {}
        sizes: dict[str, Shape] = {}
        if "numeric" in raw and dataset.inputs["numeric"].shape[1]:
            numeric = Numeric(dataset.inputs["numeric"][rows])
            parts["numeric"] = numeric
            sizes |= {"numeric": tuple(numeric.center.shape), "quantile": tuple(numeric.center.shape)}
            sizes |= {"missing": tuple(numeric.gaps.shape)}
        if "categorical" in raw and dataset.inputs["categorical"].shape[1]:
            codes = dataset.inputs["categorical"]
            levels = [len(names) for names in dataset.levels]
            categorical = Categorical(codes[rows], levels)
            parts["categorical"] = categorical
            sizes |= {"onehot": tuple(categorical.kept.shape), "categorical": (codes.shape[1], categorical.width)}
        sizes = {"x": (sum(sizes.get(name, (0,))[0] for name in ("numeric", "missing", "onehot")),), **sizes}
        sizes = {name: shape for name, shape in sizes.items() if 0 not in shape}
        if "x" not in sizes:
            raise DataError(f"{dataset.name!r} has no column to learn from; pass at least one that varies.")
        return cls(raw, parts, sizes)

    def only(self, views: Sequence[str]) -> Preprocess:
        """Returns a copy that gives these views alone; DataError where one does not exist."""
        for name in views:
            if name not in self.shapes:
                raise DataError(
                    f"the view {name!r} does not exist;{nearest(name, self.shapes)} the data has "
                    f"{', '.join(self.shapes)}."
                )
        clone = copy.deepcopy(self)
        clone.views = tuple(name for name in self.shapes if name in views)
        return clone

    def forward(self, *raw: Tensor) -> dict[str, Tensor]:
        """Returns the views by name, each [batch, *shape], from the raw tensors in the order of ``raw``."""
        given = dict(zip(self.raw, raw, strict=True))
        return {name: self.view(name, given) for name in self.views}

    def view(self, name: str, raw: Mapping[str, Tensor]) -> Tensor:
        """Returns one view [batch, *shape] of the raw tensors by name."""
        if self.raw in (("image",), ("series",)):
            out: Tensor = self.parts[self.raw[0]](raw[self.raw[0]])
            return out
        if name == "x":
            parts = [part for part in ("numeric", "missing", "onehot") if part in self.shapes]
            views = [self.view(part, raw) for part in parts]
            return views[0] if len(views) == 1 else torch.cat(views, dim=1)
        source = "categorical" if name in ("onehot", "categorical") else "numeric"
        layer = self.parts[source]
        assert isinstance(layer, (Numeric, Categorical))
        out = getattr(layer, name)(raw[source])
        return out


_SHARES = slice(3, None)


def _grid(values: np.ndarray) -> np.ndarray:
    """Returns quantiles of each column without its gaps, [3 + 64, d] float64: quartiles, then 64 from least to most.

    Linear interpolation between the sorted values; 0 for a column of gaps.
    """
    shares = np.concatenate(([0.25, 0.5, 0.75], np.linspace(0.0, 1.0, QUANTILES)))
    values = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)  # gaps last
    count = np.isfinite(values).sum(axis=0)
    place = shares[:, None] * np.maximum(count - 1, 0)  # [3 + 64, d]
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low = np.take_along_axis(values, below, axis=0).astype(np.float64)
    high = np.take_along_axis(values, above, axis=0).astype(np.float64)
    return np.where(count > 0, low + (place - below) * (high - low), 0.0)


def _robust_scale(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns median and 1 / interquartile range of each column; 2 / range where that is 0, 0 for constants."""
    low, center, high, least, most = grid[0], grid[1], grid[2], grid[3], grid[-1]
    spread, reach = high - low, most - least
    with np.errstate(divide="ignore"):
        scale = np.where(spread > 0.0, 1.0 / spread, np.where(reach > 0.0, 2.0 / reach, 0.0))
    return center.astype(np.float32), np.clip(scale, 0.0, 1e30).astype(np.float32)


def _pieces(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pieces of each column's empirical distribution function through its quantiles, ``grid`` [q, d].

    first [d] (share at the first knot), knots [d, q - 1] (left ends), slopes [d, q - 1] (1 / length), steps [d, q - 1]
    (share gained). Equal quantiles become one knot at their mean share; pieces a column lacks gain nothing.
    """
    q, d = grid.shape
    shares = np.linspace(0.0, 1.0, q)
    grid = grid.T.astype(np.float32).astype(np.float64)
    first = np.zeros(d)
    knots, slopes, steps = np.zeros((d, q - 1)), np.ones((d, q - 1)), np.zeros((d, q - 1))
    for column in range(d):
        unique, inverse = np.unique(grid[column], return_inverse=True)
        share = np.bincount(inverse.ravel(), weights=shares) / np.bincount(inverse.ravel())
        pieces = len(unique) - 1
        first[column] = share[0]
        knots[column, :pieces] = unique[:-1]
        slopes[column, :pieces] = 1.0 / np.maximum(np.diff(unique), 1e-30)
        steps[column, :pieces] = np.diff(share)
    used = max(1, int((steps > 0.0).sum(axis=1).max(initial=0)))
    return _float32(first), _float32(knots[:, :used]), _float32(slopes[:, :used]), _float32(steps[:, :used])


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)


def _slots(codes: np.ndarray, size: int) -> np.ndarray:
    """Returns the slot of each code + 1 (missing first), int64 [size + 1]; -1 = none."""
    counts = np.bincount(codes + 1, minlength=size + 1)[: size + 1]
    common = np.argsort(-counts[1:], kind="stable")[:LEVELS]
    common = np.sort(common[counts[1:][common] > 0])
    table = np.full(size + 1, -1, dtype=np.int64)
    table[common + 1] = np.arange(len(common))
    if counts[table < 0].any():
        table[table < 0] = len(common)
    return table


def _rounded(n: int) -> int:
    """Returns the next number from ``n`` that has four significant bits: at most an eighth more."""
    unit = 1 << max(0, n.bit_length() - 4)
    return -(-n // unit) * unit


def _step_moments(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of what is observed of each channel, float32 [channels]; deviation 1 for constants."""
    known = ~np.isnan(series)
    count = np.maximum(known.sum(axis=(0, 2)), 1)
    mean = np.where(known, series, 0.0).sum(axis=(0, 2), dtype=np.float64) / count
    squares = np.where(known, series - mean[:, None], 0.0) ** 2
    deviation = np.sqrt(squares.sum(axis=(0, 2)) / count)
    deviation = np.where(deviation > 1e-6 * np.abs(mean), deviation, 1.0)
    return mean.astype(np.float32), np.clip(deviation, 1e-30, 1e30).astype(np.float32)


def _channel_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of each channel, float32 [channels]; deviation 1 for a constant channel."""
    counts = np.stack([np.bincount(images[..., k].ravel(), minlength=256) for k in range(images.shape[-1])])
    values, total = np.arange(256.0), counts.sum(axis=1)
    mean = counts @ values / total
    deviation = np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0.0))
    return mean.astype(np.float32), np.where(deviation > 0.0, deviation, 1.0).astype(np.float32)
