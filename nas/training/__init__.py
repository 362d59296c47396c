"""Training: candidates in, outcomes out, on one device.

Here belong the recipe (``recipe``), data on its device (``resident``, ``augment``), networks side by side (``forms``,
``tape``, ``stack``, ``optimizer``), the inner loop (``learn``), one network for keeps (``fit``) and many candidates for
their scores (``train``; who trains with whom: ``company``; who stops early: ``pruner``). What a candidate computes
belongs to ``nas.model``, what is tried next to ``nas.controllers``.
"""

from __future__ import annotations

from nas.training.company import Busy
from nas.training.faults import DivergedError, OutOfTimeError
from nas.training.fit import Trained, fit
from nas.training.optimizer import warm_up
from nas.training.pruner import Halving, HistoryPruner, Pruner
from nas.training.recipe import ENGINE, Candidate, Recipe, batch_size, precision
from nas.training.train import folds_of, train, train_on, training_rows

__all__ = [
    "ENGINE",
    "Busy",
    "Candidate",
    "DivergedError",
    "Halving",
    "HistoryPruner",
    "OutOfTimeError",
    "Pruner",
    "Recipe",
    "Trained",
    "batch_size",
    "fit",
    "folds_of",
    "precision",
    "train",
    "train_on",
    "training_rows",
    "warm_up",
]
