"""The dataset as a frozen value: arrays, what they mean, splits, fingerprint.

Here belongs what holds for every dataset once it is in memory. Reading files and recognising columns belong to
``nas.dataset.sources``, ``table``, ``target`` and ``images``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset.splits import Split, split, split_by_time
from nas.errors import DataError, nearest
from nas.readable import counted

if TYPE_CHECKING:
    from nas.dataset.origin import Origin

KINDS: Mapping[str, tuple[str, ...]] = {
    "tabular": ("numeric", "categorical"),
    "image": ("image",),
    "series": ("series",),
}
TASKS = ("classification", "regression")
EARLIEST = 2 / 3
"""Splits by time look at all rows up to a moment, at least at this share of them."""
_GOLDEN = 0.6180339887498949
_BY_ROW = ("groups", "weights", "time", "given_test", "given_validation")
_DTYPES = {
    "numeric": (np.float32, 2),
    "categorical": (np.int64, 2),
    "image": (np.uint8, 4),
    "series": (np.float32, 3),
}


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
        kind: "tabular", "image" or "series".
        task: "classification" or "regression".
        inputs: of a table "numeric" float32 ``[n, d]`` (NaN = missing) and / or "categorical" int64 ``[n, c]`` (codes
            of ``levels``, -1 = missing or unknown), each only where it has a column; of images "image" uint8
            ``[n, height, width, channels]``; of series "series" float32 ``[n, channels, steps]`` (NaN = missing, also
            after the end of a shorter one).
        y: int64 ``[n]`` codes of ``classes``, or float32 ``[n]`` in the units of the target.
        classes: their names in the order of the codes; empty in regression.
        features: column names of each input (f0, f1, ... and c0, c1, ... if not given); () for images and series.
        levels: vocabulary of each categorical column in the order of its codes.
        groups: int64 ``[n]`` or None; rows of a group stay on one side of every split.
        weights: float64 ``[n]`` > 0 or None; how much a row counts in losses, scores and errors, relative to others.
        time: int64 ``[n]`` codes in the order of time, or None; validation and test rows are then later than training
            rows. Not together with ``groups``.
        dropped: one sentence for each column (or row) that was dropped or encoded, with the reason.
        family: datasets of one family share rows or origin.
        given_test: bool ``[n]``, True for the rows of the test part the source came with, else None; ``holdout``
            sets them aside, and nobody may search on them.
        given_validation: bool ``[n]``, True for the rows of the validation part the source came with, else None; it is
            then that of every split.
        dates: format of each date column, whose parts are numeric features named ``column.year`` and so on.
        target: name of the target column.
        origin: the table the inputs were read from, None where reading does not depend on the rows (or where other
            inputs were put in its place).

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
    weights: np.ndarray | None = None
    time: np.ndarray | None = None
    given_validation: np.ndarray | None = None
    origin: Origin | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.origin is not None and self.origin.arrays is not self.inputs:
            object.__setattr__(self, "origin", None)
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
        """Number of raw features: columns of a table, height * width * channels, or channels * steps."""
        return sum(int(np.prod(array.shape[1:])) for array in self.inputs.values())

    @property
    def has_test(self) -> bool:
        """Whether the data came with a test part beside other rows."""
        return self.given_test is not None and bool(self.given_test.any()) and not bool(self.given_test.all())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of kind, task, inputs, y, number of classes, and of groups, weights, time and validation part.

        Names and memory layout do not count.
        """
        digest = hashlib.sha256(f"1 {self.kind} {self.task} {len(self.classes)}".encode())
        arrays = dict(self.inputs) | {"y": self.y}
        arrays |= {key: array for key in _BY_ROW if key != "given_test" and (array := getattr(self, key)) is not None}
        for key in sorted(arrays):
            array = np.ascontiguousarray(arrays[key])
            if array.dtype.kind == "f":  # one NaN, one zero
                array = np.where(np.isnan(array), np.float32("nan"), array + np.float32(0.0))
                array = array.astype(f"<f{array.dtype.itemsize}")
            elif array.dtype.kind == "i":
                array = array.astype("<i8")
            digest.update(f" {key} {array.dtype.str} {array.shape} ".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def subset(self, rows: np.ndarray) -> Dataset:
        """Returns these rows (int numbers or a bool mask, in that order) with the same classes, levels and names."""
        rows = np.asarray(rows)
        return self._with_inputs(rows, {key: array[rows] for key, array in self.inputs.items()})

    def clusters(self, rows: np.ndarray) -> np.ndarray:
        """Returns what each of these rows belongs to in a standard error, int64: its group, else the row itself."""
        rows = np.asarray(rows)
        return rows if self.groups is None else self.groups[rows]

    def splits(self, count: int, seed: int, fraction: float = 0.25) -> list[Split]:
        """Returns ``count`` shuffled splits with ``fraction`` of the rows in validation, the same for the same seed.

        Stratified by class, and by whole groups where ``groups`` is given, as in ``nas.dataset.splits.split``. With
        ``time`` each looks at the rows up to another moment (from the first two thirds to all) and validates on the
        last of them. Where the source came with a validation part, every split has that one and ``fraction`` is not
        used. Split i depends on (seed, i) alone, so that a longer list begins with the shorter one.
        """
        given = self.given_validation
        if given is not None and given.any() and not given.all():
            sides = np.flatnonzero(~given), np.flatnonzero(given)
            rngs = [np.random.default_rng([seed, 0, index]) for index in range(count)]
            return [Split(*(rng.permutation(side) for side in sides)) for rng in rngs]
        if self.time is not None:
            start = np.random.default_rng([seed, 0]).random()
            places = [(start + index * _GOLDEN) % 1.0 for index in range(count)]  # spread evenly, whatever their number
            rngs = [np.random.default_rng([seed, 0, index]) for index in range(count)]
            shares = [EARLIEST + (1.0 - EARLIEST) * place for place in places]
            pairs = zip(rngs, shares, strict=True)
            return [split_by_time(self.time, fraction, rng, share) for rng, share in pairs]
        return [self._split(fraction, [seed, 0, index]) for index in range(count)]

    def holdout(self, seed: int, fraction: float = 0.2) -> tuple[Dataset, Dataset]:
        """Returns (rest, test): the test part the source came with if there is one, else ``fraction`` of the rows.

        With ``time`` the test rows are the last. What was read from the values of all rows (kinds of columns, levels,
        which columns are dropped) is read again from the rest alone, and the test rows are read the same way: apart
        from which rows they are and the list of classes, nothing in the rest depends on them.
        """
        given = self.given_test
        if given is not None and self.has_test:
            return replace(self.subset(~given), given_test=None), replace(self.subset(given), given_test=None)
        if self.time is not None:
            drawn = split_by_time(self.time, fraction, np.random.default_rng([seed, 1, 0]))
        else:
            drawn = self._split(fraction, [seed, 1, 0])
        rest, test = np.sort(drawn.train), np.sort(drawn.validation)
        whole = self._read_from(rest)
        return replace(whole.subset(rest), given_test=None), replace(whole.subset(test), given_test=None)

    def moments(self, rows: np.ndarray | None = None) -> tuple[float, float]:
        """Returns the (weighted) mean and standard deviation of a regression target over these rows (all), float64.

        The deviation is 1 where it would be 0; (0, 1) in classification.
        """
        if self.task == "classification":
            return 0.0, 1.0
        y = (self.y if rows is None else self.y[rows]).astype(np.float64)
        if self.weights is None:
            return float(y.mean()), float(y.std()) or 1.0
        w = self.weights if rows is None else self.weights[rows]
        mean = float(np.average(y, weights=w))
        return mean, float(np.sqrt(np.average((y - mean) ** 2, weights=w))) or 1.0

    def describe(self) -> str:
        """Returns one line such as ``1,797 rows x 64 numbers, 10 classes``."""
        if self.kind == "image":
            _, height, width, channels = self.inputs["image"].shape
            size = f"{len(self):,} images {height} x {width} {'grey' if channels == 1 else f'x {channels}'}"
        elif self.kind == "series":
            _, channels, steps = self.inputs["series"].shape
            size = f"{len(self):,} series x {counted(channels, 'channel')} x {counted(steps, 'step')}"
        else:
            words = {"numeric": "number", "categorical": "category"}
            counts = [(len(self.features[key]), word) for key, word in words.items() if key in self.inputs]
            size = f"{len(self):,} rows x {' + '.join(counted(n, word) for n, word in counts)}"
        return f"{size}, {f'{len(self.classes):,} classes' if self.classes else 'regression'}"

    def schema(self) -> dict[str, Any]:
        """Returns what ``encode_rows`` needs to read new rows the same way: a dict of JSON values."""
        shape = None if self.kind == "tabular" else list(self.inputs[self.kind].shape[1:])
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

    def _with_inputs(self, rows: np.ndarray, inputs: Mapping[str, np.ndarray], **changes: Any) -> Dataset:
        """Returns these rows with ``inputs`` in the place of their own."""
        by_row: dict[str, Any] = {
            key: None if (array := getattr(self, key)) is None else array[rows] for key in _BY_ROW
        }
        origin = None if self.origin is None else self.origin.subset(rows, inputs)
        return replace(self, inputs=inputs, y=self.y[rows], origin=origin, **by_row, **changes)

    def _read_from(self, rows: np.ndarray) -> Dataset:
        """Returns all rows, read as their origin has to be read where only ``rows`` are known."""
        known = np.zeros(len(self), dtype=bool)
        known[rows] = True
        if self.given_validation is not None:
            known &= ~self.given_validation
        if self.origin is None:
            return self._with_levels_of(known)
        found = self.origin.read(known)
        return self._with_inputs(
            np.arange(len(self)),
            found.arrays,
            features=found.features,
            levels=found.levels,
            dates=found.dates,
            dropped=(*self.origin.notes, *found.notes),
        )

    def _with_levels_of(self, known: np.ndarray) -> Dataset:
        """Returns all rows without the levels that no ``known`` row has."""
        codes = self.inputs.get("categorical")
        if codes is None:
            return self
        levels, columns = [], []
        for column, words in zip(codes.T, self.levels, strict=True):
            seen = np.unique(column[known & (column >= 0)])
            new = np.full(len(words) + 1, -1, dtype=np.int64)  # the last: missing
            new[seen] = np.arange(len(seen))
            levels.append(tuple(words[code] for code in seen))
            columns.append(new[column])
        return replace(self, inputs={**self.inputs, "categorical": np.stack(columns, axis=1)}, levels=tuple(levels))

    def _split(self, fraction: float, seed: list[int]) -> Split:
        codes = self.y if self.task == "classification" else None
        return split(len(self), fraction, np.random.default_rng(seed), codes, self.groups)


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
    for key in ("numeric", "series"):
        if key in data.inputs and np.isinf(data.inputs[key]).any():
            raise DataError(
                f"{key} inputs must be finite or NaN, but hold infinite values; nas.dataset.load marks them."
            )


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
    for key in _BY_ROW:
        array = getattr(data, key)
        if array is not None and array.shape != data.y.shape:
            raise DataError(f"{key} must have one value for each of {len(data.y)} rows, but got shape {array.shape}.")
    if data.weights is not None and not ((data.weights > 0.0) & np.isfinite(data.weights)).all():
        raise DataError("weights must be positive and finite, but some are not; leave out rows that count for nothing.")
    if data.time is not None and data.groups is not None:
        raise DataError("splits go by groups or by time, but got both; give groups= or time=, not both.")


def _check_names(data: Dataset) -> None:
    for key, names in data.features.items():
        if key in ("numeric", "categorical") and len(names) != data.inputs[key].shape[1]:
            raise DataError(f"features[{key!r}] must name {data.inputs[key].shape[1]} columns, but names {len(names)}.")
    codes = data.inputs.get("categorical")
    if codes is None:
        return
    if len(data.levels) != codes.shape[1]:
        raise DataError(f"levels must hold {codes.shape[1]} vocabularies, but holds {len(data.levels)}.")
    sizes = np.array([len(level) for level in data.levels])
    if len(codes) and (codes.min() < -1 or (codes.max(axis=0) >= np.maximum(sizes, 1)).any()):
        raise DataError(f"category codes must be -1 to levels - 1, but span {codes.min()} to {codes.max()}.")
