"""New rows to the inputs a network was trained on, from the schema alone (``Dataset.schema()``, JSON).

Here belongs prediction's side of reading; training's side belongs to ``nas.dataset.sources``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.dataset import archive, files, images, pieces, series, table
from nas.dataset.value import Inputs
from nas.errors import DataError


def encode_rows(
    data: Any, schema: Mapping[str, Any], say: Callable[[str], None] | None = None
) -> dict[str, np.ndarray]:
    """Returns the raw inputs (as in ``Dataset.inputs``) of new rows, encoded as the training rows were.

    Args:
        data: a DataFrame (or a table of another library, or a .csv / .parquet file) with the training columns by name,
            others are ignored; an array with the training columns in order; an .npz file; a mapping of inputs, checked
            and passed on; for images an array, a file, a list of files or a folder, resized to the training size; for
            series an array, a list, an .npz file, or a table with a column for each step, brought to the training
            length.
        schema: what ``Dataset.schema()`` returned, also after a round trip through JSON.
        say: is given a sentence about each column with values that training never saw or that cannot be read, and about
            series that are cut.

    Raises:
        DataError: a column is missing, holds no numbers where numbers are needed, or the size does not fit.
    """
    if schema.get("schema") != 1:
        raise DataError(
            f"the schema must have version 1, but has {schema.get('schema')!r}; use the matching nas version."
        )
    data = table.as_frame(data)
    if isinstance(data, Mapping) and not hasattr(data, "toarray"):
        return _checked(dict(data), schema)
    if schema["kind"] == "image":
        return _checked({"image": _images(data, schema["shape"])}, schema)
    if schema["kind"] == "series":
        found = _series(data, schema)
        if say is not None:
            for note in found.notes:
                say(note)
        return _checked(dict(found.arrays), schema)
    if isinstance(data, str | Path):
        data = _file(Path(data).expanduser())
    if isinstance(data, Inputs):
        return _checked(dict(data.arrays), schema)
    if not hasattr(data, "iloc"):
        return _array(table.dense(data) if hasattr(data, "toarray") else np.asarray(data), schema)
    encoded = table.encode_frame(data, schema)
    if say is not None:
        for note in table.unread(data, schema, encoded):
            say(note)
    return encoded


def encode_like(X: Any, known: Inputs) -> dict[str, np.ndarray]:
    """Returns further rows (array or Inputs) as the arrays of ``known``; DataError where they have another width."""
    kind = next((kind for kind in ("image", "series") if kind in known.arrays), "tabular")
    schema: dict[str, Any] = {
        "schema": 1,
        "kind": kind,
        "features": {key: range(array.shape[1]) for key, array in known.arrays.items()},
        "levels": known.levels,
        "dates": {},
        "shape": None if kind == "tabular" else list(known.arrays[kind].shape[1:]),
    }
    if isinstance(X, Inputs):
        if kind == "image" and "image" in X.arrays:  # read in its own size
            X = Inputs({"image": images.resized(X.arrays["image"], schema["shape"])})
        return _checked(dict(X.arrays), schema)
    if kind == "image":
        return _checked({"image": _images(X, schema["shape"])}, schema)
    if kind == "series":
        return _checked(dict(_series(X, schema).arrays), schema)
    return _checked(dict(table.from_array(X).arrays), schema)


def _file(path: Path) -> Any:
    if not path.exists():
        raise DataError(f"no file is named {str(path)!r}; check the path.")
    if path.suffix == ".npz":
        return archive.inputs_of(archive.read_archive(path), path.name)
    return files.read_table(path)[0]


def _array(X: np.ndarray, schema: Mapping[str, Any]) -> dict[str, np.ndarray]:
    features = schema["features"]
    names = features.get("numeric", [])
    if X.ndim >= 2 and X.dtype.kind in "biuf" and list(features) == ["numeric"] and not schema["dates"]:
        inputs = table.from_array(X).arrays
        if inputs["numeric"].shape[1] == len(names):
            return dict(inputs)
    if X.ndim != 2:
        raise DataError(f"X must be [rows, columns], but has shape {X.shape}; use X.reshape(1, -1) for one row.")
    wanted = [*names, *features.get("categorical", [])]
    numbered = [f"f{i}" for i in range(X.shape[1])]
    if not set(wanted) <= set(numbered):
        raise DataError(
            f"X must have the columns {table.listing(wanted)}, but is an array of {X.shape[1]};"
            " pass a DataFrame with these names."
        )
    import pandas as pd

    return table.encode_frame(pd.DataFrame(X, columns=numbered).infer_objects(), schema)


def _images(data: Any, shape: list[int]) -> np.ndarray:
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        if path.suffix == ".npz":
            data = archive.inputs_of(archive.read_archive(path), path.name)
            data = data.arrays["image"] if isinstance(data, Inputs) else data
        elif path.is_dir():
            data = sorted(p for p in path.rglob("*") if p.suffix.lower() in images.SUFFIXES)
        else:
            data = [path]
    if pieces.is_list(data):
        found = pieces.read(data, "image", shape)
        assert isinstance(found, Inputs)
        return found.arrays["image"]
    X = np.asarray(data)
    X = X[None] if list(X.shape) == list(shape) else X
    return images.from_array(X).arrays["image"]


def _series(data: Any, schema: Mapping[str, Any]) -> Inputs:
    if isinstance(data, str | Path):
        data = _file(Path(data).expanduser())
    if hasattr(data, "iloc"):
        names = [name for name in data.columns if str(name) != schema.get("target")]
        data = series.from_frame(data[names])
    elif pieces.is_list(data):
        data = pieces.read(data, "series")
    if isinstance(data, Inputs):
        raise DataError(f"series are read from an array X, but the file holds {', '.join(data.arrays)}; save X.")
    return series.fitted(np.asarray(data), schema["shape"])


def _checked(inputs: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, np.ndarray]:
    widths = {key: (len(names),) for key, names in schema["features"].items()}
    if schema["kind"] != "tabular":
        widths = {schema["kind"]: tuple(schema["shape"])}
    dtypes = {"numeric": np.float32, "categorical": np.int64, "image": np.uint8, "series": np.float32}
    for key, width in widths.items():
        if key not in inputs or np.shape(inputs[key])[1:] != width:
            given = np.shape(inputs[key])[1:] if key in inputs else ", ".join(map(str, inputs)) or "nothing"
            raise DataError(f"input {key!r} must have shape {width} a row, but got {given}; pass it as in training.")
    arrays = {key: np.asarray(inputs[key]).astype(dtypes[key], copy=False) for key in widths}
    for key in {"numeric", "series"} & arrays.keys():
        arrays[key] = np.where(np.isinf(arrays[key]), np.float32("nan"), arrays[key])
    if "categorical" in arrays:
        sizes = np.array([len(level) for level in schema["levels"]])
        codes = arrays["categorical"]
        arrays["categorical"] = np.where((codes >= 0) & (codes < sizes), codes, -1)
    return arrays
