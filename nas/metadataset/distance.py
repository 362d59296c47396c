"""How far datasets are from each other, by their meta-features. Arrays and names in, numbers out; no storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def distances(metafeatures: Mapping[str, float], pool: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Returns the distance of one dataset to each of ``pool``, [n]; infinite where they share no meta-feature.

    Each meta-feature is centred at its median and divided by its interquartile range over ``pool`` and the dataset
    itself (by its standard deviation where that range is 0), then bounded smoothly to (-3, 3) by x / sqrt(1 + (x/3)^2)
    so that one wild value does not decide alone (Holzmueller et al. 2024, RealMLP, arXiv 2407.04491). The distance is
    the root mean square difference over the meta-features both datasets have.
    """
    names = sorted(metafeatures)
    table = np.array([[row.get(name, np.nan) for name in names] for row in (metafeatures, *pool)], dtype=np.float64)
    if not names or not pool:
        return np.full(len(pool), np.inf)
    scaled = np.column_stack([_robust(column) for column in table.T])
    squares = (scaled[1:] - scaled[0]) ** 2
    shared = np.isfinite(squares)
    count = shared.sum(axis=1)
    total = np.where(shared, squares, 0.0).sum(axis=1)
    return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.inf)


def _robust(column: np.ndarray) -> np.ndarray:
    """Returns [n] values scaled and bounded; NaN stays NaN."""
    known = column[np.isfinite(column)]
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    scale = (high - low) or known.std() or 1.0
    x = (column - middle) / scale
    return np.asarray(x / np.sqrt(1 + (x / 3) ** 2))
