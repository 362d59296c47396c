"""Optuna's Gaussian process (GPSampler) on the flat decisions, with its defaults."""

from __future__ import annotations

import warnings

from nas.controllers import Controller, Problem


def optuna_gp(problem: Problem) -> Controller:
    """Returns Optuna's sampler as a controller; it keeps its state between asks."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import GPSampler

    from nas.controllers.optuna import OptunaController

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return OptunaController(GPSampler(seed=problem.seed), problem)
