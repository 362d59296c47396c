"""``nas suggest``: what history would try first."""

from __future__ import annotations

import argparse

from nas.cli.arguments import TEST_FRACTION, Commands, add_data, history_of, loaded
from nas.cli.text import as_json, clipped, settings_text


def add(commands: Commands) -> None:
    """Declares ``nas suggest``."""
    command = commands.add_parser("suggest", help="what history would try first, without training")
    add_data(command)
    command.add_argument("-k", type=int, default=5, help="how many suggestions (%(default)s)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_suggest)


def _suggest(options: argparse.Namespace) -> int:
    from nas.loop import suggest

    data = loaded(options)
    searched, _ = data.holdout(0, TEST_FRACTION)  # the rows `nas search` would search on, so that it is recognised
    found = suggest(
        searched,
        k=options.k,
        history=history_of(options),
        seed=options.seed,
    )
    if options.json:
        rows = [
            {"architecture": s.architecture.to_dict(), "settings": dict(s.settings), "choices": s.choices}
            for s in found
        ]
        print(as_json(rows))
    else:
        for number, s in enumerate(found, 1):
            print(f"{number:3d}  {clipped(s.architecture.summary(), 58):58s}  {settings_text(s.settings)}")
    return 0
