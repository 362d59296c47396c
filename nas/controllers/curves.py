"""What trainings that were stopped early would have come to, by the learning curves of those that went on.

Belongs here: arithmetic on records of one search. What a controller makes of the numbers is its own business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nas.record import Record


def at_full_length(records: Sequence[Record]) -> tuple[list[float | None], np.ndarray]:
    """Returns the score [n] of each training at the most epochs any of them was trained for, and the doubt about it.

    One that stopped earlier is expected to gain what those gained that went on from there; the doubt, a variance [n],
    is how much their gains differ. It is infinite where nobody went on, and the score then what it was.
    """
    longest = max((record.fidelity.epochs for record in records), default=0)
    scores, doubt = [record.score for record in records], np.zeros(len(records))
    gained: dict[int, tuple[float, float]] = {}
    for i, record in enumerate(records):
        epochs = record.fidelity.epochs
        if record.score is None or epochs == longest:
            continue
        if epochs not in gained:
            gained[epochs] = _gain(records, epochs)
        gain, doubt[i] = gained[epochs]
        scores[i] = record.score + gain
    return scores, doubt


def _gain(records: Sequence[Record], epochs: int) -> tuple[float, float]:
    """Mean and variance of what trainings gained after so many epochs."""
    gains = [
        record.score - max(record.outcome.curve[:epochs])
        for record in records
        if record.score is not None and record.fidelity.epochs > epochs and len(record.outcome.curve) > epochs
    ]
    if not gains:
        return 0.0, float("inf")
    return float(np.mean(gains)), float(np.var(gains)) if len(gains) > 1 else float(gains[0] ** 2)
