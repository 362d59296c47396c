"""The history: every dataset, search and record ever made, in one file or database, and packs to pass it on.

Belongs here: append, read, nearest datasets, forget, merge, packs. Does not belong here: the values themselves
(``nas.record``), and what is concluded from them (``nas.controllers``). SQLAlchemy and pyarrow are imported when used.

``store`` holds ``MetaDataset``; ``sql`` tables, connections and their faults; ``rows`` records as flat rows; ``pack``
Parquet files; ``distance`` how far datasets are apart.
"""

from __future__ import annotations

from nas.metadataset.merging import Merged, Removed
from nas.metadataset.store import MetaDataset, Snapshot, shipped
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
