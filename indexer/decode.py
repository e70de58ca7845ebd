"""From a file's bytes to upright sRGB pixels and what the file says about them."""

import functools
import logging
import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import TypeVar

import numpy as np
from PIL import Image, JpegImagePlugin

from indexer.arrays import ByteArray
from indexer.colour import to_srgb
from indexer.decode_errors import (
    DECODER_ERRORS,
    describe_content,
    describe_failure,
    refuse_above,
)
from indexer.exif import (
    CameraFacts,
    camera_facts,
    jpeg_quality,
    orientation,
    read_exif,
    stated_orientation,
    tiff_exif,
)
from indexer.raw import is_raw_tiff, read_preview
from indexer.scan import SIGNATURE_BYTES, sniff_format
from schemas.errors import PhotoError

DECODE_POLICY = (
    "2: pillow; JPEG scaled to >= 2x, whole; EXIF upright; ICC perceptual to sRGB; on white"
)
"""Part of the preprocessing fingerprint: its number rises whenever decoded pixels change.

Not when a format becomes readable that was not: pictures of it were in no collection, and a new
number would make every collection be refused.
"""

MAX_PIXELS = 200_000_000
"""Default limit: 600 MB of RGB. The largest cameras make 150 million."""

# From twice the target on, the input of the tower differs from that of a full decode by about a
# quarter of a grey level on average (tests/benchmarks/decoding.py on Kodak pictures enlarged to 3,
# 12 and 24 MP); nearer to the target by three times as much.
_SCALED_DECODING_FACTOR = 2

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_SIDEWAYS_ORIENTATION = 5
# Orientations that bring the stored right to the left, and the stored bottom to the top, once the
# sideways ones have been transposed.
_MIRRORED_ACROSS, _MIRRORED_DOWN = frozenset((2, 3, 6, 7)), frozenset((3, 4, 7, 8))

_PILLOW_MODULES = re.compile(r"(PIL|pillow_heif)\b")
_setup_lock = threading.Lock()

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """The first frame of one photo.

    Parameters
    ----------
    pixels : uint8 of shape (h, w, 3)
        Upright sRGB, possibly at a reduced scale. Of a raw file, those of its preview. Read-only.
    extent : tuple of float
        Left, top, right and bottom of the photo in `pixels`, in pixels: at a reduced scale it may
        fill the last column and row only in part.
    width, height : int
        Of the upright photo at full size, in pixels; of a raw file, as its sensor took it.
    format : str
        As `sniff_format` names it; "RAW" also for raw files that are TIFFs inside.
    frames : int
        1 for a still; more for animations, pages, bursts.
    taken_at : datetime or None
        Camera time, without a zone.
    camera : str or None
        Make and model.
    latitude, longitude : float or None
        Degrees, north and east positive; both or neither.
    jpeg_quality : int or None
        1..100, estimated from the quantisation tables; None for other formats. Also for raw files:
        it tells how much a photo has lost, and their preview's loss is not theirs.
    """

    pixels: ByteArray
    extent: tuple[float, float, float, float]
    width: int
    height: int
    format: str
    frames: int
    taken_at: datetime | None
    camera: str | None
    latitude: float | None
    longitude: float | None
    jpeg_quality: int | None


def decode_photo(content: bytes, *, min_side: int, max_pixels: int = MAX_PIXELS) -> DecodedPhoto:
    """Decode a photo; safe to call from several threads at once.

    Parameters
    ----------
    content : bytes
        The whole file.
    min_side : int
        Pixels that the short side will be scaled to. A JPEG is decoded at 1/2, 1/4 or 1/8 of its
        size as long as both sides stay at least twice as long as this.
    max_pixels : int
        Larger pictures, by their header, are refused before any pixel is decoded. Of a raw file
        the preview's header counts, as nothing else is decoded.

    Raises
    ------
    ValueError
        If `min_side` or `max_pixels` is below 1.
    PhotoError
        At stage "decode": not an image, damaged, too large, or a raw file without its extra.
    """
    if min_side < 1 or max_pixels < 1:
        raise ValueError(f"min_side and max_pixels must be >= 1, got {min_side} and {max_pixels}")
    file_format = sniff_format(content[:SIGNATURE_BYTES])
    if file_format is None:
        raise PhotoError("decode", describe_content(content))
    if file_format == "TIFF" and is_raw_tiff(content):
        file_format = "RAW"
    _prepare_pillow()
    try:
        if file_format == "RAW":
            return _decode_raw(content, min_side=min_side, max_pixels=max_pixels)
        return _decode(content, file_format, min_side=min_side, max_pixels=max_pixels)
    except DECODER_ERRORS as error:
        raise PhotoError("decode", describe_failure(error, file_format)) from error


def _decode(content: bytes, file_format: str, *, min_side: int, max_pixels: int) -> DecodedPhoto:
    with Image.open(BytesIO(content), formats=[file_format]) as image:
        loaded = _load(image, min_side=min_side, max_pixels=max_pixels)
    turned = 1 if file_format == "HEIF" else orientation(loaded.exif)  # libheif has turned HEIF
    return _photo(
        loaded,
        file_format,
        turned=turned,
        size=_turned_size(loaded.size, turned),
        facts=camera_facts(loaded.exif),
    )


def _decode_raw(content: bytes, *, min_side: int, max_pixels: int) -> DecodedPhoto:
    """Decode a raw file's preview, however small: a poor picture can be found, none cannot."""
    raw = read_preview(content)
    with _opened(raw.picture) as image:
        preview = _load(image, min_side=min_side, max_pixels=max_pixels)
    size = _turned_size((raw.width, raw.height), raw.orientation)
    stated = stated_orientation(preview.exif) or raw.orientation
    # The preview's own facts come second: LibRaw writes some where a preview has none.
    facts = camera_facts(tiff_exif(content)).completed_by(camera_facts(preview.exif))
    return _photo(
        replace(preview, frames=1, jpeg_quality=None),
        "RAW",
        turned=_preview_orientation((stated, raw.orientation, 1), preview.size, size),
        size=size,
        facts=facts,
    )


def _opened(preview: bytes | ByteArray) -> Image.Image:
    if isinstance(preview, bytes):
        return Image.open(BytesIO(preview), formats=["JPEG"])
    return Image.fromarray(preview)


def _preview_orientation(
    stated: Sequence[int], preview: tuple[int, int], upright: tuple[int, int]
) -> int:
    """Return the first orientation that lays a preview as the upright photo lies.

    A preview's own EXIF speaks of its very pixels, and comes first. Most have none, and are stored
    as the sensor's picture is. But Nikon E5700 turn their previews and mark only the raw data as
    turned (https://github.com/libvips/libvips/pull/5086), and programs that turn a raw file later
    change its mark and not the preview's: then the shape tells.
    """
    for turned in stated:
        width, height = _turned_size(preview, turned)
        if (width - height) * (upright[0] - upright[1]) >= 0:
            return turned
    return stated[0]


@dataclass(frozen=True, slots=True)
class _LoadedImage:
    """The first frame in sRGB, not yet upright; `size` is that of the header.

    `extent` is how many pixels across and down the photo fills: a JPEG decoded at a smaller scale
    ends within its last column and row, unless its sides divide by the scale.
    """

    image: Image.Image
    size: tuple[int, int]
    extent: tuple[float, float]
    exif: Image.Exif
    frames: int
    jpeg_quality: int | None


def _load(image: Image.Image, *, min_side: int, max_pixels: int) -> _LoadedImage:
    size = image.size
    refuse_above(max_pixels, *size)
    frames = _count_frames(image)
    quality = None
    extent: tuple[float, float] = size
    # Not for HEIF, whose draft mode decodes an embedded thumbnail instead.
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        quality = jpeg_quality(image.quantization)
        side = _SCALED_DECODING_FACTOR * min_side
        drafted = image.draft(None, (side, side))
        extent = extent if drafted is None else drafted[1][2:]
    image.load()
    # The EXIF only now: Pillow turns a TIFF upright, and drops its orientation, while it loads.
    return _LoadedImage(to_srgb(image), size, extent, read_exif(image), frames, quality)


def _photo(
    loaded: _LoadedImage,
    file_format: str,
    *,
    turned: int,
    size: tuple[int, int],
    facts: CameraFacts,
) -> DecodedPhoto:
    return DecodedPhoto(
        pixels=np.asarray(_upright(loaded.image, turned)),
        extent=_upright_extent(loaded.extent, loaded.image.size, turned),
        width=size[0],
        height=size[1],
        format=file_format,
        frames=loaded.frames,
        taken_at=facts.taken_at,
        camera=facts.camera,
        latitude=facts.latitude,
        longitude=facts.longitude,
        jpeg_quality=loaded.jpeg_quality,
    )


def _upright_extent(
    extent: tuple[float, float], size: tuple[int, int], turned: int
) -> tuple[float, float, float, float]:
    """Return where a photo that fills the top left of its stored pixels lies when upright."""
    width, height = _turned_size(extent, turned)
    all_width, all_height = _turned_size(size, turned)
    left = all_width - width if turned in _MIRRORED_ACROSS else 0.0
    top = all_height - height if turned in _MIRRORED_DOWN else 0.0
    return left, top, left + width, top + height


def _turned_size(size: tuple[_Number, _Number], turned: int) -> tuple[_Number, _Number]:
    width, height = size
    return (height, width) if turned >= _FIRST_SIDEWAYS_ORIENTATION else (width, height)


def _count_frames(image: Image.Image) -> int:
    """Count the frames before the first damaged one: the photo is the first of all."""
    try:
        return getattr(image, "n_frames", 1)
    except DECODER_ERRORS:
        n_whole = image.tell() + 1
        image.seek(0)
        return n_whole


def _upright(image: Image.Image, turned: int) -> Image.Image:
    return image.transpose(_TRANSPOSITIONS[turned]) if turned in _TRANSPOSITIONS else image


def _prepare_pillow() -> None:
    """Set Pillow up once per process, and quiet it in the warning filters now in force."""
    with _setup_lock:
        _register_decoders()
        # `warnings.catch_warnings` swaps a process-wide list and is not safe in worker threads.
        # One standing filter is; tests replace the list, hence the look at it every time.
        if not any(entry[3] == _PILLOW_MODULES for entry in warnings.filters):
            warnings.filterwarnings("ignore", module=_PILLOW_MODULES.pattern)


@functools.cache
def _register_decoders() -> None:
    # Imported here: it loads libheif, which `isophote --help` does not need.
    import pillow_heif

    # Its TIFF reader logs what it also raises; without a handler that would land on stderr.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False)
    Image.init()
    # The limit is ours, per call and told in pixels; Pillow's is one number for the process.
    Image.MAX_IMAGE_PIXELS = None
