"""The parser of all commands, and what their failures look like."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from nas.cli import dashboard, history, meta, predict, report, search, suggest
from nas.errors import NasError, nearest


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 on success, 2 where the user can mend what went wrong, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    options.command_line = shlex.join(["nas", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        code = int(options.run(options) or 0)
        sys.stdout.flush()
        return code
    except NasError as error:
        print(f"nas: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nas: interrupted; a search goes on where it stopped, by the same command", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `nas history list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class Parser(argparse.ArgumentParser):
    """A parser that answers a mistake in one sentence, with the nearest word, as the library does."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # commands are parsed by it, too
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            known = re.findall(r"--[a-z][a-z-]*", self.format_usage())
            self.error(f"{rest[0]!r} is not known here", nearest(rest[0].partition("=")[0], known))
        return found, rest

    def error(self, message: str, hint: str = "") -> NoReturn:
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL):
            hint = nearest(choice[1], re.findall(r"[a-z]+", choice[2]))
        self.exit(2, f"nas: {message};{hint} `{self.prog} --help` lists what it takes\n")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="nas", description="Neural architecture search that remembers.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (search, suggest, predict, history, meta, report, dashboard):
        command.add(commands)
    return parser
