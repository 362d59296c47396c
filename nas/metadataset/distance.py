"""How far datasets are from each other, by their meta-features. Numbers in, numbers out; no storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

HUGE = 1e150  # what is beyond counts as this, whose square is finite


def distances(datasets: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Returns the distance of each dataset to each, [n, n]; infinite where two share no meta-feature.

    Each meta-feature is centred at its median and divided by its interquartile range over all n (by its standard
    deviation where that range is 0), then bounded smoothly to (-3, 3) by x / sqrt(1 + (x/3)^2) so that one wild value
    does not decide alone (Holzmueller et al. 2024, RealMLP, arXiv 2407.04491). The distance is the root mean square
    difference over the meta-features both datasets have.
    """
    names = sorted({name for row in datasets for name in row})
    if not names:
        return np.full((len(datasets), len(datasets)), np.inf)
    table = np.array([[row.get(name, np.nan) for name in names] for row in datasets], dtype=np.float64)
    scaled = np.column_stack([_robust(column) for column in table.T])
    return np.array([_to_each(row, scaled) for row in scaled])


def _to_each(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    squares = (rows - row) ** 2
    shared = np.isfinite(squares)
    count = shared.sum(axis=1)
    total = np.where(shared, squares, 0.0).sum(axis=1)
    return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.inf)


def _robust(column: np.ndarray) -> np.ndarray:
    """Returns [n] values scaled and bounded; NaN stays NaN."""
    column = np.clip(column, -HUGE, HUGE)
    known = column[np.isfinite(column)]
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    scale = (high - low) or known.std() or 1.0
    with np.errstate(over="ignore"):
        x = np.clip((column - middle) / scale, -HUGE, HUGE)
    return np.asarray(x / np.sqrt(1 + (x / 3) ** 2))
