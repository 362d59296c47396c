"""Rows that come one by one, in a list: arrays of several sizes, pictures of Pillow, names of image files.

Here belongs telling what such a list holds. What becomes of it belongs to ``series`` and ``images``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nas.dataset import images, series
from nas.dataset.value import Inputs
from nas.errors import DataError


def is_list(X: Any) -> bool:
    """Whether ``X`` is a list of rows each of which is an array, a picture, or the name of an image file."""
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0:
        return False
    if isinstance(X, np.ndarray) and (X.ndim != 1 or X.dtype.kind not in "OU"):
        return False
    return all(_is_array(piece) for piece in X) or _are_pictures(X)


def read(X: Any, kind: str | None, shape: Any = None) -> Inputs | np.ndarray:
    """Returns the rows of a list: pictures as Inputs of one size (``shape`` where it is given), series or equal rows as
    an array to be read as one.

    Arrays of unequal size are series where they are ``[steps]``, or ``[channels, steps]`` with equal channels; images
    where they are bytes, or have three dimensions; ``kind`` decides otherwise.

    Raises:
        DataError: an image cannot be read, or the arrays are neither.
    """
    if _are_pictures(X):
        return _pictures(X, shape)
    pieces = [np.asarray(piece) for piece in X]
    if kind == "image" or (kind is None and _look_like_images(pieces)):
        if len({piece.shape for piece in pieces}) == 1 and shape is None:
            return np.stack(pieces)
        found, notes = images.read_arrays(pieces, shape)
        return Inputs({"image": found}, notes=notes)
    if len({piece.shape for piece in pieces}) == 1 and kind != "series":
        return np.stack(pieces)
    if kind == "tabular":
        raise DataError("a table must have rows of equal length, but X is ragged; pad or drop rows.")
    return series.from_pieces(pieces)


def _is_array(piece: Any) -> bool:
    return hasattr(piece, "__array__") and getattr(piece, "ndim", 0) >= 1


def _are_pictures(X: Any) -> bool:
    return all(hasattr(piece, "getexif") and hasattr(piece, "convert") for piece in X) or all(
        isinstance(piece, str | Path) and Path(piece).suffix.lower() in images.SUFFIXES for piece in X
    )


def _pictures(X: Any, shape: Any) -> Inputs:
    if isinstance(X[0], str | Path):
        missing = [str(piece) for piece in X if not Path(piece).is_file()]
        if missing:
            raise DataError(f"no file is named {missing[0]!r}; check the path.")
        found, notes = images.read_files([Path(piece) for piece in X], shape)
    else:
        found, notes = images.read_pictures(list(X), shape)
    return Inputs({"image": found}, notes=notes)


def _look_like_images(pieces: list[np.ndarray]) -> bool:
    if all(piece.ndim == 3 for piece in pieces):
        return True
    return all(piece.dtype == np.uint8 and piece.ndim in (2, 3) for piece in pieces)
