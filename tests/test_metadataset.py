"""The history: promises of every store, files that are something else, faults, many writers, packs."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conformance_store import StoreConformance, chain, dataset, fill, record, search_info
from hypothesis import given, settings
from hypothesis import strategies as st
from store_processes import WRITER, kill_9, python, sound

from nas.errors import HistoryError
from nas.metadataset import Merged, MetaDataset, pack, shipped, sql
from nas.metadataset.distance import distances
from nas.metadataset.pack import reveals
from nas.record import SCHEMA_VERSION


class TestStore(StoreConformance):
    @pytest.fixture(params=["history.db", ":memory:"])
    def store(self, request, tmp_path):
        with MetaDataset.open(tmp_path / "history.db" if request.param == "history.db" else request.param) as store:
            yield store


# --- places -----------------------------------------------------------------------------------------------------------


def test_a_history_is_there_again(tmp_path):
    path = tmp_path / "deep" / "er" / "my history?#%.db"
    with MetaDataset.open(path) as store:
        made = fill(store)
    for source in (path, str(path), f"sqlite:///{path}"):
        with MetaDataset.open(source, read_only=True) as store:
            assert store.records() == made
            assert store.place == str(path)
            assert store.notice == ""


def test_the_default_is_the_users_own(tmp_path, monkeypatch):
    with MetaDataset.open() as store:
        assert store.place == os.environ["NAS_HISTORY"]
    monkeypatch.setenv("NAS_HISTORY", ":memory:")
    with MetaDataset.open() as store:
        assert store.place == ":memory:"
    monkeypatch.delenv("NAS_HISTORY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if sys.platform == "linux":
        with MetaDataset.open() as store:
            assert store.place == str(tmp_path / "data" / "nas" / "history.db")


def test_a_default_that_cannot_be_written_is_stood_in_for(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAS_HISTORY", str(tmp_path / "file" / "history.db"))
    with MetaDataset.open() as store:
        made = fill(store)
        assert "cannot be written" in store.notice
        assert store.place in store.notice
        assert store.records() == made
    shutil.rmtree(Path(store.place).parent)


def test_what_the_default_held_stays_readable(tmp_path, monkeypatch):
    from nas.metadataset import place

    with MetaDataset.open() as store:
        made = fill(store)
        monkeypatch.setattr(place, "_is_writable", lambda path: False)  # root may write anywhere
        with MetaDataset.open() as stand_in:
            assert stand_in.place != store.place
            assert stand_in.records() == made
            stand_in.append([record(77, "s0", "d0")])
        assert len(store) == len(made)
    shutil.rmtree(Path(stand_in.place).parent)


def test_read_only_needs_something_to_read(tmp_path):
    with pytest.raises(HistoryError, match="There is no history at"):
        MetaDataset.open(tmp_path / "none.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_read_only_is_not_written_to(tmp_path):
    path = tmp_path / "history.db"
    with MetaDataset.open(path) as store:
        fill(store)
    before = path.read_bytes()
    with MetaDataset.open(path, read_only=True) as store:
        for write in (
            lambda: store.append([record(9, "s0", "d0")]),
            lambda: store.add_dataset(dataset("new")),
            lambda: store.add_search(search_info("new", "d0")),
            lambda: store.forget("s0"),
        ):
            with pytest.raises(HistoryError, match="read only"):
                write()
    assert path.read_bytes() == before


def test_importing_loads_no_database():
    code = "import sys, nas.metadataset; print([m for m in ('sqlalchemy', 'pyarrow', 'torch') if m in sys.modules])"
    assert python(code).communicate()[0] == "[]\n"


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


# --- what is not a history --------------------------------------------------------------------------------------------


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE mine (a)")
        connection.commit()


STRANGERS = {
    "text": lambda path: path.write_text("dear diary\n" * 100),
    "short": lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(20)),
    "database": other_database,
    "zeros": lambda path: path.write_bytes(bytes(8192)),
}


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_history_is_left_alone(tmp_path, kind, read_only):
    path = tmp_path / "mine.db"
    STRANGERS[kind](path)
    before, files = path.read_bytes(), sorted(tmp_path.iterdir())
    with pytest.raises(HistoryError, match=r"^\S+mine.db is not a history of this library; it was left as it is"):
        MetaDataset.open(path, read_only=read_only)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == files


def test_a_folder_is_no_history(tmp_path):
    with pytest.raises(HistoryError, match="is a folder"):
        MetaDataset.open(tmp_path)


def test_an_empty_file_can_become_one(tmp_path):
    path = tmp_path / "new.db"
    path.touch()
    with MetaDataset.open(path) as store:
        assert len(fill(store)) == len(store)


@pytest.mark.parametrize("source", ["", "nosuch://here", "postgresql://[", "postgresql+nosuch://x/y"])
def test_addresses_that_lead_nowhere(source):
    with pytest.raises(HistoryError, match=r"^[^\n]+$"):
        MetaDataset.open(source)


def test_newer_versions_are_refused(tmp_path):
    path = tmp_path / "history.db"
    with MetaDataset.open(path) as store:
        fill(store)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE nas_meta SET value = '{SCHEMA_VERSION + 1}' WHERE name = 'schema_version'")
        connection.commit()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(HistoryError, match="upgrade the library"):
            MetaDataset.open(path, read_only=read_only)
    assert path.read_bytes() == before


def test_truncated_and_damaged_files_are_one_sentence(tmp_path):
    whole = tmp_path / "whole.db"
    with MetaDataset.open(whole) as store:
        fill(store, 3, 40)
    content, rng = whole.read_bytes(), random.Random(0)
    damaged = [content[: int(len(content) * share)] for share in (0.001, 0.02, 0.3, 0.7, 0.999)]
    for _ in range(40):
        start = rng.randrange(100, len(content) - 300)
        damaged.append(content[:start] + rng.randbytes(300) + content[start + 300 :])
    errors = 0
    for i, data in enumerate(damaged):
        path = tmp_path / f"damaged{i}.db"
        path.write_bytes(data)
        try:
            with MetaDataset.open(path) as store:
                assert all(r.outcome and r.settings and r.choices for past in store.past() for r in past.records)
                store.snapshot()
                store.records()
        except HistoryError as error:
            errors += 1
            message = str(error)
            assert len(message.splitlines()) == 1, message
    assert errors > 5


def test_a_record_someone_tampered_with_is_named(tmp_path):
    path = tmp_path / "history.db"
    with MetaDataset.open(path) as store:
        fill(store)
        for column, value in {"architecture": "{}", "outcome": "[1", "score": "abc", "epochs": 0}.items():
            with closing(sqlite3.connect(path)) as connection:
                (old,) = connection.execute(f"SELECT {column} FROM nas_records WHERE id = 3").fetchone()
                connection.execute(f"UPDATE nas_records SET {column} = ? WHERE id = 3", [value])
                connection.commit()
                with pytest.raises(HistoryError, match="record of search 's0', number 2 cannot be read"):
                    store.records()
                connection.execute(f"UPDATE nas_records SET {column} = ? WHERE id = 3", [old])
                connection.commit()
        assert len(store.records()) == 15


# --- faults and many writers ------------------------------------------------------------------------------------------


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
        release = threading.Timer(1.5, lambda: other.execute("COMMIT"))
        release.start()
        began = time.monotonic()
        assert store.records() == []  # readers do not wait
        assert time.monotonic() - began < 1
        assert store.append([record()]) == 1
        assert time.monotonic() - began > 1
        release.join()


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


FILLER = """
import resource, sys
from conformance_store import dataset, record
from nas.errors import HistoryError
from nas.metadataset import MetaDataset
with MetaDataset.open(sys.argv[1]) as store:
    store.add_dataset(dataset())
    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    kept = 0
    try:
        while kept < 100_000:
            store.append([record(kept)])
            kept += 1
    except HistoryError as error:
        print(kept)
        print(error)
"""


def check_full(path: Path, *arguments: object) -> None:
    out, err = python(FILLER, path, *arguments).communicate()
    assert err == ""
    kept, message = out.splitlines()
    assert "cannot be written" in message
    assert "intact" in message
    assert int(kept) > 10
    with MetaDataset.open(path, read_only=True) as store:
        assert [row.number for row in store.records()] == list(range(int(kept)))


def test_a_limit_on_file_size_is_one_sentence(tmp_path):
    check_full(tmp_path / "history.db", 400_000)
    assert sound(tmp_path / "history.db")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte; skipped where mounting is not permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "nas", disk]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_one_sentence(small_disk):
    check_full(small_disk / "history.db")


def test_a_disk_that_became_read_only_is_still_learned_from(small_disk, monkeypatch):
    path = small_disk / "history.db"
    with MetaDataset.open(path) as store:
        made = fill(store)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with MetaDataset.open(path, read_only=True) as store:
        assert store.records() == made
    with pytest.raises(HistoryError, match="cannot be written"):
        MetaDataset.open(path)
    monkeypatch.setenv("NAS_HISTORY", str(path))
    with MetaDataset.open() as store:
        assert store.records() == made
        store.append([record(50, "s0", "d0")])
        assert f"{path} cannot be written, so" in store.notice
    shutil.rmtree(Path(store.place).parent)


def test_what_is_forgotten_is_gone_from_the_file(tmp_path):
    with MetaDataset.open(tmp_path / "history.db") as store:
        fill(store)
        secret = "patients of ward 7"
        store.add_dataset(dataset(secret))
        store.add_search(search_info("secret search", secret))
        store.append([record(number, "secret search", secret) for number in range(30)])
        store.forget("secret search")
        for file in tmp_path.iterdir():
            assert b"secret search" not in file.read_bytes()
            assert secret.encode() not in file.read_bytes()


def test_what_is_forgotten_while_another_reads_is_said_to_linger(tmp_path, monkeypatch):
    monkeypatch.setattr(sql, "BUSY_SECONDS", 0.1)
    path = tmp_path / "history.db"
    with MetaDataset.open(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        fill(store)
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM nas_records").fetchone() == (15,)
        assert not store.forget("s0").erased
        assert len(store) == 10
        other.execute("COMMIT")
        assert store.forget("s1").erased


# --- distances --------------------------------------------------------------------------------------------------------


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


# --- packs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path):
    with MetaDataset.open(tmp_path / "history.db") as store:
        fill(store, 3, 20)
        store.append([record(50, "s0", "d0", score=None), record(0, "s0", "d0", purpose="confirm")])
        path = store.export_pack(tmp_path / "pack.parquet")
        yield store, path


def test_a_pack_holds_what_the_history_holds(packed):
    store, path = packed
    with MetaDataset.from_pack(path) as pack, MetaDataset.open(path) as opened:
        assert pack.read_only
        assert pack.snapshot().digest == opened.snapshot().digest == store.snapshot().digest
        assert pack.datasets() == store.datasets()
        assert pack.searches() == store.searches()
        assert [r.to_dict() | {"outcome": 0} for p in pack.past() for r in p.records] == [
            r.to_dict() | {"outcome": 0} for p in store.past() for r in p.records
        ]
        assert {r.outcome.message for r in pack.records()} == {""}
        with pytest.raises(HistoryError, match="read only"):
            pack.append([record(60, "s0", "d0")])


def test_importing_a_pack_twice_adds_nothing(packed, tmp_path):
    store, path = packed
    assert store.import_pack(path) == Merged()
    with MetaDataset.open(tmp_path / "other.db") as other:
        assert other.import_pack(path) == Merged(3, 3, 62)
        assert other.import_pack(path) == Merged()
        assert other.snapshot().digest == store.snapshot().digest


def test_a_pack_says_what_it_reveals(packed):
    import pyarrow.parquet as pq

    head = pq.read_schema(packed[1]).metadata[b"nas.pack"].decode()
    assert reveals() in head
    assert "the loss became NaN" not in packed[1].read_bytes().decode("latin1")


def test_an_empty_history_makes_a_pack(tmp_path):
    with MetaDataset.open(":memory:") as store:
        path = store.export_pack(tmp_path / "empty.parquet")
        with MetaDataset.from_pack(path) as pack:
            assert pack.snapshot() == store.snapshot()


def test_a_pack_cannot_be_written_nowhere(tmp_path):
    with MetaDataset.open(":memory:") as store, pytest.raises(HistoryError, match="cannot be written"):
        store.export_pack(tmp_path / "no" / "such" / "pack.parquet")


def reason(path: Path) -> str:
    """Returns why a file is refused as a pack, in one sentence; empty where it is not refused."""
    try:
        MetaDataset.from_pack(path).close()
    except HistoryError as error:
        message = str(error)
        return message if message and len(message.splitlines()) == 1 and len(message) < 1500 else f"too long: {message}"
    return ""


def test_damaged_packs_are_one_sentence(packed, tmp_path):
    content, rng, refused = packed[1].read_bytes(), random.Random(0), 0
    damaged = [content[: int(len(content) * share)] for share in (0, 0.01, 0.5, 0.99)]
    for _ in range(100):
        start, size = rng.randrange(4, len(content) - 20), rng.choice([1, 4, 16])
        damaged.append(content[:start] + rng.randbytes(size) + content[start + size :])
    path = tmp_path / "damaged.parquet"
    for i, data in enumerate(damaged):
        path.write_bytes(data)
        complaint = reason(path)
        assert not complaint.startswith("too long"), complaint
        assert complaint or i > 3
        refused += bool(complaint)
    assert refused > 20
    path.write_text("not a pack")
    assert "is not a pack" in reason(path)
    assert "There is no pack" in reason(tmp_path / "none.parquet")


def rewritten(source: Path, target: Path, *, head: dict | None = None, **columns: object) -> Path:
    """Writes a pack with other metadata, or with other values in the first row of a column, and returns its path."""
    import json

    import pyarrow.parquet as pq

    table = pq.read_table(source)
    line = table["kind"].to_pylist().index("record")
    for name, value in columns.items():
        values = table[name].to_pylist()
        values[line] = value
        table = table.set_column(table.column_names.index(name), table.schema.field(name), [values])
    metadata = json.loads(table.schema.metadata[b"nas.pack"]) | (head or {})
    pq.write_table(table.replace_schema_metadata({b"nas.pack": json.dumps(metadata)}), target)
    return target


def test_packs_by_strangers_are_checked_field_by_field(packed, tmp_path):
    source, target = packed[1], tmp_path / "strange.parquet"
    assert reason(rewritten(source, target)) == ""
    assert "version 2, but this library reads 1; upgrade" in reason(rewritten(source, target, head={"version": 2}))
    assert "schema 9, but this library" in reason(rewritten(source, target, head={"schema": 9}))
    assert "format is not" in reason(rewritten(source, target, head={"format": "x"}))
    for columns in (
        {"architecture": "{}"},
        {"architecture": '{"version":1,"nodes":[{"op":"output"}],"edges":[[0,0,1]]}'},
        {"architecture": "[" * 100_000},
        {"choices": '{"a": NaN}'},
        {"settings": '{"a": []}'},
        {"outcome": "{}"},
        {"score": float("nan")},
        {"score": None},
        {"status": "great"},
        {"epochs": 0},
        {"number": -1},
        {"seed": None},
        {"created": "now"},
        {"kind": "virus"},
        {"kind": "dataset"},
        {"kind": None},
        {"dataset": "of nobody"},
    ):
        assert reason(rewritten(source, target, **columns)), columns


def test_networks_in_packs_by_strangers(packed, tmp_path):
    """What could not be an architecture is refused; what is merely unknown or huge is data until it is built."""
    from nas.architecture import Architecture
    from nas.errors import ArchitectureError
    from nas.model import Signature, build

    source, target = packed[1], tmp_path / "strange.parquet"
    ends = '{"op":"input","parameters":{"name":"x"}},%s,{"op":"output"}'
    text = '{"version":1,"nodes":[' + ends + '],"edges":[[0,1,1],%s[1,2,1]]}'
    assert "cycle" in reason(rewritten(source, target, architecture=text % ('{"op":"relu"}', "[1,1,1],")))
    many = ",".join(['{"op":"relu"}'] * 1_000_000)
    assert "at most" in reason(rewritten(source, target, architecture=text % (many, "")))
    for node, words in (
        ('{"op":"liner"}', "did you mean 'linear'"),
        ('{"op":"../../etc/passwd"}', "is not known"),
        ('{"op":"linear","parameters":{"width":1000000000000}}', "width <= 1000000"),
    ):
        assert reason(rewritten(source, target, architecture=text % (node, ""))) == ""
        with MetaDataset.from_pack(target) as store:
            kept = next(
                r.architecture for r in store.records() if r.architecture == Architecture.from_json(text % (node, ""))
            )
        with pytest.raises(ArchitectureError, match=words):
            build(kept, Signature({"x": (3,)}, 2))
    before = sorted(each.name for each in tmp_path.rglob("*"))
    pack = rewritten(source, target, search="../../../outside", dataset=None)
    assert reason(pack)
    assert reason(rewritten(source, target, search="../../../outside")) == ""  # a name: no file is called so
    assert sorted(each.name for each in tmp_path.rglob("*")) == before


def test_packs_of_another_shape_are_refused(packed, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    assert "not a pack" in reason(path)
    table = pq.read_table(packed[1])
    floats = table.set_column(table.column_names.index("seed"), "seed", table["seed"].cast("float64"))
    for odd in (table.drop_columns(["seed"]), table.append_column("more", table["seed"]), floats):
        pq.write_table(odd, path)
        assert "columns of a pack" in reason(path)


def test_bombs_are_refused_before_they_are_decoded(packed, tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, table = tmp_path / "bomb.parquet", pq.read_table(packed[1])
    schema = table.schema
    lines = 250_001
    arrays = [pa.nulls(lines, field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)
    assert "at most 250000" in reason(path)
    text = "x" * (5 * 2**20)
    arrays = [pa.array([text if field.name == "info" else None], field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with monkeypatch.context() as patched:
        patched.setattr(pack, "MAX_ENCODED", 2**22)
        assert "at most 4194304" in reason(path)
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 2**20]))
    arrays = [values if field.name == "info" else pa.nulls(3000, field.type) for field in schema]
    odd = pa.Table.from_arrays(arrays, names=schema.names).replace_schema_metadata(schema.metadata)
    pq.write_table(odd, path, compression="zstd")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "exceed" in reason(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB; decoded it would be 3 GB


def test_sixty_datasets_fit_in_a_megabyte(tmp_path):
    rng = random.Random(0)
    with MetaDataset.open(":memory:") as store:
        for i in range(60):
            store.add_dataset(dataset(f"d{i}", **{f"m{j}": rng.random() for j in range(30)}))
            store.add_search(search_info(f"s{i}", f"d{i}"))
            rows = [record(number, f"s{i}", f"d{i}", score=-rng.random()) for number in range(36)]
            widths = [[rng.randrange(16, 257) for _ in range(rng.randrange(1, 7))] for _ in rows]
            store.append(
                record(row.number, row.search, f"d{i}", row.score, architecture=chain(*each))
                for row, each in zip(rows, widths, strict=True)
            )
        path = store.export_pack(tmp_path / "pack.parquet")
        assert path.stat().st_size < 1_000_000
        began = time.process_time()
        with MetaDataset.from_pack(path) as pack:
            spent = time.process_time() - began
            assert pack.snapshot().digest == store.snapshot().digest
        assert spent < 5, spent  # about 0.5 s; loose, for slow machines


def test_the_shipped_history_opens():
    with shipped() as store:
        assert store.read_only
        assert len(store) == sum(len(past.records) for past in store.past())
