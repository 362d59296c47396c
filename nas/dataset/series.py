"""Series: arrays, rows of unequal length and tables of steps to float32 ``[n, channels, steps]``, NaN = missing.

Here belongs what a series is: channels before steps, a shorter one missing after its end, a longer one cut where the
length is given. How values are scaled belongs to ``nas.preprocess``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset import columns
from nas.dataset.value import Inputs
from nas.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 2**33
"""Padded to the longest, series of unequal length may take so much memory."""


def from_array(X: np.ndarray) -> Inputs:
    """Returns series ``[n, steps]`` (one channel) or ``[n, channels, steps]``; infinite values become missing."""
    if X.dtype.kind not in "biuf":
        raise DataError(f"series must be numbers, but are {X.dtype}; convert them, or read a table without kind=.")
    series = X[:, None, :] if X.ndim == 2 else X
    if series.ndim != 3 or 0 in series.shape[1:]:
        raise DataError(
            f"series must be [rows, steps] or [rows, channels, steps], but have shape {X.shape}; reshape them."
        )
    kept = columns.to_float32(series)
    notes = []
    infinite = int(np.isnan(kept).sum() - (np.isnan(series).sum() if series.dtype.kind == "f" else 0))
    if infinite:
        notes.append(f"{infinite:,} infinite values in X count as missing")
    ends = lengths(kept)
    if len(ends) and ends.min() < ends.max():
        notes.append(
            f"series have {ends.min():,} to {ends.max():,} steps: the shorter ones count as missing after their end"
        )
    return Inputs({"series": kept}, notes=tuple(notes))


def from_pieces(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Returns series ``[steps]`` or ``[channels, steps]`` of unequal length as one array, NaN after the end of each.

    Raises:
        DataError: they have different channels, no numbers, or would take too much memory.
    """
    rows = [np.atleast_2d(np.asarray(piece)) for piece in pieces]
    shapes = {row.shape[0] for row in rows if row.ndim == 2}
    odd = next((row for row in rows if row.ndim != 2 or row.dtype.kind not in "biuf"), None)
    if odd is not None or len(shapes) != 1:
        what = f"one is {odd.dtype} {odd.shape}" if odd is not None else f"they have {min(shapes)} to {max(shapes)}"
        raise DataError(
            f"series must be numbers [steps] or [channels, steps] with the same channels, but {what}; convert them."
        )
    channels, steps = shapes.pop(), max(row.shape[1] for row in rows)
    if (size := 4 * len(rows) * channels * steps) > MAX_BYTES:
        raise DataError(
            f"series are padded to the longest, but {len(rows):,} x {channels:,} x {steps:,} numbers would take"
            f" {size / 2**30:,.1f} GiB; cut them into windows."
        )
    series = np.full((len(rows), channels, steps), np.nan, dtype=np.float32)
    for index, row in enumerate(rows):
        series[index, :, : row.shape[1]] = row
    return series


def from_frame(frame: pd.DataFrame) -> np.ndarray:
    """Returns the columns of a table in order as the steps of one channel: float64 ``[rows, steps]``."""
    found = []
    for name, column in frame.items():
        values = columns.read_numbers(column)
        if len(values) and np.isnan(values).all() and column.notna().any():
            raise DataError(
                f"each column of a series is a step of numbers, but column {str(name)!r} holds"
                f" {column.dropna().iloc[0]!r}; leave it out, or read a table without kind=."
            )
        found.append(values)
    if not found:
        raise DataError("a series needs a column for each step, but none is left; check target=.")
    return np.stack(found, axis=1)


def fitted(X: np.ndarray, shape: Sequence[int]) -> Inputs:
    """Returns new series with the channels and steps of ``shape``: shorter ones missing at the end, longer ones cut.

    ``X`` is ``[n, channels, steps]``; ``[n, steps]`` for one channel; or a single series ``[channels, steps]``.

    Raises:
        DataError: another number of channels.
    """
    channels, steps = shape
    if X.ndim == 1 and channels == 1:
        X = X[None]
    X = X[:, None] if X.ndim == 2 and channels == 1 else X[None] if X.ndim == 2 else X
    if X.ndim != 3 or X.shape[1] != channels:
        raise DataError(
            f"series must have {channels} channels before their steps, as in training, but have shape {X.shape}."
        )
    found = from_array(X)
    series, cut = found.arrays["series"], 0
    if series.shape[2] > steps:
        cut = int((lengths(series) > steps).sum())
        series = series[:, :, :steps]
    if series.shape[2] < steps:
        series = np.pad(series, ((0, 0), (0, 0), (0, steps - series.shape[2])), constant_values=np.nan)
    notes = [note for note in found.notes if "infinite" in note]
    if cut:
        notes.append(f"{cut:,} of {len(series):,} series are longer than those in training: cut after {steps:,} steps")
    return Inputs({"series": np.ascontiguousarray(series)}, notes=tuple(notes))


def lengths(series: np.ndarray) -> np.ndarray:
    """Returns the steps of each series up to its last observed one, int64 ``[n]``."""
    seen = ~np.isnan(series).all(axis=1)
    return np.where(seen.any(axis=1), series.shape[2] - seen[:, ::-1].argmax(axis=1), 0)


def windows(series: np.ndarray, count: int) -> np.ndarray:
    """Returns each channel averaged over at most ``count`` windows: float64 ``[n, channels * windows]``, NaN = none.

    (Piecewise aggregate approximation: Keogh et al. 2001.)
    """
    steps = series.shape[2]
    edges = np.linspace(0, steps, min(steps, count) + 1).astype(np.int64)[:-1]
    known = ~np.isnan(series)
    total = np.add.reduceat(np.where(known, series, 0.0).astype(np.float64), edges, axis=2)
    seen = np.add.reduceat(known.astype(np.int64), edges, axis=2)
    mean = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
    return mean.reshape(len(series), -1)


def said(X: Any) -> tuple[str, ...]:
    """Returns what a user should know whose array of three dimensions was read as series without being asked for."""
    _, channels, steps = X.shape
    if channels == 1:
        return ()
    hint = "; if steps come first, pass X.transpose(0, 2, 1)" if channels > steps else ""
    return (
        f"arrays of shape {channels} x {steps} a row are read as series of {channels} channels x {steps} steps{hint};"
        " kind= reads them otherwise",
    )
