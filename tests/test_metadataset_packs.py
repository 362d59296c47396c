"""Packs: what they hold and reveal, what is refused of damaged ones and of those that strangers wrote."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import pytest
from conformance_store import chain, dataset, fill, record, search_info

from nas.errors import HistoryError
from nas.metadataset import Merged, MetaDataset, pack
from nas.metadataset.pack import reveals


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
