"""X, y, weights as scikit-learn's users pass them, to what ``nas.load`` and ``encode_rows`` take.

Here belong scikit-learn's checks and its messages: names and number of features, shapes, infinite values, labels. What
a column means is decided by ``nas.dataset``.
"""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from nas.dataset.table import as_frame
from nas.errors import DataError

TRAINING = 2  # rows a fit needs at least
PLAIN = (str, bytes, numbers.Real, Decimal, np.bool_, datetime.date, datetime.timedelta, np.datetime64, np.timedelta64)


def read_training(estimator: BaseEstimator, X: Any) -> Any:
    """Returns training rows as a table (words, dates, categories) or as an array (numbers, images).

    Sets ``n_features_in_``, and ``feature_names_in_`` where the columns have names.

    Raises:
        ValueError: scikit-learn refuses X: its shape, an infinite value, a complex one.
    """
    X = as_frame(X)
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        validate_data(estimator, X, skip_check_array=True)
        return _checked_frame(X.set_axis([str(name) for name in X.columns], axis=1), TRAINING)
    if hasattr(X, "toarray"):
        return _numbers(estimator, X, reset=True)
    if not hasattr(X, "iloc"):
        X = np.asarray(X)
        if X.dtype.kind in "OUSMm" and not _is_numeric(X):
            return _frame_of_cells(estimator, X, [f"f{i}" for i in range(X.shape[-1])] if X.ndim else [], reset=True)
    return _numbers(estimator, X, reset=True)


def read_rows(estimator: BaseEstimator, X: Any, columns: Sequence[str] | None) -> Any:
    """Returns rows to predict as ``read_training`` returned the training rows.

    Args:
        estimator: A fitted one, whose names and number of features X must have.
        X: As in training.
        columns: Names of the columns where training rows were read as a table, else None.

    Raises:
        ValueError: scikit-learn refuses X; names or number of features differ from those in training.
    """
    X = as_frame(X)
    if columns is None:
        return _numbers(estimator, X, reset=False)
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        validate_data(estimator, X, skip_check_array=True, reset=False)
        return _checked_frame(X.set_axis(list(columns), axis=1), 1)
    if hasattr(X, "toarray"):
        import pandas as pd

        return pd.DataFrame(_numbers(estimator, X, reset=False).toarray(), columns=list(columns))
    return _frame_of_cells(estimator, X if hasattr(X, "iloc") else np.asarray(X), columns, reset=False)


def read_target(estimator: BaseEstimator, y: Any, numeric: bool) -> np.ndarray:
    """Returns the target, shape (rows,); ValueError where it is missing, has gaps, or more than one column."""
    try:
        found: np.ndarray = validate_data(estimator, y=y, y_numeric=numeric)
    except ValueError as error:
        if numeric and "could not convert string" in str(error):
            raise DataError(f"a regression target must be numbers ({error}); use NASClassifier for classes.") from error
        raise
    return found


def read_weights(sample_weight: Any, X: Any) -> np.ndarray | None:
    """Returns a weight >= 0 for each row, float64, or None; ValueError where they do not fit the rows."""
    if sample_weight is None:
        return None
    weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    weights = column_or_1d(weights)
    check_consistent_length(X, weights)
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def _numbers(estimator: BaseEstimator, X: Any, reset: bool) -> Any:
    """Returns an array or sparse matrix of 32-bit floats with two dimensions, or one of more as it came."""
    if not hasattr(X, "iloc") and not hasattr(X, "toarray"):
        X = np.asarray(X)
    options: dict[str, Any] = {"dtype": np.float32, "accept_sparse": ("csr", "csc", "coo")}
    if X.ndim > 2:
        options = {"allow_nd": True, "dtype": None}
    least = TRAINING if reset else 1
    return validate_data(estimator, X, reset=reset, ensure_all_finite="allow-nan", ensure_min_samples=least, **options)


def _is_numeric(X: np.ndarray) -> bool:
    """Whether all cells read as numbers or NaN, as numpy reads them."""
    if X.dtype.kind in "Mm":
        return False
    try:
        X.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _frame_of_cells(estimator: BaseEstimator, X: Any, columns: Sequence[str], reset: bool) -> Any:
    """Returns an array of any cells as a table; what is neither number, text nor date is read as its text."""
    import pandas as pd

    X = validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
    frame = pd.DataFrame(X, columns=list(columns))
    frame = frame.map(_plain).infer_objects() if X.dtype.kind == "O" else frame
    return _checked_frame(frame, TRAINING if reset else 1)


def _plain(cell: Any) -> Any:
    import pandas as pd

    return cell if cell is None or cell is pd.NA or isinstance(cell, PLAIN) else str(cell)


def _checked_frame(frame: Any, least: int) -> Any:
    """Returns the frame; ValueError in scikit-learn's words where it has too few rows, or a number above all floats."""
    if len(frame) < least:
        raise ValueError(
            f"Found array with {len(frame)} sample(s) (shape={frame.shape}) while a minimum of {least} is required."
        )
    for name, column in frame.select_dtypes("number").items():
        with np.errstate(over="ignore"):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
        if np.isinf(values).any():
            raise ValueError(f"Input X contains infinity or a value too large for dtype('float32') in column {name!r}.")
    return frame
