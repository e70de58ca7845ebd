"""From a file's bytes to upright sRGB pixels and what the file says about them."""

import functools
import logging
import re
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from indexer.arrays import ByteArray
from indexer.colour import to_srgb
from indexer.exif import camera_facts, jpeg_quality, orientation, read_exif
from indexer.scan import SIGNATURE_BYTES, sniff_format
from schemas.errors import PhotoError

DECODE_POLICY = "1: pillow; JPEG scaled to >= 2x; EXIF upright; ICC perceptual to sRGB; on white"
"""Part of the preprocessing fingerprint: its number rises whenever decoded pixels change."""

MAX_PIXELS = 200_000_000
"""Default limit: 600 MB of RGB. The largest cameras make 150 million."""

# From twice the target on, the input of the tower differs from that of a full decode by 0.4 to 0.8
# grey levels on average and 26 at most; at 1.6 times by 3, with single pixels 79 levels off
# (tests/benchmarks/decoding.py on Kodak pictures enlarged to 3, 12 and 24 MP).
_SCALED_DECODING_FACTOR = 2

# Everything that Pillow's decoders were seen to raise on damaged files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)

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

_OTHER_CONTENTS = (
    (re.compile(rb"%PDF"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an office document"),
    (re.compile(rb"....ftypcrx |FUJIFILMCCD-RAW|IIRO|IIU\x00", re.DOTALL), "a camera raw file"),
    (re.compile(rb"....(ftyp|moov|mdat)|\x1a\x45\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\s*<(\?xml|!DOCTYPE|html|svg)", re.IGNORECASE), "a web page or an SVG drawing"),
    (re.compile(rb"\x00+\Z"), "nothing but zero bytes"),
    (re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z"), "text"),
)
_SHOWN_MESSAGE_CHARACTERS = 120
_PILLOW_MODULES = re.compile(r"(PIL|pillow_heif)\b")
_setup_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """The first frame of one photo.

    Parameters
    ----------
    pixels : uint8 of shape (h, w, 3)
        Upright sRGB, possibly at a reduced scale. Read-only.
    width, height : int
        Of the upright photo at full size, in pixels.
    format : str
        As `sniff_format` names it.
    frames : int
        1 for a still; more for animations, pages, bursts.
    taken_at : datetime or None
        Camera time, without a zone.
    camera : str or None
        Make and model.
    latitude, longitude : float or None
        Degrees, north and east positive; both or neither.
    jpeg_quality : int or None
        1..100, estimated from the quantisation tables; None for other formats.
    """

    pixels: ByteArray
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
        Larger pictures, by their header, are refused before any pixel is decoded.

    Raises
    ------
    ValueError
        If `min_side` or `max_pixels` is below 1.
    PhotoError
        At stage "decode": not an image, damaged, or too large.
    """
    if min_side < 1 or max_pixels < 1:
        raise ValueError(f"min_side and max_pixels must be >= 1, got {min_side} and {max_pixels}")
    file_format = sniff_format(content[:SIGNATURE_BYTES])
    if file_format is None:
        raise PhotoError("decode", _describe_content(content))
    _prepare_pillow()
    try:
        return _decode(content, file_format, min_side=min_side, max_pixels=max_pixels)
    except _DECODER_ERRORS as error:
        raise PhotoError("decode", _describe_failure(error, file_format)) from error


def _decode(content: bytes, file_format: str, *, min_side: int, max_pixels: int) -> DecodedPhoto:
    with Image.open(BytesIO(content), formats=[file_format]) as image:
        width, height = image.size
        _refuse_above(max_pixels, width, height)
        frames = getattr(image, "n_frames", 1)
        quality = None
        if file_format == "JPEG":
            quality = jpeg_quality(image.quantization)  # type: ignore[attr-defined]
            # Not for HEIF, whose draft mode decodes an embedded thumbnail instead.
            side = _SCALED_DECODING_FACTOR * min_side
            image.draft(None, (side, side))
        image.load()
        # Only now: Pillow turns a TIFF upright, and drops its orientation, while it loads.
        exif = read_exif(image)
        turned = 1 if file_format == "HEIF" else orientation(exif)  # libheif has turned HEIF
        pixels = np.asarray(_upright(to_srgb(image), turned))
    if turned >= _FIRST_SIDEWAYS_ORIENTATION:
        width, height = height, width
    facts = camera_facts(exif)
    return DecodedPhoto(
        pixels=pixels,
        width=width,
        height=height,
        format=file_format,
        frames=frames,
        taken_at=facts.taken_at,
        camera=facts.camera,
        latitude=facts.latitude,
        longitude=facts.longitude,
        jpeg_quality=quality,
    )


def _upright(image: Image.Image, turned: int) -> Image.Image:
    return image.transpose(_TRANSPOSITIONS[turned]) if turned in _TRANSPOSITIONS else image


def _refuse_above(max_pixels: int, width: int, height: int) -> None:
    if width * height > max_pixels:
        raise PhotoError(
            "decode",
            f"is {width} x {height} = {_megapixels(width * height)} MP, over the limit of "
            f"{_megapixels(max_pixels)} MP; raise --max-pixels",
        )


def _megapixels(n_pixels: int) -> str:
    return f"{n_pixels / 1e6:.3g}" if n_pixels < 100e6 else f"{n_pixels / 1e6:.0f}"  # noqa: PLR2004


def _describe_content(content: bytes) -> str:
    """Say what a file is that is no image."""
    if not content:
        return "is empty (0 bytes)"
    head = content[:512]
    for pattern, name in _OTHER_CONTENTS:
        if pattern.match(head):
            return f"is {name}, not an image"
    return f"is not an image: it starts with the bytes {head[:8].hex(' ')}"


def _describe_failure(error: BaseException, file_format: str) -> str:
    if isinstance(error, MemoryError):
        return f"is {file_format} data that does not fit into memory"
    if isinstance(error, UnidentifiedImageError):
        # Its message names a BytesIO object, which tells a reader nothing.
        return f"starts like {file_format}, but its header cannot be read"
    message = " ".join(str(error).split())[:_SHOWN_MESSAGE_CHARACTERS]
    return f"is a damaged {file_format}: {message or type(error).__name__}"


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
