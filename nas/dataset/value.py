"""The dataset as a frozen value: arrays, what they mean, splits, fingerprint.

Here belongs what holds for every dataset once it is in memory. Reading files and recognising columns belong to
``nas.dataset.sources``, ``table``, ``target`` and ``images``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from nas.dataset.splits import Split, split
from nas.errors import DataError, nearest

KINDS: Mapping[str, tuple[str, ...]] = {"tabular": ("numeric", "categorical"), "image": ("image",)}
TASKS = ("classification", "regression")
_DTYPES = {"numeric": (np.float32, 2), "categorical": (np.int64, 2), "image": (np.uint8, 4)}


@dataclass(frozen=True, eq=False)
class Inputs:
    """What was found in a source: ``arrays``, and the fields of ``Dataset`` that say what they mean."""

    arrays: Mapping[str, np.ndarray]
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    levels: tuple[tuple[str, ...], ...] = ()
    dates: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def subset(self, rows: np.ndarray) -> Inputs:
        """Returns these rows of every array."""
        return replace(self, arrays={key: array[rows] for key, array in self.arrays.items()})


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from, checked at birth; n rows, compared by ``fingerprint``.

    Attributes:
        name: for people; not part of the identity.
        kind: "tabular" or "image".
        task: "classification" or "regression".
        inputs: of a table "numeric" float32 ``[n, d]`` (NaN = missing) and / or "categorical" int64 ``[n, c]`` (codes
            of ``levels``, -1 = missing or unknown), each only where it has a column; of images "image" uint8
            ``[n, height, width, channels]``.
        y: int64 ``[n]`` codes of ``classes``, or float32 ``[n]`` in the units of the target.
        classes: their names in the order of the codes; empty in regression.
        features: column names of each input (f0, f1, ... and c0, c1, ... if not given); () for images.
        levels: vocabulary of each categorical column in the order of its codes.
        groups: int64 ``[n]`` or None; rows of a group stay on one side of every split.
        dropped: one sentence for each column (or row) that was dropped or encoded, with the reason.
        family: datasets of one family share rows or origin.
        given_test: bool ``[n]``, True for the rows of the test part the source came with, else None; ``holdout``
            uses it.
        dates: format of each date column, whose parts are numeric features named ``column.year`` and so on.
        target: name of the target column.

    Raises:
        DataError: an array has another shape or type, or a code lies outside its vocabulary.
    """

    name: str
    kind: str
    task: str
    inputs: Mapping[str, np.ndarray]
    y: np.ndarray
    classes: tuple[str, ...] = ()
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    levels: tuple[tuple[str, ...], ...] = ()
    groups: np.ndarray | None = None
    dropped: tuple[str, ...] = ()
    family: str = ""
    given_test: np.ndarray | None = None
    dates: Mapping[str, str] = field(default_factory=dict)
    target: str = "y"

    def __post_init__(self) -> None:
        _check_words(self)
        _check_inputs(self)
        _check_target(self)
        names = {"numeric": "f", "categorical": "c"}
        features = {
            key: tuple(self.features.get(key) or (f"{names[key]}{i}" for i in range(array.shape[1])))
            if key in names
            else ()
            for key, array in self.inputs.items()
        }
        levels = self.levels
        if "categorical" in self.inputs and not levels:
            levels = tuple(tuple(map(str, range(top + 1))) for top in self.inputs["categorical"].max(axis=0, initial=0))
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "levels", levels)
        _check_names(self)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"<Dataset {self.name}: {self.describe()}>"

    @property
    def outputs(self) -> int:
        """Number of a network's outputs: the classes, or 1 in regression."""
        return len(self.classes) if self.task == "classification" else 1

    @property
    def columns(self) -> int:
        """Number of raw features: columns of a table, or height * width * channels."""
        return sum(int(np.prod(array.shape[1:])) for array in self.inputs.values())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of kind, task, inputs, y, number of classes and groups; names and memory layout do not count."""
        digest = hashlib.sha256(f"1 {self.kind} {self.task} {len(self.classes)}".encode())
        arrays = dict(self.inputs) | {"y": self.y} | ({} if self.groups is None else {"groups": self.groups})
        for key in sorted(arrays):
            array = np.ascontiguousarray(arrays[key])
            if array.dtype.kind == "f":  # one NaN, one zero
                array = np.where(np.isnan(array), np.float32("nan"), array + np.float32(0.0)).astype("<f4")
            elif array.dtype.kind == "i":
                array = array.astype("<i8")
            digest.update(f" {key} {array.dtype.str} {array.shape} ".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def subset(self, rows: np.ndarray) -> Dataset:
        """Returns these rows (int numbers or a bool mask, in that order) with the same classes, levels and names."""
        rows = np.asarray(rows)
        return replace(
            self,
            inputs={key: array[rows] for key, array in self.inputs.items()},
            y=self.y[rows],
            groups=None if self.groups is None else self.groups[rows],
            given_test=None if self.given_test is None else self.given_test[rows],
        )

    def clusters(self, rows: np.ndarray) -> np.ndarray:
        """Returns what each of these rows belongs to in a standard error, int64: its group, else the row itself."""
        rows = np.asarray(rows)
        return rows if self.groups is None else self.groups[rows]

    def splits(self, count: int, seed: int, fraction: float = 0.25) -> list[Split]:
        """Returns ``count`` shuffled splits with ``fraction`` of the rows in validation, the same for the same seed.

        Stratified by class, and by whole groups where ``groups`` is given, as in ``nas.dataset.splits.split``. Split i
        depends on (seed, i) alone, so that a longer list begins with the shorter one.
        """
        return [self._split(fraction, [seed, 0, index]) for index in range(count)]

    def holdout(self, seed: int, fraction: float = 0.2) -> tuple[Dataset, Dataset]:
        """Returns (rest, test): the test part the source came with if there is one, else ``fraction`` of the rows."""
        given = self.given_test
        if given is not None and given.any() and not given.all():
            rest, test = self.subset(~given), self.subset(given)
        else:
            drawn = self._split(fraction, [seed, 1, 0])
            rest, test = self.subset(np.sort(drawn.train)), self.subset(np.sort(drawn.validation))
        return replace(rest, given_test=None), replace(test, given_test=None)

    def describe(self) -> str:
        """Returns one line such as ``1,797 rows x 64 numbers, 10 classes``."""
        if self.kind == "image":
            _, height, width, channels = self.inputs["image"].shape
            size = f"{len(self):,} images {height} x {width} {'grey' if channels == 1 else f'x {channels}'}"
        else:
            words = {"numeric": "number", "categorical": "category"}
            counts = [(len(self.features[key]), word) for key, word in words.items() if key in self.inputs]
            size = f"{len(self):,} rows x {' + '.join(_count(n, word) for n, word in counts)}"
        return f"{size}, {f'{len(self.classes):,} classes' if self.classes else 'regression'}"

    def schema(self) -> dict[str, Any]:
        """Returns what ``encode_rows`` needs to read new rows the same way: a dict of JSON values."""
        shape = list(self.inputs["image"].shape[1:]) if self.kind == "image" else None
        return {
            "schema": 1,
            "kind": self.kind,
            "task": self.task,
            "target": self.target,
            "classes": list(self.classes),
            "features": {key: list(names) for key, names in self.features.items()},
            "levels": [list(level) for level in self.levels],
            "dates": dict(self.dates),
            "shape": shape,
        }

    def _split(self, fraction: float, seed: list[int]) -> Split:
        codes = self.y if self.task == "classification" else None
        return split(len(self), fraction, np.random.default_rng(seed), codes, self.groups)


def _count(n: int, word: str) -> str:
    plural = {"number": "numbers", "category": "categories"}[word]
    return f"{n:,} {word if n == 1 else plural}"


def _check_words(data: Dataset) -> None:
    for word, value, known in (("kind", data.kind, tuple(KINDS)), ("task", data.task, TASKS)):
        if value not in known:
            raise DataError(f"{word} must be one of {', '.join(known)}, but got {value!r};{nearest(value, known)}")


def _check_inputs(data: Dataset) -> None:
    known = KINDS[data.kind]
    if not data.inputs or not set(data.inputs) <= set(known):
        raise DataError(
            f"inputs of kind {data.kind!r} must be among {', '.join(known)}, but got"
            f" {', '.join(data.inputs) or 'none'}; give at least one column."
        )
    for key, array in data.inputs.items():
        dtype, ndim = _DTYPES[key]
        if array.dtype != dtype or array.ndim != ndim or 0 in array.shape[1:] or len(array) != len(data.y):
            raise DataError(
                f"input {key!r} must be {np.dtype(dtype)} with {ndim} dimensions and {len(data.y)} rows,"
                f" but got {array.dtype} {array.shape}; nas.dataset.load converts arrays."
            )
    if "numeric" in data.inputs and np.isinf(data.inputs["numeric"]).any():
        raise DataError("numeric inputs must be finite or NaN, but hold infinite values; nas.dataset.load marks them.")


def _check_target(data: Dataset) -> None:
    dtype = np.int64 if data.task == "classification" else np.float32
    if data.y.dtype != dtype or data.y.ndim != 1:
        raise DataError(f"y must be {np.dtype(dtype)} [rows] in {data.task}, but got {data.y.dtype} {data.y.shape}.")
    if len(data.y) and data.task == "classification" and not 0 <= data.y.min() <= data.y.max() < len(data.classes):
        raise DataError(
            f"class codes must be 0 to {len(data.classes) - 1}, but y spans {data.y.min()} to {data.y.max()};"
            " nas.dataset.load encodes labels."
        )
    if data.task == "regression" and (data.classes or not np.isfinite(data.y).all()):
        raise DataError("a regression target must be finite and has no classes; leave out rows without a target.")
    for key, array in (("groups", data.groups), ("given_test", data.given_test)):
        if array is not None and array.shape != data.y.shape:
            raise DataError(f"{key} must have one value for each of {len(data.y)} rows, but got shape {array.shape}.")


def _check_names(data: Dataset) -> None:
    for key, names in data.features.items():
        if key != "image" and len(names) != data.inputs[key].shape[1]:
            raise DataError(f"features[{key!r}] must name {data.inputs[key].shape[1]} columns, but names {len(names)}.")
    codes = data.inputs.get("categorical")
    if codes is None:
        return
    if len(data.levels) != codes.shape[1]:
        raise DataError(f"levels must hold {codes.shape[1]} vocabularies, but holds {len(data.levels)}.")
    sizes = np.array([len(level) for level in data.levels])
    if len(codes) and (codes.min() < -1 or (codes.max(axis=0) >= np.maximum(sizes, 1)).any()):
        raise DataError(f"category codes must be -1 to levels - 1, but span {codes.min()} to {codes.max()}.")
