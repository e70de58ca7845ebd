"""Camera raw files: telling them by their content, and the preview that they carry.

Nothing is developed: a camera's own preview is what its owner saw, and as quick as any JPEG.
"""

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO

import numpy as np

from indexer.arrays import ByteArray
from schemas.errors import MissingExtraError, PhotoError

# TIFF 6.0, TIFF/EP (ISO 12234-2) and DNG 1.4.
_WIDTH, _HEIGHT, _PHOTOMETRIC, _STRIP_BYTES = 256, 257, 262, 279
_SUB_DIRECTORIES, _DNG_VERSION = 330, 50706
_SENSOR_PIXELS = frozenset((32803, 34892))  # colour filter array, linear raw
_LAYOUT_OF_TYPE = {1: "B", 3: "H", 4: "I", 13: "I"}  # byte, short, long, directory
_USED_TAGS = frozenset((_WIDTH, _HEIGHT, _PHOTOMETRIC, _STRIP_BYTES, _SUB_DIRECTORIES))
_ENTRY_BYTES = 12

# Raw files have about ten directories of some fifty entries, and previews of a few hundred strips.
# A chain may be a loop, and a damaged one may lead anywhere.
_MAX_DIRECTORIES, _MAX_ENTRIES, _MAX_NUMBERS = 64, 1000, 4096

# EXIF orientations by LibRaw's flip, whose bits are: mirrored, upside down, transposed.
_ORIENTATION_OF_FLIP = (1, 2, 4, 3, 5, 8, 6, 7)

_EXPORT_IT = "export it as a JPEG of the same name beside it"
_NO_PREVIEW = f"is a camera raw file without a preview that can be read; {_EXPORT_IT}"


@dataclass(frozen=True, slots=True)
class RawPreview:
    """The preview of a camera raw file.

    Parameters
    ----------
    picture : bytes or uint8 of shape (h, w, 3) or (h, w)
        A JPEG file, or plain pixels, as stored.
    width, height : int
        Of the picture that the sensor took, in pixels, as stored.
    orientation : int
        As in EXIF, 1 to 8: how the sensor's picture is stored.
    """

    picture: bytes | ByteArray
    width: int
    height: int
    orientation: int


def is_raw_tiff(content: bytes) -> bool:
    """Return whether a TIFF is a camera raw file, as DNG, NEF, ARW and PEF are.

    It is if one of its directories holds values of a sensor, or if it calls itself a DNG: the
    directory of the sensor may be missing where the file is cut short.
    """
    return any(
        _DNG_VERSION in directory or not _SENSOR_PIXELS.isdisjoint(directory.get(_PHOTOMETRIC, []))
        for directory in _directories(content)
    )


@functools.cache
def is_raw_support_installed() -> bool:
    """Return whether the optional package that reads raw files was there when first asked.

    Looking takes 0.2 ms, and a run asks for every raw file that failed for want of it.
    """
    return find_spec("rawpy") is not None


def read_preview(content: bytes) -> RawPreview:
    """Return the largest preview of a camera raw file.

    Parameters
    ----------
    content : bytes
        The whole file.

    Raises
    ------
    PhotoError
        At stage "decode": rawpy is not installed, LibRaw cannot read the file, or it has no
        preview.
    """
    try:
        # Imported here: it is optional, and loads LibRaw.
        import rawpy
    except ImportError as error:
        missing = MissingExtraError("rawpy", extra="raw", purpose="to read it")
        missing.__cause__ = error
        raise PhotoError("decode", f"is a camera raw file: {missing}") from missing
    try:
        with rawpy.imread(BytesIO(content)) as raw:
            sizes = raw.sizes
            preview = raw.extract_thumb().data
            picture = preview if isinstance(preview, bytes) else _copied(preview, content)
    # LibRaw knows more kinds of previews than rawpy passes on; NotImplementedError are these.
    except (
        rawpy.LibRawNoThumbnailError,
        rawpy.LibRawUnsupportedThumbnailError,
        NotImplementedError,
    ) as error:
        raise PhotoError("decode", _NO_PREVIEW) from error
    except rawpy.LibRawError as error:
        # LibRaw does not tell damaged files from those of cameras that it does not know.
        reason = f"is a camera raw file that cannot be read ({_message(error)}); {_EXPORT_IT}"
        raise PhotoError("decode", reason) from error
    return RawPreview(picture, sizes.width, sizes.height, _ORIENTATION_OF_FLIP[sizes.flip & 7])


def _copied(preview: ByteArray, content: bytes) -> ByteArray:
    """Copy a preview of plain pixels out of LibRaw's memory; grey ones get two dimensions."""
    height, width, channels = preview.shape
    n_bytes = [
        sum(directory.get(_STRIP_BYTES, []))
        for directory in _directories(content)
        if (directory.get(_WIDTH), directory.get(_HEIGHT)) == ([width], [height])
    ]
    # LibRaw (0.22) holds as many bytes as the file claims its strips to have, rawpy (0.28) shows
    # as many as the claimed size needs: where they differ, reading the array ends the process.
    if not n_bytes or min(n_bytes) < preview.nbytes:
        raise PhotoError("decode", _NO_PREVIEW)
    return np.array(preview[..., 0] if channels == 1 else preview)


def _message(error: Exception) -> str:
    """Return LibRaw's message, which rawpy passes on as bytes."""
    message = error.args[0] if error.args else type(error).__name__
    return message.decode("ascii", "replace") if isinstance(message, bytes) else str(message)


def _directories(content: bytes) -> Iterator[dict[int, list[int]]]:
    """Yield all directories of a TIFF that can be reached, as the whole numbers of each tag."""
    order = ">" if content[:2] == b"MM" else "<"
    places = _numbers(content, f"{order}I", 4, 1)
    for place in places:  # grows meanwhile
        n_entries = sum(_numbers(content, f"{order}H", place, 1))
        end = place + 2 + _ENTRY_BYTES * n_entries
        last = min(end, place + 2 + _ENTRY_BYTES * _MAX_ENTRIES, len(content) - _ENTRY_BYTES + 1)
        directory = dict(
            _entry(content, order, start) for start in range(place + 2, last, _ENTRY_BYTES)
        )
        yield directory
        further = directory.get(_SUB_DIRECTORIES, []) + _numbers(content, f"{order}I", end, 1)
        fresh = [other for other in dict.fromkeys(further) if other and other not in places]
        places += fresh[: _MAX_DIRECTORIES - len(places)]


def _entry(content: bytes, order: str, start: int) -> tuple[int, list[int]]:
    """Return an entry's tag and its numbers: none if they are of another type than expected."""
    tag, kind, count, outside = struct.unpack_from(f"{order}HHII", content, start)
    if tag not in _USED_TAGS or kind not in _LAYOUT_OF_TYPE:
        return tag, []
    layout = order + _LAYOUT_OF_TYPE[kind]
    fits = count * struct.calcsize(layout) <= 4  # noqa: PLR2004 - the bytes of an offset
    return tag, _numbers(content, layout, start + 8 if fits else outside, count)


def _numbers(content: bytes, layout: str, place: int, count: int) -> list[int]:
    """Return numbers from a place in a file: as many as asked for, allowed, and there."""
    step = struct.calcsize(layout)
    n_there = max(len(content) - place, 0) // step
    return [
        struct.unpack_from(layout, content, place + step * number)[0]
        for number in range(min(count, n_there, _MAX_NUMBERS))
    ]
