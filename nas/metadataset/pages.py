"""How large a Parquet column becomes in memory, by its pages' own headers: the summary in a file's footer may lie.

Belongs here: just enough of the format to add up sizes before anything is decompressed, and to refuse encodings that
expand while they are decoded. Format: https://github.com/apache/parquet-format (PageHeader), Thrift compact protocol.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from nas.errors import HistoryError

MAX_PAGES = 100_000
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_DEEPEST = 8  # structs within structs

Header = dict[int, Any]


def encoded_size(file: BinaryIO, column: Any) -> int:
    """Returns the bytes of all pages of a column chunk after decompression; HistoryError where they are unsound.

    column: pyarrow's ``ColumnChunkMetaData``.
    """
    start = column.data_page_offset
    dictionary = column.dictionary_page_offset if column.has_dictionary_page else None
    if dictionary and (dictionary < start or not start):  # 0: no page of data follows the dictionary
        start = dictionary
    file.seek(max(start, 0))
    data = file.read(max(column.total_compressed_size, 0))
    at, total = 0, 0
    for _ in range(MAX_PAGES):
        if at >= len(data):
            return total
        try:
            header, at = _struct(data, at, 0)
            decoded, stored = header[2], header[3]
            used = {header[kind].get(field) for kind, field in ((5, 2), (7, 2), (8, 4)) if kind in header}
        except (IndexError, KeyError, AttributeError) as error:
            raise HistoryError("a page of it has no sound header.") from error
        if decoded < 0 or stored < 0 or not used <= {_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY}:
            raise HistoryError("a page of it has a size or an encoding that packs do not have.")
        total += decoded
        at += stored
    raise HistoryError(f"a column of it has more than {MAX_PAGES} pages.")


def _struct(data: bytes, at: int, depth: int) -> tuple[Header, int]:
    """Returns the fields of a struct by number, and where it ends."""
    if depth > _DEEPEST:
        raise IndexError
    fields: Header = {}
    number = 0
    while data[at]:
        kind, step = data[at] & 15, data[at] >> 4
        at += 1
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        fields[number], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """Returns a value of one of Thrift's kinds, and where it ends; page headers have no others than these."""
    if kind in (1, 2):  # true, false
        return kind == 1, at
    if kind == 3:  # byte
        return data[at], at + 1
    if kind in (4, 5, 6):  # integers
        return _integer(data, at)
    if kind == 7:  # double
        return None, at + 8
    if kind == 8:  # text
        length, at = _varint(data, at)
        return None, at + length
    if kind == 12:
        return _struct(data, at, depth + 1)
    raise KeyError(kind)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        value |= (data[at + index] & 127) << 7 * index
        if data[at + index] < 128:
            return value, at + index + 1
    raise IndexError
