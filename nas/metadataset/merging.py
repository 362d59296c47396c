"""How one history is taken into another, and what was new in it.

Belongs here: which searches are the same one, and the names of those that are not. Reading and writing are ``store``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nas.metadataset.rows import Row
from nas.record import SearchInfo, digest_of

Differing = Callable[[str, Sequence[Row]], str | None]
"""Of a search's name and rows: the digest of the first row at whose place other content is held, None if none is."""


@dataclass(frozen=True)
class Merged:
    """What was new in a merge: how many datasets, searches and records.

    renamed: searches whose name belonged to another search here, by the name they bear now; empty where a merge that
    was done before is done again.
    """

    datasets: int = 0
    searches: int = 0
    records: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)


def home_of(
    name: str,
    info: SearchInfo | None,
    rows: Sequence[Row],
    known: Callable[[str], SearchInfo | None],
    differing: Differing,
) -> str:
    """Returns the name a search comes under: its own, that of an earlier merge, or a free one.

    A name that another search bears gets ``~`` and eight digits of what differs.
    """
    parts = name.split("~")
    for home in ("~".join(parts[: count + 1]) for count in range(len(parts))):
        held = known(home)
        same = held is not None and info is not None and _identity(held) == _identity(info)
        if (same or (home == name and None in (held, info))) and differing(home, _named(rows, home)) is None:
            return home
    held = known(name)
    if held is not None and info is not None and _identity(held) != _identity(info):
        reason: object = _identity(info)
    else:
        reason = differing(name, rows)
    other = f"{name}~{digest_of(reason)[:8]}"
    return home_of(other, info and replace(info, name=other), _named(rows, other), known, differing)


def _named(rows: Sequence[Row], name: str) -> list[Row]:
    return [row | {"search": name} for row in rows]


def _identity(info: SearchInfo) -> dict[str, Any]:
    """Returns what makes two searches the same one: everything but its name, its account and when it finished."""
    return info.to_dict() | {"name": "", "finished": "", "account": {}}
