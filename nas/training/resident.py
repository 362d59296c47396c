"""Data where it is used: tensors on the device, views computed once, batches by ``index_select``.

Here belongs where rows lie and how they are picked. What is done with a batch belongs to ``learn``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nas.architecture import Architecture
from nas.model import Signature
from nas.preprocess import Preprocess

if TYPE_CHECKING:
    from nas.dataset import Dataset

VIEW_BYTES = 2**30  # views of one part larger than this are computed batch by batch
CHUNK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows ready to be picked: ``tensors`` are views, or raw inputs where ``preprocess`` still has to be applied.

    ``weights`` [n], of mean 1 over all rows of the part, say how much each row counts; None where all count the same.
    """

    tensors: dict[str, Tensor]
    preprocess: Preprocess | None
    y: Tensor
    weights: Tensor | None = None
    _levels: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Returns the views of the rows with these numbers, in their order."""
        return self._finish({name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()})

    def slice(self, start: int, stop: int) -> dict[str, Tensor]:
        """Returns the views of consecutive rows."""
        return self._finish({name: tensor[start:stop] for name, tensor in self.tensors.items()})

    def with_levels(self, names: Collection[str]) -> dict[str, Tensor]:
        """Returns the tensors, one-hot views with these names as ``levels_of`` them."""
        for name in names:
            if name not in self._levels:
                self._levels[name] = levels_of(self.tensors[name])
        return self.tensors | {name: self._levels[name] for name in names}

    def spread(self, most: int) -> Rows:
        """Returns at most ``most`` of the rows, evenly spaced."""
        if len(self) <= most:
            return self
        rows = spread(len(self), most).to(self.y.device)
        tensors = {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()}
        weights = None if self.weights is None else self.weights.index_select(0, rows)
        return Rows(tensors, self.preprocess, self.y.index_select(0, rows), weights)

    def _finish(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.preprocess is None:
            return tensors
        views: dict[str, Tensor] = self.preprocess(*(tensors[name] for name in self.preprocess.raw))
        return views


def levels_of(onehot: Tensor) -> Tensor:
    """Returns the levels [n, c] that one-hot rows [n, c, l] stand for, from 1; 0 for rows of zeros."""
    n, columns, levels = onehot.shape
    numbers = torch.arange(1.0, levels + 1, device=onehot.device)
    return (onehot.reshape(n * columns, levels) @ numbers).long().view(n, columns)


def spread(n: int, most: int) -> Tensor:
    """Returns the numbers of at most ``most`` of ``n`` rows, evenly spaced."""
    if n <= most:
        return torch.arange(n)
    return torch.linspace(0, n - 1, most, dtype=torch.float64).round().long()


class Fold:
    """One split of a dataset on a device: preprocessing fitted on its training rows, views as they are asked for.

    ``y`` of a regression is standardised by the training rows' mean and deviation.
    """

    def __init__(
        self, data: Dataset, train: np.ndarray, validation: np.ndarray | None, device: torch.device | str = "cpu"
    ) -> None:
        self.data = data
        self.device = torch.device(device)
        self.train_rows = np.asarray(train)
        self.validation_rows = None if validation is None else np.asarray(validation)
        self._views: dict[tuple[str, bool], Tensor] = {}

    @cached_property
    def preprocess(self) -> Preprocess:
        """The layers fitted on the training rows, on the CPU."""
        return Preprocess.fit(self.data, self.train_rows).eval()

    @cached_property
    def signature(self) -> Signature:
        """What a network on this fold maps."""
        return Signature(self.preprocess.shapes, self.data.outputs)

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and deviation of the training target, (0, 1) in classification; a deviation of 0 counts as 1."""
        return self.data.moments(self.train_rows)

    def views(self, architecture: Architecture) -> tuple[str, ...]:
        """Returns the views an architecture reads; one, for the number of rows, where it reads none."""
        return architecture.inputs or tuple(self.signature.inputs)[:1]

    def rows(self, views: Sequence[str], *, training: bool) -> Rows:
        """Returns the training or validation rows with these views."""
        numbers = self.train_rows if training else self.validation_rows
        if numbers is None:
            raise ValueError("this fold has no validation rows")
        elements = sum(int(np.prod(self.preprocess.shapes[name])) for name in views)
        if 4 * elements * len(numbers) > VIEW_BYTES:
            raw = {name: self._raw(name, numbers, training) for name in self.preprocess.raw}
            preprocess = self.preprocess.only(views).to(self.device)
            return Rows(raw, preprocess, self._target(numbers, training), self._weights(numbers, training))
        missing = [name for name in views if (name, training) not in self._views]
        if missing:
            self._compute(missing, numbers, training)
        tensors = {name: self._views[name, training] for name in views}
        return Rows(tensors, None, self._target(numbers, training), self._weights(numbers, training))

    def trim(self, most: int) -> None:
        """Lets go of all views where they take more than ``most`` bytes together; they can be computed again."""
        if sum(view.numel() * view.element_size() for view in self._views.values()) > most:
            self._views.clear()

    def _compute(self, views: Sequence[str], numbers: np.ndarray, training: bool) -> None:
        preprocess = self.preprocess.only(views)
        raw = [torch.from_numpy(self.data.inputs[name][numbers]) for name in preprocess.raw]
        step = max(1, CHUNK_BYTES // (4 * 64 * max(self.data.columns, 1)))
        with torch.no_grad():
            parts = [
                preprocess(*(tensor[i : i + step] for tensor in raw)) for i in range(0, max(len(numbers), 1), step)
            ]
        for name in views:
            self._views[name, training] = torch.cat([part[name] for part in parts]).to(self.device)

    def _raw(self, name: str, numbers: np.ndarray, training: bool) -> Tensor:
        key = (f"raw {name}", training)
        if key not in self._views:
            self._views[key] = torch.from_numpy(self.data.inputs[name][numbers]).to(self.device)
        return self._views[key]

    def _target(self, numbers: np.ndarray, training: bool) -> Tensor:
        key = ("target", training)
        if key not in self._views:
            y = self.data.y[numbers]
            if self.data.task == "regression":
                mean, std = self.moments
                y = ((y.astype(np.float64) - mean) / std).astype(np.float32)
            self._views[key] = torch.from_numpy(np.ascontiguousarray(y)).to(self.device)
        return self._views[key]

    def _weights(self, numbers: np.ndarray, training: bool) -> Tensor | None:
        if self.data.weights is None:
            return None
        key = ("weights", training)
        if key not in self._views:
            w = self.data.weights[numbers]
            self._views[key] = torch.from_numpy((w / w.mean()).astype(np.float32)).to(self.device)
        return self._views[key]
