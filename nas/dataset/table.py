"""Tables: a frame or an array to inputs, and new rows to the same inputs.

Here belongs what concerns all columns together; the rules for one belong to ``nas.dataset.columns``, files to
``nas.dataset.sources``. pandas is only touched where a frame is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset import columns as rules
from nas.dataset.value import Inputs
from nas.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

SPARSE_BYTES = 2**31
"""A sparse matrix that would be larger than this as dense 32-bit floats is refused."""
LISTED, LONGEST = 20, 80  # names in a message, characters of each
"""Column names an error lists at most."""


def from_frame(frame: pd.DataFrame) -> Inputs:
    """Returns the inputs of a frame without its target, column by column as ``columns.recognise`` decides.

    Raises:
        DataError: two columns share a name, a cell is neither number, text nor date, or no column is left.
    """
    names = column_names(frame)
    numeric: dict[str, np.ndarray] = {}
    codes: dict[str, np.ndarray] = {}
    levels: list[tuple[str, ...]] = []
    dates: dict[str, str] = {}
    notes: list[str] = []
    for index, name in enumerate(names):
        found = rules.recognise(name, frame.iloc[:, index])
        numeric |= {part: values for part, values in found.numeric.items() if part == name or part not in names}
        if found.codes is not None:
            codes[name] = found.codes
            levels.append(found.levels)
        if found.date_format:
            dates[name] = found.date_format
        if found.note:
            notes.append(found.note)
    if not numeric and not codes:
        raise DataError(f"a table needs a column to learn from, but none is left: {'; '.join(notes) or 'no columns'}.")
    arrays = {}
    if numeric:
        arrays["numeric"] = np.stack(list(numeric.values()), axis=1)
    if codes:
        arrays["categorical"] = np.stack(list(codes.values()), axis=1)
    return Inputs(arrays, {"numeric": tuple(numeric), "categorical": tuple(codes)}, tuple(levels), dates, tuple(notes))


def from_array(X: np.ndarray, names: Iterable[str] = ()) -> Inputs:
    """Returns numbers ``[n, d]`` as float32, every column kept in order; infinite values become missing (and a note).

    Arrays with more than two dimensions (series, for instance) are flattened row by row.
    """
    if X.ndim < 2:
        raise DataError(f"X must be [rows, columns], but has shape {X.shape}; use X.reshape(-1, 1) for one column.")
    if X.dtype.kind not in "biuf":
        raise DataError(f"X must hold numbers, but is {X.dtype}; pass a DataFrame for columns of text or dates.")
    if 0 in X.shape[1:]:
        raise DataError(f"X must have a column, but has shape {X.shape}.")
    notes = []
    if X.ndim > 2:
        notes.append(f"arrays of shape {' x '.join(map(str, X.shape[1:]))} a row are read as one row of numbers")
    X = X.reshape(len(X), -1)
    array = rules.to_float32(X)
    infinite = int(np.isnan(array).sum() - (np.isnan(X).sum() if X.dtype.kind == "f" else 0))
    if infinite:
        notes.append(f"{infinite} infinite values in X count as missing")
    return Inputs({"numeric": array}, {"numeric": tuple(names)}, notes=tuple(notes))


def encode_frame(frame: pd.DataFrame, schema: Mapping[str, Any], strict: bool = True) -> dict[str, np.ndarray]:
    """Returns new rows as the inputs ``schema`` describes; further columns are ignored, unknown levels are -1.

    Raises:
        DataError: a column is missing (the nearest is named) or, if ``strict``, a column of numbers holds none.
    """
    names = column_names(frame)
    inputs: dict[str, np.ndarray] = {}
    features, dates = schema["features"], schema["dates"]
    parts: dict[str, dict[str, np.ndarray]] = {}

    def column(name: str) -> pd.Series:
        if name not in names:
            raise DataError(f"column {name!r} is missing;{nearest(name, names)} Columns given: {listing(names)}.")
        return frame.iloc[:, names.index(name)]

    def number(name: str) -> np.ndarray:
        date, _, part = name.rpartition(".")
        if name in names or date not in dates:
            values = rules.read_numbers(column(name))
            if strict:
                _some_read(name, column(name), values, "numbers")
            return values
        if date not in parts:
            parts[date] = rules.read_date_parts(column(date), dates[date])
            if strict:
                _some_read(date, column(date), parts[date]["days"], f"dates ({dates[date]})")
        return parts[date][part]

    if "numeric" in features:
        inputs["numeric"] = np.stack([rules.to_float32(number(name)) for name in features["numeric"]], axis=1)
    if "categorical" in features:
        pairs = zip(features["categorical"], schema["levels"], strict=True)
        coded = [rules.encode_words(rules.read_words(column(name)), tuple(levels)) for name, levels in pairs]
        inputs["categorical"] = np.stack(coded, axis=1)
    return inputs


def unread(frame: pd.DataFrame, schema: Mapping[str, Any], encoded: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yields a sentence for each column with values that became missing: unknown levels, and what is no number."""
    names = column_names(frame)
    for key, what in (("categorical", "were never seen in training"), ("numeric", "are no finite numbers")):
        for index, name in enumerate(schema["features"].get(key, ())):
            if name not in names:  # a part of a date
                continue
            values = encoded[key][:, index]
            column = frame.iloc[:, names.index(name)]
            words = rules.read_words(column[(values < 0) if key == "categorical" else np.isnan(values)]).dropna()
            if len(words):
                share = f"{len(words):,} of {len(column):,} values of {name!r}"
                yield f"{share} {what} (such as {words.iloc[0]!r}) and count as missing"


def as_frame(data: Any) -> Any:
    """Returns a table of another library (polars, pyarrow, duckdb, ...) as one of pandas, anything else as it is."""
    if hasattr(data, "iloc") or isinstance(data, np.ndarray):
        return data
    try:
        if hasattr(data, "to_pandas"):
            return data.to_pandas()
        if hasattr(data, "__arrow_c_stream__"):
            import pyarrow

            return pyarrow.table(data).to_pandas()
    except (TypeError, ValueError, ImportError) as error:
        kind = type(data).__name__
        raise DataError(f"a {kind} must convert to pandas, but does not ({error}); pass a DataFrame.") from error
    return data


def dense(X: Any) -> np.ndarray:
    """Returns a sparse matrix as a dense one in 32-bit floats; DataError where it is too large or holds no numbers."""
    size = 4 * int(np.prod(X.shape, dtype=np.float64))
    if size > SPARSE_BYTES:
        shape = " x ".join(map(str, X.shape))
        raise DataError(
            f"a sparse X is read as a dense one, but {shape} would take {size / 2**30:,.1f} GiB;"
            " keep its commonest columns, or reduce them (sklearn.decomposition.TruncatedSVD)."
        )
    if X.dtype.kind not in "biuf":
        raise DataError(f"X must hold numbers, but is sparse {X.dtype}; convert it.")
    return np.asarray(X.astype(np.float32).toarray())


def to_array(values: Any, what: str) -> np.ndarray:
    """Returns an array, DataError where the rows have different lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} must have rows of equal length, but is ragged ({error}); pad or drop rows.") from error


def column_names(frame: pd.DataFrame) -> list[str]:
    """Returns the names as text; DataError where two are equal."""
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(
            f"column names must differ, but {twice[0]!r} occurs {names.count(twice[0])} times; rename them."
        )
    return names


def listing(names: Iterable[str]) -> str:
    """Returns ``a, b, c and 5 more``."""
    names = [name if len(name) <= LONGEST else name[:LONGEST] + "..." for name in names]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _some_read(name: str, column: pd.Series, values: np.ndarray, what: str) -> None:
    """DataError where the column holds text, none of which reads as it did in training."""
    if len(values) and np.isnan(values).all():
        words = rules.read_words(column).dropna()
        if len(words):
            raise DataError(f"column {name!r} must hold {what}, but holds {words.iloc[0]!r}; correct its cells.")
