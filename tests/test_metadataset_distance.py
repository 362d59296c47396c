"""How far datasets are apart: by hand, by its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.metadataset.distance import distances


def test_distances_by_hand():
    pool = [{"a": 0.0, "b": 5.0}, {"a": 2.0}, {"a": 4.0, "b": 5.0}, {"c": 1.0}]
    found = distances([{"a": 1.0, "b": 5.0}, *pool])[0, 1:]

    def bounded(x):
        return x / np.sqrt(1 + (x / 3) ** 2)

    median, spread = 1.5, 2.5 - 0.75  # of 1, 0, 2, 4
    a = {value: bounded((value - median) / spread) for value in (0.0, 1.0, 2.0, 4.0)}
    expected = [abs(a[0.0] - a[1.0]) / np.sqrt(2), abs(a[2.0] - a[1.0]), abs(a[4.0] - a[1.0]) / np.sqrt(2), np.inf]
    np.testing.assert_allclose(found, expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(-1e6, 1e6)), min_size=1, max_size=6))
def test_distances_are_bounded_and_zero_to_oneself(pool):
    found = distances(pool)
    assert found.shape == (len(pool), len(pool))
    assert not np.isnan(found).any()
    assert (found == found.T).all()
    assert (found[np.isfinite(found)] <= 6).all()
    assert [away == 0 for away in np.diag(found)] == [bool(row) for row in pool]


def test_one_wild_value_does_not_decide_alone():
    quiet = {f"m{i}": 0.0 for i in range(20)}
    pool = [{f"m{i}": float(j) for i in range(20)} for j in range(1, 6)] + [quiet | {"m0": 1e12}]
    found = distances([quiet, *pool])[0, 1:]
    assert found[1] < found[5] < found[3]


@pytest.mark.parametrize("wild", [1e12, 1e200, 1e308, 1.7e308])
def test_however_wild_a_value_is_it_is_far(wild):
    pool = [{"a": float(i)} for i in range(6)] + [{"a": -wild}]
    found = distances([{"a": wild}, *pool])[0, 1:]
    assert (found[:6] > 2).all()
    assert found[6] > found[:6].max()
