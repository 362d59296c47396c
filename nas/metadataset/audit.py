"""What a history covers: families, spaces, how diverse it is, and how near a new dataset lies to it.

Values in, values out: no storage. Datasets of one origin, or that share rows, are one family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.metadataset.distance import distances
from nas.record import DatasetInfo, PastDataset
from nas.sketch import KIN, kinship

NEAREST = 3


@dataclass(frozen=True)
class Covered:
    """How many datasets and records there are of one search space."""

    name: str
    datasets: int
    records: int


@dataclass(frozen=True)
class Near:
    """A past dataset and its distance in meta-features (``nas.metadataset.distance``)."""

    name: str
    fingerprint: str
    distance: float


@dataclass(frozen=True)
class Kin:
    """A past dataset and the estimated share of rows it has in common with the new one (Jaccard)."""

    name: str
    fingerprint: str
    share: float


@dataclass(frozen=True)
class Place:
    """Where a new dataset lies.

    nearest: past datasets, nearest first, itself and its kin left out. kin: those that share rows with it, itself
    included. farther: share of past datasets that are farther from the nearest of another family than this one is.
    rows, columns: its own. fewer_rows, fewer_columns: share of past datasets that have fewer.
    """

    name: str
    nearest: tuple[Near, ...]
    kin: tuple[Kin, ...]
    farther: float
    rows: int
    columns: int
    fewer_rows: float
    fewer_columns: float


@dataclass(frozen=True)
class Range:
    """What is least, in the middle, and most among datasets."""

    least: int
    median: int
    most: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Range:
        """Returns the range of some values, zeros where there are none."""
        return cls(min(values), int(np.median(values)), max(values)) if values else cls(0, 0, 0)


@dataclass(frozen=True)
class Audit:
    """What a history covers.

    families: records of each, by the name of a dataset of it, most first.
    effective: how many families with equally many records would be as diverse, 1 / sum of
    squared shares (Simpson 1949; Hill number of order 2). tasks: datasets of each kind and task. rows, columns and
    trained (records): of a dataset. near: of a new dataset, if one was given.
    """

    datasets: int
    records: int
    families: Mapping[str, int]
    effective: float
    spaces: tuple[Covered, ...]
    tasks: Mapping[str, int]
    rows: Range
    columns: Range
    trained: Range
    near: Place | None = None


def audit(past: Sequence[PastDataset], new: DatasetInfo | None = None) -> Audit:
    """Returns what past datasets cover, and where ``new`` lies among them."""
    infos = [each.info for each in past]
    family_of = families(infos)
    records: Counter[int] = Counter()
    spaces: dict[str, Counter[str]] = {}
    for each, family in zip(past, family_of, strict=True):
        records[family] += len(each.records)
        for record in each.records:
            spaces.setdefault(record.space, Counter())[each.info.fingerprint] += 1
    shares = np.array(list(records.values())) / max(records.total(), 1)
    return Audit(
        datasets=len(past),
        records=records.total(),
        families={f"{infos[first].name} {infos[first].fingerprint[:6]}": n for first, n in records.most_common()},
        effective=float(1.0 / (shares**2).sum()) if len(shares) else 0.0,
        spaces=tuple(Covered(name, len(found), found.total()) for name, found in sorted(spaces.items())),
        tasks=dict(Counter(f"{info.kind} {info.task}" for info in infos).most_common()),
        rows=Range.of([info.rows for info in infos]),
        columns=Range.of([info.columns for info in infos]),
        trained=Range.of([len(each.records) for each in past]),
        near=None if new is None else _place(new, infos, np.array(family_of, dtype=np.int64)),
    )


def families(infos: Sequence[DatasetInfo]) -> list[int]:
    """Returns the family of each dataset: of those of one origin or with common rows the index of the first."""
    parents = list(range(len(infos)))

    def root(index: int) -> int:
        while parents[index] != index:
            index = parents[index]
        return index

    seen: dict[str | int, int] = {}
    for index, info in enumerate(infos):
        marks: list[str | int] = [info.family or info.fingerprint, *info.sketch]
        for mark in marks:
            other = seen.setdefault(mark, index)
            if isinstance(mark, str) or kinship(info, infos[other]) >= KIN:
                first, later = sorted((root(index), root(other)))
                parents[later] = first
    return [root(index) for index in range(len(infos))]


def _place(new: DatasetInfo, infos: Sequence[DatasetInfo], families: np.ndarray) -> Place:
    """Returns where ``new`` lies; families [n] as ``families`` gives them."""
    shares = [1.0 if info.fingerprint == new.fingerprint else kinship(new, info) for info in infos]
    kin = sorted((-share, index) for index, share in enumerate(shares) if share >= KIN)
    away = distances([new.metafeatures, *(info.metafeatures for info in infos)])
    own = np.isin(families, [families[index] for _, index in kin])
    mine = np.where(own, np.inf, away[0, 1:])
    theirs = np.where(families[:, None] == families[None, :], np.inf, away[1:, 1:]).min(axis=1, initial=np.inf)
    order = [index for index in np.argsort(mine, kind="stable")[:NEAREST] if np.isfinite(mine[index])]
    return Place(
        new.name,
        tuple(Near(infos[index].name, infos[index].fingerprint, float(mine[index])) for index in order),
        tuple(Kin(infos[index].name, infos[index].fingerprint, -share) for share, index in kin),
        float(np.mean(theirs > mine[order[0]])) if order else 0.0,
        new.rows,
        new.columns,
        float(np.mean([info.rows < new.rows for info in infos])) if infos else 0.0,
        float(np.mean([info.columns < new.columns for info in infos])) if infos else 0.0,
    )
