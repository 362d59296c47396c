"""Scores on a scale that tasks share: ranks where all is known, halves where a search is under way."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Returns Phi^-1((rank - .5) / n) of ``values`` [n], ties sharing their mean rank; minus infinity is allowed."""
    from scipy.stats import rankdata

    return ndtri((rankdata(values) - 0.5) / len(values))


def squash(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores y [n] in units of their upper half, and the slope dz/dy [n] at each.

    The median becomes 0, the unit is the root mean square above it, and u < -1 becomes -1 - ln(-u), so that failures do
    not hide the differences between good candidates.
    """
    huge = float(np.abs(y).max(initial=0.0))
    if huge > 1e100:  # squares would not be finite
        z, slope = squash(y / huge)
        return z, slope / huge
    centred = y - np.median(y)
    above = centred[centred > 0]
    unit = float(np.sqrt(np.mean(above**2))) if len(above) else float(np.std(y))
    unit = unit if np.isfinite(1.0 / unit if unit else np.inf) else 1.0
    u = centred / unit
    low = np.minimum(u, -1.0)
    return np.where(u < -1.0, -1.0 - np.log(-low), u), np.where(u < -1.0, -1.0 / low, 1.0) / unit
