"""What is left of a fit once the training rows are gone: the network, how rows are read, whom was listened to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset import encode_rows

if TYPE_CHECKING:
    from nas.controllers import Explanation
    from nas.model import Predictor
    from nas.record import Record

ROWS = 4096  # predicted at a time


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network and what a fitted estimator needs besides; it holds no row of the training data.

    predictor: raw inputs to probabilities or values, on the CPU. schema: how rows are read (``Dataset.schema()``).
    columns: names of a table's columns, None where rows are arrays of numbers or images. record: of the candidate, with
    its score on the splits it was screened on. explanation: whom the search listened to.
    """

    predictor: Predictor
    schema: Mapping[str, Any]
    columns: tuple[str, ...] | None
    record: Record
    explanation: Explanation

    def predict(self, X: Any) -> np.ndarray:
        """Returns probabilities [rows, classes] or values [rows], float32, for rows as ``read_rows`` gives them."""
        import torch

        raw = encode_rows(X, self.schema)
        arrays = [np.ascontiguousarray(raw[name]) for name in self.predictor.preprocess.raw]
        with torch.inference_mode():
            parts = [
                self.predictor(*(torch.from_numpy(array[start : start + ROWS]) for array in arrays))
                for start in range(0, len(arrays[0]), ROWS)
            ]
        found: np.ndarray = torch.cat(parts).numpy()
        return found
