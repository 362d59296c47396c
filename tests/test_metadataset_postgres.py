"""The history in PostgreSQL: the promises of every store, two machines at once, a server that goes away."""

from __future__ import annotations

import pytest
from conformance_store import StoreConformance, dataset, fill, record, search_info
from store_processes import WRITER, postgres, python

from nas.errors import HistoryError
from nas.metadataset import MetaDataset


@pytest.fixture(scope="module")
def server():
    with postgres() as running:
        if running is None:
            pytest.skip("PostgreSQL or psycopg is not installed here")
        yield running


@pytest.fixture
def place(server):
    """The address of an empty database."""
    from nas.metadataset import sql

    with MetaDataset.open(server.url) as store:
        sql.METADATA.drop_all(store._engine)
    return server.url


class TestPostgres(StoreConformance):
    @pytest.fixture
    def store(self, place):
        with MetaDataset.open(place) as store:
            yield store


def test_two_machines_write_at_once(place):
    writers = [python(WRITER, place, f"machine {i}", 150) for i in range(2)]
    ended = [writer.communicate() for writer in writers]
    assert [error for _, error in ended] == ["", ""]
    with MetaDataset.open(place, read_only=True) as store:
        places = [(row.search, row.number) for row in store.records()]
        assert sorted(places) == [(f"machine {i}", number) for i in range(2) for number in range(150)]
        assert len({search for search, _ in places[:200]}) == 2  # they did take turns
        for i in range(2):
            own = [number for search, number in places if search == f"machine {i}"]
            assert own == sorted(own)


def test_a_server_that_was_killed_lost_nothing_it_acknowledged(place, server):
    with MetaDataset.open(place) as store:
        made = fill(store)
        server.kill()
        try:
            with pytest.raises(HistoryError, match=r"^[^\n]+$"):
                store.append([record(9, "s0", "d0")])
            with pytest.raises(HistoryError, match=r"^[^\n]+$"):
                MetaDataset.open(place)
        finally:
            server.start()
        assert store.append([record(9, "s0", "d0")]) == 1  # the same object goes on
        assert store.records() == [*made, record(9, "s0", "d0")]


def test_what_a_killed_writer_told_is_there(place):
    writer = python(WRITER, place, "s", 10**6)
    told = [int(writer.stdout.readline()) for _ in range(20)]
    writer.kill()
    told += [int(line) for line in writer.communicate()[0].splitlines() if line.strip()]
    with MetaDataset.open(place) as store:
        kept = [row.number for row in store.records()]
        assert kept == list(range(len(kept)))
        assert len(kept) - 1 in (told[-1], told[-1] + 1)
        assert store.append([record(10**6)]) == 1  # its lock is gone with it


def test_an_older_version_is_upgraded_in_place_and_a_newer_one_refused(place):
    from nas.metadataset import sql
    from nas.record import SCHEMA_VERSION

    with MetaDataset.open(place) as store:
        store.add_dataset(dataset())
        store.add_search(search_info())
        version = sql.sa.update(sql.META).where(sql.META.c.name == "schema_version")
        with store._engine.begin() as connection:
            connection.execute(version.values(value="1"))
    with MetaDataset.open(place, read_only=True) as store:
        assert (store.notice, len(store.searches())) == ("", 1)
    with MetaDataset.open(place) as store:
        assert f"upgraded from schema version 1 to {SCHEMA_VERSION}" in store.notice
        assert "nas@" in store.place
        with store._engine.begin() as connection:
            connection.execute(version.values(value="99"))
        with pytest.raises(HistoryError, match="upgrade the library"):
            MetaDataset.open(place)
        with store._engine.begin() as connection:
            connection.execute(version.values(value=str(SCHEMA_VERSION)))


def test_a_file_and_a_server_are_merged(place, tmp_path):
    with MetaDataset.open(place) as store, MetaDataset.open(tmp_path / "mine.db") as mine:
        fill(mine)
        assert store.merge(mine).records == 15
        assert mine.merge(store).records == 0
        assert store.snapshot().digest == mine.snapshot().digest
        assert store.past() == mine.past()
