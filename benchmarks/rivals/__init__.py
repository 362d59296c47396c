"""Controllers to compare with, one file each, re-implemented from the formulas of their papers; for benchmarks only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from benchmarks.rivals.cold_gp import ColdGaussianProcess
from nas.controllers import Controller, Problem

RIVALS: Mapping[str, Callable[[Problem], Controller]] = MappingProxyType({"cold_gp": ColdGaussianProcess})
