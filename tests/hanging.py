"""An operation that other processes can import, which waits when it is told to: by a file in the folder $HANGING.

The file ``what`` says "hang" (until there is a file ``let go``), "once" (who comes first hangs), "note", or "wait .1"
(seconds in each step of a training). The file ``hangs`` tells that somebody does.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import nas


def build(shape: tuple[int, ...]) -> Any:
    """Returns an identity that does as the file ``what`` says, and notes which process it is in."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            place = Path(os.environ["HANGING"])
            what = (place / "what").read_text() if (place / "what").exists() else ""
            if what:
                (place / f"pid {os.getpid()}").touch()
            if what == "once":
                with suppress(FileExistsError):
                    (place / "hung").touch(exist_ok=False)
                    what = "hang"
            if what.startswith("wait ") and self.training and x.device.type == "cpu":
                time.sleep(float(what.split()[1]))
            while what == "hang" and not (place / "let go").exists():
                (place / "hangs").touch()
                time.sleep(0.01)
            return x

    return Module()


def same(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape


def space_of(*names: str) -> nas.SearchSpace:
    """Returns a small space with a choice of these operations."""
    hanging = nas.Operation("hanging", 1, build, shape=same)
    space = nas.SearchSpace("hanging", operations=nas.BUILTIN | {"hanging": hanging})
    space.add_input("x")
    space.add_node("first", "linear", width=nas.Integer(4, 40))
    space.add_node("a", nas.Choice(*names))
    space.add_output("y")
    for source, target in [("x", "first"), ("first", "a"), ("a", "y")]:
        space.add_edge(source, target)
    return space
