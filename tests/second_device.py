"""A second device on a machine that has none: what lies there is computed on the CPU, but may not be mixed with it.

Stands in for a GPU, whose rules it keeps: operands of one operation lie on one device (numbers and indices aside), so
do random generators, and NumPy is given nothing that lies there. It is a PyTorch backend for the whole process, so that
what uses it is run in one of its own: ``python second_device.py`` trains on both, and prints what came out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ATEN = torch.ops.aten
COPIES = ("aten::copy_", "aten::_to_copy")  # the ways from one device to another
INDEXING = ("aten::index", "aten::index_put_", "aten::_index_put_impl_")  # a GPU takes indices from the host


class There(torch.Tensor):
    """A tensor on the second device, whose numbers are ``here``."""

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> There:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device("there:0"),
            requires_grad=here.requires_grad,
        )

    def __init__(self, here: torch.Tensor) -> None:
        self.here = here

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is torch.Tensor.tolist:
                return args[0].here.tolist()
            if func in (torch.Tensor.numpy, torch.Tensor.__array__):
                raise TypeError("NumPy is given what lies on the second device")
            if getattr(func, "__name__", "") == "__set__" and func.__self__ is torch._C.TensorBase.data:
                args[0].here = args[1].here
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """Computes what lies on the second device, or is made there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_there(kwargs.get("device")) or any(isinstance(leaf, There) for leaf in tree_leaves((args, kwargs))):
            return _computed(func, args, kwargs)
        return func(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Sees what operations do not: generators as they were made, and tensors of numbers on their way to a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        generator = kwargs.get("generator")
        if isinstance(generator, _Generator):
            there = _is_there(kwargs.get("device")) or any(isinstance(leaf, There) for leaf in tree_leaves(args))
            if there != generator.there:
                raise RuntimeError(f"{func} was given a generator of another device")
        if func in (torch.tensor, torch.as_tensor) and _is_there(kwargs.get("device")):
            return func(*args, **kwargs | {"device": "cpu"}).to(kwargs["device"])
        return func(*args, **kwargs)


class _Generator(torch.Generator):
    """A generator that knows for which device it is."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        self = super().__new__(cls)
        self.there = _is_there(device)
        return self

    def __init__(self, device: Any = "cpu") -> None:
        pass


def register() -> None:
    """Makes "there:0" a device of the process, before anything is differentiated."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("there")


@contextmanager
def second_device() -> Iterator[str]:
    """Lets the block use the device, whose name it gives."""
    torch.Generator = _Generator  # type: ignore[misc]
    torch.inference_mode = _NoGrad  # type: ignore[assignment,misc]  # which knows no tensors like these
    with _Operations(), _Calls():
        yield "there:0"


class _NoGrad(torch.no_grad):
    def __init__(self, mode: bool = True) -> None:
        super().__init__()


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == "there"


def _computed(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    leaves, name = tree_leaves((args, kwargs)), func._schema.name
    there = [leaf for leaf in leaves if isinstance(leaf, There)]
    here = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, There)]
    if there and name not in COPIES and name not in INDEXING and any(leaf.dim() for leaf in here):
        raise RuntimeError(f"{func} was given tensors of two devices")
    stays = _is_there(kwargs["device"]) if kwargs.get("device") is not None else bool(there)
    stays = isinstance(args[0], There) if name == "aten::copy_" else stays
    arguments = [*zip(func._schema.arguments, args, strict=False)]
    arguments += [(each, kwargs[each.name]) for each in func._schema.arguments if each.name in kwargs]
    written = [value for each, value in arguments if each.alias_info is not None and each.alias_info.is_write]
    args, kwargs = tree_map(lambda leaf: leaf.here if isinstance(leaf, There) else leaf, (args, kwargs))
    if _is_there(kwargs.get("device")):
        kwargs["device"] = torch.device("cpu")
    found = func(*args, **kwargs)
    if any(each.alias_info is not None and each.alias_info.is_write for each in func._schema.returns):
        assert all(value.size() == value.here.size() for value in written if isinstance(value, There))
        return written[0] if len(written) == 1 else tuple(written)
    if func is ATEN._local_scalar_dense.default or not stays:
        return found
    return tree_map(lambda leaf: There(leaf) if isinstance(leaf, torch.Tensor) else leaf, found)


# ---- what is trained on both


def _outcomes(device: str) -> dict[str, list[dict[str, Any]]]:
    """Outcomes of candidates of every kind of data, trained together on a device."""
    from trainings import blobs, stripes, waves

    import nas
    from nas.record import Fidelity
    from nas.training import Candidate, Halving, resident, train
    from search_spaces import default_for

    rng = np.random.default_rng(0)
    n = 200
    mixed = {"a": rng.normal(size=n).astype(object), "b": rng.choice(list("xyz"), n), "c": rng.choice(list(LEVELS), n)}
    mixed["a"][::7] = None
    table = nas.load((np.column_stack(list(mixed.values())), rng.integers(0, 2, n)), weights=rng.uniform(0.1, 1, n))
    steps = rng.normal(size=(n, 2, 30)).astype(np.float32)
    series = nas.load((steps, (steps.mean(axis=(1, 2)) > 0).astype(int)))
    found = {}
    for name, data, count in [
        ("table", blobs(), 3),
        ("mixed table", table, 3),
        ("regression", waves(300), 2),
        ("images", stripes(), 2),
        ("series", series, 2),
        ("batch by batch", table, 2),
    ]:
        space = default_for(data)
        chosen = [space.sample(np.random.default_rng(i)) for i in range(count)]
        alike = name in ("table", "mixed table", "regression")  # others draw the bits of dropout as their device does
        settings = [space.settings(c) | ({} if alike else {"dropout": 0.0}) for c in chosen]
        candidates = [Candidate(space.architecture(c), s) for c, s in zip(chosen, settings, strict=True)]
        resident.VIEW_BYTES = 0 if name == "batch by batch" else 2**30
        pruner = Halving() if name == "table" else None
        fidelity = Fidelity(2, n, 2)
        outcomes = train(candidates, data, data.splits(2, 0), fidelity, seed=0, device=device, pruner=pruner)
        found[name] = [
            {"status": o.status, "message": o.message, "score": o.score, "curve": o.curve, "device": o.cost.device}
            for o in outcomes
        ]
    return found


LEVELS = "abcdefghijkl"  # more than are given as one-hot columns alone

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    register()
    here = _outcomes("cpu")
    with second_device() as name:
        print(json.dumps({"here": here, "there": _outcomes(name)}))
