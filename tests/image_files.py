"""Image files of every kind as bytes: whole ones, odd ones, and those that lie about themselves."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIZE = (8, 6)
"""Width and height of the whole ones."""


def colors(size=SIZE):
    """An image of smooth colors, which a lossy format keeps: red to the right, green to the bottom."""
    width, height = size
    red = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    green = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([red, green, np.full((height, width), 90)], axis=2).astype(np.uint8))


def content(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(image, orientation):
    """EXIF data of an orientation, for images that lie on their side."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(width, height, depth, kind, rows, before=b""):
    """A PNG written by hand, of any depth and size, whatever its rows are."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + before + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def whole_files():
    """A whole image of each format and kind of pixels, by the name of its file."""
    image, gray = colors(), colors().convert("L")
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    frames = [colors(), colors().transpose(Image.Transpose.ROTATE_180)]
    animated = {"save_all": True, "append_images": frames[1:]}
    clear = colors().convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(np.arange(8) < 4, 0, 255).astype(np.uint8)[None].repeat(6, axis=0)))
    return {
        "rgb.jpg": content(image, "JPEG", quality=95, subsampling=0),
        "turned.jpg": content(image, "JPEG", exif=turned(image, 6)),
        "progressive.jpg": content(image, "JPEG", progressive=True),
        "cmyk.jpg": content(image.convert("CMYK"), "JPEG", quality=95),
        "gray.jpg": content(gray, "JPEG"),
        "rgb.png": content(image, "PNG"),
        "turned.png": content(image, "PNG", exif=turned(image, 6)),
        "wide.png": content(wide, "PNG"),
        "palette.png": content(image.convert("P"), "PNG", transparency=0),
        "clear.png": content(clear, "PNG"),
        "animated.png": content(frames[0], "PNG", **animated),
        "animated.gif": content(frames[0], "GIF", **animated),
        "animated.webp": content(frames[0], "WEBP", lossless=True, **animated),
        "rgb.webp": content(image, "WEBP"),
        "rgb.bmp": content(image, "BMP"),
        "rgb.tif": content(image, "TIFF", compression="tiff_lzw"),
        "wide.tif": content(wide, "TIFF"),
        "rgb.ppm": content(image, "PPM"),
        "bits.png": content(gray.convert("1"), "PNG"),
    }


def cut_jpeg():
    """A JPEG that is truncated, and seems whole: the end of a thumbnail stands in front of its pixels."""
    whole = content(colors((64, 64)), "JPEG", quality=95)
    data = whole[: len(whole) // 2].replace(b"\xff\xd9", b"")
    start = data.index(b"\xff\xdb")
    return data[:start] + b"\xff\xfe\x00\x04\xff\xd9" + data[start:]
