"""Thumbnails that were made before, on disk.

One file each, so that servers can share a folder without asking one another. The known library
for this, diskcache, keeps an account in SQLite, and is not maintained since 2023.
"""

import hashlib
import os
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock, Thread
from typing import NamedTuple

from platformdirs import user_cache_path

DEFAULT_MAX_BYTES = 2 * 10**9
"""About 150,000 thumbnails."""

# Dropping the least recently used goes on down to this share of the limit.
_KEPT_SHARE = 0.9
# The folder is listed again when this share of the limit was written: others write there too.
_UNLISTED_SHARE = 0.1

# The time of a file says when it was used last, to the day: writing it at each use would cost more
# than reading the file.
_USE_SECONDS = 86_400

_CHECKSUM_BYTES = 4
_NAME_DIGITS, _SHARD_DIGITS = 32, 2
# Nothing else is ever dropped: the folder may be one that holds other things.
_SHARD_NAME = re.compile(rf"[0-9a-f]{{{_SHARD_DIGITS}}}")
_KEPT_SUFFIX, _PART_SUFFIX = ".thumbnail", ".thumbnail-part"


def default_cache_folder() -> Path:
    """Return where thumbnails are kept by default."""
    return user_cache_path("isophote", appauthor=False) / "thumbnails"


class ThumbnailCache:
    """Bytes by key, the least recently used of them dropped at a limit; safe in threads.

    Photos may be private: all is readable by its owner only. A folder that cannot be written to
    keeps nothing, and nothing fails. Several servers may share a folder; each then exceeds the
    limit by a tenth at most.

    Parameters
    ----------
    folder : Path
        Made when first needed.
    max_bytes : int
        Of all files together; >= 0.

    Raises
    ------
    ValueError
        If `max_bytes` is below 0.
    """

    def __init__(self, folder: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be >= 0, got {max_bytes}")
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        # What may be written before the folder is listed: nothing is known of it yet.
        self._room = 0
        self._trimming: Thread | None = None

    def get(self, key: str) -> bytes | None:
        """Return what is kept under a key; None if nothing is, or if it is damaged."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                kept = file.read()
        except OSError:
            return None
        if time.time() - status.st_mtime > _USE_SECONDS:
            with suppress(OSError):
                os.utime(path)
        content = kept[:-_CHECKSUM_BYTES]
        return content if kept == _with_checksum(content) else None

    def put(self, key: str, content: bytes) -> None:
        """Keep bytes under a key, if they can be written."""
        kept = _with_checksum(content)
        with suppress(OSError):
            self._write(self._path(key), kept)
            self._take_room(len(kept))

    def close(self) -> None:
        """Wait until nothing is being dropped."""
        with self._lock:
            trimming = self._trimming
        if trimming is not None:
            trimming.join()

    def _path(self, key: str) -> Path:
        # Digests, as a key may hold anything, such as dots and slashes.
        name = hashlib.sha256(key.encode()).hexdigest()[:_NAME_DIGITS]
        return self._folder / name[:_SHARD_DIGITS] / f"{name}{_KEPT_SUFFIX}"

    def _write(self, path: Path, kept: bytes) -> None:
        """Write a file at once or not at all. Not flushed to the disk: the checksum tells."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=_PART_SUFFIX, delete=False) as part:
            try:
                part.write(kept)
                part.close()
                os.replace(part.name, path)  # noqa: PTH105 - a name is what is at hand
            except OSError:
                Path(part.name).unlink(missing_ok=True)
                raise

    def _take_room(self, n_bytes: int) -> None:
        with self._lock:
            self._room -= n_bytes
            if self._room < 0 and self._trimming is None:
                # Listing 100,000 files takes half a second, for which nobody needs to wait.
                self._trimming = Thread(target=self._trim, name="thumbnail-cache", daemon=True)
                self._trimming.start()

    def _trim(self) -> None:
        """Count what is kept, and drop the least recently used if that is too much."""
        kept = sorted(_kept_files(self._folder))
        n_bytes = sum(file.size for file in kept)
        if n_bytes > self._max_bytes:
            n_bytes = _drop_oldest(kept, n_bytes, int(_KEPT_SHARE * self._max_bytes))
        with self._lock:
            self._room = min(self._max_bytes - n_bytes, int(_UNLISTED_SHARE * self._max_bytes))
            self._trimming = None


class _KeptFile(NamedTuple):
    """A file of a cache; these sort by when they were used."""

    used_ns: int
    size: int
    path: str


def _kept_files(folder: Path) -> Iterator[_KeptFile]:
    """Yield the files of a cache, with those whose writing was cut short."""
    for shard in _entries(folder):
        if _SHARD_NAME.fullmatch(shard.name):
            for entry in _entries(shard):
                if entry.name.endswith((_KEPT_SUFFIX, _PART_SUFFIX)):
                    with suppress(OSError):  # dropped by another server meanwhile
                        status = entry.stat(follow_symlinks=False)
                        yield _KeptFile(status.st_mtime_ns, status.st_size, entry.path)


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _drop_oldest(kept: list[_KeptFile], n_bytes: int, target: int) -> int:
    """Remove files, the least recently used first, down to a target; return what is left."""
    for file in kept:
        if n_bytes <= target:
            break
        with suppress(OSError):
            Path(file.path).unlink(missing_ok=True)
            n_bytes -= file.size
    return n_bytes


def _with_checksum(content: bytes) -> bytes:
    return content + zlib.crc32(content).to_bytes(_CHECKSUM_BYTES)
