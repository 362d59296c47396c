"""The functions of a stand-alone file for images; see ``nas.export.python.standalone``."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.export.python.standalone import Network, named

SHAPE: tuple[int, ...] = ()


def predict(network: Network, images: Tensor) -> list[dict[str, str | float]]:
    """Returns a prediction for each of ``images``, uint8 [n, *SHAPE]: height, width, channels."""
    if images.dtype != torch.uint8 or images.shape[1:] != torch.Size(SHAPE):
        raise ValueError(f"images must be uint8 [n, {SHAPE}], but are {images.dtype} {tuple(images.shape)}.")
    with torch.inference_mode():
        return [named(output) for part in images.split(256) for output in network(part).tolist()]
