"""What is wrong with a file that cannot be decoded, in words for its owner."""

import re
import struct
import zlib

from PIL import UnidentifiedImageError

from schemas.errors import PhotoError

# Everything that Pillow's decoders were seen to raise on damaged files.
DECODER_ERRORS = (
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

_OTHER_CONTENTS = (
    (re.compile(rb"%PDF"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an office document"),
    (re.compile(rb"....(ftyp|moov|mdat)|\x1a\x45\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\s*<(\?xml|!DOCTYPE|html|svg)", re.IGNORECASE), "a web page or an SVG drawing"),
    (re.compile(rb"\x00+\Z"), "nothing but zero bytes"),
    (re.compile(rb"\xff+\Z"), "nothing but 0xff bytes"),  # erased flash
    (re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z"), "text"),
)
_SHOWN_MESSAGE_CHARACTERS = 120


def refuse_above(max_pixels: int, width: int, height: int) -> None:
    """Refuse a picture that is larger than the limit.

    Raises
    ------
    PhotoError
    """
    if width * height > max_pixels:
        raise PhotoError(
            "decode",
            f"is {width} x {height} = {_megapixels(width * height)} MP, over the limit of "
            f"{_megapixels(max_pixels)} MP; raise ISOPHOTE_MAX_PIXELS, or --max-pixels of "
            "`isophote failures --retry`",
        )


def _megapixels(n_pixels: int) -> str:
    return f"{n_pixels / 1e6:.3g}" if n_pixels < 100e6 else f"{n_pixels / 1e6:.0f}"  # noqa: PLR2004


def describe_content(content: bytes) -> str:
    """Say what a file is that is no image."""
    if not content:
        return "is empty (0 bytes)"
    head = content[:512]
    for pattern, name in _OTHER_CONTENTS:
        if pattern.match(head):
            return f"is {name}, not an image"
    return f"is not an image: it starts with the bytes {head[:8].hex(' ')}"


def describe_failure(error: BaseException, file_format: str) -> str:
    """Say what a decoder ran into."""
    if isinstance(error, MemoryError):
        return f"is {file_format} data that does not fit into memory"
    if isinstance(error, UnidentifiedImageError):
        # Its message names a BytesIO object, which tells a reader nothing.
        return f"starts like {file_format}, but its header cannot be read"
    message = " ".join(str(error).split())[:_SHOWN_MESSAGE_CHARACTERS]
    # A single word is a key or a number, which tells a reader nothing either.
    return f"is a damaged {file_format}" + (f": {message}" if " " in message else "")
