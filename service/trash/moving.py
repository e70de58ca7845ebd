"""Move single files so that at any moment, whatever breaks off, their bytes are on the disk.

The two directions differ. On the way into the trash other programs know the old name: only a
rename takes whatever it is at that moment. On the way back they may take the name that is free:
only a hard link refuses to replace what has appeared there.
"""

import errno
import hashlib
import os
import shutil
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

BLOCK_BYTES = 2**20

PART_NAME = ".isophote-part"
"""A copy in the making, in the folder it is for. Of no worth once the run that made it ended."""

CHANGED = "has changed since it was indexed; run `isophote index` and look for duplicates again"

# What file systems answer that cannot do it; some do it by themselves.
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF})


class FileStaysError(Exception):
    """A file that is not moved; the message goes on from its path, as a reason does."""


def system_reason(error: OSError) -> str:
    """Return what the system says, as part of a sentence."""
    return (error.strerror or type(error).__name__).lower()


def looks_alike(left: os.stat_result, right: os.stat_result) -> bool:
    """Return whether nothing tells two looks at a file apart, wherever it was meanwhile.

    Not by the inode: on some network and FUSE drives that changes with the name.
    """
    return (left.st_size, left.st_mtime_ns) == (right.st_size, right.st_mtime_ns)


def digest_of(path: Path) -> tuple[os.stat_result, str]:
    """Return the status of a regular file and the sha256 of its bytes; links are followed.

    Raises
    ------
    FileStaysError
        If it is no regular file, or is written to meanwhile.
    OSError
        If it cannot be read.
    """
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if not looks_alike(before, after):
        raise FileStaysError("changes while it is read; try again when it is finished")
    return before, digest


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; links are followed.

    Raises
    ------
    FileStaysError
        If it is something else.
    OSError
        If it cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
        raise FileStaysError("is not a regular file any more")
    return path.open("rb")


def claim_of(original: Path) -> Path:
    """Return the name a file has between being copied to another drive and being removed."""
    digest = hashlib.sha256(os.fsencode(original.name)).hexdigest()
    return original.with_name(f".isophote-{digest[:16]}")


def take_away(original: Path, place: Path, expected: os.stat_result) -> None:
    """Move a file into the trash; after an error it may be there, for the caller to put back.

    Parameters
    ----------
    original : Path
    place : Path
        In a folder that only this run writes to.
    expected : os.stat_result
        Of the file when its bytes were checked.

    Raises
    ------
    FileStaysError
        If another file arrived there, or the same one changed on the way.
    OSError
        If it cannot be moved; FileExistsError if the place is taken.
    """
    make_folders(place.parent)
    refuse_existing(place)
    try:
        original.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _take_away_by_copying(original, place, expected)
        return
    sync_folder(place.parent)
    _refuse_changed(place, expected)


def put_back(kept: Path, original: Path) -> None:
    """Move a file out of the trash, never over another one.

    Where a file system has no hard links, such as exFAT, a file that appears between two system
    calls would be replaced; everywhere else none can be.

    Parameters
    ----------
    kept : Path
        Which no other program uses.
    original : Path
        In a folder that exists.

    Raises
    ------
    FileExistsError
        If something has its name.
    FileStaysError, OSError
        If it cannot be moved.
    """
    try:
        original.hardlink_to(kept)
    except OSError as error:
        if error.errno == errno.EXDEV:
            _put_back_by_copying(kept, original)
        else:
            refuse_existing(original)
            kept.rename(original)
            sync_folder(original.parent)
        return
    sync_folder(original.parent)
    kept.unlink()


def refuse_existing(path: Path) -> None:
    """Raise FileExistsError if there is anything of this name."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def make_folders(folder: Path) -> None:
    """Make a folder, and those above it, that outlast a power cut."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _take_away_by_copying(original: Path, place: Path, expected: os.stat_result) -> None:
    part = place.with_name(PART_NAME)
    try:
        _copy(original, part)
        part.rename(place)
        sync_folder(place.parent)
        _remove_unchanged(original, expected)
    except (OSError, FileStaysError):
        part.unlink(missing_ok=True)
        if os.path.lexists(original):
            place.unlink(missing_ok=True)
        raise


def _remove_unchanged(original: Path, expected: os.stat_result) -> None:
    """Remove a file unless another has its name by now.

    Looking and then removing would remove a version that was saved in between. The name is taken
    from it first, which shows what it is.
    """
    claim = claim_of(original)
    refuse_existing(claim)
    original.rename(claim)
    try:
        _refuse_changed(claim, expected)
        claim.unlink()
    except (OSError, FileStaysError):
        put_back(claim, original)
        raise


def _refuse_changed(path: Path, expected: os.stat_result) -> None:
    if not looks_alike(path.lstat(), expected):
        raise FileStaysError(CHANGED)


def _put_back_by_copying(kept: Path, original: Path) -> None:
    part = original.with_name(PART_NAME)
    try:
        _copy(kept, part)
        put_back(part, original)
    finally:
        part.unlink(missing_ok=True)
    kept.unlink()


def _copy(source: Path, part: Path) -> None:
    """Copy a file with its time, mode and owner, and read back what the disk has got."""
    part.unlink(missing_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, part.open("xb") as writer:
        while block := reader.read(BLOCK_BYTES):
            digest.update(block)
            writer.write(block)
        writer.flush()
        _copy_status(source, part)
        os.fsync(writer.fileno())
        if hasattr(os, "posix_fadvise"):  # or it is memory that is read back
            os.posix_fadvise(writer.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if digest_of(part)[1] != digest.hexdigest():
        raise FileStaysError("came out different on the other drive; check that drive")


def _copy_status(source: Path, part: Path) -> None:
    """Give a copy what its file system can hold of it; FAT has neither owners nor modes."""
    status = source.stat()
    with suppress(OSError):
        shutil.copystat(source, part)
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(part, status.st_uid, status.st_gid)
