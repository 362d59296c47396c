"""Packs: a history in one Parquet file, to be passed on. Writing one, and reading one that a stranger wrote.

Belongs here: the file format and its limits. Does not belong here: what a history does with the content (``store``).
A pack is a table of the columns of ``rows`` and two more: ``kind`` ("dataset", "search" or "record") and ``info`` (JSON
of a dataset or a search). Reading it executes nothing, allocates no more than the limits below, and checks every field.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.errors import HistoryError
from nas.metadataset.pages import encoded_size
from nas.metadataset.rows import COLUMNS, Row, dumps, loads, record_of
from nas.record import SCHEMA_VERSION, DatasetInfo, SearchInfo, digest_of

FORMAT = "nas-history-pack"
VERSION = 1
REVEALS = (
    "Of each dataset: its name{}, kind, task, family{}, numbers of rows, columns and classes, meta-features, "
    "fingerprint (who has the very same data can tell){}. Of each search: its name{}, space, protocol, seed, "
    "controller, times. Of each training: architecture, settings, scores, learning curve, cost, device, engine "
    "version, time. No rows, no names of columns, categories or classes, no messages of failures."
)
MAX_ROWS = 250_000  # with the texts below about 150,000 records; reading them takes less than 1 GB
MAX_ENCODED = 2**28  # bytes of all columns as encoded, that is with repeated texts counted once
MAX_TOTAL = 2**28  # bytes of all texts with repeated ones counted each time
BATCH = 4096  # rows decoded at a time
GROUP = 20_000  # rows written at a time

_KINDS = ("dataset", "search", "record")
_ALL: Mapping[str, type] = {"kind": str, "info": str, **COLUMNS}
_REPEATED = _ALL.keys() - {"info", "outcome", "message", "key", "settings"}
_KEY = b"nas.pack"


def reveals(anonymous: bool = False) -> str:
    """Returns what a pack tells of its maker, in words."""
    sketch = ", a sketch of up to 64 rows (who has one of these rows entire can tell)"
    words = (" as a hash", " as a hash", "", " as a hash") if anonymous else ("", "", sketch, "")
    return REVEALS.format(*words)


def write(
    path: Path,
    datasets: Sequence[DatasetInfo],
    searches: Sequence[SearchInfo],
    rows: Iterable[Row],
    anonymous: bool = False,
) -> Path:
    """Writes a pack and returns its path; the file appears whole or not at all, and replaces nothing but a pack."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_target(path)
    if anonymous:
        datasets, searches, rows = _anonymous(datasets, searches, rows)
    lines: Iterator[Row] = chain(
        ({"kind": "dataset", "info": dumps(info.to_dict())} for info in datasets),
        ({"kind": "search", "info": dumps(info.to_dict())} for info in searches),
        (row | {"kind": "record", "message": ""} for row in rows),
    )
    head = {"format": FORMAT, "version": VERSION, "schema": SCHEMA_VERSION, "reveals": reveals(anonymous)}
    head["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    schema = pa.schema([(name, _type(name)) for name in _ALL], {_KEY: dumps(head).encode()})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=9) as writer:
            for group in _limited(path, lines):
                columns = [pa.array([line.get(name) for line in group], _type(name)) for name in _ALL]
                writer.write_table(pa.table(columns, schema=schema))
        os.replace(temporary, path)
    except (OSError, pa.ArrowException) as error:
        raise HistoryError(f"The pack {path} cannot be written: {_first_line(error)}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return path


def _limited(path: Path, lines: Iterator[Row]) -> Iterator[list[Row]]:
    """Yields groups of rows, one at least; HistoryError where there are more than ``read`` accepts."""
    rows = texts = 0
    while (group := list(islice(lines, GROUP))) or not rows:
        rows += len(group)
        texts += sum(len(value) for line in group for value in line.values() if isinstance(value, str))
        if rows > MAX_ROWS or texts > MAX_TOTAL:
            raise HistoryError(
                f"A pack holds at most {MAX_ROWS} rows and {MAX_TOTAL} bytes of text, which is less than what {path} "
                "were to hold; pass on the history itself, to be merged."
            )
        yield group
        if not group:
            return


def read(
    path: Path, architectures: dict[str, Architecture], checked: bool = True
) -> Iterator[DatasetInfo | SearchInfo | Row]:
    """Yields what a pack holds; HistoryError, one sentence, where it is none or any field of it is unsound.

    architectures: takes those of the rows, by their JSON. checked: whether records are checked too; without it only
    their columns are of the right kinds.
    """
    for number, row in enumerate(_lines(path)):
        kind, info = row.pop("kind"), row.pop("info")
        try:
            if kind == "dataset":
                yield DatasetInfo.from_dict(loads(_text(info)))
            elif kind == "search":
                yield SearchInfo.from_dict(loads(_text(info)))
            elif kind == "record":
                if checked:
                    record_of(row, architectures)
                yield row
            else:
                raise HistoryError(f"kind must be one of {', '.join(_KINDS)}, but got {str(kind)[:80]!r}.")
        except HistoryError as error:
            raise HistoryError(f"Row {number} of the pack {path} is unsound: {error}") from error


def _lines(path: Path) -> Iterator[Row]:
    """Yields the rows of a pack, decoded a batch at a time; equal texts are one object."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise HistoryError(f"There is no pack at {path}; check the path.")
    if path.stat().st_size > MAX_ENCODED:
        raise HistoryError(f"The pack {path} has more than {MAX_ENCODED} bytes; split it.")
    texts = [name for name, kind in _ALL.items() if kind is str]
    known: dict[str, str] = {}
    total = 0
    try:
        with pq.ParquetFile(path) as file:
            _check_head(path, file.schema_arrow.metadata or {})
            _check_shape(path, file)
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(BATCH, columns=list(_ALL), use_threads=False):
                total += _decoded_size(batch)
                if total > MAX_TOTAL:
                    raise HistoryError(f"The texts of the pack {path} exceed {MAX_TOTAL} bytes; split it.")
                columns = [_values(batch.column(name), known if name in _REPEATED else {}) for name in _ALL]
                yield from (dict(zip(_ALL, values, strict=True)) for values in zip(*columns, strict=True))
    except HistoryError:
        raise
    except Exception as error:  # pyarrow answers garbage with a dozen kinds, KeyError and MemoryError among them
        raise HistoryError(f"{path} is not a pack of this library, or is cut short: {_first_line(error)}.") from error


def _anonymous(
    datasets: Sequence[DatasetInfo], searches: Sequence[SearchInfo], rows: Iterable[Row]
) -> tuple[list[DatasetInfo], list[SearchInfo], Iterable[Row]]:
    """Returns these with hashes for every name that a person gave, and without sketches."""

    def named(search: str, dataset: str) -> str:
        return f"{dataset[:12]}-{digest_of(search)[:12]}"

    infos = [
        replace(info, name=info.fingerprint[:12], family=info.family and digest_of(info.family)[:12], sketch=())
        for info in datasets
    ]
    return (
        infos,
        [replace(info, name=named(info.name, info.dataset)) for info in searches],
        (row | {"search": named(row["search"], row["dataset"])} for row in rows),
    )


def _check_target(path: Path) -> None:
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        raise HistoryError(f"A pack is a .parquet file, but got {path}; try {path.with_suffix('.parquet')}.")
    if not path.exists():
        return
    try:
        known = _KEY in (pq.read_schema(path).metadata or {})
    except Exception:  # pyarrow answers garbage with a dozen kinds
        known = False
    if not known:
        raise HistoryError(f"{path} is there and is not a pack; it was left as it is: choose another file.")


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
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    with path.open("rb") as raw:
        try:
            size = sum(encoded_size(raw, chunk) for chunk in chunks)
        except HistoryError as error:
            raise HistoryError(f"The pack {path} is damaged: {error}") from error
    if size > MAX_ENCODED:
        raise HistoryError(f"The columns of the pack {path} have {size} bytes, but at most {MAX_ENCODED} are read.")


def _decoded_size(batch: Any) -> int:
    """Returns the bytes of a batch's texts, each counted as often as it occurs, without decoding them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [column for column in batch.columns if pa.types.is_dictionary(column.type)]
    return sum(pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0 for column in columns)


def _values(column: Any, known: dict[str, str]) -> list[Any]:
    """Returns a column as a list; texts that were met before are the same objects."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    texts = [known.setdefault(text, text) for text in column.dictionary.to_pylist()]
    return [None if index is None else texts[index] for index in column.indices.to_pylist()]


def _type(name: str) -> Any:
    import pyarrow as pa

    return {str: pa.string(), int: pa.int64(), float: pa.float64()}[_ALL[name]]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise HistoryError("info must be a text.")
    return value


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
