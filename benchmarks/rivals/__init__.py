"""Controllers to compare with, one file each, re-implemented from the formulas of their papers; for benchmarks only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from benchmarks.rivals.cold_gp import ColdGaussianProcess
from benchmarks.rivals.copula import CopulaProcess, CopulaSampling
from benchmarks.rivals.local_search import LocalSearch
from benchmarks.rivals.optuna_gp import optuna_gp
from benchmarks.rivals.portfolio import Portfolio
from benchmarks.rivals.rgpe import RankingWeighted
from nas.controllers import Controller, Problem


def reinforce_cold(problem: Problem) -> Controller:
    """Returns the policy-gradient controller that past records have not taught."""
    from nas.controllers.reinforce import ReinforceController

    return ReinforceController(problem, pretrained=False)


def maml_cold(problem: Problem) -> Controller:
    """Returns the adapting networks that past datasets have not prepared."""
    from nas.controllers.maml import MamlController

    return MamlController(problem, meta_trained=False)


RIVALS: Mapping[str, Callable[[Problem], Controller]] = MappingProxyType(
    {
        "local_search": LocalSearch,
        "gp": optuna_gp,
        "cold_gp": ColdGaussianProcess,
        "portfolio": Portfolio,
        "copula": CopulaSampling,
        "copula_gp": CopulaProcess,
        "rgpe": RankingWeighted,
        "reinforce_cold": reinforce_cold,
        "maml_cold": maml_cold,
    }
)

# those that learn nothing from history, the library's among them
HISTORY_FREE = ("random", "evolution", "tpe", "local_search", "gp", "cold_gp", "reinforce_cold", "maml_cold")
