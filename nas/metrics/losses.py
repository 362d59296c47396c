"""Losses of single rows, the score they make, and standard errors, in numpy alone.

Here belongs what is a mean over rows. Standard metrics belong to ``nas.metrics.standard``, scorers a user passes to
``nas.metrics.metric``.

Symbols: n rows, k classes. Predictions are ``[n, k]`` probabilities (classification) or ``[n]`` values in the units of
the target (regression); ``y`` is ``[n]`` integer codes or ``[n]`` values. ``scale`` is the standard deviation of the
training target, in its units; it makes errors of different targets comparable and is ignored in classification.
"""

from __future__ import annotations

import numpy as np

from nas.errors import DataError, nearest

TASKS = ("classification", "regression")


def row_losses(task: str, predictions: np.ndarray, y: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Returns the loss of every row, float64 ``[n]``, 0 = perfect; NaN where a prediction is not finite.

    Classification: the multi-class Brier score of the row, ``sum_k (p_k - 1[y = k])^2``, from 0 to 2 (Brier 1950,
    Monthly Weather Review 78). Regression: ``((prediction - y) / scale)^2``.
    """
    p, y = checked(task, predictions, y)
    if task == "regression":
        return ((p - y) / positive(scale)) ** 2
    truth = p[np.arange(len(y)), y]
    return np.sum(p * p, axis=1) - truth * truth + (1.0 - truth) ** 2


def score_of(task: str, losses: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the score of rows with these losses, higher is better: minus their mean, in regression minus its root.

    With ``weights`` ``[n]``, positive, the mean is theirs.
    """
    mean = float(np.mean(losses) if weights is None else np.average(losses, weights=weights))
    return -float(np.sqrt(mean)) if task == "regression" else -mean


def score(
    task: str, predictions: np.ndarray, y: np.ndarray, scale: float = 1.0, weights: np.ndarray | None = None
) -> float:
    """Returns one number, higher is better: minus mean Brier score (-2 to 0), or minus RMSE / scale (-inf to 0)."""
    return score_of(task, row_losses(task, predictions, y, scale), weights)


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


def checked(task: str, predictions: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns predictions in float64 and ``y`` in int64 or float64; DataError where the shapes do not fit the task."""
    check_task(task)
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


def check_task(task: str) -> None:
    """Raises DataError unless ``task`` is one of ``TASKS``."""
    if task not in TASKS:
        raise DataError(f"task must be one of {', '.join(TASKS)}, but got {task!r};{nearest(task, TASKS)}")


def positive(scale: float) -> float:
    """Returns a scale as it is; DataError unless it is a positive, finite number."""
    if not scale > 0.0 or not np.isfinite(scale):
        raise DataError(f"scale must be a positive number, but got {scale}; pass the training target's deviation.")
    return float(scale)
