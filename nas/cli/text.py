"""Lines and numbers that several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.metrics import display

if TYPE_CHECKING:
    from nas.record import Record


def trial_line(record: Record, is_best: bool, warm: bool) -> str:
    """Returns one training in one line."""
    remark = ""
    if record.score is None:
        remark = f"{record.outcome.status}: {record.outcome.message}"[:60]
    elif record.number == 0:
        remark = "first guess from history" if warm else "first guess"
    elif is_best:
        remark = "best so far"
    score = "failed"
    if record.score is not None:
        name = display("classification" if "accuracy" in record.outcome.metrics else "regression")
        error = record.outcome.standard_error or 0.0
        score = f"{short(record.outcome.metrics[name])}  {record.metric} {-record.score:.4f} ±{short(error)}"
    what = record.architecture.summary()
    return f"{record.number + 1:3d}  {score:28s}  {what:58s}  {remark:24s} {record.outcome.cost.seconds:6.1f} s"


def short(value: float) -> str:
    """Three decimals without the leading zero: .981."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def size_text(size: int) -> str:
    """Returns bytes in kB or MB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
