"""From a history or a result to a report's content, and from content to a file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import HistoryError
from nas.record import DatasetInfo, SearchInfo
from nas.report.account import account_at_end
from nas.report.content import Content

if TYPE_CHECKING:
    from nas.metadataset import MetaDataset
    from nas.result import Result


def content_of(history: MetaDataset, search: str) -> Content:
    """Returns the content of the report on a search as a history knows it, finished or not."""
    records, info = history.records(search=search), history.search(search)
    if info is None:
        if not records:
            raise HistoryError(f"There is no search {search!r} in {history.place}; `nas history list` shows them.")
        first = min(records, key=lambda record: record.number)
        info = SearchInfo(search, first.dataset, first.space, seed=first.seed, created=first.created)
    known = {data.fingerprint: data for data in history.datasets()}
    return Content.of(info, known.get(info.dataset), records)


def of_result(result: Result) -> Content:
    """Returns the content of the report on a result."""
    data, records = result.dataset, (*result.records, *result.confirmed)
    info = SearchInfo(
        name=result.name,
        dataset=data.fingerprint,
        space=result.space.name,
        seed=result.seed,
        created=min((record.created for record in records), default=""),
        finished=max((record.created for record in records), default=""),
    )
    kept = DatasetInfo(
        fingerprint=data.fingerprint,
        name=data.name,
        kind=data.kind,
        task=data.task,
        rows=len(data),
        columns=data.columns,
        classes=len(data.classes),
    )
    return Content.of(info, kept, records, account_at_end(result))


def write(content: Content, path: str | os.PathLike[str], written: datetime | None = None) -> Path:
    """Writes the report as one HTML file and returns its path.

    It quotes names of columns, settings and messages of failures, and no rows of the data. Apart from the line that
    says when it was ``written`` (now, unless given) the same content makes the same file.
    """
    from nas.report.page import html

    target = Path(path)
    text = html(content, written or datetime.now(UTC))
    try:
        target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise HistoryError(
            f"the report cannot be written to {str(path)!r} ({error.strerror}); name a file in a folder that is there."
        ) from error
    return target
