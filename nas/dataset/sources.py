"""Reading a dataset from arrays, frames, files, folders and names.

Here belongs finding X, y and the rest in a source, and putting them together. Column recognition belongs to
``nas.dataset.columns``, archives to ``archive``, pictures to ``images``, the values of the target to ``target``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.dataset import archive, files, images, table
from nas.dataset.target import Target, encode_target
from nas.dataset.value import Dataset, Inputs
from nas.errors import DataError, nearest

BUNDLED = ("digits", "iris", "wine", "breast_cancer", "diabetes")
"""Names of the datasets that come with scikit-learn."""


@dataclass(frozen=True, eq=False)
class Source:
    """What was found: X (frame, array or Inputs) and y before anything is encoded, and what is known of them."""

    X: Any
    y: Any
    name: str
    target: str = "y"
    task: str | None = None
    groups: Any = None
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    given_test: np.ndarray | None = None
    family: str = ""


def load(
    data: Any,
    *,
    target: str | None = None,
    task: str | None = None,
    name: str | None = None,
    groups: Any = None,
) -> Dataset:
    """Returns a checked ``Dataset``; everything that was dropped or encoded on the way is a sentence in ``dropped``.

    Args:
        data: ``(X, y)``, where X is ``[rows, columns]``, a DataFrame, or images ``[n, height, width(, channels)]``; a
            DataFrame with ``target``; a path to a .csv, .parquet or .npz file or to a folder of images (one folder a
            class); a bundled name (digits, iris, wine, breast_cancer, diabetes); or a Dataset, returned as it is.
        target: the column to predict; needed for DataFrames, .csv and .parquet.
        task: "classification" or "regression"; without it text, booleans and whole numbers with few distinct values
            are classes (``nas.dataset.target.encode_target`` has the rule).
        name: for people; by default the file's.
        groups: a column, or one value for each row; rows of a group stay on one side of every split.

    Raises:
        DataError: the source cannot be read or cannot be learned from, in one sentence with the way out.
    """
    if isinstance(data, Dataset):
        if task not in (None, data.task):
            raise DataError(f"{data.name!r} is a {data.task} dataset, but task={task!r}; load its arrays again.")
        return data if name is None else replace(data, name=name)
    if isinstance(data, str | Path):
        source = _from_name(data, target, groups)
    elif isinstance(data, tuple | list) and len(data) == 2:
        source = Source(
            data[0], data[1], "arrays", target=str(target or getattr(data[1], "name", None) or "y"), groups=groups
        )
    elif hasattr(data, "columns") and hasattr(data, "iloc"):
        source = _from_frame(data, target, "the table", groups)
    else:
        raise DataError(
            f"data must be (X, y), a DataFrame, a path, a Dataset or one of {', '.join(BUNDLED)},"
            f" but got {type(data).__name__}; pass arrays as nas.search((X, y))."
        )
    return assemble(replace(source, task=task or source.task, name=name or source.name))


def assemble(source: Source) -> Dataset:
    """Returns the dataset of a source: target encoded, rows without one left out, columns recognised."""
    y = np.atleast_1d(source.y.to_numpy() if hasattr(source.y, "to_numpy") else _array(source.y, "y"))
    X = _as_frame_or_array(source.X)
    rows = len(next(iter(X.arrays.values()), y)) if isinstance(X, Inputs) else len(X)
    if rows != len(y):
        raise DataError(f"X and y must have the same rows, but have {rows} and {len(y)}; pass arrays that match.")
    if rows < 2:
        raise DataError(f"a dataset needs at least two rows, but {source.name!r} has {rows}; add rows.")
    encoded = _given_classes(y, source) or encode_target(y, source.target, source.task)
    if len(encoded.y) < 2:
        raise DataError(
            f"a dataset needs two rows with a target, but {source.name!r} has 1; fill in {source.target!r}."
        )
    if source.given_test is not None and source.given_test.shape != (rows,):
        raise DataError(f"split must have one value for each of {rows} rows, but has shape {source.given_test.shape}.")
    groups, taken = _groups(source.groups, X, rows)
    if taken:
        X = X.drop(columns=[name for name in X.columns if str(name) == taken])
    inputs = _inputs(X, encoded.keep, source.features)
    return Dataset(
        name=source.name,
        kind="image" if "image" in inputs.arrays else "tabular",
        task=encoded.task,
        inputs=inputs.arrays,
        y=encoded.y,
        classes=encoded.classes,
        features=inputs.features,
        levels=inputs.levels,
        groups=None if groups is None else groups[encoded.keep],
        dropped=(*encoded.notes, *inputs.notes),
        family=source.family,
        given_test=None if source.given_test is None else source.given_test[encoded.keep],
        dates=inputs.dates,
        target=source.target,
    )


def _as_frame_or_array(X: Any) -> Any:
    if isinstance(X, Inputs) or hasattr(X, "iloc"):
        return X.to_frame() if hasattr(X, "to_frame") and not hasattr(X, "columns") else X
    X = X.toarray() if hasattr(X, "toarray") else _array(X, "X")
    if X.ndim == 0:
        raise DataError(f"X must be [rows, columns], but is a single {type(X.item()).__name__}; pass (X, y).")
    if X.ndim == 2 and X.dtype.kind in "OUSM":
        import pandas as pd

        return pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])]).infer_objects()
    return X


def _array(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} must have rows of equal length, but is ragged ({error}); pad or drop rows.") from error


def _inputs(X: Any, keep: np.ndarray, names: tuple[str, ...]) -> Inputs:
    if isinstance(X, Inputs):
        return X if keep.all() else X.subset(keep)
    X = X if keep.all() else X[keep]
    if hasattr(X, "iloc"):
        return table.from_frame(X)
    if X.ndim == 4 or (X.ndim == 3 and X.dtype == np.uint8):
        return images.from_array(X)
    return table.from_array(X, names)


def _given_classes(y: np.ndarray, source: Source) -> Target | None:
    """Returns the target where y holds codes of classes whose names the source gives, else None."""
    k = len(source.classes)
    if source.task == "regression" or y.ndim != 1 or y.dtype.kind not in "iu" or not k:
        return None
    if y.min() < 0 or y.max() >= k or y.min() == y.max() or np.bincount(y).max() < 2:
        return None
    return Target(y.astype(np.int64), np.ones(len(y), dtype=bool), "classification", source.classes)


def _groups(groups: Any, X: Any, rows: int) -> tuple[np.ndarray | None, str]:
    """Returns (codes ``[rows]`` or None, name of the column they were taken from or "")."""
    if groups is None:
        return None, ""
    taken = ""
    if isinstance(groups, str):
        names = table.column_names(X) if hasattr(X, "iloc") else []
        if groups not in names:
            raise DataError(
                f"groups column {groups!r} is not there;{nearest(groups, names)} Columns: {table.listing(names)}."
            )
        taken, groups = groups, X.iloc[:, names.index(groups)]
    values = groups.to_numpy() if hasattr(groups, "to_numpy") else np.asarray(groups)
    if values.shape != (rows,):
        raise DataError(f"groups must have one value for each of {rows} rows, but has shape {values.shape}.")
    words = np.array(["" if value is None or value != value else str(value) for value in values.tolist()])
    if (words == "").any():
        raise DataError(f"groups must have no gaps, but {int((words == '').sum())} rows have none; fill them in.")
    return np.unique(words, return_inverse=True)[1].ravel().astype(np.int64), taken


def _from_name(data: str | Path, target: str | None, groups: Any) -> Source:
    path = Path(data).expanduser()
    if not path.exists():
        if str(data) in BUNDLED:
            return _bundled(str(data), groups)
        siblings = [str(path.parent / p.name) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(str(data), [*BUNDLED, *siblings])
        raise DataError(
            f"no file, folder or bundled dataset is named {str(data)!r};{hint} Bundled: {', '.join(BUNDLED)}."
        )
    if path.is_dir():
        folder = images.from_folder(path)
        return Source(
            folder.inputs,
            folder.labels,
            path.resolve().name,
            target or "class",
            groups=groups,
            given_test=folder.given_test,
            task="classification",
        )
    if path.suffix == ".npz":
        return _from_archive(path, target or "y", groups)
    return _from_frame(files.read_table(path), target, path.name, groups)


def _from_frame(frame: Any, target: str | None, name: str, groups: Any) -> Source:
    names = table.column_names(frame)
    if target is None:
        raise DataError(f"target= must name the column of {name} to predict; Columns: {table.listing(names)}.")
    if str(target) not in names:
        raise DataError(
            f"target column {str(target)!r} is not in {name};{nearest(target, names)} Columns: {table.listing(names)}."
        )
    index = names.index(str(target))
    rest = frame.iloc[:, [i for i in range(len(names)) if i != index]]
    return Source(
        rest, frame.iloc[:, index], Path(name.removesuffix(".gz")).stem.removeprefix("the "), str(target), groups=groups
    )


def _from_archive(path: Path, target: str, groups: Any) -> Source:
    arrays = archive.read_archive(path)
    if isinstance(groups, str):
        groups = archive.target_of(arrays, groups, path.name)
    elif groups is None:
        groups = arrays.get("groups")
    meta = archive.meta_of(arrays)
    return Source(
        X=archive.inputs_of(arrays, path.name),
        y=archive.target_of(arrays, target, path.name),
        name=str(meta.get("name", path.stem)),
        target=target,
        task=str(arrays["task"]) if "task" in arrays else None,
        groups=groups,
        classes=archive.text_of(arrays, "class_names") if target == "y" else (),
        given_test=archive.test_part(arrays),
        family=str(meta.get("family", "")),
    )


def _bundled(name: str, groups: Any) -> Source:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    classes = tuple(str(word) for word in getattr(bunch, "target_names", ()))
    return Source(
        bunch.data,
        bunch.target,
        name,
        "target" if not classes else "class",
        classes=classes,
        features=tuple(str(word) for word in bunch.feature_names),
        groups=groups,
    )
