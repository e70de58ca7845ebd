"""One writer per collection."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from schemas.errors import LockedError, StorageError
from schemas.results import Writer

LOCK_NAME = "writer.lock"
HOLDER_NAME = "writer.json"

PROGRESS_NAME = "progress.json"
"""How far the holder is, if it tells that; it goes with the lock."""


@contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the right to write to a collection.

    The operating system drops the lock when its process ends, however it ends, so no stale
    lock can remain; the file beside it only tells others who holds it.

    Parameters
    ----------
    directory : Path
        A folder on this machine; made if it does not exist.

    Raises
    ------
    LockedError
        If another process holds it; the message names its process, host and start.
    StorageError
        If the folder cannot be written to.
    """
    lock = FileLock(directory / LOCK_NAME)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(_locked_message(directory)) from None
    except OSError as error:
        raise StorageError(
            f"cannot write to the collection {str(directory)!r}: {error.strerror}; "
            "check its permissions or choose another place with --collection"
        ) from error
    try:
        with _named_holder(directory):
            yield
    finally:
        lock.release()


def lock_holder(directory: Path) -> Writer | None:
    """Return the process that holds the right to write, None while there is none.

    Nobody is disturbed: what is tried is the lock of the file that names the holder, which the
    system drops with the process as well. Where files cannot be locked, and without fcntl, the
    file is believed, also when its process was killed. Of a remote collection only the writers on
    this machine are known.

    Parameters
    ----------
    directory : Path
        As for :func:`writer_lock`.
    """
    try:
        with (directory / HOLDER_NAME).open("rb") as file:
            return None if _is_left_behind(file) else Writer.model_validate_json(file.read())
    except (OSError, ValueError):
        return None


@contextmanager
def _named_holder(directory: Path) -> Iterator[None]:
    """Name this process to others; a courtesy, of which a full disk makes no error of the run."""
    place, draft = directory / HOLDER_NAME, directory / f"{HOLDER_NAME}.new"
    writer = Writer(pid=os.getpid(), host=socket.gethostname(), started_at=datetime.now(UTC))
    _remove(directory / PROGRESS_NAME)  # of a process that was killed
    file = None
    try:
        with suppress(OSError):
            file = draft.open("w", encoding="utf-8")
            # Before others see it: none may take it for that of a process that is gone.
            _keep_locked(file)
            file.write(writer.model_dump_json())
            file.flush()
            draft.replace(place)
        yield
    finally:
        for path in (draft, place, directory / PROGRESS_NAME):
            _remove(path)
        if file is not None:
            with suppress(OSError):
                file.close()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _keep_locked(file: IO[Any]) -> None:
    """Lock an open file until it is closed, where that is possible."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_left_behind(file: IO[Any]) -> bool:
    """Return whether the process that kept a file locked is gone, as far as can be told."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _locked_message(directory: Path) -> str:
    try:
        holder = Writer.model_validate_json((directory / HOLDER_NAME).read_bytes())
        since = holder.started_at.isoformat(timespec="seconds")
        name = f"process {holder.pid} on {holder.host} since {since}"
    except (OSError, ValueError):
        name = "another process"
    return f"the collection {str(directory)!r} is being written by {name}; wait until it ends"
