"""Records: round trips, the order of fidelities, what a key depends on, and what a stranger's JSON may not do."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from conformance_store import chain, dataset, record, search_info
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import HistoryError, NasError, SearchError
from nas.record import Cost, DatasetInfo, Fidelity, Outcome, Record, SearchInfo, evaluation_key

finite = st.floats(allow_nan=False, allow_infinity=False)
scalar = st.none() | st.booleans() | st.integers() | finite | st.text(max_size=20)
scalars = st.dictionaries(st.text(max_size=20), scalar, max_size=5)
counts = st.integers(0, 2**63 - 1)
fidelities = st.builds(Fidelity, *[st.integers(1, 5)] * 3)
costs = st.builds(Cost, st.floats(0, 1e9), counts, counts, counts, st.text(max_size=10))
numbers = st.dictionaries(st.text(max_size=20), st.floats(), max_size=5)


@st.composite
def outcomes(draw):
    status = draw(st.sampled_from(["complete", "diverged", "oom", "timeout", "error"]))
    score = draw(finite) if status == "complete" else None
    curve = draw(st.lists(st.floats(), max_size=8))
    epochs = draw(st.lists(counts, max_size=3))
    error = draw(st.none() | st.floats())
    return Outcome(status, draw(st.text()), score, error, draw(numbers), curve, epochs, draw(costs))


records = st.builds(
    Record,
    search=st.text(min_size=1, max_size=20),
    number=counts,
    dataset=st.text(min_size=1, max_size=20),
    space=st.text(max_size=20),
    space_fingerprint=st.text(max_size=20),
    choices=scalars,
    architecture=st.lists(st.integers(1, 64), max_size=4).map(lambda widths: chain(*widths)),
    settings=scalars,
    fidelity=fidelities,
    seed=counts,
    metric=st.text(max_size=10),
    outcome=outcomes(),
    key=st.text(min_size=1, max_size=20),
    engine=st.text(max_size=3),
    created=st.datetimes().map(lambda time: time.isoformat()),
    purpose=st.sampled_from(["screen", "confirm"]),
)
infos = st.builds(
    DatasetInfo,
    *[st.text(min_size=1, max_size=20)] * 4,
    *[counts] * 3,
    st.text(max_size=10),
    numbers,
    counts,
)


@settings(max_examples=60, deadline=None)
@given(records)
def test_a_record_survives_json(made):
    assert Record.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made


@settings(max_examples=60, deadline=None)
@given(infos)
def test_a_dataset_survives_json(info):
    assert DatasetInfo.from_dict(json.loads(json.dumps(info.to_dict(), allow_nan=False))) == info


def test_a_search_survives_json():
    info = search_info(protocol={"splits": 2, "nested": {"metrics": ["a", None, 0.5]}}, finished="2026-11-23T00:00:00")
    assert SearchInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_values_travel_to_other_processes():
    made = record()
    assert pickle.loads(pickle.dumps(made)) == made


def paths(data: object, at: tuple = ()):
    """Yields the path of every value inside JSON data."""
    yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from paths(value, (*at, key))


junk = st.sampled_from([None, True, -1, 0, 10**400, 2.5, math.nan, math.inf, "", "x" * 5000, [], {}, [[]], {"a": {}}])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_json_is_a_history_error_or_a_record(data):
    content = copy.deepcopy(record().to_dict())
    path = data.draw(st.sampled_from(list(paths(content))[1:]))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    action = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "replace":
        inner[path[-1]] = data.draw(junk)
    elif action == "remove":
        del inner[path[-1]]
    elif isinstance(inner, dict):
        inner["unheard of"] = data.draw(junk)
    complaint = ""
    try:
        content = Record.from_dict(content).to_dict()
    except HistoryError as error:
        complaint = str(error)
    assert "\n" not in complaint
    assert len(complaint) < 1000
    if not complaint:
        again = json.loads(json.dumps(content, allow_nan=False))
        assert Record.from_dict(again) == Record.from_dict(content)


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_object_is_refused(data):
    for kind in (Record, Outcome, Cost, Fidelity, DatasetInfo, SearchInfo):
        with pytest.raises(HistoryError, match="JSON object"):
            kind.from_dict(data)


@given(fidelities, fidelities, fidelities)
def test_fidelities_are_partially_ordered(a, b, c):
    assert a <= a
    assert (a <= b and b <= a) == (a == b)
    assert not (a <= b and b <= c) or a <= c
    assert (a < b) == (a <= b and a != b)
    assert (a >= b) == (b <= a)
    assert (a > b) == (b < a)
    assert (a <= b) == all(x <= y for x, y in zip(a.to_dict().values(), b.to_dict().values(), strict=True))


def test_fidelities_need_not_compare():
    more_epochs, more_rows = Fidelity(20, 10, 2), Fidelity(10, 20, 2)
    assert not more_epochs <= more_rows
    assert not more_rows <= more_epochs


@pytest.mark.parametrize("bad", [0, -1, 1.0, True, "3", None, 2**63])
def test_fidelities_are_whole_and_positive(bad):
    with pytest.raises(SearchError, match=r"fidelity\.rows must be an integer >= 1"):
        Fidelity(1, bad, 1)
    with pytest.raises(HistoryError):
        Fidelity.from_dict({"epochs": 1, "rows": bad, "splits": 1})


def test_a_key_depends_on_everything_but_the_order_of_settings():
    base = ("d", "a", {"lr": 0.1, "act": "mish", "depth": 2}, Fidelity(10, 100, 2), 0, "float32", "1")
    others = [
        ("e", *base[1:]),
        ("d", "b", *base[2:]),
        *[(*base[:2], changed, *base[3:]) for changed in ({"lr": 0.2, "act": "mish", "depth": 2}, {"lr": 0.1}, {})],
        (*base[:2], {"lr": 0.1, "act": "mish", "depth": True}, *base[3:]),
        (*base[:2], {"lr": 0.1, "act": "mish", "depth": "2"}, *base[3:]),
        *[
            (*base[:3], fidelity, *base[4:])
            for fidelity in (Fidelity(11, 100, 2), Fidelity(10, 99, 2), Fidelity(10, 100, 1))
        ],
        (*base[:4], 1, *base[5:]),
        (*base[:5], "bfloat16", "1"),
        (*base[:6], "2"),
    ]
    keys = [evaluation_key(*arguments) for arguments in (base, *others)]
    assert len(set(keys)) == len(keys)
    same = (*base[:2], {"depth": 2.0, "act": "mish", "lr": np.float64(0.1)}, *base[3:])
    assert evaluation_key(*same) == keys[0]


@given(scalars, st.randoms())
def test_a_key_does_not_depend_on_order(values, rng):
    shuffled = list(values.items())
    rng.shuffle(shuffled)
    keys = {evaluation_key("d", "a", each, Fidelity(1, 1, 1), 0, "f", "1") for each in (values, dict(shuffled))}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("status", "score"), [("complete", None), ("complete", math.nan), ("complete", 10**400), ("complete", -math.inf)]
)
def test_a_complete_outcome_has_a_finite_score(status, score):
    with pytest.raises(HistoryError, match="finite score"):
        Outcome(status, score=score)


def test_a_score_that_is_no_number_is_one_sentence():
    with pytest.raises(HistoryError, match="'score' must be a number, but got 'good'"):
        Outcome("complete", score="good")


def test_a_failure_has_no_score():
    with pytest.raises(HistoryError, match="None"):
        Outcome("oom", score=0.5)
    with pytest.raises(HistoryError, match="must be one of complete"):
        Outcome("failed")
    assert record(score=None).score is None


def test_outcomes_are_brought_to_plain_finite_values():
    outcome = Outcome(
        "complete",
        score=np.float32(-0.5),
        standard_error=math.nan,
        metrics={"auc": math.nan, "accuracy": np.float64(0.9)},
        curve=np.array([-0.123456789, -0.5, math.nan, -0.1]),
        best_epochs=np.array([3, 4]),
        cost=Cost(np.float64(1.5), np.int64(10)),
    )
    assert outcome.to_dict() == {
        "status": "complete",
        "message": "",
        "score": -0.5,
        "standard_error": None,
        "metrics": {"accuracy": 0.9},
        "curve": [-0.123457, -0.5],
        "best_epochs": [3, 4],
        "cost": {"seconds": 1.5, "flops": 10, "parameters": 0, "memory": 0, "device": "cpu"},
    }
    assert {type(value) for value in outcome.curve} == {float}
    assert len(Outcome("error", "x" * 10_000).message) == 500
    assert Outcome("error", "\ud800 and \0").message == "? and "


def test_records_are_checked_at_birth():
    made = record(choices={"width": np.int64(3), "p": np.float32(0.5)})
    assert {name: type(value) for name, value in made.choices.items()} == {"width": int, "p": float}
    for bad in (
        {"choices": {"p": math.nan}},
        {"settings": {"p": [1]}},
        {"number": -1},
        {"seed": 1.5},
        {"created": "yesterday"},
        {"purpose": "test"},
        {"key": ""},
    ):
        with pytest.raises(NasError):
            replace(record(), **bad)


def test_metafeatures_that_are_not_finite_are_left_out():
    """An integer beyond every float is as little of a number to compare with as infinity."""
    assert dataset("d", a=1, b=math.nan, c=math.inf, d=10**400).metafeatures == {"a": 1.0}


@pytest.mark.parametrize("value", ["none", None, [1.0], 1j])
def test_a_metafeature_that_is_no_number_is_one_sentence(value):
    with pytest.raises(HistoryError, match="'rows' must be a number, but got"):
        dataset("d", rows=value)


def test_a_description_with_a_number_beyond_every_float_is_one_sentence():
    text = json.dumps(dataset("d", rows=1).to_dict()).replace("1.0", "1" + "0" * 400)
    with pytest.raises(HistoryError, match="must hold finite numbers"):
        DatasetInfo.from_dict(json.loads(text))
