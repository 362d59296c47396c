"""What every store must pass: subclass ``StoreConformance``, provide the fixture ``store`` (empty, writable)."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest

from nas.architecture import Architecture, Node
from nas.errors import HistoryError
from nas.metadataset import MetaDataset
from nas.record import Cost, DatasetInfo, Fidelity, Outcome, Record, SearchInfo, evaluation_key

WHEN = "2026-11-22T12:00:00+00:00"


def dataset(name: str = "d", version: int = 1, **metafeatures: float) -> DatasetInfo:
    return DatasetInfo(
        f"fingerprint of {name}", name, "tabular", "classification", 100, 4, 3, "f", metafeatures, version
    )


def search_info(name: str = "s", on: str = "d", **fields: object) -> SearchInfo:
    values = {"space_json": '{"nodes": []}', "protocol": {"splits": 2, "metric": "brier"}, "created": WHEN}
    return SearchInfo(name, dataset(on).fingerprint, "tabular", **(values | fields))


@cache
def chain(*widths: int) -> Architecture:
    """Returns x -> linear(width) -> ... -> output."""
    nodes = [Node("input", parameters=(("name", "x"),)), *(Node("linear", parameters=(("width", w),)) for w in widths)]
    edges = tuple((i, i + 1, 1) for i in range(len(nodes)))
    return Architecture((*nodes, Node("output")), edges)


def record(number: int = 0, search: str = "s", on: str = "d", score: float | None = -0.5, **fields: object) -> Record:
    rng = random.Random(f"{number} {search} {on}")
    architecture, settings = chain(8 + number % 5, 4), {"learning_rate": rng.random(), "activation": "mish"}
    fidelity, fingerprint = Fidelity(10, 75, 2), dataset(on).fingerprint
    outcome = Outcome("diverged", "the loss became NaN after epoch 3")
    if score is not None:
        curve = tuple(score - rng.random() / (epoch + 1) for epoch in range(10))
        cost = Cost(rng.random(), 1000, 500, 2**20)
        outcome = Outcome("complete", "", score, 0.01, {"accuracy": rng.random()}, curve, (9, 10), cost)
    key = evaluation_key(fingerprint, architecture.key, settings, fidelity, 0, "float32", "1")
    made = Record(
        search=search,
        number=number,
        dataset=fingerprint,
        space="tabular",
        space_fingerprint="f0",
        choices={"depth": 2, "layer/0.width": 8 + number % 5},
        architecture=architecture,
        settings=settings,
        fidelity=fidelity,
        seed=0,
        metric="brier",
        outcome=outcome,
        key=key,
        engine="1",
        created=WHEN,
    )
    return replace(made, **fields)


def fill(store: MetaDataset, searches: int = 3, records: int = 5) -> list[Record]:
    """Adds searches, each on a dataset of its own, and their records; returns these in the order they were kept."""
    made = []
    for i in range(searches):
        store.add_dataset(dataset(f"d{i}", rows=10.0**i, classes=float(i)))
        store.add_search(search_info(f"s{i}", f"d{i}"))
        made += [record(number, f"s{i}", f"d{i}", score=-1 / (number + 1)) for number in range(records)]
    store.append(made)
    return made


class StoreConformance:
    """The promises of ``MetaDataset``, whatever it stores in."""

    def test_gives_back_what_was_appended_in_order(self, store):
        made = fill(store)
        assert store.records() == made
        assert store.records(search="s1") == [r for r in made if r.search == "s1"]
        assert store.records(dataset=dataset("d2").fingerprint) == [r for r in made if r.search == "s2"]
        assert len(store) == len(made)
        assert store.counts() == {"s0": 5, "s1": 5, "s2": 5}

    def test_every_float_and_text_survives_exactly(self, store):
        store.add_dataset(dataset("d", odd=1e-300, large=1e300))
        odd = record(
            score=-0.1 - 2**-55,
            choices={"quote'\";--": "ü \u2603 \n", "none": None, "yes": True, "n": 2**60, "x": 1e-310},
            seed=2**63 - 1,
        )
        failed = record(1, score=None)
        store.append([odd, failed])
        assert store.records() == [odd, failed]
        assert store.records()[1].outcome.message == "the loss became NaN after epoch 3"
        assert store.datasets()[0].metafeatures == {"odd": 1e-300, "large": 1e300}

    def test_appending_again_is_no_change(self, store):
        made = fill(store)
        before = store.snapshot()
        assert store.append(made) == 0
        assert store.append([*made[:2], record(7, "s0", "d0")]) == 1
        assert store.snapshot(before.last) == before

    def test_another_record_at_the_same_place_is_refused_and_nothing_of_the_call_is_kept(self, store):
        fill(store)
        with pytest.raises(HistoryError, match="another record as number 2"):
            store.append([record(9, "s1", "d1"), record(2, "s1", "d1", score=-0.123)])
        assert len(store) == 15
        with pytest.raises(HistoryError, match="another record as number 9"):
            store.append([record(9, "s1", "d1"), record(9, "s1", "d1", score=-0.123)])
        assert len(store) == 15

    def test_purposes_number_apart(self, store):
        fill(store, 1)
        assert store.append([record(0, "s0", "d0", score=-0.2, purpose="confirm")]) == 1

    def test_a_record_needs_its_dataset(self, store):
        with pytest.raises(HistoryError, match="add_dataset first"):
            store.append([record()])

    def test_as_of_shows_the_past(self, store):
        made = fill(store)
        then = store.snapshot()
        store.append([record(number, "s1", "d1", score=-0.01) for number in range(50, 60)])
        assert store.records(as_of=then.last) == made
        assert store.snapshot(then.last) == then
        assert store.snapshot() != then
        assert sum(len(past.records) for past in store.past(then.last)) == len(made)
        assert store.counts(then.last)["s1"] == 5

    def test_past_depends_on_content_alone(self, store):
        made = fill(store)
        with MetaDataset.open(":memory:") as other:
            for i in reversed(range(3)):
                other.add_dataset(dataset(f"d{i}", rows=10.0**i, classes=float(i)))
            other.append(reversed(made))
            assert other.past() == store.past()
            assert other.snapshot().digest == store.snapshot().digest
            other.append([record(99, "s1", "d1")])
            assert other.snapshot().digest != store.snapshot().digest
        names = [past.info.name for past in store.past(datasets=[dataset("d1").fingerprint])]
        assert names == ["d1"]

    def test_find_prefers_what_succeeded(self, store):
        store.add_dataset(dataset())
        failed, good = record(0, score=None, key="k"), record(1, key="k")
        store.append([failed])
        first = store.snapshot().last
        store.append([good])
        assert store.find("k") == good
        assert store.find("k", as_of=first) == failed
        assert store.find("nothing") is None
        assert store.find("k", as_of=first - 1) is None

    def test_a_search_is_kept_once(self, store):
        store.add_dataset(dataset())
        kept = store.add_search(search_info(snapshot_last=3))
        later = search_info(snapshot_last=9, created="2027-01-01T00:00:00+00:00")
        assert store.add_search(later) == kept
        finished = store.add_search(replace(later, finished="2027-01-02T00:00:00+00:00"))
        assert finished == replace(kept, finished="2027-01-02T00:00:00+00:00") == store.search("s")
        assert store.searches() == [finished]
        assert store.search("t") is None
        with pytest.raises(HistoryError, match="another protocol"):
            store.add_search(search_info(protocol={"splits": 3}))

    def test_newer_metafeatures_replace_older_ones_only(self, store):
        store.add_dataset(dataset("d", 2, a=1.0))
        store.add_dataset(dataset("d", 1, a=2.0))
        store.add_dataset(dataset("d", 2, a=3.0))
        assert store.datasets()[0].metafeatures == {"a": 1.0}
        store.add_dataset(dataset("d", 3, a=4.0))
        assert store.datasets()[0].metafeatures == {"a": 4.0}

    def test_forgetting_leaves_the_rest_and_gives_no_id_again(self, store):
        fill(store)
        store.add_search(search_info("also", "d1"))
        last = store.snapshot().last
        assert store.forget("s2") == 5
        assert store.forget("s1") == 5
        assert [info.name for info in store.searches()] == ["also", "s0"]
        assert {info.name for info in store.datasets()} == {"d0", "d1"}
        store.append([record(50, "s0", "d0")])
        assert store.snapshot().last > last
        with pytest.raises(HistoryError, match="did you mean 's0'"):
            store.forget("s00")

    def test_merging_adds_what_lacks_and_only_once(self, store):
        fill(store, searches=2)
        with MetaDataset.open(":memory:") as other:
            fill(other, searches=4)
            assert store.merge(other) == {"datasets": 2, "searches": 2, "records": 10}
            assert store.merge(other) == {"datasets": 0, "searches": 0, "records": 0}
            assert store.snapshot().digest == other.snapshot().digest
            assert other.merge(store) == {"datasets": 0, "searches": 0, "records": 0}

    def test_merging_keeps_two_searches_of_one_name_apart(self, store):
        mine = fill(store, searches=1)
        with MetaDataset.open(":memory:") as other:
            other.add_dataset(dataset("d0"))
            other.add_search(search_info("s0", "d0", seed=1))
            other.append([record(number, "s0", "d0", score=-0.9) for number in range(3)])
            assert store.merge(other)["records"] == 3
            other.append([record(3, "s0", "d0", score=-0.9)])
            assert store.merge(other) == {"datasets": 0, "searches": 0, "records": 1}
        assert store.records(search="s0") == mine
        (name,) = store.counts().keys() - {"s0"}
        assert name.startswith("s0~")
        assert len(store.records(search=name)) == 4

    def test_merging_two_continuations_of_one_search_keeps_both(self, store):
        fill(store, searches=1)
        with MetaDataset.open(":memory:") as other:
            other.merge(store)
            other.append([record(5, "s0", "d0", score=-0.1)])
            store.append([record(5, "s0", "d0", score=-0.2)])
            assert store.merge(other)["records"] == 6
            assert store.merge(other)["records"] == 0

    def test_merging_to_and_fro_comes_to_rest(self, store):
        fill(store, searches=1)
        nothing = {"datasets": 0, "searches": 0, "records": 0}
        with MetaDataset.open(":memory:") as other, MetaDataset.open(":memory:") as third:
            for seed, each in enumerate((other, third), start=1):
                each.add_dataset(dataset("d0"))
                each.add_search(search_info("s0", "d0", seed=seed))
                each.append([record(number, "s0", "d0", score=-0.9 / seed) for number in range(3)])
            store.merge(other), store.merge(third), other.merge(store)
            assert len(store) == len(other) == 5 + 3 + 3
            assert store.merge(other) == other.merge(store) == store.merge(third) == nothing
            third.merge(other), third.merge(store)
            assert len(third) == len(store)
            assert store.merge(third) == other.merge(third) == nothing

    def test_three_continuations_of_one_search_are_kept_apart(self, store):
        fill(store, searches=1)
        with MetaDataset.open(":memory:") as other, MetaDataset.open(":memory:") as third:
            for score, each in ((-0.3, other), (-0.2, third)):
                each.merge(store)
                each.append([record(5, "s0", "d0", score=score)])
            store.append([record(5, "s0", "d0", score=-0.1)])
            for _ in range(2):
                store.merge(other), store.merge(third)
                assert sorted(store.counts().values()) == [6, 6, 6]

    def test_neighbours_come_nearest_first(self, store):
        fill(store)
        found = store.neighbours({"rows": 1.0, "classes": 0.0, "unheard": 5.0}, k=2)
        assert [info.name for info, _ in found] == ["d0", "d1"]
        assert found[0][1] == 0 < found[1][1]
        assert store.neighbours({"unheard": 1.0}, k=2) == []

    def test_an_empty_history_answers(self, store):
        assert store.snapshot().last == 0
        assert store.records() == store.past() == store.datasets() == store.searches() == []
        assert store.neighbours({"a": 1.0}, 3) == []
        assert store.append([]) == 0
        assert len(store) == 0
