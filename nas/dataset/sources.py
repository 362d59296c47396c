"""Reading a dataset from arrays, frames, files, folders and names.

Here belongs finding X, y and the rest in a source. Putting them together belongs to ``nas.dataset.assemble``, archives
to ``archive``, pictures to ``images``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.dataset import archive, files, images, table
from nas.dataset.assemble import assemble
from nas.dataset.extras import TEST, VALIDATION, Source
from nas.dataset.value import KINDS, Dataset
from nas.errors import DataError, nearest

BUNDLED = ("digits", "iris", "wine", "breast_cancer", "diabetes")
"""Names of the datasets that come with scikit-learn."""


def load(
    data: Any,
    *,
    target: str | int | None = None,
    task: str | None = None,
    kind: str | None = None,
    name: str | None = None,
    groups: Any = None,
    weights: Any = None,
    time: Any = None,
    validation: Any = None,
    test: Any = None,
) -> Dataset:
    """Returns a checked ``Dataset``; everything that was dropped or encoded on the way is a sentence in ``dropped``.

    Infinite numbers count as missing, as NaN does; rows whose target is missing or infinite are left out.

    Args:
        data: ``(X, y)``, where X is ``[rows, columns]`` (also sparse), a DataFrame, images
            ``[n, height, width(, channels)]`` (bytes), series ``[n, channels, steps]``, or a list of images or series
            of several sizes (arrays, Pillow's images, names of image files); a DataFrame (of pandas, polars, pyarrow or
            whatever has ``to_pandas`` or an Arrow stream) with ``target``; a path to a .csv, .parquet or .npz file or
            to a folder of images (one folder a class); a bundled name (digits, iris, wine, breast_cancer, diabetes);
            or a Dataset, returned as it is.
        target: the column to predict; needed for DataFrames, .csv and .parquet.
        task: "classification" or "regression"; without it text, booleans and whole numbers with few distinct values
            are classes (``nas.dataset.target.encode_target`` has the rule).
        kind: "tabular", "image" or "series", where the shape does not tell: ``[n, steps]`` and tables with a column for
            each step are series only if it says so.
        name: for people; by default the file's.
        groups: a column, or one value for each row; rows of a group stay on one side of every split. The column is no
            input.
        weights: a column of numbers >= 0, or one for each row: how much a row counts in losses, scores and errors. The
            column is no input.
        time: a column of numbers or dates, or one for each row: validation rows are later than training rows, test
            rows are the last. The column stays an input.
        validation: rows to validate on, in a form of ``data``; every split then has these.
        test: rows to set aside, in a form of ``data``. They and ``validation`` are read as the training rows are.

    Raises:
        DataError: the source cannot be read or cannot be learned from, in one sentence with the way out.
    """
    extras = {"groups": groups, "weights": weights, "time": time}
    if isinstance(data, Dataset):
        return _loaded(data, task, kind, name, extras | {"validation": validation, "test": test})
    if kind is not None and kind not in KINDS:
        raise DataError(f"kind must be one of {', '.join(KINDS)}, but got {kind!r};{nearest(str(kind), KINDS)}")
    first = _source(data, target)
    sources = [replace(first, task=task or first.task, name=name or first.name, kind=kind)]
    for what, given, part in (("validation", validation, VALIDATION), ("test", test, TEST)):
        if given is not None:
            if first.part is not None and (first.part == part).any():
                raise DataError(f"{first.name!r} comes with a {what} part of its own; leave {what}= out.")
            other = _source(given, target)
            sources.append(replace(other, part=np.full(len(other.y), part), name=f"the {what} rows"))
    return assemble(sources, extras)


def _loaded(data: Dataset, task: str | None, kind: str | None, name: str | None, others: dict[str, Any]) -> Dataset:
    for what, wanted, known in (("task", task, data.task), ("kind", kind, data.kind)):
        if wanted not in (None, known):
            raise DataError(f"{data.name!r} is a {known} dataset, but {what}={wanted!r}; load its arrays again.")
    if given := [key for key, value in others.items() if value is not None]:
        raise DataError(f"{data.name!r} is loaded already; pass {given[0]}= to the nas.load that reads it.")
    return data if name is None else replace(data, name=name)


def _source(data: Any, target: str | int | None) -> Source:
    target = None if target is None else str(target)
    if isinstance(data, str | Path):
        return _from_name(data, target)
    if isinstance(data, tuple | list) and len(data) == 2:
        X, y = (table.as_frame(part) for part in data)
        return Source(X, y, "arrays", target=str(target or getattr(y, "name", None) or "y"))
    frame = table.as_frame(data)
    if hasattr(frame, "columns") and hasattr(frame, "iloc"):
        return _from_frame(frame, target, "the table")
    raise DataError(
        f"data must be (X, y), a DataFrame, a path, a Dataset or one of {', '.join(BUNDLED)},"
        f" but got {type(data).__name__}; pass arrays as nas.search((X, y))."
    )


def _from_name(data: str | Path, target: str | None) -> Source:
    path = Path(data).expanduser()
    if not path.exists():
        if str(data) in BUNDLED:
            return _bundled(str(data), target)
        siblings = [str(path.parent / p.name) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(str(data), [*BUNDLED, *siblings])
        raise DataError(
            f"no file, folder or bundled dataset is named {str(data)!r};{hint} Bundled: {', '.join(BUNDLED)}."
        )
    if path.is_dir():
        folder = images.from_folder(path)
        if target not in (None, "class"):
            raise DataError(
                f"the class of an image is the name of its folder, but target={target!r}; leave target= out."
            )
        return Source(
            folder.inputs,
            folder.labels,
            path.resolve().name,
            "class",
            part=None if folder.given_test is None else np.where(folder.given_test, TEST, 0),
            task="classification",
        )
    if path.suffix == ".npz":
        return _from_archive(path, target or "y")
    frame, notes = files.read_table(path)
    return replace(_from_frame(frame, target, path.name), notes=notes)


def _from_frame(frame: Any, target: str | None, name: str) -> Source:
    names = table.column_names(frame)
    if target is None:
        raise DataError(f"target must name the column of {name} to predict, one of {table.listing(names)}.")
    if str(target) not in names:
        one = (
            " It was read as one column: cells are separated by a comma, semicolon, tab or |."
            if len(names) == 1
            else ""
        )
        raise DataError(
            f"target column {str(target)!r} is not in {name};{nearest(target, names)} Columns: {table.listing(names)}."
            f"{one}"
        )
    index = names.index(str(target))
    rest = frame.iloc[:, [i for i in range(len(names)) if i != index]]
    return Source(rest, frame.iloc[:, index], Path(name.removesuffix(".gz")).stem.removeprefix("the "), str(target))


def _from_archive(path: Path, target: str) -> Source:
    arrays = archive.read_archive(path)
    meta = archive.meta_of(arrays)
    return Source(
        X=archive.inputs_of(arrays, path.name),
        y=archive.target_of(arrays, target, path.name),
        name=str(meta.get("name", path.stem)),
        target=target,
        task=str(arrays["task"]) if "task" in arrays else None,
        classes=archive.text_of(arrays, "class_names") if target == "y" else (),
        part=archive.part_of(arrays, path.name),
        family=str(meta.get("family", "")),
        arrays=arrays,
    )


def _bundled(name: str, target: str | None) -> Source:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    classes = tuple(str(word) for word in getattr(bunch, "target_names", ()))
    known = "class" if classes else "target"
    if target not in (None, known):
        raise DataError(f"{name} is bundled and predicts its {known!r}, but target={target!r}; leave target= out.")
    return Source(
        bunch.data,
        bunch.target,
        name,
        known,
        classes=classes,
        features=tuple(str(word) for word in bunch.feature_names),
    )
