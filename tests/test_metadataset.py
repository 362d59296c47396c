"""The history: promises of every store, where one lies, files that are something else, what is forgotten."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conformance_store import StoreConformance, dataset, fill, record, search_info
from store_processes import python

from nas.errors import HistoryError
from nas.metadataset import MetaDataset, shipped, sql
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


def test_the_shipped_history_opens():
    with shipped() as store:
        assert store.read_only
        assert len(store) == sum(len(past.records) for past in store.past())


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


def test_a_dataset_that_cannot_be_read_is_what_is_said(tmp_path):
    with MetaDataset.open(tmp_path / "h.db") as history:
        fill(history)
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection, connection:
        connection.execute("update nas_datasets set info = '{}'")
    with MetaDataset.open(tmp_path / "h.db") as history:
        for reading in (history.datasets, history.past):
            with pytest.raises(HistoryError, match="lacks the field"):
                reading()


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


# --- what is forgotten ------------------------------------------------------------------------------------------------


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
