"""Lines that several commands print."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nas.metrics import display, sign_of
from nas.readable import finite, one_line, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nas.architecture import Value
    from nas.record import Record

SCORE, WHAT = 30, 52  # columns


def as_json(value: Any) -> str:
    """Returns JSON in lines, with null for a number that is none."""
    return json.dumps(finite(value), indent=1, allow_nan=False)


def heading(record: Record) -> str:
    """Returns what stands over the columns of ``trial_line``."""
    shown = display("classification" if "accuracy" in record.outcome.metrics else "regression")
    title = {"accuracy": "accuracy", "r2": "R²"}[shown]
    return f"{'':5s}{title + ', ' + record.metric + ' ±error':{SCORE}s}  {'network':{WHAT}s}  {'seconds':>7s}"


def trial_line(record: Record, remark: str = "") -> str:
    """Returns one training in one line; a failed one with its reason."""
    score: str = record.outcome.status
    if record.score is not None:
        name = display("classification" if "accuracy" in record.outcome.metrics else "regression")
        error = record.outcome.standard_error or 0.0
        value = sign_of(record.metric) * record.score
        shared = record.outcome.metrics.get(name)  # of a history that was made elsewhere it may be missing
        score = f"{'' if shared is None else short(shared):>6s}  {value:.4f} ±{short(error)}"
    else:
        remark = record.outcome.message
    what = clipped(record.architecture.summary(), WHAT)
    columns = f"{record.number + 1:3d}  {score:{SCORE}s}  {what:{WHAT}s}  {record.outcome.cost.seconds:7.1f}  {remark}"
    return columns.rstrip()


def settings_text(settings: Mapping[str, Value]) -> str:
    """Returns training settings in a few words: learning_rate .03, dropout .1."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.2g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in sorted(settings.items())
    )


def clipped(text: str, width: int) -> str:
    """Returns a text of at most ``width`` characters in one line; what is cut ends in an ellipsis."""
    text = one_line(text)
    return text if len(text) <= width else text[: width - 1] + "…"
