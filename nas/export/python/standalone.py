"""The functions that every stand-alone file holds, in the words in which they stand there.

Nothing here is called by the library: ``nas.export.python.file`` takes the source of these functions, and writes the
names below with the values of one network. So this file imports torch and the standard library only.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES: tuple[str, ...] = ()
FINGERPRINT = ""
WEIGHTS = Path(__file__).with_suffix(".safetensors")


class Network(nn.Module):
    """The place of the network that is written."""


def load(path: str | Path = WEIGHTS) -> Network:
    """Returns the trained network, ready to predict; ValueError where ``path`` holds the weights of another one."""
    tensors, metadata = read_safetensors(path)
    if metadata.get("fingerprint") != FINGERPRINT:
        raise ValueError(f"{path} must hold the weights exported together with {__file__}, but holds others.")
    network = Network()
    network.load_state_dict(tensors)
    return network.eval()


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the tensors of a .safetensors file by name, and its metadata.

    The file is the length of its header (8 bytes), the header (JSON), and the numbers.
    """
    content = bytearray(Path(path).read_bytes())
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__", {})
    dtypes = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    dtypes |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}
    dtypes |= {"U8": torch.uint8, "BOOL": torch.bool}
    tensors = {}
    for name, entry in header.items():
        tensor = torch.zeros(entry["shape"], dtype=dtypes[entry["dtype"]])
        if size := tensor.numel():
            offset = start + entry["data_offsets"][0]
            tensor.view(-1).copy_(torch.frombuffer(content, dtype=tensor.dtype, count=size, offset=offset))
        tensors[name] = tensor
    return tensors, metadata


def named(output: float | list[float]) -> dict[str, str | float]:
    """Returns the prediction of one row by name, with the probability of each class where there are classes."""
    if not isinstance(output, list):
        return {"prediction": output}
    likeliest = max(range(len(output)), key=output.__getitem__)
    return {"prediction": CLASSES[likeliest]} | {f"probability_{c}": p for c, p in zip(CLASSES, output, strict=True)}
