"""Thumbnails for a page that is written to a file, by a few threads."""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from indexer.scan import filesystem_path
from schemas.duplicates import DuplicatePhoto
from schemas.errors import PhotoError
from service.thumbnails import Thumbnail, ThumbnailSide, thumbnail_of

THUMBNAIL_SIDE: ThumbnailSide = 256

# Thumbnails that wait for their turn, per thread: enough for one large photo to hold up no other.
_AHEAD_PER_THREAD = 8


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
        return thumbnail_of(_indexed_content(photo), side=THUMBNAIL_SIDE, max_pixels=max_pixels)
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
