"""Image files that are odd, damaged or hostile: read as they look, or refused in one line, and never for ever."""

import io
import os
import socket
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from fuzzing import CLEAN, WORKED, outcome, peak_memory
from image_files import colors, content, cut_jpeg, png, turned, whole_files
from limbeck.data.images.decode import Inspected, decode, inspect_all
from limbeck.data.images.file_view import centered
from limbeck.errors import UserError

EXPECTED = torch.from_numpy(np.asarray(colors()).copy()).permute(2, 0, 1)


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refused(path):
    """The reason that both ways of inspecting a file and its decoding give."""
    with pytest.raises(UserError) as error:
        decode(path, "rgb")
    for decoding in (False, True):
        (finding,) = inspect_all([path], decoding=decoding)
        assert isinstance(finding, str)
        assert finding.isprintable()
    text, between, found = str(error.value).partition(" cannot be read as an image: ")
    assert (text, bool(between)) == (str(UserError(f"data.root: {path}")), True)
    return found


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *[("rgb.jpg", 12), ("progressive.jpg", 40), ("cmyk.jpg", 12), ("rgb.webp", 60), ("animated.gif", 60)],
        *[(name, 0) for name in ("rgb.png", "rgb.bmp", "rgb.tif", "rgb.ppm", "animated.png", "animated.webp")],
    ],
)
def test_whole_files_have_the_pixels_they_were_made_of(tmp_path, name, tolerance):
    path = written(tmp_path, name, whole_files()[name])
    assert inspect_all([path]) == inspect_all([path], decoding=True) == [Inspected(8, 6, False)]
    difference = (decode(path, "rgb").int() - EXPECTED.int()).abs()
    assert int(difference.max()) <= tolerance


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png"])
def test_images_on_their_side_are_upright(tmp_path, name):
    path = written(tmp_path, name, whole_files()[name])
    for decoding in (False, True):
        assert inspect_all([path], decoding=decoding) == [Inspected(6, 8, False)]
    upright = EXPECTED.rot90(-1, (1, 2))
    assert int((decode(path, "rgb").int() - upright.int()).abs().max()) <= (50 if name.endswith("jpg") else 0)


def test_a_png_whose_orientation_follows_its_pixels_is_upright(tmp_path):
    data = content(colors(), "PNG", exif=turned(colors(), 6))
    start = data.index(b"eXIf") - 4
    size = 12 + int.from_bytes(data[start : start + 4], "big")
    chunk, end = data[start : start + size], data.index(b"IEND") - 4
    path = written(tmp_path, "turned.png", data[:start] + data[start + size : end] + chunk + data[end:])
    assert inspect_all([path]) == [Inspected(6, 8, False)]
    assert torch.equal(decode(path, "rgb"), EXPECTED.rot90(-1, (1, 2)))


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_orientations_that_do_not_exist_change_nothing(tmp_path, orientation):
    path = written(tmp_path, "odd.jpg", content(colors(), "JPEG", exif=turned(colors(), orientation)))
    assert inspect_all([path]) == [Inspected(8, 6, False)]
    assert decode(path, "rgb").shape == (3, 6, 8)


@pytest.mark.parametrize("name", ["wide.png", "wide.tif"])
def test_sixteen_bits_keep_their_grays(tmp_path, name):
    path = written(tmp_path, name, whole_files()[name])
    assert inspect_all([path]) == [Inspected(8, 6, True)]
    assert np.array_equal(decode(path, "gray")[0].numpy(), np.asarray(colors().convert("L")))


@pytest.mark.parametrize("mode", ["LAB", "CMYK", "YCbCr", "LA", "P", "1"])
def test_images_of_every_mode_are_read_in_both_colors(tmp_path, mode):
    image = colors().convert("L").convert(mode) if mode == "LA" else colors().convert(mode)
    path = written(tmp_path, "odd.tif", content(image, "TIFF"))
    try:
        Image.open(path).load()
    except OSError:
        pytest.skip("this version of Pillow cannot read what it writes")
    (found,) = inspect_all([path], decoding=True)
    assert (found.width, found.height) == (8, 6)
    assert [decode(path, color).shape for color in ("rgb", "gray")] == [(3, 6, 8), (1, 6, 8)]


def test_transparent_pixels_are_white(tmp_path):
    pixels = decode(written(tmp_path, "clear.png", whole_files()["clear.png"]), "rgb")
    assert bool((pixels[:, :, :4] == 255).all())
    assert torch.equal(pixels[:, :, 4:], EXPECTED[:, :, 4:])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_images_of_a_pixel_or_a_row(tmp_path, size):
    path = written(tmp_path, "thin.png", content(Image.new("RGB", size, "red"), "PNG"))
    view = centered(decode(path, "rgb"), 32)
    assert view.shape == (3, 32, 32)
    assert view[:, 16, 16].tolist() == [255, 0, 0]


def test_a_row_is_enlarged_without_gigabytes():
    image = torch.zeros(3, 1, 3_000_000, dtype=torch.uint8)
    image[:, :, 1_499_000:1_501_000] = 200
    assert outcome(lambda: centered(image, 224)) == WORKED
    assert bool((centered(image, 224) == 200).all())


def test_images_of_usual_shapes_are_cut_as_before():
    image = torch.arange(3 * 40 * 400, dtype=torch.int64).remainder(251).to(torch.uint8).view(3, 40, 400)
    from torchvision.transforms.v2 import functional as tvf

    assert torch.equal(centered(image, 32), tvf.center_crop(tvf.resize(image, [32], antialias=True), [32, 32]))


@pytest.mark.parametrize("name", sorted(set(whole_files()) - {"turned.jpg"}))
def test_truncated_files_are_refused(tmp_path, name):
    data = whole_files()[name]
    assert refused(written(tmp_path, name, data[: len(data) // 2]))


@pytest.mark.parametrize(
    ("name", "data", "finding"),
    [
        ("text.jpg", b"this is a text", "is no image"),
        ("page.png", b"<!DOCTYPE html><html></html>", "is no image"),
        ("zeros.jpg", bytes(5000), "is no image"),
        ("head.jpg", b"\xff\xd8\xff\xe0", ""),
        ("program.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is of the format EPS"),
        ("nothing.png", png(0, 5, 8, 0, b""), ""),
        ("bomb.png", png(50_000, 50_000, 8, 0, bytes(100)), "exceeds limit"),
        ("bomb.gif", b"GIF89a\xff\xff\xff\xff\x00\x00\x00," + bytes(20), "exceeds limit"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, name, data, finding):
    assert finding in refused(written(tmp_path, name, data))


def test_a_checksum_that_is_wrong_is_found(tmp_path):
    data = bytearray(whole_files()["rgb.png"])
    data[data.index(b"IDAT") + 10] ^= 1
    path = written(tmp_path, "rgb.png", data)
    for decoding in (False, True):
        assert isinstance(inspect_all([path], decoding=decoding)[0], str)


def test_a_jpeg_that_is_whole_at_its_ends_alone_is_found_by_decoding(tmp_path):
    path = written(tmp_path, "cut.jpg", cut_jpeg())
    assert inspect_all([path]) == [Inspected(64, 64, False)]
    (finding,) = inspect_all([path], decoding=True)
    assert "truncated" in finding
    with pytest.raises(UserError, match="truncated"):
        decode(path, "rgb")


def test_a_bomb_takes_no_memory(tmp_path):
    path = written(tmp_path, "bomb.png", png(50_000, 50_000, 8, 2, bytes(10**6)))
    before = peak_memory()
    assert "exceeds limit" in refused(path)
    assert peak_memory() < before + 200


def special_file(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            here = os.open(path.parent, os.O_RDONLY)
            # The path of a socket has at most about a hundred letters.
            bound.bind(f"/proc/self/fd/{here}/{path.name}" if sys.platform == "linux" else str(path))
            os.close(here)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.parent / ("gone.png" if kind == "broken link" else path.name))


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "broken link", "loop"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "odd.png"
    special_file(path, kind)
    found = []
    worker = threading.Thread(target=lambda: found.append(refused(path)), daemon=True)
    worker.start()
    worker.join(timeout=20)
    assert found
    expected = {"folder": "Is a directory", "broken link": "No such file", "loop": "Too many levels"}
    assert expected.get(kind, "is a pipe, a socket or a device, expected a regular file") in found[0]


def test_a_file_that_must_not_be_read_is_named(tmp_path, monkeypatch):
    path = written(tmp_path, "secret.png", whole_files()["rgb.png"])

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", forbidden)
    assert refused(path) == "Permission denied"


NAMES = [
    "with space.png",
    "ünï-漢字.png",
    "line\nbreak.png",
    "-dash.png",
    "%s{0}.png",
    "a" * 251 + ".png",
    b"bad\xff.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_letters(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(whole_files()["rgb.png"])
    assert torch.equal(decode(path, "rgb"), EXPECTED)
    path.write_bytes(b"no image")
    assert outcome(lambda: decode(path, "rgb")) == CLEAN


def test_errors_of_any_kind_become_one_line(tmp_path, monkeypatch):
    path = written(tmp_path, "odd.png", whole_files()["rgb.png"])
    for error in (
        KeyError("tag"),
        ZeroDivisionError("division"),
        MemoryError(),
        AssertionError(),
        OverflowError("big"),
    ):
        monkeypatch.setattr(Image.Image, "convert", lambda *_, error=error: (_ for _ in ()).throw(error))
        monkeypatch.setattr(Image.Image, "load", lambda *_, error=error: (_ for _ in ()).throw(error))
        assert outcome(lambda: decode(path, "gray")) == CLEAN


def test_an_image_in_memory_may_be_odd_too():
    from limbeck.data.images.decode import image_pixels

    with Image.open(io.BytesIO(whole_files()["turned.png"])) as image:
        assert torch.equal(image_pixels(image, "rgb"), EXPECTED.rot90(-1, (1, 2)))
