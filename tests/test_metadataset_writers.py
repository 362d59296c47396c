"""Many writers of one history: processes, threads, forks; what was acknowledged is there, whoever is killed."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from conformance_store import dataset, record
from store_processes import WRITER, kill_9, python, sound

from nas.errors import HistoryError
from nas.metadataset import MetaDataset, sql


def test_four_processes_lose_and_double_nothing(tmp_path):
    path, count = tmp_path / "history.db", 500
    writers = [python(WRITER, path, f"s{i}", count) for i in range(4)]
    assert [writer.communicate()[1] for writer in writers] == [""] * 4
    assert sound(path)
    with MetaDataset.open(path) as store:
        places = [(row.search, row.number) for row in store.records()]
    assert len(places) == 4 * count
    assert set(places) == {(f"s{i}", number) for i in range(4) for number in range(count)}


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    path, rng, told = tmp_path / "history.db", random.Random(0), []
    for _ in range(4):
        writer = python(WRITER, path, "s", 10**6)
        first = writer.stdout.readline()
        assert first, writer.communicate()[1]
        told += [int(first)]
        time.sleep(rng.uniform(0, 0.3))
        kill_9(writer)
        told += [int(line) for line in writer.communicate()[0].splitlines() if line.strip()]
        assert sound(path)
        with MetaDataset.open(path) as store:
            kept = [row.number for row in store.records(search="s")]
        assert kept == list(range(len(kept)))
        assert len(kept) - 1 in (told[-1], told[-1] + 1)  # one may have been committed and not yet told
        assert told == sorted(set(told))


def test_a_locked_history_is_waited_for(tmp_path):
    path = tmp_path / "history.db"
    with MetaDataset.open(path) as store, closing(sqlite3.connect(path, check_same_thread=False)) as other:
        store.add_dataset(dataset())
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        assert store.records() == []  # readers do not wait: nobody would let go
        released: list[bool] = []

        def release() -> None:
            released.append(True)
            other.execute("COMMIT")

        timer = threading.Timer(1.0, release)
        timer.start()
        assert store.append([record()]) == 1
        assert released
        timer.join()


def test_a_history_that_stays_locked_says_so(tmp_path, monkeypatch):
    path = tmp_path / "history.db"
    monkeypatch.setattr(sql, "BUSY_SECONDS", 0.1)
    with MetaDataset.open(path) as store, closing(sqlite3.connect(path)) as other:
        store.add_dataset(dataset())
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryError, match="stayed locked by another process"):
            store.append([record()])
        other.rollback()
        assert store.append([record()]) == 1


def test_threads_share_a_history(tmp_path):
    for place in (tmp_path / "history.db", ":memory:"):
        with MetaDataset.open(place) as store:
            store.add_dataset(dataset())
            work = [
                threading.Thread(target=lambda i=i: [store.append([record(n, f"s{i}")]) for n in range(20)])
                for i in range(4)
            ]
            for thread in work:
                thread.start()
            for thread in work:
                thread.join()
            assert store.counts() == {f"s{i}": 20 for i in range(4)}


def test_a_forked_process_has_connections_of_its_own(tmp_path):
    code = """
import os, sys
from conformance_store import fill, record
from nas.metadataset import MetaDataset
with MetaDataset.open(sys.argv[1]) as store:
    fill(store)
    child = os.fork()
    for number in range(100, 150):
        store.append([record(number, "s0" if child else "s1", "d0")])
    if child:
        print(os.waitpid(child, 0)[1], len(store))
    else:
        os._exit(0)
"""
    out, err = python(code, tmp_path / "history.db").communicate()
    assert (out, err) == ("0 115\n", "")
