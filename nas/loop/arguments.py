"""What is checked, and chosen where it was left out, before a search begins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Number, Real
from typing import TYPE_CHECKING, TypeAlias

from nas.dataset import Dataset
from nas.errors import DataError, SearchError, nearest
from nas.metrics import Metric, find_metric
from nas.record import Fidelity

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

    from nas.space import SearchSpace

MetricSpec = str | Callable[..., float] | Metric | None
FidelitySpec: TypeAlias = "Fidelity | str | BasePruner | None"
HYPERBAND, HISTORY = "hyperband", "history"
FEWEST = 10
"""Rows a search needs: with fewer, two or three rows would decide which network is best."""
LARGEST_SEED = 2**62  # what follows from a seed still fits into a database's integers


def whole(name: str, value: object, least: int, most: int = LARGEST_SEED) -> int:
    """The value as an int, whatever integer type it came in; SearchError unless it is from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise SearchError(f"`{name} >= {least}` must hold for a whole number, but got {name}={value!r}.")
    if int(value) > most:
        raise SearchError(f"`{name} <= {most}` must hold, but got {name}={value!r}; use a smaller number.")
    return int(value)


def check_types(space: object, fidelity: object) -> None:
    """Raises SearchError where one of these arguments of a search is of the wrong type."""
    from nas.space import SearchSpace

    _check_fidelity(fidelity)
    if space is not None and not isinstance(space, SearchSpace):
        hint = _spaces_like(space) if isinstance(space, str) else ""
        raise SearchError(f"`space` must be a SearchSpace or left out, but got {space!r}.{hint}")


def check_time(name: str, seconds: object) -> None:
    """Raises SearchError where a limit is neither left out nor a positive number."""
    if seconds is None:
        return
    if not isinstance(seconds, Real) or isinstance(seconds, bool):
        raise SearchError(f"`{name}` must be a number or left out, but got {seconds!r}.")
    if not seconds > 0:  # type: ignore[operator]
        raise SearchError(f"`{name} > 0` must hold, but got {name}={seconds!r}; leave it out for no limit.")


def _check_fidelity(fidelity: object) -> None:
    if (
        fidelity is None
        or isinstance(fidelity, Fidelity)
        or (isinstance(fidelity, str) and fidelity in (HYPERBAND, HISTORY))
    ):
        return
    if not isinstance(fidelity, str | bool | Number):
        from optuna.pruners import BasePruner

        if isinstance(fidelity, BasePruner):
            return
    raise SearchError(
        f"`fidelity` must be a Fidelity, {HYPERBAND!r}, {HISTORY!r}, a pruner of Optuna or left out, but got "
        f"{fidelity!r}."
    )


def _spaces_like(word: str) -> str:
    import search_spaces

    names = [name for name in search_spaces.__all__ if not name.startswith("default")]
    near = nearest(word, names)
    return (
        f" Those ready to use are functions of search_spaces ({', '.join(names)});{near or ' pass what one returns.'}"
    )


def default_space(dataset: Dataset) -> SearchSpace:
    """The space that is searched where none was given."""
    from search_spaces import default_for

    return default_for(dataset)


def set_aside(data: Dataset, test: Dataset | float | None) -> tuple[Dataset, Dataset | None]:
    """The rows to search on and those set aside: the same for every seed, so that no search learns from another's.

    A test part that the data came with is set aside whether or not ``test`` asks for one.

    Raises:
        DataError: too few rows.
    """
    if len(data) < FEWEST:
        raise DataError(
            f"a search needs {FEWEST} rows to train and to validate on, but {data.name!r} has {len(data)}; add rows."
        )
    if test is None:
        return data.holdout(0) if data.has_test else (data, None)
    if isinstance(test, Dataset):
        ours, theirs = data.schema(), test.schema()
        if differs := [key for key in ours if key != "target" and ours[key] != theirs[key]]:
            raise SearchError(
                f"test rows must be read like the others, but their {', '.join(differs)} differ; "
                "pass test=0.2, or a subset of one loaded Dataset."
            )
        return data, test
    if isinstance(test, bool) or not isinstance(test, Real) or not 0 < test < 1:
        raise SearchError(f"`0 < test < 1` must hold for the share of rows set aside, but got {test=}.")
    return data.holdout(0, float(test))


def device_of(device: str | None) -> str:
    """``cpu``, ``cuda`` or ``cuda:1``: what was asked for, else a GPU where there is one; SearchError where not."""
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    name = str(device)
    if (found := re.fullmatch(r"cpu|cuda(?::([0-9]{1,3}))?", name)) is None:
        meant = nearest(name, ("cpu", "cuda")) if name != "gpu" else " did you mean 'cuda'?"
        raise SearchError(f"`device` must be 'cpu', 'cuda' or 'cuda:1', or be left out, but got {device!r};{meant}")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name != "cpu" and int(found[1] or 0) >= there:
        seen = f"it sees {there}" if there else "there is none"
        raise SearchError(f"device {name!r} needs a GPU that torch can see, and {seen}; use device='cpu'.")
    return name


def metric_for(metric: MetricSpec, data: Dataset) -> Metric:
    """The metric that is meant, tried on the target; a name that changes with every process loses what does.

    Raises:
        DataError: There is no such metric, or it cannot score this target.
    """
    found = find_metric(metric, data.task, data.y, data.classes, data.weights)
    return replace(found, name=re.sub(r" at 0x[0-9a-fA-F]+", "", found.name))


def spec_name(spec: object) -> str:
    """What a search is told apart by: the name of a controller or pruner, or of its class and module."""
    if isinstance(spec, str):
        return spec
    kind = spec if hasattr(spec, "__qualname__") else type(spec)
    return f"{kind.__module__}.{kind.__qualname__}"


def has_no_name(metric: Metric) -> bool:
    """Whether two different metrics of this kind bear one name: lambdas, functions within functions, objects."""
    return "<" in metric.name


def is_nameless(spec: object) -> bool:
    """Whether two different controllers of this kind bear one name: samplers, lambdas, functions within functions."""
    return not isinstance(spec, str) and ("<" in spec_name(spec) or not hasattr(spec, "__qualname__"))
