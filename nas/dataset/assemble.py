"""What was found in one or more sources, put together to a dataset.

Here belongs what concerns the whole: rows that are left out, what is read from the training rows alone. Finding X and y
belongs to ``nas.dataset.sources``, groups, weights and time to ``extras``, one column to ``columns``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nas.dataset import images, pieces, rows, series, table
from nas.dataset.extras import TEST, TRAIN, VALIDATION, Source, read_extras
from nas.dataset.origin import Origin
from nas.dataset.target import encode_parts
from nas.dataset.value import Dataset, Inputs
from nas.errors import DataError


def assemble(sources: Sequence[Source], extras: Mapping[str, Any]) -> Dataset:
    """Returns the dataset of the training rows' source and those of given validation and test parts.

    Classes, levels, kinds of columns and which are dropped are read from the training rows alone.

    Args:
        sources: the first decides what is read; ``part`` of the others is set.
        extras: "groups", "weights" and "time", each None, the name of a column, or one value for each row (of all
            sources, in their order).

    Raises:
        DataError: the rows cannot be learned from, or a part does not fit the others.
    """
    first = sources[0]
    found = [(_as_frame_or_array(source.X, first.kind), _target_values(source.y)) for source in sources]
    sizes = [_checked_size(X, y, source) for (X, y), source in zip(found, sources, strict=True)]
    part = np.concatenate([_part(source, size) for source, size in zip(sources, sizes, strict=True)])
    extra, taken, notes = read_extras(sources, [X for X, _ in found], sizes, extras)
    y = encode_parts([y for _, y in found], part == TRAIN, first.target, first.task, first.classes)
    weights = extra.pop("weights", None)
    keep = y.keep if weights is None else y.keep & (weights > 0.0)
    if (kept := int((keep & (part == TRAIN)).sum())) < 2:
        raise DataError(
            f"a dataset needs two rows with a target, but {first.name!r} has {kept}; fill in {first.target!r}."
        )
    for name, code in (("validation", VALIDATION), ("test", TEST)):
        if (part == code).any() and not (keep & (part == code)).any():
            raise DataError(f"{name} rows need a target, but none of {first.target!r} is there; fill in some of them.")
    if not keep[y.keep].all():
        notes.append(f"{int((~keep[y.keep]).sum())} rows of weight 0 are left out")
    Xs = [_without(X, taken) for X, _ in found]
    counts = [(_infinite(X), source.name) for X, source in zip(Xs[1:], sources[1:], strict=True)]
    notes += [f"{number} infinite values in {name} count as missing" for number, name in counts if number]
    said = (*first.notes, *y.notes, *notes)
    inputs, origin = _read(Xs, first, keep, part == TRAIN, said)
    return Dataset(
        name=first.name,
        kind=_kind(inputs.arrays),
        task=y.task,
        inputs=inputs.arrays,
        y=y.y[keep[y.keep]],
        classes=y.classes,
        features=inputs.features,
        levels=inputs.levels,
        dropped=(*said, *inputs.notes),
        family=first.family,
        given_test=(part == TEST)[keep] if (part == TEST).any() else None,
        given_validation=(part == VALIDATION)[keep] if (part == VALIDATION).any() else None,
        dates=inputs.dates,
        target=first.target,
        weights=None if weights is None else weights[keep],
        origin=origin,
        **{key: array[keep] for key, array in extra.items()},
    )


def _kind(arrays: Mapping[str, np.ndarray]) -> str:
    return next((kind for kind in ("image", "series") if kind in arrays), "tabular")


def _target_values(y: Any) -> np.ndarray:
    return np.atleast_1d(y.to_numpy() if hasattr(y, "to_numpy") else table.to_array(y, "y"))


def _checked_size(X: Any, y: np.ndarray, source: Source) -> int:
    count = len(next(iter(X.arrays.values()), y)) if isinstance(X, Inputs) else len(X)
    if count != len(y):
        raise DataError(f"X and y must have the same rows, but have {count} and {len(y)}; pass arrays that match.")
    if count < 1 and source.part is not None:
        raise DataError(f"{source.name} must be at least one, but there are none; add some, or leave them out.")
    if count < 2 and (source.part is None or (source.part == TRAIN).any()):
        raise DataError(f"a dataset needs at least two rows, but {source.name!r} has {count}; add rows.")
    if source.part is not None and source.part.shape != (count,):
        raise DataError(f"split must have one value for each of {count} rows, but has shape {source.part.shape}.")
    return count


def _infinite(X: Any) -> int:
    numbers = X.select_dtypes("number").to_numpy(dtype=np.float64, na_value=np.nan) if hasattr(X, "iloc") else X
    return int(np.isinf(numbers).sum()) if isinstance(numbers, np.ndarray) and numbers.dtype.kind == "f" else 0


def _part(source: Source, count: int) -> np.ndarray:
    return np.zeros(count, dtype=np.int64) if source.part is None else source.part


def _as_frame_or_array(X: Any, kind: str | None) -> Any:
    if hasattr(X, "iloc"):
        X = X.to_frame() if hasattr(X, "to_frame") and not hasattr(X, "columns") else X
        return series.from_frame(X) if kind == "series" else X
    if isinstance(X, Inputs):
        return X
    if pieces.is_list(X):
        return pieces.read(X, kind)
    X = table.dense(X) if hasattr(X, "toarray") else table.to_array(X, "X")
    if X.ndim == 0:
        raise DataError(f"X must be [rows, columns], but is a single {type(X.item()).__name__}; pass (X, y).")
    if X.ndim == 2 and X.dtype.kind in "OUSMm":
        import pandas as pd

        frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])]).infer_objects()
        return series.from_frame(frame) if kind == "series" else frame
    return X


def _without(X: Any, taken: Sequence[str]) -> Any:
    if not taken or not hasattr(X, "iloc"):
        return X
    return X.iloc[:, [i for i, name in enumerate(X.columns) if str(name) not in taken]]


def _read(
    Xs: Sequence[Any], source: Source, keep: np.ndarray, train: np.ndarray, notes: tuple[str, ...]
) -> tuple[Inputs, Origin | None]:
    """Returns the inputs of the rows kept, and the origin where reading them depends on their values."""
    first, others = Xs[0], Xs[1:]
    held = _kind(first.arrays) if isinstance(first, Inputs) else "tabular" if hasattr(first, "iloc") else None
    if None not in (held, source.kind) and held != source.kind:
        raise DataError(f"{source.name!r} is {held}, but kind={source.kind!r}; leave kind= out, or pass plain arrays.")
    if hasattr(first, "iloc"):
        if not all(hasattr(X, "iloc") for X in others):
            raise DataError("validation and test rows must be a table like the training rows; pass a DataFrame.")
        origin = Origin(tuple(Xs), np.flatnonzero(keep), {}, notes)
        inputs = origin.read(train[keep])
        return inputs, replace(origin, arrays=inputs.arrays)
    if isinstance(first, Inputs):
        inputs = first
    elif source.kind == "image" or (
        source.kind is None and (first.ndim == 4 or (first.ndim == 3 and first.dtype == np.uint8))
    ):
        inputs = images.from_array(first)
    elif source.kind == "series" or (source.kind is None and first.ndim == 3):
        inputs = series.from_array(first)
        inputs = replace(inputs, notes=(*(() if source.kind else series.said(first)), *inputs.notes))
    else:
        inputs = table.from_array(first, source.features)
    if others:
        encoded = [rows.encode_like(X, inputs) for X in others]
        arrays = {key: np.concatenate([array, *(e[key] for e in encoded)]) for key, array in inputs.arrays.items()}
        inputs = replace(inputs, arrays=arrays)
    return inputs if keep.all() else inputs.subset(keep), None
