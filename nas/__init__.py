"""Neural architecture search that remembers: what one search learned warm-starts the next."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.dataset import Dataset, load
    from nas.errors import NasError
    from nas.loop import search, suggest
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
    "Fidelity": "nas.record",
    "Float": "nas.space",
    "Integer": "nas.space",
    "MetaDataset": "nas.metadataset",
    "NasError": "nas.errors",
    "Op": "nas.space",
    "Operation": "nas.operations",
    "Record": "nas.record",
    "Repeat": "nas.space",
    "SearchSpace": "nas.space",
    "build": "nas.model",
    "load": "nas.dataset",
    "search": "nas.loop",
    "suggest": "nas.loop",
}

__all__ = [
    "BUILTIN",
    "Architecture",
    "Choice",
    "Dataset",
    "Fidelity",
    "Float",
    "Integer",
    "MetaDataset",
    "NasError",
    "Op",
    "Operation",
    "Record",
    "Repeat",
    "SearchSpace",
    "build",
    "load",
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
