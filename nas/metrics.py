"""Scores, losses of single rows and standard metrics of predictions, in numpy alone.

Here belongs what turns (predictions, truth) into numbers. What decides which rows are predicted belongs to
``nas.dataset`` and ``nas.training``; scikit-learn scorers that a user passes belong to ``nas.loop``.

Symbols: n rows, k classes. Predictions are ``[n, k]`` probabilities (classification) or ``[n]`` values in the units of
the target (regression); ``y`` is ``[n]`` integer codes or ``[n]`` values. ``scale`` is the standard deviation of the
training target, in its units; it makes errors of different targets comparable and is ignored in classification.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from nas.errors import DataError, nearest

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
    _check_task(task)
    return DISPLAY[task]


def row_losses(task: str, predictions: np.ndarray, y: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Returns the loss of every row, float64 ``[n]``, 0 = perfect; NaN where a prediction is not finite.

    Classification: the multi-class Brier score of the row, ``sum_k (p_k - 1[y = k])^2``, from 0 to 2 (Brier 1950,
    Monthly Weather Review 78). Regression: ``((prediction - y) / scale)^2``.
    """
    p, y = _checked(task, predictions, y)
    if task == "regression":
        return ((p - y) / _positive(scale)) ** 2
    truth = p[np.arange(len(y)), y]
    return np.sum(p * p, axis=1) - truth * truth + (1.0 - truth) ** 2


def score_of(task: str, losses: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the score of rows with these losses, higher is better: minus their mean, in regression minus its root.

    With ``weights`` ``[n]``, positive, the mean is theirs.
    """
    mean = float(np.mean(losses) if weights is None else np.average(losses, weights=weights))
    return -float(np.sqrt(mean)) if task == "regression" else -mean


def score(task: str, predictions: np.ndarray, y: np.ndarray, scale: float = 1.0) -> float:
    """Returns one number, higher is better: minus mean Brier score (-2 to 0), or minus RMSE / scale (-inf to 0)."""
    return score_of(task, row_losses(task, predictions, y, scale))


def mean_error(
    values: np.ndarray, clusters: np.ndarray | None = None, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Returns the (weighted) mean of values and its standard error, NaN below two clusters.

    Values of one cluster (a row that occurs twice, rows of one group) need not be independent: the error is that of
    clusters (Liang and Zeger 1986), ``sqrt(g / (g - 1) sum_c u_c^2) / sum w`` with ``u_c`` the sum of
    ``w (value - mean)`` over a cluster and g the number of clusters. Without clusters it is ``std / sqrt(n)``.

    Args:
        values: ``[n]``.
        clusters: ``[n]`` numbers or names; every value its own by default.
        weights: ``[n]``, positive; all equal by default.
    """
    values = np.asarray(values, dtype=np.float64)
    w = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(values) == 0:
        return float("nan"), float("nan")
    mean = float(np.sum(w * values) / np.sum(w))
    deviations: np.ndarray = w * (values - mean)
    if clusters is not None:
        deviations = np.bincount(np.unique(clusters, return_inverse=True)[1].ravel(), weights=deviations)
    g = len(deviations)
    if g < 2:
        return mean, float("nan")
    return mean, float(np.sqrt(np.sum(deviations**2) * g / (g - 1)) / np.sum(w))


def standard_error(
    task: str, losses: np.ndarray, clusters: np.ndarray | None = None, weights: np.ndarray | None = None
) -> float:
    """Returns the standard error of ``score_of(task, losses, weights)``; NaN below two clusters.

    In classification that of the mean (``mean_error``); the root in regression follows by the delta method,
    ``se(mean) / (2 sqrt(mean))``.

    Args:
        task: "classification" or "regression".
        losses: ``[n]``, from ``row_losses``; those of several splits may be concatenated.
        clusters: ``[n]``, what each loss belongs to where losses are not independent: ``Dataset.clusters`` of the rows.
        weights: ``[n]``, as in ``score_of``.
    """
    mean, error = mean_error(losses, clusters, weights)
    if task == "regression":
        return error / (2.0 * float(np.sqrt(mean))) if mean > 0.0 else error
    return error


def metrics(task: str, predictions: np.ndarray, y: np.ndarray, scale: float = 1.0) -> dict[str, float]:
    """Returns every metric of ``METRICS[task]`` by name, as in scikit-learn; all NaN if a prediction is not finite.

    ``auc`` is the unweighted mean of one-versus-rest areas over the classes that occur in ``y`` (.5 where only one
    does); ``balanced_accuracy`` is the mean recall of those classes; ``nrmse`` is RMSE / scale.
    """
    p, y = _checked(task, predictions, y)
    if not np.isfinite(p).all():
        return dict.fromkeys(METRICS[task], float("nan"))
    values = _regression(p, y, scale) if task == "regression" else _classification(p, y, np.asarray(predictions).dtype)
    return {name: float(value) for name, value in values.items()}


def _regression(p: np.ndarray, y: np.ndarray, scale: float) -> dict[str, float]:
    squares = float(np.mean((p - y) ** 2))
    variance = float(np.mean((y - y.mean()) ** 2))
    r2 = 1.0 - squares / variance if variance > 0.0 else float(squares == 0.0)
    rmse = float(np.sqrt(squares))
    return {"rmse": rmse, "nrmse": rmse / _positive(scale), "mae": float(np.mean(np.abs(p - y))), "r2": r2}


def _classification(p: np.ndarray, y: np.ndarray, dtype: np.dtype) -> dict[str, float]:
    right = p.argmax(axis=1) == y
    support = np.bincount(y, minlength=p.shape[1])
    present = np.flatnonzero(support)
    recall = np.bincount(y, weights=right, minlength=p.shape[1])[present] / support[present]
    tiny = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    likelihood = np.clip(p[np.arange(len(y)), y], tiny, 1.0 - tiny)
    ranked = present[-1:] if p.shape[1] == 2 else present
    areas = [_area(p[:, k], y == k) for k in ranked] if len(present) > 1 else [0.5]
    return {
        "brier": -score("classification", p, y),
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(recall.mean()),
        "log_loss": float(-np.log(likelihood).mean()),
        "auc": float(np.mean(areas)),
    }


def _area(p: np.ndarray, positive: np.ndarray) -> float:
    """Returns the area under the ROC curve, the Mann-Whitney statistic with ties counted half (Hanley, McNeil 1982)."""
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse.ravel()]
    n1 = int(positive.sum())
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2.0) / (n1 * (len(p) - n1)))


def _checked(task: str, predictions: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns predictions in float64 and ``y`` in int64 or float64; DataError where the shapes do not fit the task."""
    _check_task(task)
    p, y = np.asarray(predictions, dtype=np.float64), np.asarray(y)
    wanted = 1 if task == "regression" else 2
    if p.ndim != wanted or y.shape != p.shape[:1] or len(y) == 0:
        shape = "[n]" if task == "regression" else "[n, classes]"
        raise DataError(
            f"{task} needs predictions {shape} and y [n] with n >= 1, but got {p.shape} and {y.shape};"
            " pass one prediction for each row."
        )
    if task == "regression":
        return p, y.astype(np.float64)
    y = y.astype(np.int64)
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError(
            f"class codes must be 0 to {p.shape[1] - 1}, but y spans {y.min()} to {y.max()};"
            " pass one column of probabilities for each class."
        )
    return p, y


def _check_task(task: str) -> None:
    if task not in METRICS:
        raise DataError(f"task must be one of {', '.join(METRICS)}, but got {task!r};{nearest(task, METRICS)}")


def _positive(scale: float) -> float:
    if not scale > 0.0 or not np.isfinite(scale):
        raise DataError(f"scale must be a positive number, but got {scale}; pass the training target's deviation.")
    return float(scale)
