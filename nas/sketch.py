"""A dataset's rows as 64 one-way hashes, by which a later history recognises the same data grown or cut down.

Here belongs how rows become hashes and how two sketches compare. What follows from kinship is for others to decide.

A sketch holds the 64 smallest hashes of all rows (bottom-k sampling: Broder 1997, "On the resemblance and containment
of documents"; Cohen and Kaplan 2007). It reveals nothing of a row to somebody who cannot already write that row down:
who has a complete row, target included, or can list all rows that are possible, can check whether it is among the 64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from nas.record import DatasetInfo

if TYPE_CHECKING:
    from nas.dataset import Dataset

SIZE = 64
FEWEST = 16
"""Different rows below which nothing is sketched: so few can be listed, and other data would have the same."""
KIN = 0.3
"""Share of common rows from which datasets are kin. Data grown by 5 % has .95; 80 % of it against all .8; two draws of
80 % .67, which is estimated within .06; other data has 0."""

_CHUNK = 2**24  # bytes of rows encoded at a time
_BITS = 48


def sketch(dataset: Dataset) -> tuple[int, ...]:
    """Returns at most 64 integers below 2^48, ascending; () for fewer than 16 different rows; 1 s for a million rows.

    The order of rows and repeated rows do not count, nor do names of columns; categories and classes count by their
    text, numbers to 16 significant bits, so that passing through float32 or text of 7 digits changes few rows.
    """
    base = hashlib.blake2b(f"{dataset.kind} {dataset.task} ".encode(), digest_size=_BITS // 8, person=b"nas.sketch.1")
    found: set[int] = set()
    for rows in _encoded(dataset):
        for row in rows:
            hasher = base.copy()
            hasher.update(row)
            found.add(int.from_bytes(hasher.digest(), "big"))
    if len(found) < FEWEST:
        return ()
    return tuple(sorted(found)[:SIZE])


def kinship(a: DatasetInfo, b: DatasetInfo) -> float:
    """Returns the estimated share of rows both have among those either has (Jaccard), [0, 1]; 0 without sketches.

    Its standard error is sqrt(J (1 - J) / 64), at most .0625.
    """
    if not a.sketch or not b.sketch:
        return 0.0
    both = set(a.sketch) & set(b.sketch)
    smallest = sorted({*a.sketch, *b.sketch})[:SIZE]
    return sum(value in both for value in smallest) / len(smallest)


def _encoded(dataset: Dataset) -> Iterator[np.ndarray]:
    """Yields chunks of rows as bytes, uint8 ``[chunk, width]``, the same for the same row in any dataset."""
    tables = [_hashes(level) for level in dataset.levels]
    classes = _hashes(dataset.classes)
    width = sum(8 * int(np.prod(array.shape[1:])) for array in dataset.inputs.values()) + 8
    step = max(_CHUNK // width, 1)
    for start in range(0, len(dataset), step):
        rows = slice(start, start + step)
        parts = []
        for key in sorted(dataset.inputs):
            values = dataset.inputs[key][rows]
            if key == "categorical":
                parts += [table[column] for table, column in zip(tables, values.T, strict=True)]
            elif values.dtype.kind == "f":
                parts.append(_rounded(values))
            else:
                parts.append(values)
        y = dataset.y[rows]
        parts.append(classes[y] if dataset.task == "classification" else _rounded(y))
        yield np.concatenate([_bytes(part) for part in parts], axis=1)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Returns float32 numbers as int32 of 16 significant bits; one zero, one NaN. Whole numbers to 65536 are exact."""
    plain = np.where(np.isnan(values), np.float32("nan"), values + np.float32(0.0)).astype("<f4")
    return (plain.view("<i4") + np.int32(0x80)) >> 8


def _hashes(texts: tuple[str, ...]) -> np.ndarray:
    """Returns uint64 ``[texts + 1]``, a hash of each text; the last, which code -1 finds, is 0."""
    digests = [hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests) + bytes(8), dtype="<u8")


def _bytes(array: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(array.reshape(len(array), -1))
    return flat.view(np.uint8).reshape(len(array), -1)
