"""Sketches: the same data grown or cut down is recognised, other data is not, and the estimate is what was promised."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pandas as pd
import pytest

from nas.dataset import Dataset, load
from nas.record import DatasetInfo
from nas.sketch import FEWEST, KIN, SIZE, kinship, sketch


def info(data: Dataset) -> DatasetInfo:
    return DatasetInfo(data.fingerprint, data.name, data.kind, data.task, len(data), 1, 0, sketch=sketch(data))


def table(rows: int, seed: int) -> pd.DataFrame:
    """Rows of numbers, categories and classes; the first rows of a longer table are those of a shorter one."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    frame["town"] = rng.choice(["Aachen", "Bath", "Cork", "Delft"], rows)
    frame["kept"] = np.where(frame.a + rng.normal(size=rows) > 0, "yes", "no")
    return frame


def overlap(first: pd.DataFrame, second: pd.DataFrame) -> float:
    return kinship(info(load(first, target="kept")), info(load(second, target="kept")))


def test_five_percent_more_rows_are_the_same_data():
    found = [overlap(table(2000, seed)[:1900], table(2000, seed)) for seed in range(5)]
    assert np.mean(found) == pytest.approx(0.95, abs=0.04)
    assert min(found) > KIN


def test_twenty_percent_set_aside_are_the_same_data():
    whole = [load(table(1000, seed), target="kept") for seed in range(5)]
    found = [kinship(info(data), info(data.holdout(0, 0.2)[0])) for data in whole]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)
    assert min(found) > KIN
    for data in whole:  # both searched on 80 %, one of them after 5 % more rows came: draws of different tables
        parts = data.subset(np.arange(950)).holdout(0, 0.2)[0], data.holdout(0, 0.2)[0]
        assert 0.5 < kinship(*map(info, parts)) < 0.9


def test_other_rows_of_the_same_columns_are_other_data():
    assert [overlap(table(1000, seed), table(1000, seed + 100)) for seed in range(5)] == [0.0] * 5


def test_the_estimate_is_as_exact_as_promised():
    rng = np.random.default_rng(0)
    for common in (400, 1000, 1600):
        errors = []
        for _ in range(100):
            rows = rng.choice(2**48, 2000, replace=False)
            alone = (2000 - common) // 2
            sets = rows[: common + alone], np.r_[rows[:common], rows[common + alone :]]
            sketches = [tuple(int(value) for value in np.sort(each)[:SIZE]) for each in sets]
            infos = [DatasetInfo("x", "d", "tabular", "x", 1, 1, 0, sketch=each) for each in sketches]
            errors.append(kinship(*infos) - common / 2000)
        assert abs(np.mean(errors)) < 0.02
        assert np.std(errors) < 0.075


def test_order_names_and_noise_do_not_count():
    frame = table(500, 0)
    data = load(frame, target="kept")
    shuffled = frame.sample(frac=1.0, random_state=0).rename(columns={"a": "z", "town": "ort"})
    noisy = frame.assign(a=frame.a * (1 + 1e-12), b=frame.b.astype("float32"))
    for other in (shuffled, noisy):
        assert overlap(frame, other) == 1.0
    assert sketch(data) == sketch(data.subset(np.r_[0:500, 0:500]))  # repeated rows
    rounded = frame.round(7)
    assert overlap(frame, rounded) > 0.9


def test_categories_and_classes_count_by_their_text():
    frame = table(500, 0)
    more = pd.concat([frame, frame[:20].assign(town="Aberdeen", kept="maybe")])  # every code is another one now
    assert load(more, target="kept").levels != load(frame, target="kept").levels
    assert overlap(frame, more) > 0.85
    renamed = frame.assign(kept=frame.kept.map({"yes": "ja", "no": "nein"}))
    assert overlap(frame, renamed) == 0.0


def test_images_regression_and_missing_values():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (100, 6, 6, 1), dtype=np.uint8)
    whole = load((images, np.arange(100) % 3))
    assert kinship(info(whole), info(whole.subset(np.arange(90)))) == pytest.approx(0.9, abs=0.1)
    X, y = rng.normal(size=(100, 3)), rng.normal(size=100)
    X[::3, 1] = np.nan
    data = load((X, y))
    assert kinship(info(data), info(data.subset(np.arange(90)))) == pytest.approx(0.9, abs=0.1)
    assert kinship(info(data), info(load((X, -y)))) == 0.0  # another target


def test_few_different_rows_are_not_sketched():
    X = np.tile(np.eye(3), (40, 1))
    assert len(X) > FEWEST
    few = load((X, np.arange(120) % 2), task="classification")
    assert sketch(few) == ()
    assert kinship(info(few), info(few)) == 0.0


def test_the_sketch_is_the_smallest_hashes_of_rows_and_stays_so():
    """A row's hash, written down by hand: what old histories hold must mean the same in every later version."""
    X = np.arange(40, dtype=np.float32).reshape(20, 2) - 3
    data = load((X, np.arange(20) % 2), task="classification")
    classes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in data.classes]
    expected = []
    for row, label in zip(data.inputs["numeric"], data.y, strict=True):
        bits = ((row + np.float32(0)).view(np.int32) + 128) >> 8
        text = b"tabular classification " + bits.astype("<i4").tobytes() + classes[label]
        expected.append(int.from_bytes(hashlib.blake2b(text, digest_size=6, person=b"nas.sketch.1").digest(), "big"))
    assert sketch(data) == tuple(sorted(expected))


def test_a_hundred_thousand_rows_take_a_moment():
    rng = np.random.default_rng(0)
    data = load((rng.normal(size=(100_000, 20)), rng.integers(0, 2, 100_000)))
    began = time.process_time()
    assert len(sketch(data)) == SIZE
    assert time.process_time() - began < 2  # about 0.2 s; loose, for slow machines
