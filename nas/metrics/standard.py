"""The standard metrics that every record keeps, in numpy alone, with the meaning they have in scikit-learn.

Here belong names, directions and formulas. What is optimised belongs to ``nas.metrics.losses`` and ``metric``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from nas.metrics.losses import check_task, checked, positive, row_losses

METRICS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "classification": MappingProxyType(
            {"brier": -1, "accuracy": 1, "balanced_accuracy": 1, "log_loss": -1, "auc": 1}
        ),
        "regression": MappingProxyType({"rmse": -1, "nrmse": -1, "mae": -1, "r2": 1}),
    }
)
"""Task -> name of each standard metric -> +1 where higher is better, -1 where lower is."""

DISPLAY: Mapping[str, str] = MappingProxyType({"classification": "accuracy", "regression": "r2"})
"""Task -> the metric shown to people (the score is what is optimised)."""


def display(task: str) -> str:
    """Returns the name of the metric shown to people: ``accuracy`` or ``r2``; DataError for an unknown task."""
    check_task(task)
    return DISPLAY[task]


def metrics(
    task: str, predictions: np.ndarray, y: np.ndarray, scale: float = 1.0, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Returns every metric of ``METRICS[task]`` by name, as in scikit-learn; all NaN if a prediction is not finite.

    ``auc`` is the unweighted mean of one-versus-rest areas over the classes that occur in ``y`` (.5 where only one
    does); ``balanced_accuracy`` is the mean recall of those classes; ``nrmse`` is RMSE / scale. ``weights`` ``[n]``,
    positive, say how much each row counts (scikit-learn's ``sample_weight``).
    """
    p, y = checked(task, predictions, y)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not np.isfinite(p).all():
        return dict.fromkeys(METRICS[task], float("nan"))
    if task == "regression":
        values = _regression(p, y, w, scale)
    else:
        values = _classification(p, y, w, np.asarray(predictions).dtype)
    return {name: float(value) for name, value in values.items()}


def _regression(p: np.ndarray, y: np.ndarray, w: np.ndarray, scale: float) -> dict[str, float]:
    squares = float(np.average((p - y) ** 2, weights=w))
    variance = float(np.average((y - np.average(y, weights=w)) ** 2, weights=w))
    r2 = 1.0 - squares / variance if variance > 0.0 else float(squares == 0.0)
    rmse = float(np.sqrt(squares))
    mae = float(np.average(np.abs(p - y), weights=w))
    return {"rmse": rmse, "nrmse": rmse / positive(scale), "mae": mae, "r2": r2}


def _classification(p: np.ndarray, y: np.ndarray, w: np.ndarray, dtype: np.dtype) -> dict[str, float]:
    right = p.argmax(axis=1) == y
    support = np.bincount(y, weights=w, minlength=p.shape[1])
    present = np.flatnonzero(support)
    recall = np.bincount(y, weights=right * w, minlength=p.shape[1])[present] / support[present]
    tiny = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    likelihood = np.clip(p[np.arange(len(y)), y], tiny, 1.0 - tiny)
    ranked = present[-1:] if p.shape[1] == 2 else present
    areas = [_area(p[:, k], y == k, w) for k in ranked] if len(present) > 1 else [0.5]
    return {
        "brier": float(np.average(row_losses("classification", p, y), weights=w)),
        "accuracy": float(np.average(right, weights=w)),
        "balanced_accuracy": float(recall.mean()),
        "log_loss": float(-np.average(np.log(likelihood), weights=w)),
        "auc": float(np.mean(areas)),
    }


def _area(p: np.ndarray, yes: np.ndarray, w: np.ndarray) -> float:
    """Returns the area under the ROC curve, the Mann-Whitney statistic with ties counted half (Hanley, McNeil 1982)."""
    inverse = np.unique(p, return_inverse=True)[1].ravel()
    there, others = np.bincount(inverse, weights=w * yes), np.bincount(inverse, weights=w * ~yes)
    below = np.cumsum(others) - others / 2.0
    return float(np.sum(there * below) / (there.sum() * others.sum()))
