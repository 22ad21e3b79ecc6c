import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data.images.decode import Inspected, decode, inspect_all
from limbeck.errors import UserError

ORIENTATION = 274
# What a viewer must do to stored pixels, by EXIF orientation.
UPRIGHT = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),
    8: lambda p: np.rot90(p, 1),
}


def picture(height=12, width=20):
    """A smooth picture, which JPEG keeps well, with no symmetry."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 20, columns * 12, rows * 0], axis=2).astype(np.uint8)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def pixels_of(path, color="rgb"):
    return decode(path, color).permute(1, 2, 0).numpy()


def exif(orientation):
    values = Image.Exif()
    values[ORIENTATION] = orientation
    return values


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path, ending, orientation):
    options = {"lossless": True} if ending == "webp" else {"quality": 98, "subsampling": 0} if ending == "jpg" else {}
    path = save(tmp_path / f"a.{ending}", picture(), exif=exif(orientation), **options)
    expected = UPRIGHT[orientation](picture())
    found = pixels_of(path)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (16 if ending == "jpg" else 0)


def test_orientation_of_sixteen_bit_gray(tmp_path):
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    path = save(tmp_path / "a.png", pixels, exif=exif(6))
    assert pixels_of(path, "gray")[..., 0].tolist() == [[3, 0], [4, 1], [5, 2]]


@pytest.mark.parametrize(
    "content", [b"Exif\0\0no tiff header", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01"]
)
def test_an_image_with_broken_exif_is_decoded(tmp_path, content):
    path = save(tmp_path / "a.jpg", picture(), exif=content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's own
        assert pixels_of(path).shape == (12, 20, 3)
        assert inspect_all([path]) == [Inspected(20, 12, False)]


def test_inspection_gives_the_upright_size_and_the_color(tmp_path):
    upright = save(tmp_path / "a.jpg", picture(), exif=exif(1))
    sideways = save(tmp_path / "b.jpg", picture(), exif=exif(6))
    gray = save(tmp_path / "c.webp", picture()[..., 0], lossless=True)
    wide = save(tmp_path / "d.png", np.zeros((4, 6), np.uint16))
    assert inspect_all([upright, sideways]) == [Inspected(20, 12, False), Inspected(12, 20, False)]
    assert inspect_all([wide]) == [Inspected(6, 4, True)]
    assert inspect_all([gray])[0].shorter == 12


RED_OVER_HIDDEN_BLACK = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)


@pytest.mark.parametrize(
    ("color", "expected"), [("rgb", [[255, 0, 0], [255] * 3, [127] * 3]), ("gray", [[76], [255], [127]])]
)
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_transparent_pixels_lie_on_white(tmp_path, color, expected, ending):
    path = save(
        tmp_path / f"a.{ending}",
        RED_OVER_HIDDEN_BLACK,
        **({"lossless": True, "exact": True} if ending == "webp" else {}),
    )
    assert pixels_of(path, color)[0].tolist() == expected


def test_transparency_of_gray_images(tmp_path):
    pixels = np.array([[[10, 255], [10, 0]]], np.uint8)
    path = save(tmp_path / "a.png", pixels)
    assert Image.open(path).mode == "LA"
    assert pixels_of(path, "gray")[0].tolist() == [[10], [255]]
    assert inspect_all([path]) == [Inspected(2, 1, True)]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparency_of_palettes(tmp_path, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=transparency)
    assert Image.open(tmp_path / "a.png").mode == "P"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels_of(tmp_path / "a.png")[0].tolist() == [[200, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(("mode", "key", "pixel"), [("RGB", (1, 2, 3), (1, 2, 3)), ("L", 7, 7), ("1", 0, 0)])
def test_a_color_that_stands_for_transparency(tmp_path, mode, key, pixel):
    image = Image.new(mode, (2, 1), "white")
    image.putpixel((0, 0), pixel)
    image.save(tmp_path / "a.png", transparency=key)
    assert pixels_of(tmp_path / "a.png")[0].tolist() == [[255] * 3] * 2


def test_the_first_frame_of_a_gif(tmp_path):
    frames = [Image.new("RGB", (3, 2), name) for name in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixels_of(tmp_path / "a.gif").reshape(-1, 3).tolist() == [[255, 0, 0]] * 6
    transparent = Image.new("RGBA", (3, 2))
    transparent.save(tmp_path / "b.gif")
    assert pixels_of(tmp_path / "b.gif").min() == 255


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_sixteen_bit_images(tmp_path, shape):
    pixels = np.linspace(0, 65535, int(np.prod(shape))).astype(np.uint16).reshape(shape)
    path = tmp_path / "a.png"
    if len(shape) == 2:
        save(path, pixels)
    else:
        path.write_bytes(png_of_sixteen_bit_rgb(pixels))
    expected = pixels / 257 if len(shape) == 3 else (pixels / 257)[..., None].repeat(3, axis=2)
    assert np.abs(pixels_of(path) - expected).max() <= 1


def png_of_sixteen_bit_rgb(pixels):
    import struct
    import zlib

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("pixels", [np.full((2, 2), 0.5, np.float32), np.full((2, 2), 70000, np.int32)])
def test_pixels_of_other_kinds_are_refused_before_a_run(tmp_path, pixels):
    path = save(tmp_path / "a.tif", pixels)
    assert inspect_all([path]) == [f"pixels of mode {Image.open(path).mode}, expected 8 or 16 bits"]
    with pytest.raises(UserError, match=f"{path} cannot be read as an image: pixels of mode"):
        decode(path, "gray")


def test_cmyk(tmp_path):
    Image.new("CMYK", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert torch.equal(decode(tmp_path / "a.jpg", "rgb"), torch.full((3, 2, 2), 255, dtype=torch.uint8))
