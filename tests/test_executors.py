"""Executors: the same results here and in processes; real hangs, deaths and errors harm no other call."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from nas.errors import SearchError
from nas.executors import Done, Failed, Here, Processes


def work(shared: int, item: Any) -> Any:
    """Does what the item says."""
    if item == "hang":
        time.sleep(600)
    if item == "die":
        os._exit(7)
    if item == "raise":
        raise ValueError("no good\nat all")
    if item == "threads":
        return os.environ["OMP_NUM_THREADS"]
    return shared + item


def test_processes_give_what_this_process_gives():
    items = [1, 2, "raise", 3]
    expected = dict(Here(work, 10).run(items))
    assert expected[0] == Done(11)
    assert expected[2] == Failed("error", "ValueError: no good")
    before = dict(os.environ)
    with Processes(work, 10, workers=2) as pool:
        assert dict(pool.run(items)) == expected
        assert dict(pool.run(["threads", 5])) == {0: Done("1"), 1: Done(15)}
        assert dict(pool.run([])) == {}
    assert dict(os.environ) == before


def test_a_call_that_hangs_or_dies_is_ended_alone():
    start = time.monotonic()
    with Processes(work, 10, workers=2, seconds=1.0) as pool:
        found = dict(pool.run(["hang", 1, "die", 2, 3]))
    assert time.monotonic() - start < 60
    assert found[0] == Failed("timeout", "it was ended after 1 seconds.")
    assert isinstance(found[2], Failed)
    assert found[2].kind == "died"
    assert "code 7" in found[2].message
    assert [found[i] for i in (1, 3, 4)] == [Done(11), Done(12), Done(13)]


def test_what_cannot_be_sent_is_refused_with_the_way_out():
    with pytest.raises(SearchError, match="define operations in a module"):
        Processes(work, lambda: 0, workers=2)
    with pytest.raises(SearchError, match="workers >= 1"):
        Processes(work, workers=0)
    with pytest.raises(SearchError, match="seconds > 0"):
        Processes(work, workers=1, seconds=0)
