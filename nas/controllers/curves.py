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

    One that stopped earlier is expected to gain what those gained that went on from there, or are expected to where
    they stopped later; the doubt, a variance [n], is how much their gains differ. It is infinite where nobody went on,
    and the score then what it was.
    """
    scores, doubt = [record.score for record in records], np.zeros(len(records))
    lengths = sorted({record.fidelity.epochs for record in records})
    for epochs in lengths[-2::-1]:
        gains = [
            score - max(record.outcome.curve[:epochs])
            for record, score in zip(records, scores, strict=True)
            if score is not None and record.fidelity.epochs > epochs and len(record.outcome.curve) > epochs
        ]
        for i, record in enumerate(records):
            if record.score is not None and record.fidelity.epochs == epochs:
                scores[i] = record.score + (float(np.mean(gains)) if gains else 0.0)
                doubt[i] = float("inf") if not gains else np.var(gains) if len(gains) > 1 else gains[0] ** 2
    return scores, doubt
