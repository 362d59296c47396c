"""``nas report``: one search as one HTML file."""

from __future__ import annotations

import argparse
import re

from nas.cli.arguments import Commands
from nas.cli.searches import add_place, names_of, one_of, opened
from nas.cli.text import as_json


def add(commands: Commands) -> None:
    """Declares ``nas report``."""
    command = commands.add_parser("report", help="one search as one HTML file, or as JSON")
    command.add_argument("search", nargs="?", help="its name, or the beginning of it (the latest search)")
    add_place(command)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--out", metavar="FILE", help="where to write it (the search's name .html, here)")
    form.add_argument("--json", action="store_true", help="print what the report says as JSON instead")
    command.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from nas.report import content_of, write

    with opened(options) as history:
        content = content_of(history, one_of(names_of(history), options.search))
    if options.json:
        print(as_json(content.to_dict()))
        return 0
    path = write(content, options.out or _file_name(content.info.name))
    print(f"wrote {path} ({path.stat().st_size / 1e3:.0f} kB): {len(content.trials):,} trials of {content.info.name}")
    return 0


def _file_name(search: str) -> str:
    """Returns a name that any file system takes and that stays in this folder."""
    return (re.sub(r"[^\w.-]+", "_", search).strip(".")[:100] or "report") + ".html"
