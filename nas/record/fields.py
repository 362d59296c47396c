"""Fields of the values of a history, read from JSON and checked.

Belongs here: which kinds of JSON values there are, and numbers, texts and their mappings as every value of this package
wants them. Nothing is executed, unknown keys are refused. What the fields mean is said where the values are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, cast

from nas.architecture import Value
from nas.errors import HistoryError, SearchError, nearest

SCHEMA_VERSION = 2
"""Of everything stored: raised whenever a field of this package changes its name or its meaning.

2: ``DatasetInfo.sketch``, ``SearchInfo.account``. What version 1 wrote is read as it is.
"""

LARGEST = 2**63 - 1  # what every database can hold

Kind = tuple[type, ...]
TEXT: Kind = (str,)
INTEGER: Kind = (int,)
NUMBER: Kind = (int, float)
MAYBE: Kind = (int, float, type(None))
OBJECT: Kind = (dict,)
LIST: Kind = (list,)
"""The Python types of a JSON value; exactly these, so that a truth value is no integer."""

_KIND_NAMES = {
    TEXT: "a text",
    INTEGER: "an integer",
    NUMBER: "a number",
    MAYBE: "a number or null",
    OBJECT: "an object",
    LIST: "a list",
}
_SCALARS = (str, int, float, bool, type(None))


def read(cls: type[Any], data: object, kinds: Mapping[str, Kind]) -> Any:
    """Returns a ``cls`` of the fields in ``data``; HistoryError unless they are of these kinds and make one."""
    try:
        return cls(**checked_fields(cls.__name__.lower(), data, kinds))
    except SearchError as error:
        raise HistoryError(str(error)) from error


def checked_fields(what: str, data: object, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Returns a copy of ``data``; HistoryError unless it is a dict of these keys and kinds, integers within 64 bits."""
    if not isinstance(data, dict):
        raise HistoryError(f"A {what} is read from a JSON object, but got {type(data).__name__}.")
    if data.keys() != kinds.keys():
        for key in data.keys() - kinds.keys():
            raise HistoryError(
                f"A {what} has no field {str(key)[:80]!r};{nearest(key, kinds)} it has {', '.join(kinds)}."
            )
        raise HistoryError(f"A {what} lacks the field {min(kinds.keys() - data.keys())!r}.")
    for key, value in data.items():
        if type(value) not in kinds[key] or (type(value) is int and abs(value) > LARGEST):
            raise HistoryError(f"{what}.{key} must be {_KIND_NAMES[kinds[key]]}, but got {str(value)[:80]!r}.")
    return dict(data)


def plain(value: object) -> object:
    """Returns a numpy scalar as the Python value it stands for, anything else unchanged."""
    return value.item() if hasattr(value, "item") else value


def count(name: str, value: object) -> int:
    """Returns ``value`` as an int; HistoryError unless it is a whole number >= 0 within 64 bits."""
    value = plain(value)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise HistoryError(f"{name} must be an integer from 0 to 2**63 - 1, but got {str(value)[:80]!r}.")
    return value


def scalars(name: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Returns a plain dict of text -> text, finite number, truth value or None; HistoryError otherwise."""
    result: dict[str, Value] = {}
    for key, item in values.items():
        value = item if type(item) in _SCALARS else plain(item)
        if not isinstance(key, str) or type(value) not in _SCALARS:
            raise HistoryError(
                f"{name} maps texts to texts, numbers, truth values or None, but got {str(key)[:80]!r}:"
                f" {str(item)[:80]!r}."
            )
        if type(value) is float and not math.isfinite(value):
            raise HistoryError(f"{name} holds finite numbers only, but got {str(key)[:80]!r}: {str(value)[:80]!r}.")
        result[key] = cast(Value, value)
    return result


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Returns those of the values that are finite, as floats; HistoryError where one is no number."""
    numbers = {str(name): number(str(name), value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def number(name: str, value: Any) -> float:
    """Returns ``value`` as a float, infinity where it is beyond every float; HistoryError where it is no number."""
    try:
        return float(value)
    except OverflowError:  # an integer beyond every float
        return math.inf
    except (TypeError, ValueError) as error:
        raise HistoryError(f"{name[:80]!r} must be a number, but got {str(value)[:80]!r}.") from error


def check_numbers(what: str, values: Mapping[str, object] | list[object]) -> None:
    """Raises HistoryError unless all values are finite numbers."""
    numbers = list(values.values()) if isinstance(values, dict) else list(values)
    if not ({type(value) for value in numbers} <= set(NUMBER) and _are_finite(numbers)):
        raise HistoryError(f"{what} must hold finite numbers, but got {str(numbers)[:80]}.")


def _are_finite(numbers: list[Any]) -> bool:
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:  # an integer beyond every float
        return False


def digest_of(content: object) -> str:
    """Returns the sha256 hex of JSON content; the order of keys does not count."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
