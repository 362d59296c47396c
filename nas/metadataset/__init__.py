"""The history: every dataset, search and record ever made, in one file or database, and packs to pass it on.

Belongs here: append, read, forget, merge, packs, audits. Does not belong here: the values themselves (``nas.record``),
and what is concluded from them (``nas.controllers``). SQLAlchemy and pyarrow are imported when used.

``store`` holds ``MetaDataset``; ``place`` where a history is; ``sql`` tables, connections and their faults; ``rows``
records as flat rows; ``lazy`` records parsed where they are looked at; ``appending`` which records are new,
``merging`` which searches are the same, ``forgetting`` what goes with a search;
``pack`` Parquet files, ``pages`` how large they become; ``knowledge`` those that are shipped; ``distance`` how far
datasets are apart; ``audit`` what a history covers; ``histories`` what a search reads and writes.
"""

from __future__ import annotations

from nas.metadataset.forgetting import Removed
from nas.metadataset.knowledge import shipped
from nas.metadataset.merging import Merged
from nas.metadataset.store import MetaDataset, Snapshot
from nas.record import DatasetInfo, PastDataset, Record, SearchInfo

__all__ = [
    "DatasetInfo",
    "Merged",
    "MetaDataset",
    "PastDataset",
    "Record",
    "Removed",
    "SearchInfo",
    "Snapshot",
    "shipped",
]
