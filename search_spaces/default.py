"""Which space suits a dataset, when the user names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.space import SearchSpace
from search_spaces.image import image
from search_spaces.series import series
from search_spaces.tabular import tabular

if TYPE_CHECKING:
    from nas.dataset import Dataset

ONE_HOT_LEVELS = 9  # up to here an embedding has nothing to gain (RealMLP's threshold)


def default_for(dataset: Dataset) -> SearchSpace:
    """The space for a dataset: ``tabular`` for tables, with the parts its columns need, ``image`` and ``series``."""
    import numpy as np

    classification = dataset.task == "classification"
    if dataset.kind == "image":
        side = min(dataset.inputs["image"].shape[1:3])
        return image(
            stages=1 if side < 6 else 2 if side < 24 else 3, reduce_stem=side >= 24, classification=classification
        )
    if dataset.kind == "series":
        return series(steps=dataset.inputs["series"].shape[2], classification=classification)
    numbers = dataset.inputs.get("numeric")
    return tabular(
        numeric=0 if numbers is None else numbers.shape[1],
        missing=numbers is not None and bool(np.isnan(numbers).any()),
        categorical="categorical" in dataset.inputs,
        embed=max(map(len, dataset.levels), default=0) > ONE_HOT_LEVELS,
        classification=classification,
    )
