"""Controllers, one file an algorithm: each answers ``ask`` and ``tell`` (nas/controllers/base.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nas.controllers.base import Controller, Explanation, Factory, Problem
from nas.errors import SearchError, nearest

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    ControllerSpec = str | Callable[[Problem], Controller] | BaseSampler

__all__ = ["NAMES", "Controller", "Explanation", "Factory", "Problem", "create"]


def _meta(problem: Problem) -> Controller:
    from nas.controllers.meta import MetaController

    return MetaController(problem)


def _random(problem: Problem) -> Controller:
    from nas.controllers.random import RandomController

    return RandomController(problem)


def _evolution(problem: Problem) -> Controller:
    from nas.controllers.evolution import EvolutionController

    return EvolutionController(problem)


def _tpe(problem: Problem) -> Controller:
    from nas.controllers.optuna import tpe

    return tpe(problem)


def _reinforce(problem: Problem) -> Controller:
    from nas.controllers.reinforce import ReinforceController

    return ReinforceController(problem)


def _maml(problem: Problem) -> Controller:
    from nas.controllers.maml import MamlController

    return MamlController(problem)


_BY_NAME: dict[str, Factory] = {
    "meta": _meta,
    "random": _random,
    "evolution": _evolution,
    "tpe": _tpe,
    "reinforce": _reinforce,
    "maml": _maml,
}
NAMES = tuple(_BY_NAME)


def create(controller: ControllerSpec, problem: Problem) -> Controller:
    """Returns a controller for ``problem``.

    Args:
        controller: One of ``NAMES``; a class or function of a problem that returns a controller; or an Optuna sampler.
        problem: Space, seed and history.

    Raises:
        SearchError: If there is no such controller, or the function returns something else.
    """
    if isinstance(controller, str):
        if controller not in _BY_NAME:
            raise SearchError(
                f"a controller is one of {', '.join(NAMES)}, a function of a Problem or an Optuna sampler, "
                f"but got {controller!r};{nearest(controller, NAMES)} choose one of them."
            )
        return _BY_NAME[controller](problem)
    if not callable(controller):
        from optuna.samplers import BaseSampler

        if not isinstance(controller, BaseSampler):
            raise SearchError(
                f"a controller is one of {', '.join(NAMES)}, a function of a Problem or an Optuna sampler, "
                f"but got {controller!r}; of a controller pass the class, not an instance."
            )
        from nas.controllers.optuna import OptunaController

        return OptunaController(controller, problem)
    made = controller(problem)
    if not isinstance(made, Controller):
        raise SearchError(
            f"a function given as controller returns an object with ask, tell and explain, but got {made!r}; "
            f"pass an Optuna sampler as an instance."
        )
    return made
