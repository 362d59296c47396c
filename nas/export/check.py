"""What every format shares: rows to check on, the comparison, the time of a row, how a file appears, the report.

Nothing here knows a format. A format hands over a function from raw arrays to predictions and gets the largest
difference back; its file takes its place only when everything was right.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import ExportError

if TYPE_CHECKING:
    from nas.dataset import Dataset

Raw = Mapping[str, np.ndarray]  # the arrays of Dataset.inputs: a batch of raw rows
Predict = Callable[[Raw], np.ndarray]  # raw rows -> [batch, classes] probabilities or [batch] values

TOLERANCE = 1e-4  # largest difference allowed, relative to max(1, max|output|)
BATCHES = (1, 2, 7, 256)  # batch sizes that are tried; the last is repeated
ROWS = 512  # real rows that are compared at most
GAPS = 64  # rows with values taken out that are compared at most
BYTES = 64 * 2**20  # of raw rows that are compared at most


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how well it agrees with the network.

    ``bytes`` on disk, the largest absolute difference over ``rows_checked`` raw rows, and the median milliseconds of
    one row alone on one thread; both are None for a format that does not predict.
    """

    path: Path
    bytes: int
    largest_difference: float | None = None
    rows_checked: int = 0
    milliseconds_per_row: float | None = None

    def __str__(self) -> str:
        checked = "" if self.largest_difference is None else f" (largest difference {self.largest_difference:.0e})"
        return f"{self.path}{checked}"


def verify(found: Predict, expected: Predict, data: Dataset) -> tuple[float, int]:
    """Returns the largest absolute difference of two predictors on raw rows of ``data``, and the rows compared.

    The rows are real ones in batches of 1, 2, 7 and 256, then some of them with values taken out, so that every column
    is missing once.

    Raises:
        ExportError: a prediction is not finite, has another shape, or differs by more than
            ``TOLERANCE`` x max(1, max|output|).
    """
    largest, rows = 0.0, 0
    for batches in (real_batches(data), gap_batches(data)):
        outputs = [(expected(batch), found(batch)) for batch in batches]
        scale = max((float(np.abs(truth).max(initial=0.0)) for truth, _ in outputs), default=0.0)
        for truth, output in outputs:
            largest = max(largest, _difference(truth, output, TOLERANCE * max(1.0, scale)))
            rows += len(truth)
    return largest, rows


def _difference(truth: np.ndarray, output: np.ndarray, allowed: float) -> float:
    if not np.isfinite(truth).all():
        raise ExportError(
            "a network to export must predict finite numbers, but this one gives NaN or infinity on rows of its own"
            " data; train it again with a smaller learning rate."
        )
    if truth.shape != output.shape:
        raise ExportError(
            f"the exported file must predict the shape {truth.shape} of the network, but it gives {output.shape}; "
            "an operation in the architecture depends on the batch size."
        )
    difference = float(np.abs(truth.astype(np.float64) - output.astype(np.float64)).max(initial=0.0))
    if not difference <= allowed:  # also catches NaN
        raise ExportError(
            f"the exported file must agree with the network within {allowed:.1e}, but they differ by {difference:.1e}; "
            "an operation in the architecture does not export exactly (randomness, or numbers beyond float32)."
        )
    return difference


def real_batches(data: Dataset) -> list[Raw]:
    """Returns batches of real rows, spread evenly over ``data`` and repeated where it is short.

    Raises:
        ExportError: ``data`` has no row.
    """
    if not len(data):
        raise ExportError("an export is checked on rows of the data, but the data have none; give at least one row.")
    size = sum(array[:1].nbytes for array in data.inputs.values())
    count = max(BATCHES[1], min(ROWS, len(data), BYTES // max(size, 1)))
    spread = np.linspace(0, len(data) - 1, count).astype(np.int64)
    batches = [np.resize(spread, length) for length in BATCHES]
    batches += [spread[start : start + BATCHES[-1]] for start in range(BATCHES[-1], count, BATCHES[-1])]
    return [{name: array[rows] for name, array in data.inputs.items()} for rows in batches]


def gap_batches(data: Dataset) -> list[Raw]:
    """Returns one batch of real rows with values taken out, none where nothing can be missing (images).

    Each row lacks a column in turn (NaN, or code -1), from ``GAPS`` columns on several; the last row lacks all.
    """
    gaps: dict[str, float] = {"numeric": np.nan, "categorical": -1}
    columns = sum(array.shape[1] for name, array in data.inputs.items() if name in gaps)
    if not columns:
        return []
    rows = np.arange(min(columns, GAPS) + 1) % len(data)
    batch = {name: array[rows] for name, array in data.inputs.items()}
    taken = 0
    for name in (name for name in gaps if name in batch):
        width = batch[name].shape[1]
        row = np.arange(taken, taken + width) % GAPS
        batch[name][row, np.arange(width)] = gaps[name]
        batch[name][-1] = gaps[name]
        taken += width
    return [batch]


def milliseconds_per_row(predict: Predict, data: Dataset, runs: int = 200, seconds: float = 0.5) -> float:
    """Returns the median time of ``predict`` on one row at a time, over ``runs`` rows or about ``seconds``, warm."""
    rows = [{name: array[row : row + 1] for name, array in data.inputs.items()} for row in range(min(len(data), runs))]
    for row in rows[:5]:
        predict(row)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < runs and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        predict(rows[len(times) % len(rows)])
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place when the block ends well, else vanishes.

    Raises:
        ExportError: the place cannot be written to.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise ExportError(
            f"an export needs a file name in a folder that exists, but got {str(path)!r}; create {path.parent} first."
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ExportError(
            f"{str(path)!r} must be writable, but {error.strerror or error}; choose another place for the export."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
