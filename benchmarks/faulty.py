"""A search space whose operations fail in every way that a candidate can; worker processes import it by name."""

from __future__ import annotations

import os
import signal
import time

import torch

import nas

FAULTS = ("hungry", "lost", "broken", "hanging", "killed")


class Hungry(torch.nn.Module):
    """Asks for 64 GB."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.zeros(2**34)[:1]


class Lost(torch.nn.Module):
    """Makes losses that are not finite."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float("nan")


class Broken(torch.nn.Module):
    """Raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this one never works")


class Hanging(torch.nn.Module):
    """Never returns."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while True:
            time.sleep(1)


class Killed(torch.nn.Module):
    """Dies as the out-of-memory killer would have it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return x


MODULES = dict(zip(FAULTS, (Hungry, Lost, Broken, Hanging, Killed), strict=True))


def build(shape: tuple[int, ...], fault: str = "broken") -> torch.nn.Module:
    return MODULES[fault]()


def same(shape: tuple[int, ...], fault: str = "broken") -> tuple[int, ...]:
    return shape


def space(*faults: str) -> nas.SearchSpace:
    """Returns a space of sound candidates and of some with one of these faults."""
    operation = nas.Operation("faulty", 1, build, shape=same, parameters={"fault": "broken"})
    found = nas.SearchSpace("faulty", operations=nas.BUILTIN | {"faulty": operation})
    found.add_input("x")
    found.add_node("hidden", "linear", width=nas.Integer(8, 64))
    found.add_node("body", nas.Choice("relu", nas.Op("faulty", fault=nas.Choice(*faults))))
    found.add_output("y")
    for source, target in (("x", "hidden"), ("hidden", "body"), ("body", "y")):
        found.add_edge(source, target)
    return found


def search_here(place: str) -> None:
    """Searches in this process, which has 12 GB of addresses."""
    import resource

    nas.search("wine", trials=1, controller="random", history=None, storage=":memory:")  # imports what it needs
    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
    nas.search("iris", space=space(*FAULTS[:3]), trials=16, controller="random", history=None, storage=place)


def search_in_workers(place: str) -> None:
    """Searches in processes of their own, which may hang and die."""
    how = {"workers": 2, "candidate_seconds": 20.0, "controller": "random", "history": None, "storage": place}
    nas.search("iris", space=space(*FAULTS[2:]), trials=12, **how)
