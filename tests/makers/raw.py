"""Write camera raw files: small DNGs whose sensor data, preview and EXIF are what a test asks for.

Adobe, "Digital Negative (DNG) Specification", version 1.4; the container is TIFF 6.0.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image

from indexer.arrays import ByteArray

SENSOR_SIZE = (64, 48)
"""Width and height that a file has unless it is asked for another, in pixels."""

Layout = Literal["preview first", "sensor first", "chained"]

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 3, 4, 5, 7
_FORMATS = {_SHORT: "H", _LONG: "I"}
# Sizes and lengths: LibRaw reads four bytes of these whatever their type.
_LONG_TAGS = frozenset({254, 256, 257, 278, 279})
_CFA, _YCBCR, _RGB = 32803, 6, 2
_UNCOMPRESSED, _JPEG = 1, 7


@dataclass(frozen=True, slots=True)
class Strip:
    """Pixel data, stored apart from the directory that names its place."""

    content: bytes


Tags = Mapping[int, Any]
"""Values by tag: int, str, bytes, floats, a Strip, or directories as a mapping or a list."""


def dng_file(
    preview: bytes | ByteArray | None,
    *,
    size: tuple[int, int] = SENSOR_SIZE,
    orientation: int | None = 1,
    layout: Layout = "preview first",
    tags: Tags | None = None,
    byte_order: str = "<",
) -> bytes:
    """Write a DNG that LibRaw opens.

    Parameters
    ----------
    preview : bytes, uint8 of shape (h, w, 3), or None
        A JPEG or plain pixels to embed, as stored on the sensor's side; None for no preview.
    size : tuple of int
        Width and height of the sensor.
    orientation : int or None
        As in EXIF, 1 to 8; None leaves the tag out.
    layout : str
        Where the preview lies: in the main directory with the sensor data below it, as Adobe
        writes it; below the sensor data; or in a second directory after it, as cameras do.
    tags : mapping
        More tags of the main directory, such as an EXIF directory under 0x8769.
    byte_order : str
        "<" or ">", as in `struct`.
    """
    sensor, shown = _sensor_directory(size), _preview_directory(preview)
    heads: dict[int, Any] = {
        50706: bytes((1, 4, 0, 0)),
        50708: "Isophote Test Camera",
        **({} if orientation is None else {0x0112: orientation}),
        **(tags or {}),
    }
    if layout == "preview first":
        return tiff_file([{**shown, **heads, 330: [sensor]}], byte_order=byte_order)
    if layout == "sensor first":
        below = {330: [shown]} if shown else {}
        return tiff_file([{**sensor, **heads, **below}], byte_order=byte_order)
    return tiff_file([{**sensor, **heads}, *([shown] if shown else [])], byte_order=byte_order)


def tiff_file(directories: list[Tags], *, byte_order: str = "<") -> bytes:
    """Write directories that follow each other, each before what it points to."""
    file = bytearray(b"II*\0" if byte_order == "<" else b"MM\0*")
    link = len(file)
    file += bytes(4)
    for tags in directories:
        place = _write_directory(file, tags, byte_order)
        struct.pack_into(f"{byte_order}I", file, link, place)
        link = place + 2 + 12 * len(tags)
    return bytes(file)


def _sensor_directory(size: tuple[int, int]) -> Tags:
    width, height = size
    mosaic = np.random.default_rng(0).integers(500, 15000, (height, width)).astype("<u2")
    return {
        254: 0,
        256: width,
        257: height,
        258: 16,
        259: _UNCOMPRESSED,
        262: _CFA,
        273: Strip(mosaic.tobytes()),
        277: 1,
        278: height,
        279: mosaic.nbytes,
        33421: [2, 2],
        33422: bytes((0, 1, 1, 2)),
        50717: 16383,
        50721: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        50728: [1.0, 1.0, 1.0],
        50778: 21,
    }


def _preview_directory(preview: bytes | ByteArray | None) -> Tags:
    if preview is None:
        return {}
    if isinstance(preview, bytes):
        content, compression, colours = preview, _JPEG, _YCBCR
        width, height = Image.open(BytesIO(preview)).size
    else:
        content, compression, colours = preview.tobytes(), _UNCOMPRESSED, _RGB
        height, width, _ = preview.shape
    return {
        254: 1,
        256: width,
        257: height,
        258: [8, 8, 8],
        259: compression,
        262: colours,
        273: Strip(content),
        277: 3,
        278: height,
        279: len(content),
    }


def _write_directory(file: bytearray, tags: Tags, byte_order: str) -> int:
    """Append a directory, then what its values do not fit into; return its place."""
    file += bytes(len(file) % 2)
    place = len(file)
    file += bytes(2 + 12 * len(tags) + 4)
    struct.pack_into(f"{byte_order}H", file, place, len(tags))
    for number, (tag, value) in enumerate(sorted(tags.items())):
        if tag in _LONG_TAGS:
            kind, count, content = _encoded_numbers([value], _LONG, byte_order)
        else:
            kind, count, content = _encoded(file, value, byte_order)
        if len(content) > 4:
            file += bytes(len(file) % 2)
            outside = struct.pack(f"{byte_order}I", len(file))
            file += content
            content = outside
        entry = struct.pack(f"{byte_order}HHI", tag, kind, count) + content.ljust(4, b"\0")
        file[place + 2 + 12 * number : place + 14 + 12 * number] = entry
    return place


def _encoded(file: bytearray, value: Any, byte_order: str) -> tuple[int, int, bytes]:
    """Return a value as type, count and bytes; directories and strips are appended first."""
    values: Any = [value] if isinstance(value, int | Mapping) else value
    match values:
        case bytes():
            return _UNDEFINED, len(value), value
        case str():
            text = value.encode() + b"\0"
            return _ASCII, len(text), text
        case Strip():
            file += bytes(len(file) % 2)
            place = len(file)
            file += value.content
            return _encoded_numbers([place], _LONG, byte_order)
        case [Mapping(), *_] as directories:
            places = [_write_directory(file, tags, byte_order) for tags in directories]
            return _encoded_numbers(places, _LONG, byte_order)
        case [float(), *_]:
            pairs = [part for number in value for part in (round(number * 10_000), 10_000)]
            return _RATIONAL, len(value), struct.pack(f"{byte_order}{len(pairs)}I", *pairs)
        case [*numbers]:
            return _encoded_numbers(numbers, _SHORT, byte_order)
    raise TypeError(f"tags hold no {type(value).__name__}")


def _encoded_numbers(numbers: list[int], kind: int, byte_order: str) -> tuple[int, int, bytes]:
    return kind, len(numbers), struct.pack(f"{byte_order}{len(numbers)}{_FORMATS[kind]}", *numbers)
