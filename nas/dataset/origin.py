"""The table as it came, so that some of its rows can be read as if the others did not exist.

Here belongs what depends on which rows of a frame are known; how a frame is read belongs to ``nas.dataset.table``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nas.dataset import table
from nas.dataset.value import Inputs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Origin:
    """Frames and the rows of them that a dataset holds.

    Attributes:
        frames: the inputs before anything is encoded: of the training rows, then of a validation and a test part.
        rows: int64 ``[n]``; row numbers counted through all frames, in the order of the dataset.
        arrays: what the rows became; an origin belongs to the dataset with these very arrays.
        notes: sentences that do not come from reading the inputs.
    """

    frames: tuple[pd.DataFrame, ...]
    rows: np.ndarray
    arrays: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()

    def subset(self, rows: np.ndarray, arrays: Mapping[str, np.ndarray]) -> Origin:
        """Returns the origin of these rows, which became ``arrays``."""
        return replace(self, rows=self.rows[rows], arrays=arrays)

    def read(self, known: np.ndarray) -> Inputs:
        """Returns all rows of the dataset, read by what the ``known`` ones (bool ``[n]``, of the first frame) hold.

        Raises:
            DataError: no column is left, or a part of the rows lacks a column.
        """
        found = table.from_frame(self.frames[0].iloc[self.rows[known]])
        schema = {"features": {k: v for k, v in found.features.items() if v}, "levels": found.levels}
        arrays = {
            key: np.empty((len(self.rows), array.shape[1]), dtype=array.dtype) for key, array in found.arrays.items()
        }
        for key, array in found.arrays.items():
            arrays[key][known] = array
        start = 0
        for index, frame in enumerate(self.frames):
            here = ~known & (self.rows >= start) & (self.rows < start + len(frame))
            if here.any():
                rest = frame.iloc[self.rows[here] - start]
                encoded = table.encode_frame(rest, schema | {"dates": found.dates}, strict=index > 0)
                for key, array in encoded.items():
                    arrays[key][here] = array
            start += len(frame)
        return replace(found, arrays=arrays)
