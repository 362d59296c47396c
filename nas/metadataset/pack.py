"""Packs: a history in one Parquet file, to be passed on. Writing one, and reading one that a stranger wrote.

Belongs here: the file format and its limits. Does not belong here: what a history does with the content (``store``).
A pack is a table of the columns of ``rows`` and two more: ``kind`` ("dataset", "search" or "record") and ``info`` (JSON
of a dataset or a search). Reading it executes nothing, allocates no more than the limits below, and checks every field.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.errors import HistoryError
from nas.metadataset.rows import COLUMNS, Row, dumps, loads, record_of
from nas.record import SCHEMA_VERSION, DatasetInfo, SearchInfo

FORMAT = "nas-history-pack"
VERSION = 1
REVEALS = (
    "Of each dataset: its name as given, fingerprint, sizes and meta-features. Of each search: its space, protocol and "
    "seed. Of each training: architecture, settings, scores, learning curve and cost. No raw data, no messages."
)
MAX_ROWS = 2_000_000
MAX_COLUMN = 64 * 2**20  # bytes of one column as encoded, that is with repeated texts counted once
MAX_TOTAL = 2**30  # bytes of all columns with repeated texts counted each time

_KINDS = ("dataset", "search", "record")
_ALL: Mapping[str, type] = {"kind": str, "info": str, **COLUMNS}
_KEY = b"nas.pack"


@dataclass(frozen=True)
class Content:
    """What a pack holds, every field checked; ``architectures`` are those of the rows by their JSON."""

    datasets: list[DatasetInfo]
    searches: list[SearchInfo]
    rows: list[Row]
    architectures: dict[str, Architecture]


def write(path: Path, datasets: Sequence[DatasetInfo], searches: Sequence[SearchInfo], rows: Sequence[Row]) -> Path:
    """Writes a pack and returns its path; the file appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines: list[Row] = [{"kind": "dataset", "info": dumps(info.to_dict())} for info in datasets]
    lines += [{"kind": "search", "info": dumps(info.to_dict())} for info in searches]
    lines += [row | {"kind": "record", "message": ""} for row in rows]
    head = {"format": FORMAT, "version": VERSION, "schema": SCHEMA_VERSION, "reveals": REVEALS}
    head["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    table = pa.table({name: pa.array([line.get(name) for line in lines], _type(name)) for name in _ALL})
    table = table.replace_schema_metadata({_KEY: dumps(head).encode()})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, temporary, compression="zstd", compression_level=9)
        os.replace(temporary, path)
    except (OSError, pa.ArrowException) as error:
        with suppress(OSError):
            temporary.unlink()
        raise HistoryError(f"The pack {path} cannot be written: {_first_line(error)}.") from error
    return path


def read(path: Path) -> Content:
    """Returns the content of a pack; HistoryError, one sentence, where it is none or any field of it is unsound."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise HistoryError(f"There is no pack at {path}; check the path.")
    texts = [name for name, kind in _ALL.items() if kind is str]
    try:
        with pq.ParquetFile(path) as file:
            _check_head(path, file.schema_arrow.metadata or {})
            _check_shape(path, file)
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            columns = _columns(path, file.read(columns=list(_ALL), use_threads=False))
    except HistoryError:
        raise
    except Exception as error:  # pyarrow answers garbage with a dozen kinds, KeyError and MemoryError among them
        raise HistoryError(f"{path} is not a pack of this library, or is cut short: {_first_line(error)}.") from error
    return _content(path, columns)


def _content(path: Path, columns: Mapping[str, list[Any]]) -> Content:
    content = Content([], [], [], {})
    for number, values in enumerate(zip(*columns.values(), strict=True)):
        row = dict(zip(columns, values, strict=True))
        kind, info = row.pop("kind"), row.pop("info")
        try:
            if kind == "dataset":
                content.datasets.append(DatasetInfo.from_dict(loads(_text(info))))
            elif kind == "search":
                content.searches.append(SearchInfo.from_dict(loads(_text(info))))
            elif kind == "record":
                record_of(row, content.architectures)
                content.rows.append(row)
            else:
                raise HistoryError(f"kind must be one of {', '.join(_KINDS)}, but got {str(kind)[:80]!r}.")
        except HistoryError as error:
            raise HistoryError(f"Row {number} of the pack {path} is unsound: {error}") from error
    return content


def _check_head(path: Path, metadata: Mapping[bytes, bytes]) -> None:
    if _KEY not in metadata:
        raise HistoryError(f"{path} is a Parquet file but not a pack of this library.")
    head = loads(metadata[_KEY].decode(errors="replace"))
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise HistoryError(f"{path} is not a pack of this library: its format is not {FORMAT!r}.")
    for name, ours in (("version", VERSION), ("schema", SCHEMA_VERSION)):
        theirs = head.get(name)
        if type(theirs) is not int or theirs < 1:
            raise HistoryError(f"The pack {path} has no {name}; it is damaged.")
        if theirs > ours:
            raise HistoryError(
                f"The pack {path} has {name} {theirs}, but this library reads {ours}; upgrade the library to read it."
            )


def _check_shape(path: Path, file: Any) -> None:
    """Refuses other columns than ours, and sizes beyond the limits, before anything is decoded."""
    expected = {name: _type(name) for name in _ALL}
    found = {field.name: getattr(field.type, "value_type", field.type) for field in file.schema_arrow}
    if len(file.schema_arrow) != len(found) or found != expected:
        raise HistoryError(f"The pack {path} does not have the columns of a pack; it was made by something else.")
    if file.metadata.num_rows > MAX_ROWS:
        raise HistoryError(f"The pack {path} has {file.metadata.num_rows} rows, but at most {MAX_ROWS} are read.")
    sizes = dict.fromkeys(_ALL, 0)
    for group in range(file.metadata.num_row_groups):
        for index in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(index)
            sizes[column.path_in_schema] += column.total_uncompressed_size
    for name, size in sizes.items():
        if size > MAX_COLUMN:
            raise HistoryError(
                f"The column {name} of the pack {path} has {size} bytes, but at most {MAX_COLUMN} are read."
            )


def _columns(path: Path, table: Any) -> dict[str, list[Any]]:
    """Returns each column as a list whose equal texts are one object, so that repetition costs no memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns, total = {}, 0
    for name in _ALL:
        values = table.column(name).unify_dictionaries().combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
        if pa.types.is_dictionary(values.type):
            lengths = pc.binary_length(values.dictionary).take(values.indices)
            total += pc.sum(lengths).as_py() or 0
            if total > MAX_TOTAL:
                raise HistoryError(f"The texts of the pack {path} exceed {MAX_TOTAL} bytes; split it.")
            texts = values.dictionary.to_pylist()
            columns[name] = [None if index is None else texts[index] for index in values.indices.to_pylist()]
        else:
            columns[name] = values.to_pylist()
    return columns


def _type(name: str) -> Any:
    import pyarrow as pa

    return {str: pa.string(), int: pa.int64(), float: pa.float64()}[_ALL[name]]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise HistoryError("info must be a text.")
    return value


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
