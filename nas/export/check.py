"""What every format shares: rows to check on, the comparison, the time of a row, the report, metadata.

Nothing here knows a format. A format hands over a function from batches of raw rows to predictions and gets the largest
difference back; its file takes its place only when everything was right.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import ExportError
from nas.readable import finite

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.model import Predictor

Raw = Mapping[str, np.ndarray]  # the arrays of Dataset.inputs: a batch of raw rows
Predict = Callable[[Raw], np.ndarray]  # raw rows -> [batch, classes] probabilities or [batch] values
PredictAll = Callable[[Sequence[Raw]], Sequence[np.ndarray]]  # the same for several batches

TOLERANCE = 1e-4  # largest difference allowed, relative to max(1, max|output|)
BATCHES = (1, 2, 7, 1000)  # batch sizes that are tried; the last is repeated
ROWS = 512  # real rows that are compared at most
GAPS = 64  # rows with values taken out that are compared at most
BYTES = 64 * 2**20  # of raw rows that are compared at most


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how well it agrees with the network.

    ``bytes`` on disk, the largest absolute difference over ``rows_checked`` raw rows (None for a format that does not
    predict), and the median milliseconds of one row alone on one thread (None where that was not measured).
    """

    path: Path
    bytes: int
    largest_difference: float | None = None
    rows_checked: int = 0
    milliseconds_per_row: float | None = None

    def __str__(self) -> str:
        if self.largest_difference is None:
            return str(self.path)
        return f"{self.path} (largest difference {self.largest_difference:.0e}, within tolerance)"


def verify(found: PredictAll, predictor: Predictor, data: Dataset) -> tuple[float, int]:
    """Returns the largest absolute difference of a file to ``predictor`` on raw rows of ``data``, and their number.

    The rows are real ones in batches of 1, 2, 7 and 1000, then some of them with values taken out, so that every column
    is missing once. ``predictor`` is on the CPU and in evaluation mode.

    Raises:
        ExportError: a prediction is not finite, has another shape, or differs by more than
            ``TOLERANCE`` x max(1, max|output|).
    """
    batches = [*real_batches(data), *gap_batches(data)]
    return compare(found(batches), [_expected(predictor, batch) for batch in batches])


def _expected(predictor: Predictor, raw: Raw) -> np.ndarray:
    import torch

    with torch.inference_mode():
        output: np.ndarray = predictor(*(torch.from_numpy(raw[name]) for name in predictor.preprocess.raw)).numpy()
    return output


def compare(outputs: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> tuple[float, int]:
    """Returns the largest absolute difference of predictions to those expected, and the rows; raises as ``verify``."""
    scale = max((float(np.abs(truth).max(initial=0.0)) for truth in truths), default=0.0)
    allowed = TOLERANCE * max(1.0, scale)
    differences = [_difference(truth, output, allowed) for truth, output in zip(truths, outputs, strict=True)]
    return max(differences, default=0.0), sum(map(len, truths))


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
    most = max(BATCHES[-2], BYTES // max(size, 1))
    batches = [np.resize(spread, min(length, most)) for length in BATCHES]
    return [{name: array[rows] for name, array in data.inputs.items()} for rows in batches]


def gap_batches(data: Dataset) -> list[Raw]:
    """Returns one batch of real rows with values taken out, none where nothing can be missing (images).

    Each row lacks a column or channel in turn (NaN, or code -1), from ``GAPS`` columns on several; the last row lacks
    all. In a second batch series end halfway.
    """
    if "series" in data.inputs:
        return _gaps_of_series(data.inputs["series"])
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


def _gaps_of_series(series: np.ndarray) -> list[Raw]:
    channels, steps = series.shape[1:]
    lacking = series[np.arange(min(channels, GAPS) + 1) % len(series)]
    lacking[np.arange(channels) % GAPS, np.arange(channels)] = np.nan
    lacking[-1] = np.nan
    short = series[: min(len(series), GAPS)].copy()
    short[:, :, (steps + 1) // 2 :] = np.nan
    return [{"series": lacking}, {"series": short}]


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


def on_cpu(predictor: Predictor) -> Predictor:
    """Returns a copy of ``predictor`` on the CPU in evaluation mode, without gradients."""
    return copy.deepcopy(predictor).cpu().eval().requires_grad_(False)


def metadata(
    predictor: Predictor, data: Dataset, settings: Mapping[str, object], scores: Mapping[str, object]
) -> dict[str, Any]:
    """Returns what travels with a network, as JSON values: schema, architecture, settings and scores."""
    return {
        "schema": data.schema(),
        "architecture": predictor.network.architecture.to_dict(),
        "settings": finite(dict(settings)),
        "scores": finite(dict(scores)),
    }


def reason_of(error: BaseException) -> str:
    """Returns the first line of what went wrong at the root of ``error``, for a sentence."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = str(error).strip().partition("\n")[0][:200].rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
