"""Small JPEGs of photos, read from their files by a few threads."""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from indexer.decode import DecodedPhoto, decode_photo
from indexer.scan import filesystem_path
from schemas.duplicates import DuplicatePhoto
from schemas.errors import PhotoError

THUMBNAIL_SIDE = 256
"""Pixels of the long side, at most."""

JPEG_QUALITY = 75

# A JPEG is decoded at a smaller scale while its sides stay twice as long as this, so that no
# thumbnail is enlarged.
_MIN_SIDE = THUMBNAIL_SIDE // 2

# Thumbnails that wait for their turn, per thread: enough for one large photo to hold up no other.
_AHEAD_PER_THREAD = 8


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A photo as a small upright sRGB JPEG of `width` x `height` pixels."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class NoThumbnail:
    """Why a photo cannot be shown, as a sentence that lacks its subject."""

    reason: str


def thumbnails(
    photos: Iterable[DuplicatePhoto], *, max_pixels: int, n_threads: int
) -> Generator[Thumbnail | NoThumbnail, None, None]:
    """Yield the thumbnail of each photo, in order, and few of them ahead.

    Parameters
    ----------
    photos : iterable of DuplicatePhoto
    max_pixels : int
        Larger pictures are refused by their header.
    n_threads : int
        At least 1.
    """
    read = partial(read_thumbnail, max_pixels=max_pixels)
    waiting: deque[Future[Thumbnail | NoThumbnail]] = deque()
    with ThreadPoolExecutor(n_threads, "thumbnail") as pool:
        for photo in photos:
            waiting.append(pool.submit(read, photo))
            if len(waiting) > _AHEAD_PER_THREAD * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_thumbnail(photo: DuplicatePhoto, *, max_pixels: int) -> Thumbnail | NoThumbnail:
    """Return the thumbnail of a photo whose file holds what was indexed.

    Parameters
    ----------
    photo : DuplicatePhoto
        Of one without `content_hash`, whatever its file holds is shown.
    max_pixels : int
        Larger pictures are refused by their header.
    """
    try:
        content = _indexed_content(photo)
        return _scaled(decode_photo(content, min_side=_MIN_SIDE, max_pixels=max_pixels))
    except PhotoError as error:
        return NoThumbnail(error.reason)


def _indexed_content(photo: DuplicatePhoto) -> bytes:
    try:
        content = Path(filesystem_path(photo.path)).read_bytes()
    # What imported vectors call a photo need not be a path: some are no name that can be opened.
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise PhotoError("read", f"cannot be read: {reason}") from error
    if photo.content_hash not in (None, hashlib.sha256(content).hexdigest()):
        raise PhotoError("read", "has changed since it was indexed")
    return content


def _scaled(photo: DecodedPhoto) -> Thumbnail:
    left, top, right, bottom = photo.extent
    ratio = min(1.0, THUMBNAIL_SIDE / max(right - left, bottom - top))
    size = (max(1, round((right - left) * ratio)), max(1, round((bottom - top) * ratio)))
    small = Image.fromarray(photo.pixels).resize(
        size, Image.Resampling.BICUBIC, box=photo.extent, reducing_gap=2.0
    )
    stream = BytesIO()
    small.save(stream, "JPEG", quality=JPEG_QUALITY)
    return Thumbnail(stream.getvalue(), *size)
