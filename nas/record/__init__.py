"""The values a history is made of: how thoroughly something was trained, what came out, and on which data.

Belongs here: frozen values, checked at birth, equal by content, with ``to_dict``/``from_dict`` (plain JSON types,
nothing executed, unknown keys refused). Does not belong here: files and databases (``nas.metadataset``), training
(``nas.training``).

``record`` holds ``Record``, made of ``fidelity`` and ``outcome``; ``info`` what is known of a dataset and of a search;
``fields`` how any of them is checked, and the version of what is stored.
"""

from __future__ import annotations

from nas.record.fidelity import Fidelity
from nas.record.fields import SCHEMA_VERSION, digest_of
from nas.record.info import DatasetInfo, PastDataset, SearchInfo
from nas.record.outcome import STATUSES, Cost, Outcome, Status
from nas.record.record import PURPOSES, Purpose, Record, evaluation_key

__all__ = [
    "PURPOSES",
    "SCHEMA_VERSION",
    "STATUSES",
    "Cost",
    "DatasetInfo",
    "Fidelity",
    "Outcome",
    "PastDataset",
    "Purpose",
    "Record",
    "SearchInfo",
    "Status",
    "digest_of",
    "evaluation_key",
]
