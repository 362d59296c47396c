"""Neural architecture search that remembers: what one search learned warm-starts the next."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.controllers import Explanation, Problem
    from nas.dataset import Dataset, load
    from nas.errors import NasError
    from nas.estimator import NASClassifier, NASRegressor
    from nas.loop import meta_test, meta_train, search, suggest
    from nas.metadataset import MetaDataset
    from nas.model import build
    from nas.operations import BUILTIN, Operation
    from nas.record import Fidelity, Record
    from nas.space import Choice, Float, Integer, Op, Repeat, SearchSpace

_PLACES = {
    "Architecture": "nas.architecture",
    "BUILTIN": "nas.operations",
    "Choice": "nas.space",
    "Dataset": "nas.dataset",
    "Explanation": "nas.controllers",
    "Fidelity": "nas.record",
    "Float": "nas.space",
    "Integer": "nas.space",
    "MetaDataset": "nas.metadataset",
    "NASClassifier": "nas.estimator",
    "NASRegressor": "nas.estimator",
    "NasError": "nas.errors",
    "Op": "nas.space",
    "Operation": "nas.operations",
    "Problem": "nas.controllers",
    "Record": "nas.record",
    "Repeat": "nas.space",
    "SearchSpace": "nas.space",
    "build": "nas.model",
    "load": "nas.dataset",
    "meta_test": "nas.loop",
    "meta_train": "nas.loop",
    "search": "nas.loop",
    "suggest": "nas.loop",
}

__all__ = [
    "BUILTIN",
    "Architecture",
    "Choice",
    "Dataset",
    "Explanation",
    "Fidelity",
    "Float",
    "Integer",
    "MetaDataset",
    "NASClassifier",
    "NASRegressor",
    "NasError",
    "Op",
    "Operation",
    "Problem",
    "Record",
    "Repeat",
    "SearchSpace",
    "build",
    "load",
    "meta_test",
    "meta_train",
    "search",
    "suggest",
]


def __getattr__(name: str) -> object:
    """Loads a public name when it is first used, so that ``import nas`` loads neither torch nor scikit-learn."""
    if name not in _PLACES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
