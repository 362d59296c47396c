"""The functions of a stand-alone file for series; see ``nas.export.python.standalone``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.export.python.standalone import Network, named

SHAPE: tuple[int, ...] = ()


def predict(network: Network, series: Tensor | Sequence[Tensor]) -> list[dict[str, str | float]]:
    """Returns a prediction for each of ``series``, [channels, steps] as in SHAPE: shorter ones are missing at the end.

    NaN is missing; a longer series is cut after the steps of SHAPE.
    """
    channels, steps = SHAPE
    rows = []
    for row in series:
        if row.dim() != 2 or len(row) != channels:
            raise ValueError(f"a series must be [{channels} channels, steps], but is {tuple(row.shape)}.")
        row = row[:, :steps].to(torch.float32)
        row = row.masked_fill(row.isinf(), math.nan)
        rows.append(nn.functional.pad(row, (0, steps - row.shape[1]), value=math.nan))
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 256):
            found += [named(output) for output in network(torch.stack(rows[start : start + 256])).tolist()]
    return found
