"""The files of indexed photos as others may have them: the very file that was indexed, or none.

Whoever may write to a folder of photos can put a link to any file in a photo's place, at any
moment. So a path is only trusted to say where a file should lie: what is opened is reached from
the indexed folder step by step, and no step follows a link.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BufferedReader
from pathlib import Path

from indexer.scan import absolute_path, filesystem_path, joined_path
from schemas.errors import GoneError
from schemas.photos import FileState

_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "HEIF": "image/heif",
    "JPEG2000": "image/jp2",
}
_ANY_BYTES = "application/octet-stream"

# What every browser shows as a picture. Some show others, and the rest offer to save them anyway.
_SHOWN_FORMATS = frozenset(("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP"))

# Some flags are missing on systems other than Linux.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# To pass through a folder takes no right to list it.
_PASS_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _NO_LINK
# A pipe without a writer would hold up whoever opens it.
_READ_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _NO_LINK


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """What the index says of a photo's file: columns of `images`.

    All but the place are None for imported vectors of which they are not known.
    """

    root: str
    path: str
    file_size: int | None
    mtime_ns: int | None
    content_hash: str | None
    format: str | None

    @property
    def shown(self) -> str:
        """Its full path as stored."""
        return joined_path(self.root, self.path)


FILE_COLUMNS = tuple(field.name for field in fields(IndexedFile))
"""The columns that make up an IndexedFile."""


class FileGoneError(GoneError):
    """A photo whose file is not there as it was indexed.

    Parameters
    ----------
    file : IndexedFile
    state : FileState
        Never "present".
    reason : str
        A sentence that lacks its subject, which is the photo's path.
    """

    def __init__(self, file: IndexedFile, state: FileState, reason: str) -> None:
        super().__init__(f"{file.shown} {reason}")
        self.state: FileState = state


def open_photo(file: IndexedFile) -> BufferedReader:
    """Open the file of a photo, if it is the one that was indexed.

    It is if it is a regular file of the indexed size and time. Links are followed within the
    indexed folder only: where a link leads out of it, and where one is put in the way meanwhile,
    nothing is opened. The indexed folder itself may have become a link, as when its photos were
    moved to a larger disk.

    Parameters
    ----------
    file : IndexedFile

    Raises
    ------
    FileGoneError
        If the file has changed, is gone or cannot be read, leads out of the indexed folder, or
        there never was one.
    """
    if not file.root:
        raise FileGoneError(file, "none", "came with imported vectors, without a file to show")
    root, parts = _place(file)
    try:
        descriptor = _open_below(root, parts)
    except FileNotFoundError as error:
        reason = "is gone; mount its drive, or run `isophote index`"
        raise FileGoneError(file, "vanished", reason) from error
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
        raise FileGoneError(file, "vanished", reason) from error
    if not _is_as_indexed(os.fstat(descriptor), file):
        os.close(descriptor)
        raise changed_file(file)
    return os.fdopen(descriptor, "rb")


def changed_file(file: IndexedFile) -> FileGoneError:
    """Return the error of a file that does not hold what was indexed."""
    reason = "has changed since it was indexed; run `isophote index`"
    return FileGoneError(file, "changed", reason)


def file_state(file: IndexedFile) -> FileState:
    """Return what stands at a photo's place."""
    try:
        open_photo(file).close()
    except FileGoneError as error:
        return error.state
    return "present"


def content_type(photo_format: str | None) -> str:
    """Return the media type of a recognised format, a value of the column `format`.

    The name of a file has no say in it. Camera raw files are plain bytes: no browser shows them.
    """
    return _MEDIA_TYPES.get(photo_format or "", _ANY_BYTES)


def is_shown_by_browsers(photo_format: str | None) -> bool:
    """Return whether a file of this format may be shown in the page; others are for saving."""
    return photo_format in _SHOWN_FORMATS


def _place(file: IndexedFile) -> tuple[str, tuple[str, ...]]:
    """Return the real path of a photo's root, and the names that lead from there to its file."""
    try:
        root = os.path.realpath(filesystem_path(file.root))
        place = Path(os.path.realpath(absolute_path(file.root, file.path)))
    except ValueError as error:  # a NUL in a path
        raise FileGoneError(file, "vanished", f"cannot be read: {error}") from error
    if Path(root) not in place.parents:
        reason = f"leads out of the indexed folder {file.root}; index the folder it leads to"
        raise FileGoneError(file, "outside", reason)
    return root, place.relative_to(root).parts


def _open_below(root: str, parts: Sequence[str]) -> int:
    """Open a file from a folder step by step; return its descriptor.

    Real paths have no links: one that is met was put there after they were found.
    """
    folder = os.open(root, _PASS_FOLDER)
    try:
        for part in parts[:-1]:
            outer, folder = folder, os.open(part, _PASS_FOLDER, dir_fd=folder)
            os.close(outer)
        return os.open(parts[-1], _READ_FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _is_as_indexed(status: os.stat_result, file: IndexedFile) -> bool:
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (
        file.file_size,
        file.mtime_ns,
    )
