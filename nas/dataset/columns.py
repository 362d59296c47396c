"""One column of a table: what it is, and the same reading of it for new rows.

Here belong the rules for a single pandas column (numbers, dates, categories, ids, free text); the table as a whole
belongs to ``nas.dataset.table``. pandas is imported inside functions.
"""

from __future__ import annotations

import datetime
import decimal
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MAX_LEVELS = 255
"""Levels a text column keeps, the commonest; the others are read as unknown (-1)."""
AGREE = 0.95
"""Share of the values present that must read as numbers (or dates) for the column to count as such."""
DATE_PARTS = ("year", "month", "weekday", "hour", "days")
"""Numbers a date becomes; ``weekday`` 0 = Monday, ``days`` since 1970 with the time of day as a fraction."""

_DAYS = ("%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y")
_MONTH_NAMES = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DATE_FORMATS = ("ISO8601", *(day + time for time in _TIMES for day in _DAYS + _MONTH_NAMES))
"""Formats tried in this order (``pandas.to_datetime``); where two read the same number of values the first wins."""

_ID_NAME = re.compile(r"(^|[\W_])(id|ids|idx|index|key|rowid|rownames|uuid|guid)$|[a-z](Id|ID)$|^unnamed: ?\d+$|^$")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}((,\d{3})+|([\s']\d{3})+)(\.\d+)?")
_THOUSANDS_EUROPEAN = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+")
_DIGIT = re.compile(r"\d")
_IS_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_NUMBER = (numbers.Real, decimal.Decimal, np.bool_)


@dataclass(frozen=True, eq=False)
class Column:
    """What one column became: numbers by name, or codes with their levels, or (both empty) nothing; and why."""

    numeric: Mapping[str, np.ndarray] = field(default_factory=dict)
    codes: np.ndarray | None = None
    levels: tuple[str, ...] = ()
    date_format: str = ""
    note: str = ""


def recognise(name: str, column: pd.Series) -> Column:
    """Returns what the column is; every decision other than plain numbers and plain categories has a ``note``.

    Booleans and numbers stay numbers (infinite ones become missing); text that reads as numbers or dates to 95 % is
    read so; dates become ``DATE_PARTS`` that vary; other text becomes codes of its levels. Dropped: columns that are
    empty or constant, ids (all-distinct text; distinct integers named like an id), free text, and text in which more
    than half of the values differ.
    """
    kind, values = kind_of(name, column)
    if kind == "number":
        return _number(name, values)
    if kind == "date":
        return _date(name, values, "ISO8601")
    if kind == "category":
        return _category(name, values, declared=[word_of(level) for level in column.cat.categories])
    present = values.dropna()
    if len(present) == 0:
        return Column(note=f"column {name!r} is empty: dropped")
    as_numbers = _numbers_of(values)
    unread = present[np.isnan(as_numbers[values.notna().to_numpy()])]
    if len(unread) <= (1.0 - AGREE) * len(present):
        gaps = f", but {len(unread)} entries such as {next(iter(unread), '')!r} are none and count as missing"
        return _number(name, as_numbers, f"is text read as numbers{_example(present)}{gaps if len(unread) else ''}")
    date_format = find_date_format(present)
    if date_format:
        return _date(name, values, date_format)
    found = _text(name, values, present)
    if 2 * len(unread) > len(present):
        return found
    share = f"only {100 - 100 * len(unread) / len(present):.0f} % of the values of {name!r} are numbers"
    why = f"{share} (not {unread.iloc[0]!r}), so that it is read as text; leave the others empty to change that"
    return replace(found, note=f"{why}: {found.note}" if found.note else why)


def read_numbers(column: pd.Series) -> np.ndarray:
    """Returns float64 ``[n]``: NaN where there is no number, infinities kept, booleans as 0 and 1, spans in days.

    Text may have thousands (``1,234.5``, ``1.234,5``, ``1 234``), a currency sign or a percent sign, which is left out.
    """
    import pandas as pd

    if column.dtype.kind == "m":
        column = column.dt.total_seconds() / 86400.0
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if not pd.api.types.is_numeric_dtype(column):
        truth = {True: 1.0, False: 0.0, "True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0}
        column = column.astype(object).map(lambda v: v.strip() if isinstance(v, str) else v)
        column = column.map(lambda v: truth.get(v, v) if isinstance(v, bool | np.bool_ | str) else v)
        plain = _to_numeric(column)
        odd = (plain.isna() & column.notna()).to_numpy()
        if odd.any():
            column = column.where(
                ~odd, column.map(lambda v: _undecorated(v) if isinstance(v, str) and _DIGIT.search(v) else v)
            )
            plain = _to_numeric(column)
        column = plain
    if column.dtype.kind == "c":
        return np.full(len(column), np.nan)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _to_numeric(column: pd.Series) -> pd.Series:
    import pandas as pd

    try:
        plain: pd.Series = pd.to_numeric(column, errors="coerce")
        return plain if plain.dtype.kind != "O" else plain.map(_float).astype(np.float64)
    except OverflowError:  # whole numbers beyond 1e308
        return column.map(_float).astype(np.float64)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    except (TypeError, ValueError):
        return float("nan")


def _undecorated(text: str) -> str:
    """Returns ``1234.5`` for ``$ 1,234.50``, ``1.234,5 €`` and ``1 234.5 %``; other text as it is."""
    bare = text.strip().strip("$€£¥% ").strip()
    if _THOUSANDS.fullmatch(bare):
        return re.sub(r"[,\s']", "", bare)
    if _THOUSANDS_EUROPEAN.fullmatch(bare):
        return bare.replace(".", "").replace(",", ".")
    return bare


def _example(present: pd.Series) -> str:
    decorated = (text for text in present.iloc[:1000] if _undecorated(text) != text.strip())
    first = next(decorated, "")
    return f" ({first!r} as {float(_undecorated(first)):g})" if _IS_NUMBER.fullmatch(_undecorated(first)) else ""


def read_words(column: pd.Series) -> pd.Series:
    """Returns the column as stripped text (object, None where missing or blank); 3.0 reads as ``3``."""
    import pandas as pd

    if pd.api.types.infer_dtype(column, skipna=True) == "string":  # equal texts are read once
        codes, texts = pd.factorize(column.astype(object))
        found = np.array([*map(word_of, texts), None], dtype=object)
        return pd.Series(found[codes], index=column.index, dtype=object)
    words = column.astype(object).map(word_of)
    return words.where(words.notna(), None)


def _numbers_of(words: pd.Series) -> np.ndarray:
    """Returns ``read_numbers`` of text (None where missing), equal texts read once."""
    import pandas as pd

    codes, texts = pd.factorize(words)
    return np.append(read_numbers(pd.Series(texts, dtype=object)), np.nan)[codes]


def read_date_parts(column: pd.Series, date_format: str) -> dict[str, np.ndarray]:
    """Returns every one of ``DATE_PARTS`` as float64 ``[n]``, NaN where the value does not read as ``date_format``."""
    times = _times(column, date_format)
    midnight = times.dt.normalize()
    days = (midnight - _epoch()).dt.days + (times - midnight).dt.total_seconds() / 86400.0
    parts = (times.dt.year, times.dt.month, times.dt.day_of_week, times.dt.hour, days)
    return {key: part.to_numpy(dtype=np.float64, na_value=np.nan) for key, part in zip(DATE_PARTS, parts, strict=True)}


def plain_times(column: pd.Series) -> pd.Series:
    """Returns periods as the moments they begin, anything else as it is."""
    import pandas as pd

    return column.dt.to_timestamp() if isinstance(column.dtype, pd.PeriodDtype) else column


def find_date_format(present: pd.Series) -> str:
    """Returns the first of ``DATE_FORMATS`` that reads most of these texts and at least 95 %, or an empty string."""
    sample = present.iloc[:: max(len(present) // 200, 1)]
    if sample.str.contains(r"\d.*[-/. :].*\d", regex=True).mean() < AGREE:
        return ""
    probe = [str(text) for text in sample.iloc[:: max(len(sample) // 10, 1)]]
    tried = [DATE_FORMATS[0], *(form for form in DATE_FORMATS[1:] if any(_reads(text, form) for text in probe))]
    shares = {form: float(_times(sample, form).notna().mean()) for form in tried}
    likely = [form for form, share in shares.items() if share >= AGREE - 0.05]
    if not likely:
        return ""
    full = {form: float(_times(present, form).notna().mean()) for form in likely}
    best = max(full, key=lambda form: full[form])
    return best if full[best] >= AGREE else ""


def to_float32(values: np.ndarray) -> np.ndarray:
    """Returns float32 with infinite (or too large) values as NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(values).astype(np.float32)
    return np.where(np.isinf(values), np.float32("nan"), values)


def kind_of(name: str, column: pd.Series) -> tuple[str, Any]:
    """Returns "number" with float64 values, or "date", "category" or "text" with a Series."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return "category", read_words(column)
    column = plain_times(column)
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date", column
    if pd.api.types.is_numeric_dtype(column) or column.dtype.kind == "m":
        if pd.api.types.is_complex_dtype(column):
            raise DataError(f"column {name!r} must hold real numbers, but is complex; split it into two columns.")
        return "number", read_numbers(column)
    present = column.dropna()
    if len(present) and not all(isinstance(value, str) for value in present):
        odd = next((v for v in present if not isinstance(v, (str, bytes, datetime.date, *_NUMBER))), None)
        if odd is not None:
            raise DataError(f"column {name!r} must hold numbers or text, but holds a {type(odd).__name__}; convert it.")
        if all(isinstance(value, _NUMBER) for value in present):
            return "number", read_numbers(column)
        if all(isinstance(value, datetime.date) for value in present):
            return "date", column
    return "text", read_words(column)


def _number(name: str, values: np.ndarray, how: str = "") -> Column:
    array = to_float32(values)
    notes = [how] if how else []
    infinite = int((~np.isnan(values) & np.isnan(array)).sum())
    if infinite:
        notes.append(f"has {infinite} infinite values, which count as missing")
    missing = np.isnan(array)
    if missing.all():
        return Column(note=f"column {name!r} is empty: dropped")
    distinct = len(np.unique(array[~missing]))
    if distinct == 1 and not missing.any():
        return Column(note=f"column {name!r} is always {array[0]:g}: dropped")
    exact = len(np.unique(values[~missing]))
    whole = bool((np.mod(values[~missing], 1) == 0).all())
    if whole and not missing.any() and exact == len(values) and _is_id(name, values):
        return Column(note=f"column {name!r} numbers the rows: dropped")
    if distinct < 0.9 * exact:
        notes.append(f"keeps {distinct} of {exact} distinct values in 32-bit floats: subtract its smallest value")
    return Column({name: array}, note=f"column {name!r} {', and '.join(notes)}" if notes else "")


def _is_id(name: str, values: np.ndarray) -> bool:
    found = _ID_NAME.search(name) or _ID_NAME.search(name.lower())
    return bool(found) and (not name.lower().startswith("unnamed") or bool((np.diff(values) > 0).all()))


def _date(name: str, column: pd.Series, date_format: str) -> Column:
    parts = {key: to_float32(values) for key, values in read_date_parts(column, date_format).items()}
    vary = {key: values for key, values in parts.items() if len(np.unique(values[~np.isnan(values)])) > 1}
    if not vary:
        return Column(note=f"column {name!r} is always the same date, or empty: dropped")
    how = "dates" if date_format == "ISO8601" else f"dates ({date_format})"
    note = f"column {name!r} holds {how}: encoded as {', '.join(vary)}"
    return Column({f"{name}.{key}": values for key, values in vary.items()}, date_format=date_format, note=note)


def _text(name: str, values: pd.Series, present: pd.Series) -> Column:
    distinct, length = present.nunique(), float(present.str.len().mean())
    spaces = float(present.str.count(r"\s").mean())
    if distinct > len(present) / 2 and (length > 30.0 or spaces >= 3.0):
        return Column(note=f"column {name!r} is free text ({distinct} different values): dropped")
    if distinct == len(present) and distinct > 1:
        return Column(note=f"column {name!r} is different in every row, like an id: dropped")
    if distinct > len(present) / 2 and len(present) >= 20:
        return Column(note=f"column {name!r} is nearly an id ({distinct} values in {len(present)} rows): dropped")
    return _category(name, values)


def _category(name: str, words: pd.Series, declared: list[str | None] | None = None) -> Column:
    counts = words.value_counts()
    if len(counts) == 0:
        return Column(note=f"column {name!r} is empty: dropped")
    if len(counts) == 1 and not words.isna().any():
        return Column(note=f"column {name!r} is always {counts.index[0]!r}: dropped")
    kept = sorted(sorted(counts.index), key=lambda level: -counts[level])[:MAX_LEVELS]
    order = [level for level in declared if level in kept] if declared else sorted(kept)
    levels = tuple(str(level) for level in order)
    rest = len(counts) - len(levels)
    note = f"column {name!r}: {rest} of {len(counts)} levels, the rarest, are read as unknown" if rest > 0 else ""
    return Column(codes=encode_words(words, levels), levels=levels, note=note)


def encode_words(words: pd.Series, levels: tuple[str, ...]) -> np.ndarray:
    """Returns int64 ``[n]`` codes of ``levels``, -1 where the word is missing or unknown."""
    import pandas as pd

    codes = {level: code for code, level in enumerate(levels)}
    found, texts = pd.factorize(words)
    return np.array([*(codes.get(word, -1) for word in texts), -1], dtype=np.int64)[found]


def word_of(value: Any) -> str | None:
    """Returns the value of a cell as stripped text, ``3`` for 3.0; None where it is missing or blank."""
    import pandas as pd

    if (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float | np.floating) and np.isnan(value))
    ):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def _times(column: pd.Series, date_format: str) -> pd.Series:
    import pandas as pd

    column = plain_times(column)
    if not pd.api.types.is_datetime64_any_dtype(column):
        if pd.api.types.infer_dtype(column, skipna=True) == "string":
            column = read_words(column)
        else:
            column = column.astype(object)
            column = column.map(lambda value: value if isinstance(value, datetime.date) else word_of(value))
        column = pd.to_datetime(column, format=date_format, errors="coerce", utc=True)
    return column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column


def _reads(text: str, date_format: str) -> bool:
    try:
        datetime.datetime.strptime(text, date_format)
    except ValueError:
        return False
    return True


def _epoch() -> Any:
    import pandas as pd

    return pd.Timestamp(1970, 1, 1)
