"""``nas history list``, ``show`` and ``audit``: what is remembered, and how much of the world it covers."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from nas.cli.arguments import Commands
from nas.cli.searches import add_place, names_of, one_of, opened
from nas.cli.text import as_json, heading, settings_text, trial_line
from nas.readable import counted, one_line

if TYPE_CHECKING:
    from nas.metadataset.audit import Audit


def add(commands: Commands) -> None:
    """Declares the three commands."""
    listed = commands.add_parser("list", help="every search")
    shown = commands.add_parser("show", help="one search, trial by trial")
    shown.add_argument("search", help="its name, or the beginning of it")
    audited = commands.add_parser("audit", help="what a search could learn from, and how near your data is to it")
    audited.add_argument("--data", help="your data, as `nas search` takes it")
    audited.add_argument("--target", help="the column to predict")
    audited.add_argument("--task", metavar="TASK", help="classification or regression")
    for command, run in ((listed, _list), (shown, _show), (audited, _audit)):
        add_place(command)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)


def _list(options: argparse.Namespace) -> int:
    with opened(options) as history:
        infos = {info.fingerprint: info for info in history.datasets()}
        counts = history.counts()
        rows: list[dict[str, str | int]] = [
            {
                "search": s.name,
                "dataset": infos[s.dataset].name if s.dataset in infos else "",
                "fingerprint": s.dataset,
                "space": s.space,
                "controller": s.controller,
                "records": counts.get(s.name, 0),
                "created": s.created,
                "finished": s.finished,
            }
            for s in history.searches()
        ]
        place, notice = history.place, history.notice
    if options.json:
        print(as_json(rows))
        return 0
    print(f"{place}: {counted(len(rows), 'search')}, {counted(sum(counts.values()), 'record')}")
    if notice:
        print(f"note: {notice}")
    for row in rows:
        state = "finished" if row["finished"] else "open"
        what = f"{row['search']:32s} {row['dataset']:20s} {str(row['fingerprint'])[:8]}  {row['space']:10s}"
        made = f"{row['controller']:12s} {row['records']:5d} records  {str(row['created'])[:16]}  {state}"
        print(one_line(f"{what} {made}"))
    return 0


def _show(options: argparse.Namespace) -> int:
    with opened(options) as history:
        name = one_of(names_of(history), options.search)
        records = history.records(search=name)
    if options.json:
        print(as_json([record.to_dict() for record in records]))
        return 0
    print(f"{name}: {counted(len(records), 'record')}")
    trials = {frozenset(record.choices.items()): record.number for record in records if record.purpose == "screen"}
    for purpose, title in (("screen", "trials"), ("confirm", "finalists on fresh splits")):
        some = [record for record in records if record.purpose == purpose]
        if some:
            print(f"{title}\n{heading(some[0])}")
        for record in some:
            number = trials.get(frozenset(record.choices.items()), record.number)  # of a finalist: that of its trial
            print(trial_line(replace(record, number=number), settings_text(record.settings)))
    return 0


def _audit(options: argparse.Namespace) -> int:
    from nas.metadataset.audit import audit
    from nas.metadataset.histories import YOURS
    from nas.metadataset.knowledge import shipped_past
    from nas.metadataset.lazy import together

    info, heard = None, None
    if options.data is not None:
        from nas.dataset import load
        from nas.evaluation import describe
        from nas.loop.entry import listens_to

        data = load(options.data, target=options.target, task=options.task)
        info = describe(data)
        heard = listens_to(data, history=options.history or YOURS)
    with opened(options) as history:
        found, place = audit(together(shipped_past(), history.past()), info), history.place
    if options.json:
        print(as_json(asdict(found) | ({} if heard is None else {"heard": dict(heard.weights)})))
        return 0
    print(_audit_text(found, place))
    if heard is not None:
        print(f"  a search would begin {heard.line}")
        for note in heard.notes:
            print(f"  {note}")
    return 0


def _audit_text(found: Audit, place: str) -> str:
    tasks = ", ".join(f"{count} {task}" for task, count in found.tasks.items())
    lines = [
        f"{place}, with what is shipped: {counted(found.datasets, 'dataset')} of "
        f"{counted(len(found.families), 'family')}, {counted(found.records, 'record')}; "
        f"as diverse as {found.effective:.1f} families with equally many records"
    ]
    if found.datasets:
        ranges = {"rows": found.rows, "columns": found.columns, "records": found.trained}
        shown = (f"{r.least:,} to {r.most:,} {name} (median {r.median:,})" for name, r in ranges.items())
        lines.append(f"datasets: {tasks}; {', '.join(shown)}")
    lines += [f"space {one_line(s.name):20s} {s.datasets:5d} datasets {s.records:7d} records" for s in found.spaces]
    if largest := [(name, n) for name, n in found.families.items() if n > 2 * found.trained.median][:5]:
        lines.append("most records: " + ", ".join(f"{one_line(name)} {count}" for name, count in largest))
    if found.near is None:
        return "\n".join(lines)
    near = found.near
    lines.append(
        f"{one_line(near.name)}: {near.rows:,} rows, {near.fewer_rows:.0%} of the datasets have fewer; "
        f"{near.columns:,} columns, {near.fewer_columns:.0%} have fewer"
    )
    if near.nearest:
        lines.append("  nearest are " + ", ".join(f"{one_line(d.name)} at {d.distance:.2f}" for d in near.nearest))
    lines += [f"  {one_line(kin.name)} holds {kin.share:.0%} of the same rows" for kin in near.kin]
    lines.append(
        f"  {near.farther:.0%} of the datasets are farther from all other families than this one; "
        + (
            "nothing like it was seen"
            if near.farther < 0.05
            else "all its meta-features taken alike, it lies within what was seen"
        )
    )
    return "\n".join(lines)
