"""Draw seeded pictures, spoil them step by step, and write them as files of any kind."""

import struct
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from indexer.arrays import ByteArray

BLUR_SIGMAS = (0.6, 1.0, 1.5, 2.2, 3.2, 4.5, 6.5)
NOISE_SIGMAS = (3.0, 6.0, 10.0, 16.0, 25.0, 40.0)
JPEG_QUALITIES = (90, 75, 50, 30, 20, 10, 5)
DOWNSCALE_FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
EXPOSURE_STOPS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How the pixels of an upright photo are stored under each EXIF orientation."""


def drawn_photo(seed: int, *, width: int = 96, height: int = 64) -> ByteArray:
    """Draw a colourful scene: a gradient, soft discs with hard edges, and fine texture."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    slope = generator.uniform(-120, 120, (2, 3))
    scene = generator.uniform(60, 190, 3) + x[..., None] * slope[0] + y[..., None] * slope[1]
    for _ in range(12):
        centre, radius = generator.uniform(0, 1, 2), generator.uniform(0.04, 0.25)
        inside = np.hypot(x - centre[0], y - centre[1]) < radius
        shade = generator.uniform(0, 255, 3) + generator.uniform(-300, 300) * (x + y)[..., None] / 4
        scene = np.where(inside[..., None], 0.8 * shade + 0.2 * scene, scene)
    return to_bytes(scene + generator.normal(0, 2, scene.shape))


def to_bytes(values: np.ndarray) -> ByteArray:
    """Round and clip any numbers to bytes."""
    rounded: ByteArray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def image_file(pixels: ByteArray | Image.Image, format_name: str = "PNG", **options) -> bytes:
    """Write pixels as a file; `options` are those of Pillow's writers (quality, exif, ...)."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    stream = BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def exif_block(
    entries: Mapping[int, object] | None = None,
    *,
    camera: Mapping[int, object] | None = None,
    gps: Mapping[int, object] | None = None,
) -> Image.Exif:
    """Build an EXIF block from tags of the main, the camera and the GPS directory."""
    exif = Image.Exif()
    exif.update(entries or {})
    exif.get_ifd(0x8769).update(camera or {})
    exif.get_ifd(0x8825).update(gps or {})
    return exif


def blurred(pixels: ByteArray, sigma: float) -> ByteArray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def noisy(pixels: ByteArray, sigma: float) -> ByteArray:
    return to_bytes(pixels + np.random.default_rng(7).normal(0, sigma, pixels.shape))


def recompressed(pixels: ByteArray, quality: int) -> ByteArray:
    """Return what is left of pixels after JPEG, without the file."""
    return np.asarray(Image.open(BytesIO(image_file(pixels, "JPEG", quality=quality))))


def downscaled(pixels: ByteArray, factor: float) -> ByteArray:
    """Shrink and enlarge again."""
    image = Image.fromarray(pixels)
    small = image.resize((round(image.width / factor), round(image.height / factor)))
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def exposed(pixels: ByteArray, stops: float) -> ByteArray:
    """Multiply the light by 2**stops; sRGB is taken as a power law of 2.2."""
    return to_bytes(255.0 * (pixels / 255.0) * 2.0 ** (stops / 2.2))


def icc_profile(colour_space: bytes, connection_space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Write an ICC version 2 input profile from its tags (ICC.1:2001-04, sections 6.1 and 6.2)."""
    tags = {
        b"desc": _icc_text(b"made for a test"),
        b"wtpt": _icc_xyz((0.9642, 1.0, 0.8249)),
        **tags,
    }
    offset, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(
        ">I4sI4s4s4s", size, b"", 0x02400000, b"scnr", colour_space, connection_space
    )
    head += struct.pack(">6H4s", 2001, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def swapped_rgb_profile() -> bytes:
    """An RGB space like sRGB whose first channel is green and whose second is red."""
    curve = struct.pack(
        ">4sIHH5i", b"para", 0, 3, 0, *_fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    )
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    colorants = {b"rXYZ": _icc_xyz(green), b"gXYZ": _icc_xyz(red), b"bXYZ": _icc_xyz(blue)}
    return icc_profile(
        b"RGB ", b"XYZ ", {**colorants, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    )


def black_only_cmyk_profile() -> bytes:
    """A press on which only black ink shows: cyan, magenta and yellow leave the paper white."""
    identity = bytes(range(256))
    # Corners of a 2 x 2 x 2 x 2 grid, black varying fastest; Lab as bytes, 128 is neutral.
    grid = b"".join(bytes((0 if corner % 2 else 255, 128, 128)) for corner in range(16))
    head = struct.pack(">4sIBBBB9i", b"mft1", 0, 4, 3, 2, 0, *_fixed(1, 0, 0, 0, 1, 0, 0, 0, 1))
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": head + identity * 4 + grid + identity * 3})


def _fixed(*values: float) -> list[int]:
    return [round(value * 65536) for value in values]


def _icc_xyz(values: tuple[float, float, float]) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *_fixed(*values))


def _icc_text(text: bytes) -> bytes:
    return struct.pack(">4sII", b"desc", 0, len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67)
