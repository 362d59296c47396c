"""The command line, one file a command. It prints; it decides nothing.

Each command's file has ``add(commands)``, which declares it, and one function that runs it and returns the exit code.
"""

from nas.cli.parser import main

__all__ = ["main"]
