"""The target column: raw values to class codes or numbers, and which task they mean.

Here belongs everything that looks at the values of a target; its name and place in a file belong to
``nas.dataset.sources``. numpy alone, so that arrays need no pandas.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
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
    _check_task(task)
    values = _one_column(values, name)
    keep = ~_missing(values, name)
    if not keep.any():
        raise DataError(f"target {name!r} must have values, but all {len(values)} are missing; choose another target.")
    kept = _plain(values[keep])
    notes = () if keep.all() else (f"{int((~keep).sum())} of {len(keep)} rows have no value of {name!r}: left out",)
    if task is None:
        task = infer_task(kept)
        if task == "regression" and _could_be_classes(kept):
            notes = (*notes, f"{name!r} is read as a number; pass task='classification' if its values are classes")
    if task == "regression":
        return Target(_numbers(kept, name), keep, task, (), notes)
    levels, codes, counts = np.unique(kept, return_inverse=True, return_counts=True)
    if len(levels) < 2:
        raise DataError(
            f"a classification target needs two classes, but {name!r} is always {label(levels[0])!r};"
            " choose another target or add rows of another class."
        )
    if counts.max() < 2:
        raise DataError(
            f"a class needs two rows, but all {len(kept)} values of {name!r} are different;"
            " choose another target, or task='regression' for numbers."
        )
    return Target(codes.ravel().astype(np.int64), keep, task, tuple(label(level) for level in levels), notes)


def encode_parts(
    values: Sequence[np.ndarray], known: np.ndarray, name: str, task: str | None, classes: tuple[str, ...] = ()
) -> Target:
    """Returns the target of several parts of rows, one after the other, encoded as the ``known`` rows demand.

    Args:
        values: for each part ``[m]`` raw values.
        known: bool ``[n]`` over all parts; task and classes are read from these rows (all of them in the first part).
        name: of the target.
        task: as in ``encode_target``.
        classes: names of the classes whose codes the values are, if the source gives them.

    Raises:
        DataError: as in ``encode_target``, or another row has a class that no known row has.
    """
    _check_task(task)
    values = [_one_column(part, name) for part in values]
    if named := _named(values, task, classes):
        return named
    first, rest = known[: len(values[0])], ~known
    found = encode_target(values[0][first], name, task)
    if not rest.any():
        return found
    keep = np.zeros(len(known), dtype=bool)
    y = np.zeros(len(known), dtype=found.y.dtype)
    places = np.flatnonzero(known)
    keep[places[found.keep]] = True
    y[places[found.keep]] = found.y
    start = 0
    for part in values:
        here = start + np.flatnonzero(rest[start : start + len(part)])
        others = part[here - start]
        there = ~_missing(others, name)
        if there.any():
            keep[here[there]] = True
            y[here[there]] = _encoded_like(_plain(others[there]), found, name)
        start += len(part)
    left_out = int((~keep).sum())
    notes = (f"{left_out} of {len(keep)} rows have no value of {name!r}: left out",) if left_out else ()
    return Target(y[keep], keep, found.task, found.classes, notes)


def _check_task(task: str | None) -> None:
    if task is not None and task not in TASKS:
        raise DataError(f"task must be one of {', '.join(TASKS)}, but got {task!r};{nearest(task, TASKS)}")


def _named(values: Sequence[np.ndarray], task: str | None, classes: tuple[str, ...]) -> Target | None:
    """Returns the target where all values are codes of ``classes``, else None."""
    k = len(classes)
    if task == "regression" or not k or any(part.dtype.kind not in "iu" for part in values):
        return None
    y = np.concatenate(values)
    if not len(y) or y.min() < 0 or y.max() >= k or y.min() == y.max() or np.bincount(y).max() < 2:
        return None
    return Target(y.astype(np.int64), np.ones(len(y), dtype=bool), "classification", classes)


def _encoded_like(values: np.ndarray, known: Target, name: str) -> np.ndarray:
    if known.task == "regression":
        return _numbers(values, name, varies=False)
    codes = {word: code for code, word in enumerate(known.classes)}
    words = [label(value) for value in values.tolist()]
    strange = [word for word in words if word not in codes]
    if strange:
        raise DataError(
            f"validation and test rows must have the training rows' classes ({', '.join(known.classes[:20])}), but"
            f" {len(strange)} have others such as {strange[0]!r} in {name!r};{nearest(strange[0], codes)} leave them"
            " out, or add such rows to the training part."
        )
    return np.array([codes[word] for word in words], dtype=np.int64)


def infer_task(values: np.ndarray) -> str:
    """Returns "classification" or "regression" for target values without gaps, by the rule of ``encode_target``."""
    if values.dtype.kind not in "iuf":
        return "classification"
    levels = np.unique(values)
    whole = bool((np.mod(levels, 1) == 0).all())
    few = len(levels) <= MAX_INTEGER_CLASSES and 2 * len(levels) <= len(values)
    codes = levels[0] == 0 and levels[-1] == len(levels) - 1 and 5 * len(levels) <= len(values)
    return "classification" if whole and (few or codes) else "regression"


def _could_be_classes(values: np.ndarray) -> bool:
    """Whether numbers that count as a regression are whole, and each occurs five times on average."""
    return bool((np.mod(values, 1) == 0).all()) and 5 * len(np.unique(values)) <= len(values)


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
    try:
        return not np.isfinite(float(value))
    except OverflowError:  # a whole number beyond 1e308
        return True


def _plain(values: np.ndarray) -> np.ndarray:
    """Returns values without gaps as booleans, numbers, or text where any value is text."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind != "O":
        return values
    if any(isinstance(value, str | bytes) for value in values):
        text = [value.decode("utf-8", "replace") if isinstance(value, bytes) else label(value) for value in values]
        return np.array([word.strip() for word in text])
    if all(isinstance(value, bool | np.bool_) for value in values):
        return values.astype(bool)
    return values.astype(np.float64)


def _numbers(values: np.ndarray, name: str, varies: bool = True) -> np.ndarray:
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
    if varies and y.min() == y.max():
        raise DataError(
            f"a regression target must vary, but {name!r} is always {y[0]:g} in 32-bit floats;"
            " choose another target, or subtract its mean."
        )
    return y


def label(value: object) -> str:
    """Returns the name of a class: ``3`` for 3 and 3.0."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
