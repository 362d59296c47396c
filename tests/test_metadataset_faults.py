"""Faults injected for real: older versions, full and read-only disks, killed imports; each leaves what was there."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from conformance_store import dataset, fill, record
from store_processes import kill_9, python, sound

from nas.errors import HistoryError
from nas.metadataset import MetaDataset
from nas.record import SCHEMA_VERSION


def version_one(path: Path) -> None:
    """Makes a history what version 1 of the schema was: no sketch, no account."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE nas_meta SET value = '1' WHERE name = 'schema_version'")
        connection.execute("UPDATE nas_searches SET info = replace(info, '\"account\":{},', '')")
        connection.commit()


def stored_version(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT value FROM nas_meta WHERE name = 'schema_version'").fetchone()[0]


@pytest.fixture
def older(tmp_path):
    """The path of a history of version 1, its records and its snapshot."""
    path = tmp_path / "history.db"
    with MetaDataset.open(path) as store:
        made, snapshot = fill(store), store.snapshot()
    version_one(path)
    return path, made, snapshot


def test_an_older_history_is_read_as_it_is(older, tmp_path):
    path, made, snapshot = older
    before = path.read_bytes()
    with MetaDataset.open(path, read_only=True) as store:
        assert (store.records(), store.snapshot(), store.notice) == (made, snapshot, "")
        assert [info.account for info in store.searches()] == [{}] * 3
    assert path.read_bytes() == before
    assert stored_version(path) == "1"
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_history_is_upgraded_after_it_was_copied(older):
    path, made, snapshot = older
    path.chmod(0o600)
    copy = path.with_name("history.db.schema1")
    with MetaDataset.open(path) as store:
        assert (
            store.notice == f"{path} was upgraded from schema version 1 to {SCHEMA_VERSION}; {copy} holds it as it was."
        )
        assert (store.records(), store.snapshot()) == (made, snapshot)
        assert store.older_copies() == [copy]
        assert store.append([record(50, "s0", "d0")]) == 1
    assert (stored_version(path), stored_version(copy)) == (str(SCHEMA_VERSION), "1")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sound(path)
    assert sound(copy)
    with MetaDataset.open(copy, read_only=True) as store:
        assert store.records() == made
    with MetaDataset.open(path) as store:
        assert store.notice == ""


def test_two_that_upgrade_at_once_do_it_once(older):
    path, made, _ = older
    code = "import sys; from nas.metadataset import MetaDataset; print(len(MetaDataset.open(sys.argv[1]).records()))"
    both = [python(code, path) for _ in range(2)]
    assert [process.communicate() for process in both] == [(f"{len(made)}\n", "")] * 2
    assert stored_version(path) == str(SCHEMA_VERSION)
    assert sorted(each.name for each in path.parent.glob("*schema*")) == ["history.db.schema1"]


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


def fill_up(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    os.truncate(disk / "ballast", (disk / "ballast").stat().st_size - 100_000)  # room for a log, not for a copy


def test_no_place_for_a_copy_leaves_the_older_history_alone(small_disk):
    path = small_disk / "history.db"
    with MetaDataset.open(path) as store:
        made = fill(store, 3, 100)
    version_one(path)
    fill_up(small_disk)
    with pytest.raises(HistoryError, match=r"is copied before it is upgraded, but \S+ cannot be written"):
        MetaDataset.open(path)
    assert sorted(each.name for each in small_disk.iterdir() if "schema" in each.name) == []
    with MetaDataset.open(path, read_only=True) as store:
        assert store.records() == made
    assert stored_version(path) == "1"
    (small_disk / "ballast").unlink()


def test_a_full_disk_leaves_no_half_pack(small_disk):
    path = small_disk / "pack.parquet"
    with MetaDataset.open(":memory:") as store:
        fill(store, 1, 2)
        store.export_pack(path)
        before = path.read_bytes()
        (small_disk / "ballast").write_bytes(bytes(1_000_000 - len(before)))
        for i in range(20):
            store.add_dataset(dataset(f"d{i}", **{f"m{j}": hash((i, j)) * 1.0 for j in range(300)}))
        with pytest.raises(HistoryError, match="cannot be written"):
            store.export_pack(path)
    assert path.read_bytes() == before
    assert sorted(each.name for each in small_disk.iterdir()) == ["ballast", "pack.parquet"]


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


IMPORTER = """
import sys
from nas.metadataset import MetaDataset
with MetaDataset.open(sys.argv[1]) as store:
    print("begun", flush=True)
    store.import_pack(sys.argv[2])
"""


def test_an_import_that_was_killed_is_done_again(tmp_path):
    pack, path = tmp_path / "pack.parquet", tmp_path / "history.db"
    with MetaDataset.open(":memory:") as store:
        fill(store, 20, 20)
        store.export_pack(pack)
        whole = store.snapshot().digest
    for seconds in (0.2, 0.5):
        process = python(IMPORTER, path, pack)
        process.stdout.readline()
        time.sleep(seconds)
        kill_9(process)
        process.communicate()
        assert sound(path)
    with MetaDataset.open(path) as store:
        store.import_pack(pack)
        assert store.snapshot().digest == whole
        assert store.import_pack(pack).records == 0


@pytest.fixture
def common(monkeypatch):
    """A folder that others may read too, outside of those of pytest: another run makes these private meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="nas-common-"))
    monkeypatch.setenv("NAS_HISTORY", str(folder / "history.db"))
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_an_account_without_rights_learns_and_writes_elsewhere(common):
    """As a user who may read a folder and not write to it; root may write anywhere, so it becomes somebody else."""
    if os.geteuid() == 0 and not all(folder.stat().st_mode & 0o001 for folder in common.parents):
        pytest.skip("folders for a moment are nobody else's here")
    path = common / "history.db"
    with MetaDataset.open(path) as store:
        fill(store)
    code = """
import os, sys
from nas.metadataset import MetaDataset
import nas.metadataset.sql, nas.errors
if os.geteuid() == 0:
    os.seteuid(65534)
with MetaDataset.open() as store:
    print(len(store), store.notice)
try:
    MetaDataset.open(sys.argv[1])
except nas.errors.HistoryError as error:
    print(error)
"""
    path.chmod(0o444)
    common.chmod(0o555)
    out, err = python(code, path).communicate()
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith(f"15 {path} cannot be written, so this history is kept in ")
    assert "cannot be written" in second
    shutil.rmtree(Path(first.split(" is kept in ")[1].split(";")[0]).parent)
    assert os.environ["NAS_HISTORY"] == str(path)


@pytest.mark.parametrize("place", [":memory:", "history.db"])
def test_an_interrupted_statement_costs_its_transaction_alone(tmp_path, monkeypatch, place):
    """A history in memory is still there, and a file is free at once for whoever writes next."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.metadataset.sql.BUSY_SECONDS", 0.1)
    with MetaDataset.open(place) as store:
        made, left = fill(store), 0

        def interrupt(*_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        sa.event.listen(store._engine, "after_cursor_execute", interrupt)
        for statement in range(1, 5):  # begin, whether its dataset is there, what is there, insert
            left = statement
            with pytest.raises(KeyboardInterrupt):
                store.append([record(100, "s0", "d0")])
            store.add_dataset(dataset("d0"))
            assert store.records() == made
