"""Images: arrays, encoded bytes and files to uint8 ``[n, height, width, channels]``.

Here belongs everything that decodes or resizes a picture, with Pillow, imported inside functions. Which files belong
to which class is decided in ``from_folder``; the values of the target belong to ``nas.dataset.target``.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
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
"""Pixels of the longer side; larger images are shrunk to it."""
COMMON = 0.5
"""Share of the images that must have the commonest size for all to be brought to it; else it is the median size."""
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
    if strange := sum(not np.isfinite(image).all() for image in images):
        raise DataError(
            f"images must be finite numbers, but {strange} of {len(images)} hold NaN or infinite values; fill them, or "
            "leave those images out."
        )
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

    All are turned as their EXIF data say and resized to the commonest size, or to the median height and width where
    fewer than half have it, the longer side at most ``MAX_SIDE``. One channel if every file is grey, else RGB;
    transparent ones are laid on white.

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


def read_arrays(pieces: Sequence[np.ndarray], shape: Sequence[int] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns as ``read_files`` what arrays ``[h, w]`` or ``[h, w, c]`` of several sizes hold, as ``from_array``."""
    from PIL import Image

    pictures = []
    for index, piece in enumerate(pieces):
        try:
            pixels = from_array(piece[None]).arrays["image"][0]
        except DataError as error:
            raise DataError(f"image {index} of X cannot be read: {error}") from error
        pictures.append(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    return read_pictures(pictures, shape)


def read_pictures(
    pictures: Sequence[Image.Image], shape: Sequence[int] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns as ``read_files`` what Pillow has opened."""
    openers = [partial(_copy, picture) for picture in pictures]
    return decode(openers, [f"image {index} of X" for index in range(len(openers))], shape)


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


def resized(found: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns uint8 images ``[n, h, w, c]`` with the height and width of ``shape``; channels stay."""
    from PIL import Image

    height, width = shape[:2]
    if found.shape[1:3] == (height, width):
        return found
    out = np.empty((len(found), height, width, found.shape[3]), dtype=np.uint8)
    for index, pixels in enumerate(found):
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        out[index] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).reshape(out.shape[1:])
    return out


def pool(images: np.ndarray, side: int) -> np.ndarray:
    """Returns uint8 ``[n, h, w, c]`` averaged to at most ``side`` x ``side`` pixels: float32 ``[n, h' * w' * c]``."""
    out: np.ndarray = images.astype(np.float32)
    for axis in (1, 2):
        size = out.shape[axis]
        edges = np.linspace(0, size, min(size, side) + 1).astype(np.int64)
        shape = [-1 if i == axis else 1 for i in range(4)]
        out = np.add.reduceat(out, edges[:-1], axis=axis) / np.diff(edges).astype(np.float32).reshape(shape)
    return out.reshape(len(images), -1)


@dataclass(frozen=True)
class _Head:
    """What is known of an image before all are brought to one shape."""

    height: int
    width: int
    grey: bool
    transparent: bool


def _common_shape(heads: Sequence[_Head]) -> tuple[tuple[int, int, int], list[str]]:
    sizes = Counter((head.height, head.width) for head in heads)
    height, width = min(sizes, key=lambda size: (-sizes[size], size[0] * size[1], size))
    if sizes[height, width] < COMMON * len(heads):
        height, width = (int(np.median([getattr(head, side) for head in heads])) for side in ("height", "width"))
    shrink = min(1.0, MAX_SIDE / max(height, width))
    target = (max(round(height * shrink), 1), max(round(width * shrink), 1))
    notes = []
    if resized := sum(count for size, count in sizes.items() if size != target):
        (low, wide), (high, broad) = ((f(h.height for h in heads), f(h.width for h in heads)) for f in (min, max))
        spread = f"{low} x {wide}" if (low, wide) == (high, broad) else f"{low} to {high} x {wide} to {broad}"
        notes.append(
            f"{resized:,} of {len(heads):,} images were resized to {target[0]} x {target[1]} (height x width; they had"
            f" {spread})"
        )
    grey = sum(head.grey for head in heads)
    if 0 < grey < len(heads):
        notes.append(f"{grey:,} of {len(heads):,} images are grey and read in colour like the others")
    if clear := sum(head.transparent for head in heads):
        notes.append(f"{clear:,} of {len(heads):,} images have transparent parts and were laid on white")
    return (*target, 1 if grey == len(heads) else 3), notes


def _head(opener: Callable[[], Image.Image]) -> _Head:
    with opener() as image:
        turned = image.getexif().get(274, 1) in (5, 6, 7, 8)
        width, height = reversed(image.size) if turned else image.size
        grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
        if image.mode in ("P", "PA"):
            colours = np.asarray(image.convert("RGB"))
            grey = bool((colours == colours[..., :1]).all())
        return _Head(height, width, grey, _is_transparent(image))


def _is_transparent(image: Image.Image) -> bool:
    if image.mode not in ("RGBA", "RGBa", "LA", "La", "PA") and "transparency" not in image.info:
        return False
    return bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())


def _pixels(opener: Callable[[], Image.Image], height: int, width: int, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    with opener() as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I") or image.mode == "F":
            image = _eight_bits(image)
        elif channels != 4 and _is_transparent(image):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGBA" if channels == 4 else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.uint8).reshape(height, width, channels)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Returns deep grey values as bytes: 16 bits divided by 257, so that 65535 is 255; floats in [0, 1] times 255.

    What Pillow gives as 32 bits is taken for 16 where a value exceeds 255.
    """
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F" and values.max(initial=0.0) <= 1.0:
        values = values * 255.0
    elif image.mode.startswith("I;16") or values.max(initial=0.0) > 255.0:
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _copy(picture: Image.Image) -> Image.Image:
    """Returns a picture that may be closed, with the orientation of the first."""
    copied = picture.copy()
    copied.getexif().update(picture.getexif())
    return copied


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
