"""Sources, and their columns that are no inputs: groups, weights, the order of time.

Here belongs how such columns are found and read. What becomes of them belongs to ``nas.dataset.assemble``.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nas.dataset import archive, columns, table
from nas.errors import DataError, nearest

TRAIN, TEST, VALIDATION = 0, 1, 2
"""What a row is for; the numbers ``split`` has in archives."""


@dataclass(frozen=True, eq=False)
class Source:
    """What was found: X (frame, array or Inputs) and y before anything is encoded, and what is known of them.

    ``part`` says of every row what it is for (None: training), ``arrays`` is the archive X comes from, ``notes`` what
    was decided while reading, ``kind`` what X is to be read as where the caller says so.
    """

    X: Any
    y: Any
    name: str
    target: str = "y"
    task: str | None = None
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    part: np.ndarray | None = None
    family: str = ""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kind: str | None = None


def read_extras(
    sources: Sequence[Source], Xs: Sequence[Any], sizes: Sequence[int], extras: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Returns (groups, weights and time as they are kept, names of columns that leave the inputs, notes)."""
    found: dict[str, np.ndarray] = {}
    taken, notes = [], []
    for key, given in extras.items():
        if given is None and key == "groups" and all("groups" in source.arrays for source in sources):
            given = "groups"
        if given is None:
            continue
        name = str(given) if isinstance(given, str | numbers.Integral) else ""
        if name:
            pairs = zip(sources, Xs, strict=True)
            pieces: Sequence[Any] = [_column(key, name, source, X) for source, X in pairs]
        else:
            pieces = [given]
        values = joined(pieces)
        if values.shape != (sum(sizes),):
            what = "row" if len(sizes) == 1 else "row (training, validation and test rows, in this order)"
            raise DataError(
                f"{key} must have one value for each {what}, {sum(sizes)} in all, but has shape {values.shape}."
            )
        if key != "time" and name:
            taken.append(name)
        read = {"groups": read_groups, "weights": read_weights, "time": read_order}[key]
        found[key] = read(values, name or key)
        if key == "time":
            notes.append(f"rows are in the order of {name or key!r}: validation rows are later than training rows")
    return found, taken, notes


def _column(key: str, name: str, source: Source, X: Any) -> Any:
    if source.arrays:
        return archive.target_of(source.arrays, name, source.name)
    names = table.column_names(X) if hasattr(X, "iloc") else []
    if name not in names:
        known = f" Columns: {table.listing(names)}." if names else " Pass one value for each row."
        raise DataError(f"{key} column {name!r} is not there;{nearest(name, names)}{known}")
    return X.iloc[:, names.index(name)]


def joined(pieces: Sequence[Any]) -> Any:
    """Returns the values of several pieces of a column, one after the other: an array where it can, else a Series."""
    arrays = [p if hasattr(p, "iloc") else np.atleast_1d(table.to_array(p, "a column")) for p in pieces]
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np.concatenate(arrays)
    import pandas as pd

    return pd.concat([array if hasattr(array, "iloc") else pd.Series(array) for array in arrays], ignore_index=True)


def read_groups(values: Any, name: str) -> np.ndarray:
    """Returns int64 ``[n]`` codes of the groups, equal where the values read the same; DataError where one is missing.

    Args:
        values: ``[n]``, an array or a Series of anything that has a text.
        name: of the column, for the message.
    """
    plain = values.to_numpy() if hasattr(values, "to_numpy") else values
    words = np.array([columns.word_of(value) or "" for value in plain.tolist()], dtype=object)
    if gaps := int((words == "").sum()):
        raise DataError(f"groups must have no gaps, but {gaps} rows have none in {name!r}; fill them in.")
    return np.unique(words.astype(str), return_inverse=True)[1].ravel().astype(np.int64)


def read_weights(values: Any, name: str) -> np.ndarray:
    """Returns float64 ``[n]`` >= 0; DataError where a weight is missing, negative or no number, or none is positive."""
    weights = _as_numbers(values)
    bad = ~(np.isfinite(weights) & (weights >= 0.0))
    if bad.any() or not (weights > 0.0).any():
        word = repr(_item(values, int(np.argmax(bad)))) if bad.any() else "only zeros"
        raise DataError(f"weights must be numbers >= 0, some of them above 0, but {name!r} holds {word}; correct it.")
    return weights


def read_order(values: Any, name: str) -> np.ndarray:
    """Returns int64 ``[n]`` codes in the order of time, equal for equal moments.

    Args:
        values: ``[n]`` numbers, dates, periods, time spans, or texts that read as numbers or dates.
        name: of the column, for the message.

    Raises:
        DataError: a moment is missing, or one is neither number nor date.
    """
    order = _as_numbers(values)
    if np.isnan(order).any() and not (isinstance(values, np.ndarray) and values.dtype.kind in "biuf"):
        order = _as_moments(values, order)
    bad = ~np.isfinite(order)
    if bad.any():
        item = _item(values, int(np.argmax(bad)))
        raise DataError(
            f"time must be numbers or dates without gaps, but {int(bad.sum())} values of {name!r} are none, such as"
            f" {item!r}; correct them."
        )
    return np.unique(order, return_inverse=True)[1].ravel().astype(np.int64)


def _as_numbers(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values.astype(np.float64)
    import pandas as pd

    series = pd.Series(values)
    if isinstance(series.dtype, pd.PeriodDtype) or pd.api.types.is_datetime64_any_dtype(series):
        return np.full(len(series), np.nan)
    return columns.read_numbers(series)


def _as_moments(values: Any, numbers_read: np.ndarray) -> np.ndarray:
    """Returns days since 1970 where the values are dates, else ``numbers_read``."""
    import pandas as pd

    kind, column = columns.kind_of("time", pd.Series(values))
    if kind == "date":
        return columns.read_date_parts(column, "ISO8601")["days"]
    date_format = columns.find_date_format(column.dropna()) if kind == "text" and column.notna().any() else ""
    return columns.read_date_parts(column, date_format)["days"] if date_format else numbers_read


def _item(values: Any, index: int) -> Any:
    value = values.iloc[index] if hasattr(values, "iloc") else values[index]
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value
