"""Images: arrays, encoded bytes and files to uint8 ``[n, height, width, channels]``.

Here belongs everything that decodes or resizes a picture, with Pillow, imported inside functions. Which files belong
to which class is decided in ``from_folder``; the values of the target belong to ``nas.dataset.target``.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.dataset.value import Inputs
from nas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
"""Files of a folder that are read as images."""
MAX_SIDE = 224
"""Pixels of the longer side; files whose commonest size is larger are shrunk to it."""
_GREY = ("1", "L", "LA", "I", "I;16", "F")
_PARTS = {"train": False, "test": True}


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder of images: the inputs, the label of each, and the mask of the given test part or None."""

    inputs: Inputs
    labels: np.ndarray
    given_test: np.ndarray | None


def from_array(X: np.ndarray) -> Inputs:
    """Returns images ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` with c in 1, 3, 4 as uint8, channels last.

    Integers must lie in 0 to 255; floats must lie in [0, 1] and are multiplied by 255 and rounded.
    """
    notes = []
    images = X[..., None] if X.ndim == 3 else X
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise DataError(f"images must be [rows, height, width, channels], but have shape {X.shape}; reshape them.")
    if images.shape[-1] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
        notes.append("images came with channels first and are kept with channels last")
    if images.dtype == np.uint8:
        return Inputs({"image": np.ascontiguousarray(images)}, notes=tuple(notes))
    if images.dtype.kind not in "biuf":
        raise DataError(f"images must be numbers, but are {images.dtype}; convert them to uint8.")
    top = 1 if images.dtype.kind in "bf" else 255
    low, high = (float(images.min()), float(images.max())) if len(images) else (0.0, 0.0)
    if not 0.0 <= low <= high <= top:
        kind = "float images must lie in [0, 1]" if top == 1 else "integer images must lie in 0 to 255"
        raise DataError(f"{kind}, but span {low:g} to {high:g}; rescale them, or pass [rows, columns] for a table.")
    if top == 1:
        notes.append("images in [0, 1] are kept as 0 to 255")
        images = np.rint(images * np.float32(255.0))
    return Inputs({"image": np.ascontiguousarray(images.astype(np.uint8))}, notes=tuple(notes))


def from_folder(folder: Path) -> Folder:
    """Returns the images of a folder with one subfolder a class, or with train/ and test/ holding such subfolders.

    All are resized to the commonest size (the smallest of equally common ones, its longer side at most ``MAX_SIDE``);
    one channel if every file is grey, else RGB.

    Raises:
        DataError: no subfolder with images, or a file that is empty or unreadable.
    """
    parts = {name: folder / name for name in _PARTS if _classes(folder / name)}
    if len(parts) < 2 or len(parts) < len(_classes(folder) | parts.keys()):
        parts = {"": folder}
    files = [
        (path, label, _PARTS.get(part, False))
        for part, place in parts.items()
        for label, paths in sorted(_classes(place).items())
        for path in paths
    ]
    if not files:
        raise DataError(
            f"a folder of images needs one subfolder for each class, but {str(folder)!r} has none with files"
            f" {', '.join(SUFFIXES)}; move the images of each class into a folder of its name."
        )
    images, notes = read_files([path for path, _, _ in files])
    labels = np.array([label for _, label, _ in files])
    test = np.array([test for _, _, test in files]) if len(parts) == 2 else None
    others = sum(1 for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")) - len(files)
    if others:
        notes = (*notes, f"{others} files that are no images of a class were left out")
    return Folder(Inputs({"image": images}, notes=notes), labels, test)


def read_files(paths: Sequence[Path], shape: Sequence[int] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns (uint8 ``[n, h, w, c]``, what was changed); sizes and channels as in ``from_folder``, or as ``shape``."""
    return decode([_opener(path) for path in paths], [str(path) for path in paths], shape)


def from_bytes(data: np.ndarray, offsets: np.ndarray) -> Inputs:
    """Returns the images whose encoded files (JPEG, PNG) are ``data[offsets[i]:offsets[i + 1]]``, data being uint8."""
    bounds = offsets.astype(np.int64)
    if data.dtype != np.uint8 or data.ndim != 1 or len(bounds) < 2 or (np.diff(bounds) <= 0).any():
        raise DataError("encoded images need uint8 data and increasing offsets, one more than images; see nas.load.")
    openers = [_bytes_opener(data[start:end].tobytes()) for start, end in itertools.pairwise(bounds)]
    images, notes = decode(openers, [f"image {i}" for i in range(len(openers))], None)
    return Inputs({"image": images}, notes=notes)


def decode(
    openers: Sequence[Callable[[], Image.Image]], names: Sequence[str], shape: Sequence[int] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns (uint8 ``[n, h, w, c]``, notes) of what the openers open; DataError names the first that fails."""
    notes: list[str] = []
    if shape is None:
        heads = [_guarded(name, partial(_head, opener)) for opener, name in zip(openers, names, strict=True)]
        shape, notes = _common_shape(heads)
    height, width, channels = shape
    images = np.empty((len(openers), height, width, channels), dtype=np.uint8)
    for index, (opener, name) in enumerate(zip(openers, names, strict=True)):
        images[index] = _guarded(name, partial(_pixels, opener, height, width, channels))
    return images, tuple(notes)


def pool(images: np.ndarray, side: int) -> np.ndarray:
    """Returns uint8 ``[n, h, w, c]`` averaged to at most ``side`` x ``side`` pixels: float32 ``[n, h' * w' * c]``."""
    out: np.ndarray = images.astype(np.float32)
    for axis in (1, 2):
        size = out.shape[axis]
        edges = np.linspace(0, size, min(size, side) + 1).astype(np.int64)
        shape = [-1 if i == axis else 1 for i in range(4)]
        out = np.add.reduceat(out, edges[:-1], axis=axis) / np.diff(edges).astype(np.float32).reshape(shape)
    return out.reshape(len(images), -1)


def _common_shape(heads: Iterable[tuple[int, int, bool]]) -> tuple[tuple[int, int, int], list[str]]:
    heads = list(heads)
    sizes = Counter((height, width) for height, width, _ in heads)
    height, width = min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size))
    shrink = min(1.0, MAX_SIDE / max(height, width))
    target = (max(round(height * shrink), 1), max(round(width * shrink), 1))
    resized = sum(count for size, count in sizes.items() if size != target)
    notes = [f"{resized} of {len(heads)} images were resized to {target[0]} x {target[1]}"] if resized else []
    return (*target, 1 if all(grey for _, _, grey in heads) else 3), notes


def _head(opener: Callable[[], Image.Image]) -> tuple[int, int, bool]:
    with opener() as image:
        turned = image.getexif().get(274, 1) in (5, 6, 7, 8)
        width, height = reversed(image.size) if turned else image.size
        grey = image.mode in _GREY or (
            image.mode == "P" and image.convert("RGB").getcolors(256) is not None and _flat(image)
        )
        return height, width, grey


def _flat(image: Image.Image) -> bool:
    colours = np.asarray(image.convert("RGB"))
    return bool((colours == colours[..., :1]).all())


def _pixels(opener: Callable[[], Image.Image], height: int, width: int, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    with opener() as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I") or image.mode == "F":
            image = _eight_bits(image)
        image = image.convert("L" if channels == 1 else "RGBA" if channels == 4 else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.uint8).reshape(height, width, channels)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Returns 16-bit (or deeper) grey values divided by 257, so that 65535 is 255; smaller ranges stay as they are."""
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    values = values / 257.0 if values.max(initial=0.0) > 255.0 else values
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Returns the image files of each subfolder that has any, sorted by name."""
    if not folder.is_dir():
        return {}
    found = {
        place.name: sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        for place in folder.iterdir()
        if place.is_dir() and not place.name.startswith(".")
    }
    return {name: paths for name, paths in found.items() if paths}


def _opener(path: Path) -> Callable[[], Image.Image]:
    from PIL import Image

    return lambda: Image.open(path)


def _bytes_opener(content: bytes) -> Callable[[], Image.Image]:
    from PIL import Image

    return lambda: Image.open(io.BytesIO(content))


def _guarded(name: str, work: Callable[[], Any]) -> Any:
    """Returns what ``work`` returns; DataError naming the image where Pillow cannot read it."""
    try:
        return work()
    except Exception as error:  # whatever a decoder raises on foreign bytes
        why = "the file is empty" if _is_empty(name) else str(error) or type(error).__name__
        raise DataError(f"an image must be readable, but {name!r} is not ({why}); repair or remove it.") from error


def _is_empty(name: str) -> bool:
    path = Path(name)
    return path.is_file() and path.stat().st_size == 0
