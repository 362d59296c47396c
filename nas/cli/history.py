"""``nas history``: a look into what is remembered, and what can be done with it."""

from __future__ import annotations

import argparse
import json

from nas.cli.arguments import Commands
from nas.cli.text import trial_line


def add(commands: Commands) -> None:
    """Declares ``nas history`` and its commands."""
    history = commands.add_parser("history", help="what is remembered").add_subparsers(required=True, metavar="command")
    listed = history.add_parser("list", help="every search")
    shown = history.add_parser("show", help="one search, trial by trial")
    shown.add_argument("search", help="its name, or the beginning of it")
    for command, run in ((listed, _list), (shown, _show)):
        command.add_argument("--history", metavar="PLACE", help="a path or database URL (your own history)")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)


def _list(options: argparse.Namespace) -> int:
    from nas.metadataset import MetaDataset

    with MetaDataset.open(options.history, read_only=options.history is not None) as history:
        infos = {info.fingerprint: info for info in history.datasets()}
        counts = history.counts()
        rows: list[dict[str, str | int]] = [
            {
                "search": s.name,
                "dataset": infos[s.dataset].name if s.dataset in infos else s.dataset[:12],
                "space": s.space,
                "controller": s.controller,
                "records": counts.get(s.name, 0),
                "created": s.created,
                "finished": s.finished,
            }
            for s in history.searches()
        ]
        place = history.place
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print(f"{place}: {len(rows)} searches, {sum(counts.values())} records")
        for row in rows:
            state = "finished" if row["finished"] else "open"
            what = f"{row['search']:32s} {row['space']:10s} {row['controller']:12s}"
            print(f"{what} {row['records']:5d} records  {str(row['created'])[:16]}  {state}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from nas.errors import HistoryError, nearest
    from nas.metadataset import MetaDataset

    with MetaDataset.open(options.history, read_only=options.history is not None) as history:
        names = [s.name for s in history.searches()]
        matches = [name for name in names if name.startswith(options.search)]
        if options.search in names:
            matches = [options.search]
        if len(matches) != 1:
            raise HistoryError(
                f"one search must be named, but {options.search!r} begins {len(matches)} of {len(names)};"
                f"{nearest(options.search, names)} `nas history list` shows them."
            )
        records = history.records(search=matches[0])
    if options.json:
        print(json.dumps([record.to_dict() for record in records], indent=1))
    else:
        print(f"{matches[0]}: {len(records)} records")
        for record in records:
            settings = ", ".join(f"{name} {value}" for name, value in record.settings.items())
            print(f"{trial_line(record, False, False)}  {record.purpose}  {settings}")
    return 0
