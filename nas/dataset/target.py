"""The target column: raw values to class codes or numbers, and which task they mean.

Here belongs everything that looks at the values of a target; its name and place in a file belong to
``nas.dataset.sources``. numpy alone, so that arrays need no pandas.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import numpy as np

from nas.dataset.value import TASKS
from nas.errors import DataError, nearest

MAX_INTEGER_CLASSES = 20
"""Whole numbers with at most this many distinct values are taken for classes."""


@dataclass(frozen=True, eq=False)
class Target:
    """``y`` of the rows kept, the mask ``keep`` over all rows, the task, the classes, and what was decided."""

    y: np.ndarray
    keep: np.ndarray
    task: str
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def encode_target(values: np.ndarray, name: str = "y", task: str | None = None) -> Target:
    """Returns the target encoded; rows whose value is missing (None, NaN, infinite, blank) are left out and counted.

    Without ``task``: text and booleans are classes. Numbers are classes if they are whole and have at most 20 distinct
    values, or are exactly the codes 0 to k - 1, with two rows (codes: five) a value on average; otherwise the task is
    regression. Classes are sorted, numbers by size.

    Raises:
        DataError: nothing is left, the target is constant, no two rows share a class, or values are neither numbers
            nor text.
    """
    if task is not None and task not in TASKS:
        raise DataError(f"task must be one of {', '.join(TASKS)}, but got {task!r};{nearest(task, TASKS)}")
    values = _one_column(values, name)
    keep = ~_missing(values, name)
    if not keep.any():
        raise DataError(f"target {name!r} must have values, but all {len(values)} are missing; choose another target.")
    kept = _plain(values[keep], name)
    notes = () if keep.all() else (f"{int((~keep).sum())} of {len(keep)} rows have no value of {name!r}: left out",)
    task = task or infer_task(kept)
    if task == "regression":
        return Target(_numbers(kept, name), keep, task, (), notes)
    levels, codes, counts = np.unique(kept, return_inverse=True, return_counts=True)
    if len(levels) < 2:
        raise DataError(
            f"a classification target needs two classes, but {name!r} is always {_label(levels[0])!r};"
            " choose another target or add rows of another class."
        )
    if counts.max() < 2:
        raise DataError(
            f"a class needs two rows, but all {len(kept)} values of {name!r} are different;"
            " choose another target, or task='regression' for numbers."
        )
    return Target(codes.ravel().astype(np.int64), keep, task, tuple(_label(level) for level in levels), notes)


def infer_task(values: np.ndarray) -> str:
    """Returns "classification" or "regression" for target values without gaps, by the rule of ``encode_target``."""
    if values.dtype.kind not in "iuf":
        return "classification"
    levels = np.unique(values)
    whole = bool((np.mod(levels, 1) == 0).all())
    few = len(levels) <= MAX_INTEGER_CLASSES and 2 * len(levels) <= len(values)
    codes = levels[0] == 0 and levels[-1] == len(levels) - 1 and 5 * len(levels) <= len(values)
    return "classification" if whole and (few or codes) else "regression"


def _one_column(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(f"target {name!r} must be one column, but has shape {values.shape}; pass one value for a row.")
    if values.dtype.kind not in "biufUSO":
        raise DataError(f"target {name!r} must be numbers or text, but is {values.dtype}; convert it first.")
    return values


def _missing(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind == "f":
        return ~np.isfinite(values)
    if values.dtype.kind in "US":
        return np.char.str_len(np.char.strip(values)) == 0
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    return np.array([_blank(value, name) for value in values], dtype=bool)


def _blank(value: object, name: str) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str | bytes):
        return not value.strip()
    if not isinstance(value, numbers.Real | np.bool_):
        raise DataError(f"target {name!r} must be numbers or text, but holds a {type(value).__name__}; convert it.")
    return not np.isfinite(float(value))


def _plain(values: np.ndarray, name: str) -> np.ndarray:
    """Returns values without gaps as booleans, numbers, or text where any value is text."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind != "O":
        return values
    if any(isinstance(value, str | bytes) for value in values):
        text = [value.decode("utf-8", "replace") if isinstance(value, bytes) else _label(value) for value in values]
        return np.array([word.strip() for word in text])
    if all(isinstance(value, bool | np.bool_) for value in values):
        return values.astype(bool)
    return values.astype(np.float64)


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    try:
        y = values.astype(np.float64)
    except ValueError:
        raise DataError(
            f"a regression target must be numbers, but {name!r} holds {str(values[0])!r}; use task='classification'."
        ) from None
    with np.errstate(over="ignore"):
        y = y.astype(np.float32)
    if not np.isfinite(y).all():
        raise DataError(f"a regression target must fit 32-bit floats (up to 3e38), but {name!r} is larger; rescale it.")
    if y.min() == y.max():
        raise DataError(
            f"a regression target must vary, but {name!r} is always {y[0]:g} in 32-bit floats;"
            " choose another target, or subtract its mean."
        )
    return y


def _label(value: object) -> str:
    """Returns the name of a class: ``3`` for 3 and 3.0."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
