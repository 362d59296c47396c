"""``.npz`` files: tables with ``X_num`` / ``X_cat``, plain ``X`` and ``y``, images, encoded images.

Here belongs which key of an archive means what. Nothing is unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.dataset import files, images
from nas.dataset.text import EXPANSION, LARGE
from nas.dataset.value import Inputs
from nas.errors import DataError, nearest

MAX_CODES = 2**20
"""Levels a column of codes may have."""


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file; DataError where it is no archive, holds Python objects, or is a bomb."""
    files.check_file(path)
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise DataError(f"{path.name} must be an .npz archive, but is a single array; save it with np.savez.")
            found = {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except (Exception, MemoryError) as error:  # whatever a parser raises on foreign bytes
        raise DataError(
            f"{path.name} must be an .npz archive of numbers and text, but cannot be read ({files.first_line(error)});"
            " object arrays are refused, save each column with its own dtype."
        ) from error
    for key, array in found.items():
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path.name} must hold arrays, but {key!r} is none; save it with np.savez.")
    return found


def _check_size(path: Path) -> None:
    """Refuses an archive that unpacks to many times its size, or whose headers promise more than they hold."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.file_size > max(LARGE, EXPANSION * info.compress_size):
                raise DataError(
                    f"{path.name} grows to more than {EXPANSION} times its size ({info.filename}); unpack it yourself."
                )
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
            promised = math.prod(shape) * dtype.itemsize
            if promised > info.file_size and not dtype.hasobject:
                raise DataError(
                    f"{path.name} is damaged: {info.filename} promises {promised:,} bytes, but has {info.file_size:,}."
                )


def inputs_of(arrays: Mapping[str, np.ndarray], name: str) -> Inputs | np.ndarray:
    """Returns the inputs in an archive, or its ``X`` where that is a plain array to be read as one.

    Keys: ``X_num`` and / or ``X_cat`` (with ``cat_cardinalities``, ``num_names``, ``cat_names``, ``cat_levels``);
    ``data`` with ``off`` or ``offsets`` (encoded images); ``X``; ``x_train`` with ``x_test`` (and ``x_val``).
    """
    if "X_num" in arrays or "X_cat" in arrays:
        return _table(arrays, name)
    if "data" in arrays and ("off" in arrays or "offsets" in arrays):
        return images.from_bytes(arrays["data"], arrays.get("off", arrays.get("offsets", np.zeros(0))))
    if "x_train" in arrays and "x_test" in arrays:
        return _joined(arrays, "x", name)
    for key in ("X", "x"):
        if key in arrays:
            return arrays[key]
    raise DataError(f"{name} must hold X, X_num, X_cat or encoded images (data, off), but holds {_list(arrays)}.")


def target_of(arrays: Mapping[str, np.ndarray], target: str, name: str) -> np.ndarray:
    """Returns the target column, by default ``y``."""
    if target == "y" and "y_train" in arrays and "y_test" in arrays:
        return _joined(arrays, "y", name)
    if target not in arrays:
        raise DataError(f"target {target!r} is not in {name};{nearest(target, arrays)} It holds {_list(arrays)}.")
    return arrays[target]


def part_of(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Returns what each row is for, int64: 0 training, 1 test, 2 validation; None where the archive does not say.

    ``split`` says it by these numbers or the words train, test, validation (val, valid); or the parts came apart as
    ``x_train``, ``x_test``, ``x_val``.
    """
    if "split" in arrays:
        split = arrays["split"]
        words = {"0": 0, "1": 1, "2": 2, "train": 0, "test": 1, "validation": 2, "valid": 2, "val": 2}
        words |= {"false": 0, "true": 1}
        values, inverse = np.unique(split, return_inverse=True)
        odd = [str(value) for value in values.tolist() if str(value).lower().removesuffix(".0") not in words]
        if odd:
            raise DataError(
                f"split in {name} must hold 0 or train, 1 or test, 2 or validation, but holds {odd[0]!r}; correct it."
            )
        codes = [words[str(value).lower().removesuffix(".0")] for value in values.tolist()]
        return np.array(codes, dtype=np.int64)[inverse.reshape(split.shape)]
    if "x_train" in arrays and "x_test" in arrays:
        parts = [(0, "x_train"), (1, "x_test"), (2, "x_val")]
        return np.concatenate([np.full(len(np.atleast_1d(arrays[key])), n) for n, key in parts if key in arrays])
    return None


def text_of(arrays: Mapping[str, np.ndarray], key: str) -> tuple[str, ...]:
    """Returns an array of text as strings, () where there is none."""
    return tuple(str(word) for word in arrays[key].ravel()) if key in arrays else ()


def meta_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the JSON object under ``meta`` (name, family, ...), {} where there is none."""
    return _json(arrays, "meta")


def _joined(arrays: Mapping[str, np.ndarray], letter: str, name: str) -> np.ndarray:
    parts = [arrays[f"{letter}_{part}"] for part in ("train", "test", "val") if f"{letter}_{part}" in arrays]
    if len({part.shape[1:] for part in parts}) > 1 or 0 in (part.ndim for part in parts):
        shapes = ", ".join(str(part.shape) for part in parts)
        raise DataError(f"the parts of {letter} in {name} must have rows of one shape, but have shapes {shapes}.")
    return np.concatenate(parts)


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
        found["categorical"] = np.where(np.isfinite(codes), codes, -1).astype(np.int64)  # a NaN is missing
        levels = _levels(arrays, found["categorical"])
    features = {"numeric": text_of(arrays, "num_names"), "categorical": text_of(arrays, "cat_names")}
    return Inputs(found, features, levels, notes=notes)


def _levels(arrays: Mapping[str, np.ndarray], codes: np.ndarray) -> tuple[tuple[str, ...], ...]:
    """Returns the vocabularies in ``cat_levels``, or the codes themselves as text where a list does not fit."""
    words = _json(arrays, "cat_levels")
    names = text_of(arrays, "cat_names") or tuple(f"c{i}" for i in range(codes.shape[1]))
    seen = codes.max(axis=0, initial=-1) + 1
    sizes = arrays.get("cat_cardinalities", seen)
    if sizes.shape != seen.shape or sizes.dtype.kind not in "iu":
        sizes = seen
    most = int(max(seen.max(), sizes.max()))
    if not 0 <= most <= MAX_CODES:
        raise DataError(
            f"category codes must be below {MAX_CODES:,}, but X_cat has {most:,} levels; number them from 0."
        )
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
