"""A report as one HTML page: content in, text out; nothing in it comes from anywhere else, no script runs in it.

Words, units, rounding and pictures belong here, their places to ``page.html``. Whatever a user or a stranger's history
named passes jinja2's escaping. Two pages of the same content differ in one line, which says when they were written.
"""

from __future__ import annotations

from datetime import datetime
from importlib import resources
from typing import Any

from markupsafe import Markup

from nas.draw import svg
from nas.record import Record
from nas.report import charts
from nas.report.account import candidate
from nas.report.content import Content

MOST_ROWS = 1_000  # trials in the table
MOST_CURVES, MOST_EPOCHS = 150, 50  # drawn, and points of each
MOST_DOTS, MOST_WHISKERS = 1_500, 60  # trials in the chart of the best so far, and up to when with their errors
MOST_NODES = 200  # operations in a picture
MOST_FAILURES = 30  # different messages
MOST_VOICES, LOUD = 15, 0.005  # past datasets with a row of their own, and the share from which they have one

METRICS = {
    "brier": "Brier score",
    "nrmse": "RMSE / std of target",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "auc": "AUC",
    "r2": "R²",
}


def html(content: Content, written: datetime) -> str:
    """Returns the page; ``written`` is the time it says it was written at."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (resources.files("nas.report") / "page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        content=content,
        title=title(content),
        metric=metric_label(content),
        shown=METRICS.get(content.shown, content.shown),
        facts=_facts(content),
        found=_found(content),
        same=_same_settings(content.trials),
        rows=_rows(content),
        listed=min(len(content.trials), MOST_ROWS),
        progress=_progress(content),
        curves=_curves(content),
        drawn=_drawn(content),
        voices=_voices(content),
        finalists=_finalists(content),
        front=_front(content),
        failures=_failures(content),
        costs=_costs(content),
        environment=_environment(content),
        written=written.strftime("%Y-%m-%d %H:%M %Z").strip(),
    )


def title(content: Content) -> str:
    """Returns what the report is about."""
    return content.dataset.name if content.dataset and content.dataset.name else content.info.name


def metric_label(content: Content) -> str:
    """Returns the metric in words, with its direction."""
    name = METRICS.get(content.metric, content.metric) or "score"
    return f"{name}, {'lower' if content.sign < 0 else 'higher'} is better"


def number(value: float | None) -> str:
    """Returns four decimals, or four digits of what is large; a dash where there is nothing."""
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.4g}" if abs(value) < 1e5 else f"{value:.3g}"


def setting(value: object) -> str:
    """Returns the value of a setting, numbers with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)


def seconds_text(seconds: float) -> str:
    """Returns a duration: 3.2 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def count(value: int, unit: str = "") -> str:
    """Returns a count with k, M or G: 12.3 k; a dash for 0, which stands for unknown."""
    if value <= 0:
        return "–"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.1f} {letter}{unit}"
    return f"{value:,}{' ' * bool(unit)}{unit}"


def score_text(content: Content, record: Record) -> str:
    """Returns the metric of a record ± its standard error, or its status."""
    if record.score is None:
        return record.outcome.status
    error = record.outcome.standard_error
    return number(content.value(record.score)) + (f" ± {number(error)}" if error is not None else "")


def shown_text(content: Content, record: Record) -> str:
    """Returns the metric for people, accuracy or R²; a dash where it is not known."""
    return number(record.outcome.metrics.get(content.shown))


def settings_text(record: Record, without: dict[str, str]) -> str:
    """Returns the settings of a record that are not the same in all of them."""
    parts = [f"{name} {setting(v)}" for name, v in sorted(record.settings.items()) if name not in without]
    return ", ".join(parts) or "–"


def _same_settings(records: tuple[Record, ...]) -> dict[str, str]:
    """Returns what several records have in common, by name."""
    if len(records) < 2:
        return {}
    first = records[0].settings
    same = [n for n in sorted(first) if all(n in r.settings and r.settings[n] == first[n] for r in records)]
    return {name: setting(first[name]) for name in same}


def _facts(content: Content) -> list[tuple[str, str]]:
    """Returns what the data are and how was searched, as (name, text)."""
    info, data = content.info, content.dataset
    failed = sum(record.score is None for record in content.trials)
    trials = f"{len(content.trials):,}" + (f", {failed:,} failed" if failed else "")
    facts = [("data", content.account.description or _described(content))]
    if data is not None:
        facts += [("task", f"{data.task}, {data.kind}"), ("fingerprint", data.fingerprint[:16])]
    facts += [("trials", trials), ("search space", info.space), ("controller", info.controller)]
    facts += [
        ("scored by", metric_label(content) if content.metric else ""),
        ("protocol", _protocol(content)),
        ("seed", f"{info.seed}"),
    ]
    facts += [("begun", _time(info.created)), ("finished", _time(info.finished) or "not yet"), ("name", info.name)]
    return [(name, text) for name, text in facts if text]


def _described(content: Content) -> str:
    data = content.dataset
    if data is None:
        return ""
    classes = f", {data.classes:,} classes" if data.task == "classification" else ""
    return f"{data.rows:,} rows x {data.columns:,} columns{classes}"


def _protocol(content: Content) -> str:
    if not content.trials:
        return ""
    fidelity = max((record.fidelity for record in content.trials), key=lambda each: each.epochs)
    many = "splits" if fidelity.splits > 1 else "split"
    text = f"{fidelity.splits} {many}, at most {fidelity.rows:,} training rows and {fidelity.epochs} epochs"
    fresh = {record.fidelity.splits for record in content.confirmed}
    return text + (f"; finalists on {max(fresh)} fresh splits" if fresh else "")


def _time(text: str) -> str:
    return text[:16].replace("T", " ") + (" UTC" if text.endswith("+00:00") else "") if text else ""


def _found(content: Content) -> dict[str, Any] | None:
    """Returns the network found: its picture and its figures as (name, text)."""
    record = content.found
    if record is None:
        return None
    cost, number_ = record.outcome.cost, content.found_number
    where = "fresh splits" if record.purpose == "confirm" else "the splits it was chosen on"
    figures = [(f"{METRICS.get(content.metric, content.metric)}, {where}", score_text(content, record))]
    if content.shown in record.outcome.metrics:
        figures.append((f"{METRICS[content.shown]}, {where}", shown_text(content, record)))
    figures += [
        ("found in trial", f"{number_ + 1:,}" if number_ is not None else "an earlier search"),
        ("parameters", count(cost.parameters)),
        ("one row forward", count(cost.flops, "FLOP")),
    ]
    others = [(name, value) for name, value in record.outcome.metrics.items() if name != content.metric]
    return {
        "summary": record.architecture.summary(),
        "key": record.architecture.key[:16],
        "figures": [(name, text) for name, text in figures if text != "–"],
        "metrics": [(METRICS.get(name, name), number(v)) for name, v in others if name != content.shown],
        "settings": [(name, setting(value)) for name, value in sorted(record.settings.items())],
        "picture": _picture(record),
        "where": where,
    }


def _picture(record: Record) -> Markup | None:
    """Returns the drawing of an architecture, None where it is too large to be read; names in it are escaped."""
    return Markup(svg(record.architecture)) if len(record.architecture.nodes) <= MOST_NODES else None


def _rows(content: Content) -> list[dict[str, Any]]:
    """Returns the trials for the table, by number; of very many the best, then failures."""
    same = _same_settings(content.trials)
    scored = {record.number for record in content.complete}
    ranked = [*content.complete, *(record for record in content.trials if record.number not in scored)]
    kept = sorted(ranked[:MOST_ROWS], key=lambda record: record.number) if len(ranked) > MOST_ROWS else content.trials
    best = {number for number, _ in content.best_so_far}
    return [
        {
            "number": record.number + 1,
            "score": score_text(content, record),
            "shown": shown_text(content, record) if content.shown in record.outcome.metrics else "",
            "architecture": record.architecture.summary(),
            "settings": settings_text(record, same),
            "parameters": count(record.outcome.cost.parameters),
            "seconds": f"{record.outcome.cost.seconds:.1f}",
            "status": _status(content, record, best),
            "failed": record.score is None,
            "found": record.number == content.found_number,
        }
        for record in kept
    ]


def _status(content: Content, record: Record, best: set[int]) -> str:
    if record.score is None:
        return "failed"
    if record.number == content.found_number:
        return "found"
    return "best so far" if record.number in best else "complete"


def _finalists(content: Content) -> list[dict[str, Any]]:
    return [
        {
            "number": "earlier search" if trial is None else f"{trial.number + 1:,}",
            "screened": "–" if trial is None else score_text(content, trial),
            "score": score_text(content, record),
            "shown": shown_text(content, record),
            "architecture": record.architecture.summary(),
            "parameters": count(record.outcome.cost.parameters),
        }
        for trial, record in content.finalists
    ]


def _front(content: Content) -> list[dict[str, Any]]:
    """Returns the candidates that no other one beats in every objective, where there are several."""
    trials = {candidate(record): record for record in content.trials}
    rows = []
    for who, parameters, size, latency in content.account.front:
        record = trials.get(who)
        rows.append(
            {
                "number": "earlier search" if record is None else f"{record.number + 1:,}",
                "score": "–" if record is None else score_text(content, record),
                "architecture": "" if record is None else record.architecture.summary(),
                "parameters": count(parameters),
                "size": count(size, "B"),
                "latency": f"{latency:.3g} ms" if latency > 0 else "–",
                "found": record is not None and record.number == content.found_number,
            }
        )
    return rows


def _progress(content: Content) -> Markup | None:
    """Returns the chart of every trial and the best so far; None without a score."""
    points = [(r.number + 1, content.value(r.score), r) for r in content.complete if r.score is not None]
    if not points:
        return None
    points.sort(key=lambda point: point[0])
    last = max(record.number for record in content.trials) + 1
    best = [(n + 1, content.value(score)) for n, score in content.best_so_far]
    errors = [(n, v, r.outcome.standard_error) for n, v, r in points if r.outcome.standard_error is not None]
    x = charts.Axis("trial", 0.5, max(last, 2) + 0.5, whole=True)
    values = [v for _, v, _ in points]
    errors = errors if len(points) <= MOST_WHISKERS else []
    edges = [edge for _, v, e in errors for edge in (v - e, v + e)]
    y = charts.Axis.around(
        f"{METRICS.get(content.metric, content.metric)} ({_direction(content)})", values + edges, log=True
    )
    drawn = charts.thinned([(n, v) for n, v, _ in points], MOST_DOTS)
    failed = [r.number + 1.0 for r in content.trials if r.score is None]
    bars = [(n, v - e, v + e) for n, v, e in errors]
    marks = [
        charts.whiskers(x, y, bars, "#c9c9c9"),
        charts.dots(
            x, y, drawn, "#7f7f7f", 3 if len(drawn) < 200 else 1.8, [f"trial {n:g}: {number(v)}" for n, v in drawn]
        ),
        charts.steps(x, y, best, charts.BLUE),
        charts.dots(x, y, best, charts.BLUE, 4, [f"trial {n:g}: {number(v)}, best so far" for n, v in best]),
        charts.crosses(x, failed[:MOST_DOTS], charts.VERMILION),
    ]
    return charts.chart(x, y, marks, f"Score of every trial and the best so far, {metric_label(content)}")


def _curves(content: Content) -> Markup | None:
    """Returns the chart of learning curves, the found one on top; None without any. Of very many, evenly by rank."""
    failed = [r for r in content.trials if r.score is None]
    curves = [record for record in (*content.complete, *failed) if record.outcome.curve]
    if not curves:
        return None
    found = next((r for r in curves if r.number == content.found_number), None)
    if len(curves) > MOST_CURVES:
        curves = [curves[round(i * (len(curves) - 1) / (MOST_CURVES - 1))] for i in range(MOST_CURVES)]
    lines = {r.number: [(e, content.value(v)) for e, v in enumerate(r.outcome.curve, 1)] for r in curves}
    x = charts.Axis("epoch", 1, max(2, max(len(points) for points in lines.values())), whole=True)
    values = sorted(v for points in lines.values() for _, v in points)
    values = values[len(values) // 100 :] if content.sign > 0 else values[: len(values) - len(values) // 100]
    y = charts.Axis.around(f"{METRICS.get(content.metric, content.metric)} ({_direction(content)})", values, log=True)
    marks = [
        charts.line(x, y, charts.thinned(lines[r.number], MOST_EPOCHS), charts.GREY, 1, _curve_hint(content, r))
        for r in reversed(curves)
        if r is not found
    ]
    if found is not None:
        points = [(e, content.value(v)) for e, v in enumerate(found.outcome.curve, 1)]
        marks.append(charts.line(x, y, points, charts.BLUE, 2.5, _curve_hint(content, found)))
    return charts.chart(x, y, marks, f"Learning curves on validation rows, {metric_label(content)}")


def _drawn(content: Content) -> str:
    """Returns how many learning curves are drawn, in words."""
    known = sum(bool(record.outcome.curve) for record in content.trials)
    return f"{known} trials" if known <= MOST_CURVES else f"{MOST_CURVES} of {known:,} trials, evenly by rank"


def _curve_hint(content: Content, record: Record) -> str:
    return f"trial {record.number + 1}: {score_text(content, record)}"


def _direction(content: Content) -> str:
    return "lower is better" if content.sign < 0 else "higher is better"


def _voices(content: Content) -> dict[str, Any] | None:
    """Returns what history contributed: rows of (name, share at the end, at the beginning); None where unknown."""
    account = content.account
    end = account.end or account.beginning
    if end is None:
        return None
    before = dict(account.beginning.shares) if account.beginning and account.end else {}
    compared = bool(account.beginning and account.end)
    loud = [(name, share) for name, share in end.shares[:MOST_VOICES] if share >= LOUD]
    rest = [share for _, share in end.shares[len(loud) :]]
    own_before = account.beginning.own if account.beginning and compared else None
    rows: list[dict[str, Any]]
    rows = [{"name": "this search's own trainings", "share": end.own, "before": own_before, "own": True}]
    rows += [{"name": n, "share": s, "before": before.get(n) if compared else None, "own": False} for n, s in loud]
    others = len(rest) + end.others
    return {
        "rows": rows,
        "largest": max([end.own, sum(rest) + end.others_share, *(share for _, share in loud)]) or 1.0,
        "others": others,
        "others_share": sum(rest) + end.others_share,
        "compared": compared,
        "speaks": bool(end.shares),
        "ended": account.end is not None,
        "ignored": end.ignored,
        "notes": end.notes,
    }


def _failures(content: Content) -> list[dict[str, str]]:
    found = []
    for failure in content.failures[:MOST_FAILURES]:
        numbers = ", ".join(f"{n + 1}" for n in failure.numbers[:12])
        more = f" and {len(failure.numbers) - 12} more" if len(failure.numbers) > 12 else ""
        where = numbers + more or "a finalist on fresh splits"
        found.append({"status": failure.status, "message": failure.message or "no message", "trials": where})
    return found


def _costs(content: Content) -> list[tuple[str, str]]:
    costs = content.costs
    rows = [("all trainings", seconds_text(costs.seconds))] if content.trials else []
    if content.confirmed:
        rows.append(("of that, finalists again", seconds_text(costs.confirming)))
    if costs.per_trial is not None:
        low, middle, high = costs.per_trial
        rows.append(("one trial, median", f"{seconds_text(middle)} ({low:.1f} to {high:.1f} s)"))
    for name, unit, field in (("parameters", "", "parameters"), ("one row forward", "FLOP", "flops")):
        known = [v for r in content.trials if (v := getattr(r.outcome.cost, field)) > 0]
        if known:
            rows.append((f"{name} of a candidate", f"{count(min(known), unit)} to {count(max(known), unit)}"))
    memory = max((record.outcome.cost.memory for record in content.trials), default=0)
    if memory:
        rows.append(("memory at most", count(memory, "B")))
    return rows


def _environment(content: Content) -> list[tuple[str, str]]:
    engines = sorted({record.engine for record in (*content.trials, *content.confirmed)})
    rows = [("device", content.account.device or content.costs.device), *sorted(content.account.versions.items())]
    rows.append(("training engine", ", ".join(engines)))
    if content.info.snapshot_digest:
        rows.append(("history it began with", content.info.snapshot_digest[:16]))
    return [(name, text) for name, text in rows if text]
