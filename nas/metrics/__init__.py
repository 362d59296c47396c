"""Numbers from predictions and truth: losses of rows, standard metrics, the metric a search maximises.

What decides which rows are predicted belongs to ``nas.dataset`` and ``nas.training``.
"""

from __future__ import annotations

from nas.metrics.losses import mean_error, row_losses, score, score_of, standard_error
from nas.metrics.metric import DEFAULT, Metric, Predicted, find_metric, sign_of
from nas.metrics.standard import DISPLAY, METRICS, display, metrics

__all__ = [
    "DEFAULT",
    "DISPLAY",
    "METRICS",
    "Metric",
    "Predicted",
    "display",
    "find_metric",
    "mean_error",
    "metrics",
    "row_losses",
    "score",
    "score_of",
    "sign_of",
    "standard_error",
]
