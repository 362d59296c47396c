"""Packs by strangers: whatever a file holds, it is read, or refused in one sentence; nothing crashes, hangs or runs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conformance_store import fill, record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_processes import python
from watching import edited, edits, one_sentence, watch

from nas.errors import HistoryError
from nas.metadataset import MetaDataset

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = int(os.environ.get("NAS_FUZZ_EXAMPLES", "60"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def sound(folder: Path) -> tuple[bytes, pa.Table]:
    """Returns the bytes of a sound pack, and its table."""
    import pyarrow.parquet as pq

    path = folder / "pack.parquet"
    with MetaDataset.open(":memory:") as store:
        fill(store, 2, 4)
        store.append([record(9, "s0", "d0", score=None)])
        store.export_pack(path)
    with MetaDataset.from_pack(path) as store:  # everything is imported now
        store.past()
    return path.read_bytes(), pq.read_table(path)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return sound(tmp_path_factory.mktemp("fuzz"))


def check(content: bytes) -> None:
    """Reads a pack of these bytes and checks what happens."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "strange.parquet"
        path.write_bytes(content)
        message = watch(lambda: read(path))
        assert message is None or one_sentence(message), message
        assert [each.name for each in Path(folder).iterdir()] == ["strange.parquet"]


def read(path: Path) -> str | None:
    """Reads all of a pack; returns the sentence by which it was refused, if it was."""
    try:
        with MetaDataset.from_pack(path) as store:
            for past in store.past():
                assert all(r.outcome and r.architecture and r.choices is not None for r in past.records)
    except HistoryError as error:
        return str(error)
    return None


@FUZZ
@given(edits)
def test_bytes_of_a_pack_changed_at_random(pack, changes):
    check(edited(pack[0], changes))


deep = st.sampled_from(
    ["[" * 50_000, '{"a":' * 5_000, "{" * 9, '{"version":1,"nodes":[],"edges":[]}', "9" * 5_000, "1e999"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
texts = st.none() | st.text(max_size=60) | deep | values.map(json.dumps)
numbers = st.none() | st.integers(-(2**63), 2**63 - 1)
floats = st.none() | st.floats()


@st.composite
def mutated_json(draw, text: str) -> str:
    """A JSON text of ours with one value replaced, removed or added somewhere inside."""
    content = json.loads(text)
    inner = content
    while isinstance(inner, dict | list) and inner:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()) or not isinstance(inner[key], dict | list) or not inner[key]:
            action = draw(st.sampled_from(["replace", "remove", "add"]))
            if action == "replace":
                inner[key] = draw(values)
            elif action == "remove":
                del inner[key]
            elif isinstance(inner, dict):
                inner[draw(st.text(max_size=8) | st.sampled_from(["op", "__class__", "version"]))] = draw(values)
            break
        inner = inner[key]
    return json.dumps(content)


@FUZZ
@given(st.data())
def test_fields_of_a_pack_changed_at_random(pack, data):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pack[1]
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, table.num_columns - 1))
        field, column = table.schema.field(index), table.column(index).to_pylist()
        row = data.draw(st.integers(0, len(column) - 1))
        strategy = {"string": texts, "int64": numbers, "double": floats}[str(field.type)]
        if isinstance(column[row], str) and column[row].startswith("{") and data.draw(st.booleans()):
            strategy = mutated_json(column[row])
        column[row] = data.draw(strategy)
        table = table.set_column(index, field, pa.array(column, field.type))
    head = json.loads(table.schema.metadata[b"nas.pack"])
    if data.draw(st.integers(0, 4)) == 0:
        head[data.draw(st.sampled_from([*head, "more"]))] = data.draw(values)
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata({b"nas.pack": json.dumps(head)}),
        buffer,
        compression=data.draw(st.sampled_from(["none", "snappy", "gzip", "zstd"])),
        use_dictionary=data.draw(st.booleans()),
        data_page_version=data.draw(st.sampled_from(["1.0", "2.0"])),
        row_group_size=data.draw(st.sampled_from([1, 3, 100])),
    )
    check(buffer.getvalue().to_pybytes())


def varint(value: int, length: int = 0) -> bytes:
    """A number as Thrift writes it, zigzag, in at least so many bytes."""
    value, out = value << 1, []
    while value > 127 or len(out) < length - 1:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


READER = """
import sys
from nas.errors import HistoryError
from nas.metadataset import MetaDataset, pack
pack.MAX_ENCODED = 2**20
try:
    MetaDataset.from_pack(sys.argv[1])
except HistoryError as error:
    print(error)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured with /proc")
def test_a_bomb_whose_footer_lies_is_refused_before_it_is_decompressed(pack, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, schema = tmp_path / "bomb.parquet", pack[1].schema
    arrays = [pa.array(["x" * 2**26 if field.name == "info" else None], field.type) for field in schema]
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, **options)
    size = pq.read_metadata(path).row_group(0).column(1).total_uncompressed_size
    content = path.read_bytes()
    foot = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    lie = content[foot:].replace(varint(size), varint(100, len(varint(size))))
    path.write_bytes(content[:foot] + lie)
    assert pq.read_metadata(path).row_group(0).column(1).total_uncompressed_size == 100
    out, err = python(READER, path).communicate()
    message, memory = out.splitlines()
    assert err == ""
    assert "bytes, but at most 1048576 are read" in message
    assert int(memory) < 150_000  # kB; with the text it would be 64 MB more, at least


def test_encodings_that_expand_are_refused(pack, tmp_path):
    import pyarrow.parquet as pq

    for encoding in ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"):
        path = tmp_path / f"{encoding}.parquet"
        pq.write_table(pack[1], path, use_dictionary=False, column_encoding={"info": encoding})
        with pytest.raises(HistoryError, match="an encoding that packs do not have"):
            MetaDataset.from_pack(path)


def test_operations_nobody_knows_are_data_until_they_are_built(tmp_path):
    """A pack may hold networks of another library's operations: they are kept, and refused where one is to be built."""
    from nas.architecture import Architecture, Node
    from nas.errors import NasError
    from nas.model import Signature, build

    nodes = (Node("input", parameters=(("name", "numeric"),)), Node("__import__('os').system('true')"), Node("output"))
    strange = Architecture(nodes, ((0, 1, 1), (1, 2, 1)))
    with MetaDataset.open(":memory:") as store:
        fill(store, 1, 1)
        store.append([record(5, "s0", "d0", architecture=strange)])
        path = store.export_pack(tmp_path / "pack.parquet")
    with MetaDataset.from_pack(path) as store:
        kept = store.records()[1].architecture
    assert kept == strange
    with pytest.raises(NasError, match="operation"):
        build(kept, Signature({"numeric": (3,)}, 1))
