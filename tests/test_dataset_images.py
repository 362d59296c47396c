"""Images from arrays, lists, folders and archives: modes, sizes, turned ones, real ones where present."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from messy import error_of

from nas.dataset import encode_rows, load
from nas.errors import DataError

SHARED = Path(__file__).parents[2] / "shared" / "datasets"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no collection of real datasets")


def write_images(folder, classes=("cat", "dog"), sizes=((6, 5),), mode="RGB", count=3):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            height, width = sizes[i % len(sizes)]
            shape = (height, width, 3) if mode == "RGB" else (height, width)
            Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(folder / name / f"{i}.png")


def test_image_arrays():
    rng = np.random.default_rng(0)
    images, y = rng.integers(256, size=(6, 8, 9, 3), dtype=np.uint8), [0, 1] * 3
    data = load((images, y))
    assert data.kind == "image"
    for same in (
        images.transpose(0, 3, 1, 2),
        images / 255.0,
        images.astype(np.int64),
        (images / 255.0).astype(np.float32),
    ):
        assert load((same, y)).fingerprint == data.fingerprint
    assert load((images[..., 0], y)).inputs["image"].shape == (6, 8, 9, 1)
    assert "[0, 1]" in error_of((images.astype(float), y))
    assert "0 to 255" in error_of((images.astype(int) + 1, y))
    encoded = encode_rows(images[0], data.schema())
    assert np.array_equal(encoded["image"][0], images[0])
    with pytest.raises(DataError, match="shape"):
        encode_rows(images[:, :5], data.schema())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_said_so(value):
    images = np.zeros((6, 8, 9, 3))
    images[2, 0] = images[4, 1] = value
    with pytest.raises(DataError, match="2 of 6 hold NaN or infinite values; fill them, or leave those images out"):
        load((images, [0, 1] * 3))


def test_image_folders(tmp_path):
    from PIL import Image

    write_images(tmp_path / "a")
    data = load(tmp_path / "a")
    assert data.describe() == "6 images 6 x 5 x 3, 2 classes"
    assert data.classes == ("cat", "dog")
    assert np.array_equal(data.inputs["image"][1], np.asarray(Image.open(tmp_path / "a" / "cat" / "1.png")))
    encoded = encode_rows(tmp_path / "a" / "cat" / "1.png", data.schema())
    assert np.array_equal(encoded["image"][0], data.inputs["image"][1])
    write_images(tmp_path / "grey", mode="L", sizes=((6, 5), (7, 9), (7, 9)))
    (tmp_path / "grey" / "cat" / "notes.txt").write_text("x")
    grey = load(tmp_path / "grey")
    assert grey.describe() == "6 images 7 x 9 grey, 2 classes"
    assert "2 of 6 images were resized to 7 x 9" in grey.dropped[0]
    assert "1 files" in grey.dropped[1]
    assert len(encode_rows(tmp_path / "grey", grey.schema())["image"]) == 6


def test_image_folders_with_a_given_test_part(tmp_path):
    write_images(tmp_path / "train")
    write_images(tmp_path / "test", count=2)
    data = load(tmp_path)
    assert [len(part) for part in data.holdout(seed=0)] == [6, 4]


def test_large_and_turned_images(tmp_path):
    from PIL import Image

    write_images(tmp_path, sizes=((448, 300),), count=2)
    image = Image.new("RGB", (448, 300))
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter: shown 448 high, 300 wide
    image.save(tmp_path / "cat" / "x.jpg", exif=exif)
    data = load(tmp_path)
    assert data.inputs["image"].shape[1:] == (224, 150, 3)
    assert "5 of 5 images were resized to 224 x 150" in data.dropped[0]


def test_deep_grey_and_transparent_images(tmp_path):
    from PIL import Image

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ramp = np.linspace(0, 65535, 16).reshape(4, 4).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a" / "deep.png")
    Image.fromarray(ramp[::-1]).save(tmp_path / "a" / "deep2.png")
    Image.new("L", (4, 4), 9).save(tmp_path / "b" / "flat.png")
    data = load(tmp_path)
    assert np.array_equal(data.inputs["image"][0, ..., 0], np.rint(ramp / 257.0))
    Image.new("RGBA", (4, 4), (1, 2, 3, 128)).save(tmp_path / "b" / "clear.png")
    assert load(tmp_path).inputs["image"].shape == (4, 4, 4, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_images_of_every_mode_show_the_same(tmp_path, mode):
    from PIL import Image

    pixels = np.zeros((6, 6), dtype=np.uint8)
    pixels[:, 3:] = 255  # left half black, right half white
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(pixels.astype(np.float32) / 255.0)
    else:
        image = image.convert("RGB").convert(mode) if mode not in ("I", "1") else image.convert(mode)
    assert image.mode == mode
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            image.save(tmp_path / name / f"{i}.tif" if mode not in ("P", "1") else tmp_path / name / f"{i}.png")
    data = load(tmp_path)
    coloured = mode in ("RGB", "RGBA", "CMYK", "YCbCr")
    assert data.inputs["image"].shape == (4, 6, 6, 3 if coloured else 1)
    np.testing.assert_allclose(data.inputs["image"][0, ..., 0].astype(int), pixels, atol=2)
    assert data.dropped == ()
    opened = load(([image] * 4, [0, 1] * 2))
    np.testing.assert_array_equal(opened.inputs["image"], data.inputs["image"])


def test_transparent_images_are_laid_on_white_and_grey_ones_read_in_colour(tmp_path):
    from PIL import Image

    write_images(tmp_path, classes=("a", "b"), count=2)
    drawn = Image.new("RGBA", (5, 6), (0, 0, 0, 0))  # black all over, which only its transparency tells
    drawn.putpixel((1, 2), (0, 0, 0, 255))
    drawn.save(tmp_path / "a" / "drawn.png")
    drawn.convert("P").save(tmp_path / "a" / "palette.gif", transparency=0)
    Image.new("L", (5, 6), 9).save(tmp_path / "b" / "grey.png")
    data = load(tmp_path)
    found = data.inputs["image"][2]
    assert (found == 255).sum() == 3 * 29
    assert found[2, 1].tolist() == [0, 0, 0]
    assert data.dropped == (
        "2 of 7 images are grey and read in colour like the others",
        "2 of 7 images have transparent parts and were laid on white",
    )
    assert np.array_equal(encode_rows(tmp_path / "a" / "drawn.png", data.schema())["image"][0], found)


def test_images_of_several_sizes_in_a_list(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    sizes = [(8, 6), (8, 6), (8, 6), (16, 12), (5, 5, 3)]
    arrays = [rng.integers(256, size=size, dtype=np.uint8) for size in sizes]
    data = load((arrays, [0, 1, 0, 1, 1]))
    assert data.describe() == "5 images 8 x 6 x 3, 2 classes"
    assert "2 of 5 images were resized to 8 x 6 (height x width; they had 5 to 16 x 5 to 12)" in data.dropped
    assert np.array_equal(data.inputs["image"][0, ..., 0], arrays[0])
    whole = arrays[3].reshape(8, 2, 6, 2).mean(axis=(1, 3))
    assert np.abs(data.inputs["image"][3, ..., 0].astype(float) - whole).mean() < 25  # shrunk with its neighbours
    objects = np.empty(5, dtype=object)
    objects[:] = arrays
    assert load((objects, [0, 1, 0, 1, 1])).fingerprint == data.fingerprint
    assert load(([array / 255.0 for array in arrays], [0, 1, 0, 1, 1]), kind="image").fingerprint == data.fingerprint
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    assert load((paths, [0, 1, 0, 1, 1])).fingerprint == data.fingerprint
    assert load((np.array(list(map(str, paths))), [0, 1, 0, 1, 1])).fingerprint == data.fingerprint
    assert np.array_equal(encode_rows(arrays, data.schema())["image"], data.inputs["image"])
    spread = [np.full((side, side), 9, dtype=np.uint8) for side in (4, 20, 30, 40, 50)]
    assert load((spread, [0, 1, 0, 1, 1])).inputs["image"].shape == (5, 30, 30, 1)  # no common size: the median
    for wrong, words in (
        (([arrays[0], np.zeros((0, 4), np.uint8), arrays[1]], [0, 1, 0]), "image 1 of X cannot be read"),
        (([tmp_path / "0.png", tmp_path / "none.png"], [0, 1]), "no file is named"),
    ):
        assert words in error_of(wrong)


def test_a_turned_image_is_turned_back_wherever_it_is_read(tmp_path):
    from PIL import Image

    upright = np.zeros((6, 4), dtype=np.uint8)
    upright[0] = 255  # a white line at the top
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "upright.png")
    for files in (
        [tmp_path / "turned.png", tmp_path / "upright.png"],
        [Image.open(tmp_path / "turned.png"), Image.open(tmp_path / "upright.png")],
    ):
        data = load((files, [0, 1]))
        assert np.array_equal(data.inputs["image"][0], data.inputs["image"][1])
        assert np.array_equal(data.inputs["image"][0, ..., 0], upright)


def test_image_faults(tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "one subfolder for each class" in error_of(tmp_path / "nothing")
    write_images(tmp_path / "bad")
    (tmp_path / "bad" / "cat" / "1.png").write_bytes(b"")
    assert "the file is empty" in error_of(tmp_path / "bad")
    (tmp_path / "bad" / "cat" / "1.png").write_bytes(b"not an image at all")
    assert "1.png" in error_of(tmp_path / "bad")
    whole = (tmp_path / "bad" / "dog" / "0.png").read_bytes()
    (tmp_path / "bad" / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    assert "1.png" in error_of(tmp_path / "bad")
    new = load(write_images(tmp_path / "good") or tmp_path / "good")
    with pytest.raises(DataError, match=r"an image must be readable, but .*1\.png"):
        encode_rows(tmp_path / "bad", new.schema())
    assert "is the name of its folder" in error_of(tmp_path / "good", target="animal")
    write_images(tmp_path / "one", classes=("cat",))
    assert "always 'cat'" in error_of(tmp_path / "one")


@needs_shared
def test_real_images_and_their_given_split():
    data = load(SHARED / "images" / "sign_digits.npz")
    assert data.describe() == "2,062 images 32 x 32 x 3, 10 classes"
    rest, test = data.holdout(seed=0)
    assert (len(rest), len(test)) == (1651, 411)


@needs_shared
def test_encoded_images_are_decoded(tmp_path):
    import io

    from PIL import Image

    with np.load(SHARED / "images" / "cifar10_full_jpeg.npz", allow_pickle=False) as raw:
        data, offsets, y = raw["data"], raw["off"], raw["y"]
    keep = np.r_[:3, 40000:40003]
    parts = [data[offsets[i] : offsets[i + 1]] for i in keep]
    bounds = np.cumsum([0, *map(len, parts)])
    np.savez(tmp_path / "few.npz", data=np.concatenate(parts), off=bounds, y=np.array([0, 0, 0, 1, 1, 1]))
    few = load(tmp_path / "few.npz")
    assert few.inputs["image"].shape == (6, 32, 32, 3)
    assert np.array_equal(few.inputs["image"][4], np.asarray(Image.open(io.BytesIO(parts[4].tobytes()))))
    assert len(offsets) == len(y) + 1
