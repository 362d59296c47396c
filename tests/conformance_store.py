"""What every store must pass: subclass ``StoreConformance``, provide the fixture ``store`` (empty, writable)."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from functools import cache

import pytest

from nas.architecture import Architecture, Node
from nas.errors import HistoryError
from nas.metadataset import Merged, MetaDataset, Removed
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

    def test_the_order_of_records_does_not_depend_on_the_clock(self, store):
        """A clock that was set back: what was kept later says it was made earlier."""
        store.add_dataset(dataset())
        made = [record(number, created=f"{2026 - number}-01-01T00:00:00+00:00") for number in range(5)]
        for each in made:
            store.append([each])
        assert store.records() == list(store.past()[0].records) == made
        middle = store.snapshot(store.snapshot().last - 2)
        assert store.records(as_of=middle.last) == made[:3]

    def test_the_past_is_what_the_records_are(self, store):
        made = fill(store)
        store.append([record(9, "s2", "d2", score=None)])
        past = [r for p in store.past() for r in p.records]
        assert [(r.search, r.number, r.score, r.status) for r in past] == [
            (r.search, r.number, r.score, r.outcome.status) for r in [*made, record(9, "s2", "d2", score=None)]
        ]
        assert past == [*made, record(9, "s2", "d2", score=None)]
        assert [*made] == past[:-1]
        assert past[0] != made[1]
        changed = replace(past[0], choices={"depth": 3})
        assert changed.choices == {"depth": 3}
        assert (changed.score, changed.status) == (made[0].score, "complete")
        assert pickle.loads(pickle.dumps(past)) == past

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

    def test_a_sketch_is_kept_where_it_came(self, store):
        store.add_dataset(dataset("d", a=1.0))
        store.add_dataset(replace(dataset("d", a=2.0), sketch=(3, 5, 2**62)))
        store.add_dataset(replace(dataset("d", a=3.0), sketch=(4,)))
        store.add_dataset(dataset("d", a=4.0))
        assert store.datasets()[0].sketch == (3, 5, 2**62)
        assert store.datasets()[0].metafeatures == {"a": 2.0}

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
        assert store.forget("s2") == Removed(("d2",), ("s2",), 5)
        assert store.forget("s1") == Removed((), ("s1",), 5)
        assert [info.name for info in store.searches()] == ["also", "s0"]
        assert {info.name for info in store.datasets()} == {"d0", "d1"}
        store.append([record(50, "s0", "d0")])
        assert store.snapshot().last > last
        with pytest.raises(HistoryError, match="did you mean 's0'"):
            store.forget("s00")

    def test_forgetting_a_dataset_takes_every_search_on_it(self, store):
        made = fill(store)
        store.add_search(search_info("open", "d1"))
        store.append([record(0, "undescribed", "d1")])
        assert store.forget_dataset(dataset("d1").fingerprint) == Removed(("d1",), ("open", "s1", "undescribed"), 6)
        assert store.records() == [r for r in made if r.search != "s1"]
        assert [past.info.name for past in store.past()] == ["d0", "d2"]
        with pytest.raises(HistoryError, match="no dataset 'of nobody'"):
            store.forget_dataset("of nobody")
        assert len(store) == 10

    def test_merging_adds_what_lacks_and_only_once(self, store):
        fill(store, searches=2)
        with MetaDataset.open(":memory:") as other:
            fill(other, searches=4)
            assert store.merge(other) == Merged(2, 2, 10)
            assert store.merge(other) == Merged()
            assert store.snapshot().digest == other.snapshot().digest
            assert other.merge(store) == Merged()

    def test_merging_keeps_two_searches_of_one_name_apart(self, store):
        mine = fill(store, searches=1)
        with MetaDataset.open(":memory:") as other:
            other.add_dataset(dataset("d0"))
            other.add_search(search_info("s0", "d0", seed=1))
            other.append([record(number, "s0", "d0", score=-0.9) for number in range(3)])
            merged = store.merge(other)
            (name,) = store.counts().keys() - {"s0"}
            assert merged == Merged(0, 1, 3, {"s0": name})
            other.append([record(3, "s0", "d0", score=-0.9)])
            assert store.merge(other) == Merged(records=1, renamed={"s0": name})
        assert store.records(search="s0") == mine
        assert name.startswith("s0~")
        assert len(store.records(search=name)) == 4

    def test_merging_two_continuations_of_one_search_keeps_both(self, store):
        fill(store, searches=1)
        with MetaDataset.open(":memory:") as other:
            other.merge(store)
            other.append([record(5, "s0", "d0", score=-0.1)])
            store.append([record(5, "s0", "d0", score=-0.2)])
            assert store.merge(other).records == 6
            assert store.merge(other).records == 0

    def test_merging_to_and_fro_comes_to_rest(self, store):
        fill(store, searches=1)
        with MetaDataset.open(":memory:") as other, MetaDataset.open(":memory:") as third:
            for seed, each in enumerate((other, third), start=1):
                each.add_dataset(dataset("d0"))
                each.add_search(search_info("s0", "d0", seed=seed))
                each.append([record(number, "s0", "d0", score=-0.9 / seed) for number in range(3)])
            store.merge(other), store.merge(third), other.merge(store)
            assert len(store) == len(other) == 5 + 3 + 3
            assert store.merge(other) == other.merge(store) == store.merge(third) == Merged()
            third.merge(other), third.merge(store)
            assert len(third) == len(store)
            assert store.merge(third) == other.merge(third) == Merged()

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

    def test_an_empty_history_answers(self, store):
        assert store.snapshot().last == 0
        assert store.records() == store.past() == store.datasets() == store.searches() == []
        assert store.append([]) == 0
        assert len(store) == 0
