"""Thumbnails: small upright sRGB JPEGs of photos, and those of a service, each made once."""

import hashlib
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from threading import Lock
from typing import Literal

from PIL import Image

from indexer.decode import DECODE_POLICY, DecodedPhoto, decode_photo
from schemas.errors import PhotoError
from service.photo_files import IndexedFile, changed_file, open_photo
from service.photo_processes import PhotoProcesses
from service.thumbnail_cache import ThumbnailCache

ThumbnailSide = Literal[256, 1280]
"""Pixels of the long side, at most: in a grid, and of a photo that is looked at."""

# Artefacts show in what is looked at by itself; in a grid they cost a fifth of the bytes.
_JPEG_QUALITY: dict[ThumbnailSide, int] = {256: 75, 1280: 82}

# Part of what thumbnails are kept by: to be changed with how they are made.
_MADE_BY = f"{DECODE_POLICY}; bicubic; quality {_JPEG_QUALITY}"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A photo as a small upright sRGB JPEG of `width` x `height` pixels."""

    jpeg: bytes
    width: int
    height: int


def thumbnail_of(content: bytes, *, side: ThumbnailSide, max_pixels: int) -> Thumbnail:
    """Return the thumbnail of a photo; smaller photos keep their size.

    Parameters
    ----------
    content : bytes
        The whole file.
    side : {256, 1280}
    max_pixels : int
        Larger pictures are refused by their header.

    Raises
    ------
    PhotoError
        If it cannot be decoded.
    """
    # A JPEG is decoded at a smaller scale while its sides stay twice as long as this, so that no
    # thumbnail is enlarged.
    return _scaled(decode_photo(content, min_side=side // 2, max_pixels=max_pixels), side)


class Thumbnails:
    """The thumbnails of a service: from the cache, or made in other processes and kept.

    Parameters
    ----------
    processes : PhotoProcesses
    cache : ThumbnailCache
    max_pixels : int
        Larger pictures are refused by their header.
    """

    def __init__(
        self, processes: PhotoProcesses, cache: ThumbnailCache, *, max_pixels: int
    ) -> None:
        self._processes = processes
        self._cache = cache
        self._max_pixels = max_pixels
        self._lock = Lock()
        self._underway: dict[tuple[IndexedFile, ThumbnailSide], Future[bytes]] = {}

    def thumbnail(self, file: IndexedFile, side: ThumbnailSide) -> bytes:
        """Return the JPEG of a photo as it was indexed; waits until it is made.

        It may be called from many threads: whoever asks for the same while it is made gets the
        same. One that is kept is shown whatever has become of the file since, so that photos on a
        drive that is not mounted can be browsed.

        Raises
        ------
        FileGoneError
            If it is not kept, and the file is not there as it was indexed.
        PhotoError
            If it cannot be decoded, or takes too long.
        """
        asked = (file, side)
        with self._lock:
            is_first = asked not in self._underway
            made = self._underway.setdefault(asked, Future())
        if is_first:
            self._settle(asked, made)
        return made.result()

    def _settle(self, asked: tuple[IndexedFile, ThumbnailSide], made: Future[bytes]) -> None:
        try:
            made.set_result(self._kept_or_made(*asked))
        except BaseException as error:
            made.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._underway[asked]

    def _kept_or_made(self, file: IndexedFile, side: ThumbnailSide) -> bytes:
        key = f"{file.content_hash} {side} {_MADE_BY}"
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        job = partial(_indexed_thumbnail, file, side=side, max_pixels=self._max_pixels)
        try:
            jpeg = self._processes.call(job)
        except PhotoError as error:
            raise PhotoError(error.stage, f"{file.shown} {error.reason}") from error
        self._cache.put(key, jpeg)
        return jpeg


def _indexed_thumbnail(file: IndexedFile, *, side: ThumbnailSide, max_pixels: int) -> bytes:
    """Return the JPEG of a photo whose file holds what was indexed, in a worker process."""
    try:
        with open_photo(file) as opened:
            content = opened.read((file.file_size or 0) + 1)  # one more shows a file that grows
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise PhotoError("read", f"cannot be read: {reason}") from error
    if hashlib.sha256(content).hexdigest() != file.content_hash:
        raise changed_file(file)
    return thumbnail_of(content, side=side, max_pixels=max_pixels).jpeg


def _scaled(photo: DecodedPhoto, side: ThumbnailSide) -> Thumbnail:
    left, top, right, bottom = photo.extent
    ratio = min(1.0, side / max(right - left, bottom - top))
    size = (max(1, round((right - left) * ratio)), max(1, round((bottom - top) * ratio)))
    small = Image.fromarray(photo.pixels).resize(
        size, Image.Resampling.BICUBIC, box=photo.extent, reducing_gap=2.0
    )
    stream = BytesIO()
    small.save(stream, "JPEG", quality=_JPEG_QUALITY[side])
    return Thumbnail(stream.getvalue(), *size)
