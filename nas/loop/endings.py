"""How trainings end that have no score, in words: what happened, how often, and the way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.record import Record

if TYPE_CHECKING:
    from nas.loop.limit import Limit

FAILED = {  # how trainings end by no fault of their scores, and the way out
    "oom": "search a space with smaller networks, or free memory",
    "timeout": "allow more candidate_seconds",
    "error": "mend what raises it and raise an operation's version, or free memory where a process was killed",
}
WAYS_OUT = FAILED | {"diverged": "search a space with smaller learning rates"}


def failures(records: Sequence[Record]) -> list[str]:
    """Returns a sentence for each way in which trainings failed by no fault of their scores."""
    found = {status: [r.outcome.message for r in records if r.outcome.status == status] for status in FAILED}
    return [
        f"{_ended(status, messages[-1], len(messages), len(records))}; {FAILED[status]}"
        for status, messages in found.items()
        if messages
    ]


def nothing_trained(records: Sequence[Record], refused: Sequence[str], limit: Limit, prepared: float) -> str:
    """Returns why a search has no result.

    Args:
        records: Of its trials, none of which has a score.
        refused: Why candidates were not trained.
        limit: Of the search.
        prepared: Seconds that went by before the first training.
    """
    if not records and refused:
        return f"no candidate of {len(refused)} kept the limits: {refused[-1]}, for example; allow more."
    if not records:
        if limit.seconds is None:
            return "a search needs at least one finished trial, but there is none; the controller must propose some."
        share = f", {prepared:.1f} of {limit.seconds:g} seconds of which went into preparing"
        return (
            "a search needs at least one finished trial, but none was finished in time"
            f"{share if prepared > limit.seconds / 2 else ''}; allow more seconds."
        )
    ends = Counter((r.outcome.status, r.outcome.message) for r in records)
    (status, message), times = ends.most_common(1)[0]
    return f"no candidate could be trained: {_ended(status, message, times, len(records))}; {WAYS_OUT[status]}."


def _ended(status: str, message: str, times: int, of: int) -> str:
    return f"{times} of {of} trainings ended as {status!r} ({(message or 'no message').rstrip('.')})"
