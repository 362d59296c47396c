"""``nas history``: what is remembered, and what can be done with it.

``look`` changes nothing (list, show, audit); ``change`` does (forget, import, merge), and hands on (export).
"""

from __future__ import annotations

from nas.cli.arguments import Commands
from nas.cli.history import change, look


def add(commands: Commands) -> None:
    """Declares ``nas history`` and its commands."""
    history = commands.add_parser("history", help="what is remembered").add_subparsers(required=True, metavar="command")
    look.add(history)
    change.add(history)
