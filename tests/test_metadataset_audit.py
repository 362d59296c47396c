"""The audit: families are found over chains, diversity is Simpson's, nearness is what distances say by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance_store import dataset, record

from nas.metadataset.audit import Range, audit
from nas.metadataset.distance import distances
from nas.record import PastDataset


def past(name: str, records: int, space: str = "tabular", **fields: object) -> PastDataset:
    metafeatures = fields.pop("metafeatures", {})
    info = replace(dataset(name, **metafeatures), family="", **fields)
    return PastDataset(info, tuple(record(number, f"s {name}", name, space=space) for number in range(records)))


def test_families_join_over_common_rows_and_origin():
    rows = [tuple(range(start, start + 64)) for start in (0, 20, 40, 1000)]  # each shares 44 of 84 with the next
    found = audit(
        [
            past("first", 4, sketch=rows[0]),
            past("second", 3, sketch=rows[1]),
            past("third", 2, sketch=rows[2], space="image"),
            past("stranger", 6, sketch=rows[3]),
            replace(past("copy", 1), info=replace(dataset("copy"), family="stranger's")),
            replace(past("other copy", 5), info=replace(dataset("other copy"), family="stranger's")),
        ]
    )
    assert {name.split()[0]: count for name, count in found.families.items()} == {"first": 9, "stranger": 6, "copy": 6}
    assert found.effective == pytest.approx(21**2 / (81 + 36 + 36))
    assert [(s.name, s.datasets, s.records) for s in found.spaces] == [("image", 1, 2), ("tabular", 5, 19)]
    assert (found.datasets, found.records, found.near) == (6, 21, None)
    assert found.trained == Range(1, 3, 6)
    assert sum(found.tasks.values()) == 6


def test_nearness_leaves_out_the_dataset_itself_and_its_kin():
    rng = np.random.default_rng(0)
    tables = [{f"m{j}": float(rng.normal()) for j in range(4)} for _ in range(8)]
    known = [past(f"d{i}", 1, metafeatures=table) for i, table in enumerate(tables)]
    known.append(past("kin", 1, metafeatures=tables[0], sketch=tuple(range(64))))
    new = replace(dataset("new", **tables[0]), sketch=tuple(range(2, 66)))
    near = audit(known, new).near
    assert near is not None
    assert [kin.name for kin in near.kin] == ["kin"]
    assert near.kin[0].share == pytest.approx(62 / 66, abs=0.03)
    assert near.nearest[0].name == "d0"
    assert near.nearest[0].distance == 0
    away = distances([new.metafeatures, *(each.info.metafeatures for each in known)])
    assert [each.distance for each in near.nearest] == sorted(away[0, 1:9])[:3]
    alone = away[1:, 1:] + np.diag([np.inf] * 9)
    assert near.farther == np.mean(alone.min(axis=1) > 0)
    itself = audit(known, known[3].info).near
    assert itself is not None
    assert [kin.name for kin in itself.kin] == ["d3"]
    assert "d3" not in [each.name for each in itself.nearest]


def test_sizes_are_told_beside_those_of_the_past():
    known = [past(f"d{i}", 1, rows=100 * (i + 1), columns=5) for i in range(4)]
    found = audit(known, replace(dataset("new"), rows=250, columns=3))
    assert (found.rows, found.columns) == (Range(100, 250, 400), Range(5, 5, 5))
    assert found.near is not None
    assert (found.near.rows, found.near.fewer_rows) == (250, 0.5)
    assert (found.near.columns, found.near.fewer_columns) == (3, 0.0)


def test_an_empty_history_is_audited():
    found = audit([], dataset("new", a=1.0))
    assert (found.datasets, found.effective, found.families) == (0, 0.0, {})
    assert found.near is not None
    assert (found.near.nearest, found.near.kin, found.near.farther) == ((), (), 0.0)
