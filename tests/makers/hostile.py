"""Write the files that a photo library should not hold, each with what must become of it.

Every case gets a folder of its own. Its outcomes are complete: a path below that folder which is
in neither the index nor the failures and has no outcome was rightly no candidate.
"""

import os
import shutil
import socket
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from tests.makers.photos import (
    black_only_cmyk_profile,
    drawn_photo,
    exif_block,
    icc_profile,
    image_file,
    swapped_rgb_profile,
)

WIDTH, HEIGHT = 96, 64
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "HEIF", "AVIF")
ENDINGS = dict(
    zip(FORMATS, ("jpg", "png", "webp", "tif", "gif", "bmp", "jp2", "heic", "avif"), strict=True)
)
TERABYTE = 10**12


@dataclass(frozen=True, slots=True)
class Indexed:
    """The file becomes a row with this size, upright, in pixels, and this number of frames."""

    width: int = WIDTH
    height: int = HEIGHT
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Failed:
    """The file is recorded as failed at a stage, with a reason that matches a pattern."""

    reason: str
    stage: str = "decode"


Outcome = Indexed | Failed


@dataclass(frozen=True, slots=True)
class HostileCase:
    """What `write` puts into the folder it is given, and what becomes of it, by path."""

    name: str
    write: Callable[[Path], object]
    outcomes: Mapping[str, Outcome]


@cache
def hostile_cases() -> tuple[HostileCase, ...]:
    """Return all cases; nothing is drawn or written before `write` is called."""
    themes = (
        _cut_short,
        _no_images,
        _other_endings,
        _header_bombs,
        _inner_bombs,
        _absurd_exif,
        _absurd_colours,
        _absurd_shapes,
        _absurd_frames,
        _absurd_streams,
        _odd_names,
        _odd_entries,
        _links,
    )
    cases = tuple(case for theme in themes for case in theme())
    assert len({case.name for case in cases}) == len(cases)
    return cases


def write_hostile_cases(folder: Path) -> None:
    """Write all cases below a folder."""
    for case in hostile_cases():
        place = folder / case.name
        place.mkdir()
        case.write(place)


def _file(
    name: str, content: Callable[[], bytes], outcome: Outcome | None, *, file: str = "photo.jpg"
) -> HostileCase:
    """Make a case of one file; an outcome of None says that it is no candidate."""
    outcomes = {} if outcome is None else {file: outcome}
    return HostileCase(name, lambda folder: (folder / file).write_bytes(content()), outcomes)


@cache
def _photo(format_name: str = "JPEG") -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return image_file(drawn_photo(1, width=WIDTH, height=HEIGHT), format_name)


def _jpeg(**options: object) -> bytes:
    return image_file(drawn_photo(1, width=WIDTH, height=HEIGHT), "JPEG", **options)


def _cut_short() -> Iterator[HostileCase]:
    shares = {"header": 0.04, "middle": 0.5, "end": 0.97}
    for format_name, (place, share) in ((f, p) for f in FORMATS for p in shares.items()):
        ending = ENDINGS[format_name]
        yield _file(
            f"{ending}-cut-at-{place}",
            partial(_first_share, format_name, share),
            Failed(f"{format_name}"),
            file=f"photo.{ending}",
        )
    # Nobody can tell whether pixels are missing too: what libjpeg lacks, it paints grey.
    yield _file("jpg-without-end-marker", lambda: _photo()[:-2], Failed("truncated"))
    yield _file("jpg-progressive-cut", lambda: _jpeg(progressive=True)[:-400], Failed("JPEG"))
    yield _file("jpg-signature-only", lambda: _photo()[:3], Failed("JPEG"))
    yield _file("jpg-with-a-hole", lambda: _with_hole(_photo()), Indexed())


def _first_share(format_name: str, share: float) -> bytes:
    content = _photo(format_name)
    return content[: max(int(len(content) * share), 16)]


def _with_hole(content: bytes) -> bytes:
    """Zero the middle, as a lost disk block does: a JPEG resumes, with wrong pixels."""
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


def _no_images() -> Iterator[HostileCase]:
    contents: dict[str, tuple[bytes, str]] = {
        "zero-bytes": (b"", r"is empty \(0 bytes\)"),
        "one-byte": (b"\xff", "nothing but 0xff bytes"),
        "one-zero-byte": (b"\0", "nothing but zero bytes"),
        "all-zero": (bytes(50_000), "nothing but zero bytes"),
        "all-0xff": (b"\xff" * 50_000, "nothing but 0xff bytes"),
        "text": (b"a shopping list\n" * 50, "is text"),
        "utf-16-text": ("eine Liste".encode("utf-16"), "is not an image"),
        "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "a PDF document"),
        "zip": (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(60), "a ZIP archive"),
        "html": (b"<!DOCTYPE html>\n<title>404</title>", "a web page"),
        "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        "mp4": (struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"mp41"), "a video"),
        "psd": (b"8BPS\0\x01" + bytes(60), "a Photoshop document"),
        "exe": (b"MZ\x90\0\x03" + bytes(80), "is not an image"),
        "noise": (np.random.default_rng(5).bytes(64_000), "is not an image"),
        "html-after-spaces": (b"  \r\n<html><body>moved</body>", "a web page"),
        "bmw-text": (b"BMW, a history of motor cars, by several hands\n" * 3, "is text"),
        "heif-image-sequence-of-nothing": (
            struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1"),
            "HEIF",
        ),
        "riff-webp-of-nothing": (b"RIFF\x04\0\0\0WEBP", "WEBP"),
        "tiff-header-alone": (b"II*\0\x08\0\0\0", "TIFF"),
        "jpeg-markers-alone": (b"\xff\xd8\xff\xd9", "JPEG"),
        "png-signature-alone": (b"\x89PNG\r\n\x1a\n", "PNG"),
    }
    for name, (content, reason) in contents.items():
        yield _file(f"content-{name}", partial(bytes, content), Failed(reason))


def _other_endings() -> Iterator[HostileCase]:
    for format_name, ending in zip(FORMATS, (*list(ENDINGS.values())[1:], "jpg"), strict=True):
        name = f"{format_name.lower()}-named-{ending}"
        yield _file(name, partial(_photo, format_name), Indexed(), file=f"photo.{ending}")
    yield _file("jpeg-without-ending", _photo, Indexed(), file="IMG_0001")
    yield _file("text-without-ending", lambda: b"notes", None, file="README")
    yield _file("jpeg-with-a-foreign-ending", _photo, None, file="photo.jpg.part")
    yield _file("jpeg-in-capitals", _photo, Indexed(), file="PHOTO.JPEG")
    yield _file("ending-alone", _photo, None, file=".jpg")
    yield _file("ends-in-a-dot", _photo, None, file="photo.")


def _header_bombs() -> Iterator[HostileCase]:
    over = Failed(r"over the limit of \d+ MP; raise ISOPHOTE_MAX_PIXELS")
    bombs: dict[str, tuple[Callable[[], bytes], Failed]] = {
        "png": (lambda: _png(60_000, 60_000), over),
        "png-2-to-the-31": (lambda: _png(2**31 - 1, 2**31 - 1), over),
        "png-of-zero": (lambda: _png(0, 0), Failed("PNG")),
        "jpg": (lambda: _patched(_photo(), *_jpeg_size(65_535, 65_535)), over),
        "gif": (lambda: _patched(_photo("GIF"), 6, struct.pack("<HH", 65_535, 65_535)), over),
        "bmp": (lambda: _patched(_photo("BMP"), 18, struct.pack("<ii", 60_000, 60_000)), over),
        "bmp-2-to-the-31": (
            lambda: _patched(_photo("BMP"), 18, struct.pack("<ii", 2**31 - 1, -(2**31))),
            over,
        ),
        "tif": (lambda: _tiff(_tiff_tags(60_000, 60_000)), over),
        "tif-2-to-the-32": (lambda: _tiff(_tiff_tags(2**32 - 1, 2**32 - 1)), over),
        "jp2": (lambda: _jpeg2000_of(60_000, 60_000), over),
        "webp": (lambda: _webp_of(16_383, 16_383), over),
        "heic": (lambda: _media_of("HEIF", 60_000, 60_000), over),
        "avif": (lambda: _media_of("AVIF", 60_000, 60_000), Failed("AVIF")),
    }
    for name, (content, outcome) in bombs.items():
        ending = name.split("-")[0]
        yield _file(f"bomb-{name}", content, outcome, file=f"photo.{ending}")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """Write a PNG whose header says what it likes."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + _chunk(b"IEND", b"")


def _png_with(chunk: bytes) -> bytes:
    """Insert a chunk behind the header of a good PNG."""
    content = _photo("PNG")
    return content[:33] + chunk + content[33:]


def _patched(content: bytes, offset: int, replacement: bytes) -> bytes:
    return content[:offset] + replacement + content[offset + len(replacement) :]


def _jpeg_size(width: int, height: int) -> tuple[int, bytes]:
    """Return where the frame header of the photo has its size, and another one."""
    return _photo().index(b"\xff\xc0") + 5, struct.pack(">HH", height, width)


def _tiff(tags: Mapping[int, tuple[int, ...]], *, next_directory: int = 0) -> bytes:
    """Write a TIFF of one directory and a strip of 60 bytes, from LONG tags."""
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, values[0]) for tag, values in sorted(tags.items())
    )
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_directory)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(60)


def _tiff_tags(width: int, height: int) -> dict[int, tuple[int, ...]]:
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 122, 277: 1, 278: height}
    return {tag: (value,) for tag, value in {**values, 279: 60}.items()}


def _jpeg2000_of(width: int, height: int) -> bytes:
    """Change the size in the image header box and in the codestream's SIZ segment."""
    content = _photo("JPEG2000")
    content = _patched(content, content.index(b"ihdr") + 4, struct.pack(">II", height, width))
    return _patched(content, content.index(b"\xff\x51") + 6, struct.pack(">II", width, height))


def _webp_of(width: int, height: int) -> bytes:
    content = _photo("WEBP")
    return _patched(content, content.index(b"\x9d\x01\x2a") + 3, struct.pack("<HH", width, height))


def _media_of(format_name: str, width: int, height: int) -> bytes:
    """Change the size in the spatial extents box of a HEIF or AVIF file."""
    content = _photo(format_name)
    return _patched(content, content.index(b"ispe") + 8, struct.pack(">II", width, height))


def _inner_bombs() -> Iterator[HostileCase]:
    packed = partial(zlib.compress, bytes(80_000_000), 9)
    yield _file(
        "bomb-in-png-text",
        lambda: _png_with(_chunk(b"zTXt", b"Comment\0\0" + packed())),
        Failed("PNG"),
        file="photo.png",
    )
    yield _file(
        "bomb-in-png-international-text",
        lambda: _png_with(_chunk(b"iTXt", b"Comment\0\x01\0\0\0" + packed())),
        Failed("PNG"),
        file="photo.png",
    )
    yield _file(
        "bomb-in-png-profile",
        lambda: _png_with(_chunk(b"iCCP", b"icc\0\0" + packed())),
        Failed("PNG"),
        file="photo.png",
    )
    yield _file(
        "bomb-in-png-pixels",
        lambda: _png(WIDTH, HEIGHT, _chunk(b"IDAT", packed())),
        Indexed(),
        file="photo.png",
    )
    yield _file(
        "png-many-texts",
        lambda: _png_with(_chunk(b"tEXt", b"Comment\0" + b"x" * 900) * 3000),
        Indexed(),
        file="photo.png",
    )
    yield _file("jpg-progressive-1000-scans", _jpeg_of_many_scans, Indexed(2000, 2000))


@cache
def _jpeg_of_many_scans() -> bytes:
    """A progressive JPEG that repeats its last scan: each costs a pass over all pixels."""
    content = image_file(Image.new("L", (2000, 2000), 90), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * 1000 + content[-2:]


def _absurd_exif() -> Iterator[HostileCase]:
    third, nothing = (1.0 / 3, 0.0, 0.0), TiffImagePlugin.IFDRational(0, 0)
    blocks: dict[str, Callable[[], bytes | Image.Exif]] = {
        "orientation-0": lambda: exif_block({274: 0}),
        "orientation-9": lambda: exif_block({274: 9}),
        "orientation-65535": lambda: exif_block({274: 65_535}),
        "orientation-of-text": lambda: _exif_entry(274, 2, 4, b"six\0"),
        "orientation-twice": lambda: _exif_entry(274, 3, 2, struct.pack("<HH", 1, 1)),
        "date-of-zeros": lambda: exif_block({306: "0000:00:00 00:00:00"}),
        "date-of-spaces": lambda: exif_block({306: "    :  :     :  :  "}),
        "date-in-february": lambda: exif_block({306: "2024:02:31 25:61:61"}),
        "date-of-noise": lambda: exif_block({306: "\u2603" * 40}),
        "gps-by-zero": lambda: exif_block(gps={1: "N", 2: (nothing,) * 3, 3: "E", 4: third}),
        "gps-past-the-pole": lambda: exif_block(
            gps={1: "N", 2: (500.0, 0.0, 0.0), 3: "E", 4: third}
        ),
        "gps-of-one-number": lambda: exif_block(gps={1: "N", 2: 48.0, 3: "E", 4: 11.0}),
        "directory-in-a-loop": lambda: _exif_entry(0x8769, 4, 1, struct.pack("<I", 8)),
        "directory-outside": lambda: _exif_entry(0x8769, 4, 1, struct.pack("<I", 0x7FFFFFFF)),
        "gps-in-a-loop": lambda: _exif_entry(0x8825, 4, 1, struct.pack("<I", 8)),
        "count-of-4-billion": lambda: _exif_entry(271, 2, 0xFFFFFFFF, struct.pack("<I", 8)),
        "type-that-is-none": lambda: _exif_entry(271, 999, 1, bytes(4)),
        "cut": lambda: exif_block({271: "Acme", 306: "2024:01:02 03:04:05"}).tobytes()[:-20],
        "of-64-kb-of-noise": lambda: b"Exif\0\0" + np.random.default_rng(6).bytes(65_000),
        "empty": lambda: b"Exif\0\0",
        "of-65535-entries": lambda: b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(60_000),
        "camera-of-controls": lambda: exif_block({271: "Ac\x1b[31mme\n\x07", 272: "\0\0"}),
        "camera-of-60-kb": lambda: exif_block({271: "A" * 60_000}),
    }
    for name, block in blocks.items():
        yield _file(f"exif-{name}", partial(_jpeg_with, block), Indexed())
    yield _file(
        "exif-thumbnail-alone",
        lambda: _photo()[:2] + _segment(_exif_entry(271, 2, 4, b"Acm") + _photo()) + b"\xff\xd9",
        Failed("JPEG"),
    )
    yield _file(
        "xmp-of-noise",
        lambda: _photo()[:2] + _segment(b"http://ns.adobe.com/xap/1.0/\0<x:<<") + _photo()[2:],
        Indexed(),
    )


def _jpeg_with(block: Callable[[], bytes | Image.Exif]) -> bytes:
    return _jpeg(exif=block())


def _exif_entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """Write an EXIF block of one entry, whose directory is followed by itself."""
    entry = struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + struct.pack("<I", 8)


def _segment(content: bytes) -> bytes:
    """Wrap content as the segment of a JPEG that EXIF and XMP are stored in."""
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def _absurd_colours() -> Iterator[HostileCase]:
    profiles: dict[str, Callable[[], bytes]] = {
        "of-noise": lambda: np.random.default_rng(7).bytes(3000),
        "cut": lambda: swapped_rgb_profile()[:200],
        "of-cmyk": black_only_cmyk_profile,
        "of-one-byte": lambda: b"x",
        "without-tags": lambda: icc_profile(b"RGB ", b"XYZ ", {}),
        "of-lab": lambda: ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "that-says-4-gb": lambda: b"\xff\xff\xff\xff" + swapped_rgb_profile()[4:],
    }
    for name, profile in profiles.items():
        yield _file(f"profile-{name}", partial(_jpeg_profiled, profile), Indexed())
    modes: dict[str, Callable[[], bytes]] = {
        "palette-short.png": _short_palette_png,
        "palette-none.png": lambda: _png(8, 8, _pixels(8, 9), colour=3),
        "16-bit.png": lambda: image_file(Image.fromarray(_wide()), "PNG"),
        "16-bit.tif": lambda: image_file(Image.fromarray(_wide()), "TIFF"),
        "16-bit-rgb.png": lambda: _png(WIDTH, HEIGHT, _pixels(HEIGHT, 6 * WIDTH + 1), depth=16),
        "float-nan.tif": lambda: image_file(Image.fromarray(_with_nan()), "TIFF"),
        "1-bit.png": lambda: image_file(_drawn().convert("1"), "PNG"),
        "1-bit.tif": lambda: image_file(_drawn().convert("1"), "TIFF", compression="group4"),
        "lab.tif": lambda: image_file(_drawn().convert("LAB"), "TIFF"),
        "cmyk.jpg": lambda: image_file(_drawn().convert("CMYK"), "JPEG"),
        "ycck.jpg": _ycck,
        "clear.png": lambda: image_file(Image.new("RGBA", (WIDTH, HEIGHT)), "PNG"),
        "interlaced.png": _interlaced_png,
    }
    for name, content in modes.items():
        stem, ending = name.split(".")
        small = name == "palette-none.png"
        outcome: Outcome = Failed("PNG") if small else Indexed()
        yield _file(f"pixels-{stem}-{ending}", content, outcome, file=f"photo.{ending}")


def _drawn() -> Image.Image:
    return Image.fromarray(drawn_photo(1, width=WIDTH, height=HEIGHT))


def _jpeg_profiled(profile: Callable[[], bytes]) -> bytes:
    return _jpeg(icc_profile=profile())


def _pixels(n_rows: int, n_bytes: int) -> bytes:
    """Pack the pixel chunk of a PNG: rows of zeros, each with its filter byte."""
    return _chunk(b"IDAT", zlib.compress(bytes(n_rows * n_bytes)))


def _short_palette_png() -> bytes:
    """Pixels use entries 0 to 255 of a palette that has two."""
    rows = b"".join(b"\0" + bytes(range(WIDTH)) for _ in range(HEIGHT))
    palette = _chunk(b"PLTE", bytes((255, 0, 0, 0, 0, 255)))
    return _png(WIDTH, HEIGHT, palette, _chunk(b"IDAT", zlib.compress(rows)), colour=3)


def _wide() -> np.ndarray:
    return np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH)


def _with_nan() -> np.ndarray:
    values = np.linspace(-1, 1e30, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    values[::2] = np.nan
    return values


def _ycck() -> bytes:
    """Say in the Adobe segment of a CMYK JPEG that its first three inks are YCbCr."""
    content = image_file(_drawn().convert("CMYK"), "JPEG")
    return _patched(content, content.index(b"Adobe") + 11, b"\x02")


def _interlaced_png() -> bytes:
    """Write black pixels in the seven passes of Adam7, which need a width and height of 8n."""
    across, down = (8, 8, 4, 4, 2, 2, 1), (8, 8, 8, 4, 4, 2, 2)
    n_bytes = sum(HEIGHT // y * (3 * WIDTH // x + 1) for x, y in zip(across, down, strict=True))
    content = _png(WIDTH, HEIGHT, _pixels(1, n_bytes))
    head = content[12:28] + b"\x01"
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


def _absurd_shapes() -> Iterator[HostileCase]:
    for width, height in ((65_000, 2), (2, 65_000), (1, 1), (1, 20_000), (65_535, 1)):
        for format_name in ("JPEG", "PNG") if max(width, height) < 65_501 else ("PNG",):
            yield _file(
                f"shape-{width}-by-{height}-{format_name.lower()}",
                partial(_plain, format_name, width, height),
                Indexed(width, height),
                file=f"photo.{ENDINGS[format_name]}",
            )


def _plain(format_name: str, width: int, height: int) -> bytes:
    return image_file(Image.new("RGB", (width, height), (200, 90, 30)), format_name)


def _absurd_frames() -> Iterator[HostileCase]:
    yield _file(
        "frames-1000.gif", lambda: _animation("GIF", 1000), Indexed(8, 8, 1000), file="a.gif"
    )
    yield _file("frames-40.png", lambda: _animation("PNG", 40), Indexed(8, 8, 40), file="a.png")
    yield _file("frames-40.webp", lambda: _animation("WEBP", 40), Indexed(8, 8, 40), file="a.webp")
    yield _file("frames-40.tif", lambda: _animation("TIFF", 40), Indexed(8, 8, 40), file="a.tif")
    yield _file("frames-cut.gif", _gif_cut_in_its_last_frame, Indexed(8, 8, 39), file="a.gif")
    yield _file("frame-of-no-size.gif", _gif_frame_of_no_size, Failed("GIF"), file="a.gif")
    yield _file("frame-outside.gif", _gif_frame_outside, Indexed(396, 364), file="a.gif")
    yield _file(
        "directories-in-a-loop.tif",
        lambda: _tiff(_tiff_tags(4, 5), next_directory=8),
        Indexed(4, 5),
        file="a.tif",
    )
    yield _file("two-jpegs-in-one", lambda: _photo() + _jpeg(quality=20), Indexed())
    yield _file("mpo", _multi_picture, Indexed(frames=2))
    yield _file("mpo-cut", lambda: _multi_picture()[:-600], Indexed(frames=2))


def _animation(format_name: str, n_frames: int) -> bytes:
    frames = [Image.new("RGB", (8, 8), (n * 97 % 256, n // 4, 99)) for n in range(n_frames)]
    return image_file(frames[0], format_name, save_all=True, append_images=frames[1:])


def _gif_cut_in_its_last_frame() -> bytes:
    """Cut behind the control block of the last of 40 frames, in the frame's own header."""
    content = _animation("GIF", 40)
    return content[: content.rindex(b"\x21\xf9\x04") + 12]


def _gif_frame_of_no_size() -> bytes:
    content = _photo("GIF")
    return _patched(content, content.index(b"\x2c\0\0\0\0") + 5, bytes(4))


def _gif_frame_outside() -> bytes:
    """Put the frame's left upper corner beyond the canvas, which is widened to hold it."""
    content = _photo("GIF")
    return _patched(content, content.index(b"\x2c\0\0\0\0") + 1, struct.pack("<HH", 300, 300))


def _multi_picture() -> bytes:
    return image_file(_drawn(), "MPO", save_all=True, append_images=[_drawn()])


def _absurd_streams() -> Iterator[HostileCase]:
    yield _file("jpg-5-mb-behind-its-end", lambda: _photo() + bytes(5_000_000), Indexed())
    yield _file(
        "png-garbage-behind-its-end",
        lambda: _photo("PNG") + b"\xff" * 100_000,
        Indexed(),
        file="a.png",
    )
    yield _file(
        "jpg-restart-markers-lost",
        lambda: _jpeg(restart_marker_blocks=2).replace(b"\xff\xd3", b""),
        Indexed(),
    )
    yield _file(
        "png-wrong-checksum",
        lambda: _patched(_photo("PNG"), 29, b"\0\0\0\0"),
        Failed("PNG"),
        file="a.png",
    )
    yield _file(
        "png-chunk-of-2-gb",
        lambda: _png_with(struct.pack(">I", 2**31 - 1) + b"zzzz"),
        Failed("PNG"),
        file="a.png",
    )
    yield _file(
        "jpg-segment-past-the-end", lambda: _photo()[:2] + b"\xff\xe1\xff\xff", Failed("JPEG")
    )
    yield _file(
        "jpg-without-huffman-tables", lambda: _photo().replace(b"\xff\xc4", b"\xff\xe9"), Indexed()
    )
    yield _file(
        "jpg-of-12-bits",
        lambda: _patched(_photo(), _jpeg_size(1, 1)[0] - 1, b"\x0c"),
        Failed("JPEG"),
    )
    yield _file(
        "jpg-of-no-components",
        lambda: _patched(_photo(), _jpeg_size(1, 1)[0] + 4, b"\0"),
        Failed("JPEG"),
    )
    yield _file(
        "jpg-height-of-zero", lambda: _patched(_photo(), *_jpeg_size(WIDTH, 0)), Failed("JPEG")
    )
    yield _file("bmp-run-length-past-the-end", _bmp_run_length, Indexed(16, 16), file="a.bmp")
    yield _file(
        "tif-unknown-compression",
        lambda: _tiff(_tiff_tags(4, 5) | {259: (999,)}),
        Failed("TIFF"),
        file="a.tif",
    )
    yield _file(
        "tif-strips-outside",
        lambda: _tiff(_tiff_tags(4, 5) | {273: (10**9,)}),
        Failed("TIFF"),
        file="a.tif",
    )


def _bmp_run_length() -> bytes:
    """An 8-bit BMP whose run-length code moves far beyond its pixels."""
    head = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 1, 4, 0, 0, 2, 2)
    body = head + bytes((0, 0, 0, 0, 255, 255, 255, 0)) + b"\0\x02\xff\xff"
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 48) + body


def _odd_names() -> Iterator[HostileCase]:
    names = {
        "emoji": "\U0001f305 am \U0001f3d6\ufe0f.jpg",
        "newline": "two\nlines.jpg",
        "tab-and-bell": "a\tb\x07.jpg",
        "quotes": 'it\'s "here" `now`.jpg',
        "backslash": "back\\slash.jpg",
        "percent-and-underscore": "100%_of_%s.jpg",
        "sql": "x'; DROP TABLE images; --.jpg",
        "spaces": "  .jpg",
        "dash": "-rf.jpg",
        "star": "*?[a]{b}.jpg",
        "escape": "\x1b[2Jcleared.jpg",
        "of-255-bytes": "n" * 251 + ".jpg",
        "of-many-scripts": "\u5199\u771f \u05ea\u05de\u05d5 \u0635\u0648\u0631.jpg",
        "right-to-left-mark": "photo\u202egpj.exe.jpg",
        "private-characters": "\U0010ffe9\U0010fffd.jpg",
        "undecodable": os.fsdecode(b"caf\xe9 \xff\x80.jpg"),
        "dos-device": "CON.jpg",
        "colon": "12:30:00.jpg",
    }
    for kind, name in names.items():
        yield _file(f"name-{kind}", _photo, Indexed(), file=name)
    accents = ("caf\u00e9.jpg", "cafe\u0301.jpg")
    yield HostileCase("name-in-both-normal-forms", _written(*accents), _indexed(*accents))
    deep = "/".join(["d" * 200] * 15) + "/photo.jpg"
    yield HostileCase("path-of-3000-characters", _written(deep), _indexed(deep))
    many = tuple(f"{folder}/IMG_0001.jpg" for folder in ("100CANON", "101CANON", "copy"))
    yield HostileCase("same-name-in-many-folders", _written(*many), _indexed(*many))


def _written(*paths: str) -> Callable[[Path], None]:
    """Return what writes the same good photo under each path."""

    def write(folder: Path) -> None:
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(_photo())

    return write


def _indexed(*paths: str) -> dict[str, Outcome]:
    return {path: Indexed() for path in paths}


def _odd_entries() -> Iterator[HostileCase]:
    yield HostileCase("folder-named-jpg", _written("x.jpg/y.jpg"), _indexed("x.jpg/y.jpg"))
    yield HostileCase("empty-folder-named-jpg", lambda folder: (folder / "x.jpg").mkdir(), {})
    hidden = ("@eaDir/a.jpg", ".thumbnails/b.jpg", ".c.jpg", "#recycle/d.jpg", "__MACOSX/._e.jpg")
    yield HostileCase("hidden-and-system", _written(*hidden), {})
    yield HostileCase(
        "fifo",
        lambda folder: os.mkfifo(folder / "x.jpg"),
        {"x.jpg": Failed("is a named pipe, not a regular file", "scan")},
    )
    yield HostileCase("fifo-without-ending", lambda folder: os.mkfifo(folder / "pipe"), {})
    yield HostileCase(
        "socket", _bind_socket, {"x.jpg": Failed("is a socket, not a regular file", "scan")}
    )
    yield HostileCase(
        "device",
        lambda folder: (folder / "x.jpg").symlink_to("/dev/zero"),
        {"x.jpg": Failed("is a character device, not a regular file", "scan")},
    )
    yield HostileCase(
        "sparse-terabyte",
        lambda folder: _sparse(folder / "x.jpg"),
        {"x.jpg": Failed(r"is 1,000,000 MB, over the limit of 1,074 MB for a file; rename it")},
    )
    yield HostileCase(
        "sparse-terabyte-with-a-good-head",
        lambda folder: _sparse(folder / "x.jpg", _photo()),
        {"x.jpg": Failed("over the limit of 1,074 MB")},
    )


def _bind_socket(folder: Path) -> None:
    # A socket's path may have about 100 characters: bound elsewhere, and moved here.
    with TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        shutil.move(f"{short}/s", folder / "x.jpg")


def _sparse(path: Path, head: bytes = b"") -> None:
    path.write_bytes(head)
    os.truncate(path, TERABYTE)


def _links() -> Iterator[HostileCase]:
    gone = Failed("cannot be examined: No such file or directory", "scan")
    loop = Failed("cannot be examined: Too many levels of symbolic links", "scan")
    yield HostileCase("link-dangling", _linked({"x.jpg": "gone"}), {"x.jpg": gone})
    yield HostileCase("link-to-itself", _linked({"x.jpg": "x.jpg"}), {"x.jpg": loop})
    yield HostileCase("links-in-a-ring", _linked({"a": "b", "b": "a"}), {"a": loop, "b": loop})
    yield HostileCase("link-to-its-folder", _linked({"up": ".", "up.jpg": ".."}), {})
    chain = {f"{n:02}.jpg": f"{n + 1:02}.jpg" for n in range(45)} | {"45.jpg": "gone"}
    ends = {name: loop if int(name[:2]) <= 5 else gone for name in chain}
    yield HostileCase("links-in-a-chain", _linked(chain), ends)
    yield HostileCase(
        "link-to-a-photo", _linked({"link.jpg": "photo.jpg"}), _indexed("link.jpg", "photo.jpg")
    )
    yield HostileCase(
        "link-to-a-folder-beside-it",
        _linked({"album": "real"}, "real/photo.jpg"),
        _indexed("real/photo.jpg"),
    )
    yield HostileCase("hard-links", _hard_linked, _indexed("a.jpg", "b.jpg"))
    # Opens, says that it has no bytes, and then fails to read: as a dying disk does.
    unreadable = Failed("cannot be read: input/output error", "read")
    yield HostileCase(
        "link-to-what-cannot-be-read",
        _linked({"x.jpg": "/proc/self/mem"}),
        {"x.jpg": unreadable},
    )


def _linked(links: Mapping[str, str], *photos: str) -> Callable[[Path], None]:
    """Return what writes photos, or those that links point to by an image's name, and links."""

    def write(folder: Path) -> None:
        _written(*(photos or [to for to in links.values() if to == "photo.jpg"]))(folder)
        for name, target in links.items():
            (folder / name).symlink_to(target)

    return write


def _hard_linked(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(_photo())
    os.link(folder / "a.jpg", folder / "b.jpg")
