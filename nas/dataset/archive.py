"""``.npz`` files: tables with ``X_num`` / ``X_cat``, plain ``X`` and ``y``, images, encoded images.

Here belongs which key of an archive means what. Nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.dataset import images
from nas.dataset.value import Inputs
from nas.errors import DataError, nearest


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file; DataError where it is no archive or holds Python objects."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise DataError(f"{path.name} must be an .npz archive, but is a single array; save it with np.savez.")
            return {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except Exception as error:  # whatever a parser raises on foreign bytes
        raise DataError(
            f"{path.name} must be an .npz archive of numbers and text, but cannot be read ({error});"
            " object arrays are refused, save each column with its own dtype."
        ) from error


def inputs_of(arrays: Mapping[str, np.ndarray], name: str) -> Inputs | np.ndarray:
    """Returns the inputs in an archive, or its ``X`` where that is a plain array to be read as one.

    Keys: ``X_num`` and / or ``X_cat`` (with ``cat_cardinalities``, ``num_names``, ``cat_names``, ``cat_levels``);
    ``data`` with ``off`` or ``offsets`` (encoded images); ``X``; ``x_train`` with ``x_test``.
    """
    if "X_num" in arrays or "X_cat" in arrays:
        return _table(arrays, name)
    if "data" in arrays and ("off" in arrays or "offsets" in arrays):
        return images.from_bytes(arrays["data"], arrays.get("off", arrays.get("offsets", np.zeros(0))))
    if "x_train" in arrays and "x_test" in arrays:
        return np.concatenate([arrays["x_train"], arrays["x_test"]])
    for key in ("X", "x"):
        if key in arrays:
            return arrays[key]
    raise DataError(f"{name} must hold X, X_num, X_cat or encoded images (data, off), but holds {_list(arrays)}.")


def target_of(arrays: Mapping[str, np.ndarray], target: str, name: str) -> np.ndarray:
    """Returns the target column, by default ``y``."""
    if target == "y" and "y_train" in arrays and "y_test" in arrays:
        return np.concatenate([arrays["y_train"], arrays["y_test"]])
    if target not in arrays:
        raise DataError(f"target {target!r} is not in {name};{nearest(target, arrays)} It holds {_list(arrays)}.")
    return arrays[target]


def test_part(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Returns the mask of rows whose ``split`` is 1 (or which came as ``x_test``), or None."""
    if "split" in arrays:
        return arrays["split"] == 1
    if "x_train" in arrays and "x_test" in arrays:
        return np.arange(len(arrays["x_train"]) + len(arrays["x_test"])) >= len(arrays["x_train"])
    return None


def text_of(arrays: Mapping[str, np.ndarray], key: str) -> tuple[str, ...]:
    """Returns an array of text as strings, () where there is none."""
    return tuple(str(word) for word in arrays[key].ravel()) if key in arrays else ()


def meta_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the JSON object under ``meta`` (name, family, ...), {} where there is none."""
    return _json(arrays, "meta")


def _table(arrays: Mapping[str, np.ndarray], name: str) -> Inputs:
    found: dict[str, np.ndarray] = {}
    numeric, codes = arrays.get("X_num"), arrays.get("X_cat")
    for key, array in (("X_num", numeric), ("X_cat", codes)):
        if array is not None and (array.ndim != 2 or array.dtype.kind not in "biuf"):
            raise DataError(f"{key} in {name} must be numbers [rows, columns], but is {array.dtype} {array.shape}.")
    if numeric is not None and codes is not None and len(numeric) != len(codes):
        raise DataError(f"X_num and X_cat in {name} must have the same rows, but have {len(numeric)} and {len(codes)}.")
    notes: tuple[str, ...] = ()
    if numeric is not None and numeric.shape[1]:
        from nas.dataset.table import from_array

        plain = from_array(numeric)
        found["numeric"], notes = plain.arrays["numeric"], plain.notes
    levels: tuple[tuple[str, ...], ...] = ()
    if codes is not None and codes.shape[1]:
        found["categorical"] = codes.astype(np.int64)
        levels = _levels(arrays, found["categorical"])
    features = {"numeric": text_of(arrays, "num_names"), "categorical": text_of(arrays, "cat_names")}
    return Inputs(found, features, levels, notes=notes)


def _levels(arrays: Mapping[str, np.ndarray], codes: np.ndarray) -> tuple[tuple[str, ...], ...]:
    """Returns the vocabularies in ``cat_levels``, or the codes themselves as text where a list does not fit."""
    words = _json(arrays, "cat_levels")
    names = text_of(arrays, "cat_names") or tuple(f"c{i}" for i in range(codes.shape[1]))
    seen = codes.max(axis=0, initial=-1) + 1
    sizes = arrays.get("cat_cardinalities", seen)
    if sizes.shape != seen.shape:
        sizes = seen
    levels = []
    for name, size in zip(names, np.maximum(seen, sizes), strict=False):
        given = words.get(name)
        vocabulary = given if isinstance(given, list) and len(given) >= size else range(int(size))
        levels.append(tuple(str(word) for word in vocabulary))
    return tuple(levels)


def _json(arrays: Mapping[str, np.ndarray], key: str) -> dict[str, Any]:
    try:
        value = json.loads(str(arrays[key])) if key in arrays else {}
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _list(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(arrays) or "nothing"
