"""Networks judged by a metric: their outputs as predictions, the value after an epoch and at the end.

Here belongs what lies between a network's outputs and ``nas.metrics``. The default score after an epoch is computed
where the outputs are (``learn.Task``), because it is faster there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nas.errors import DataError
from nas.metrics import Metric, Predicted
from nas.training.resident import Fold


def predictions(answer: Tensor, fold: Fold) -> np.ndarray:
    """Returns what outputs [n, k] predict: probabilities [n, k], or values [n] in the units of the target."""
    if fold.data.task == "classification":
        return torch.softmax(answer.float(), dim=1).cpu().numpy()
    mean, std = fold.moments
    return answer.float()[:, 0].cpu().numpy().astype(np.float64) * std + mean


def predicted(answer: Tensor, fold: Fold, rows: np.ndarray) -> Predicted:
    """Returns outputs on rows with these numbers, and the truth there."""
    data = fold.data
    weights = None if data.weights is None else data.weights[rows]
    return Predicted(predictions(answer, fold), data.y[rows], data.clusters(rows), fold.moments[1], weights)


def judge_of(metric: Metric, fold: Fold, rows: np.ndarray) -> Callable[[Tensor], float]:
    """Returns what says the value of a metric for outputs on rows with these numbers."""
    return lambda answer: measured(metric, [predicted(answer, fold, rows)])


def measured(metric: Metric, parts: list[Predicted]) -> float:
    """Returns the mean value over splits, NaN where a prediction is not finite.

    Raises:
        DataError: The metric has no value on these rows, whatever is predicted there.
    """
    value = metric.score(parts)
    if metric.scorer is not None and not math.isfinite(value) and all(np.isfinite(p.predictions).all() for p in parts):
        raise DataError(f"metric {metric.name!r} is {value} on validation rows; choose one that is defined there.")
    return value
