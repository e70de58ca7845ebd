"""One writer per collection."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import LockedError, StorageError

LOCK_NAME = "writer.lock"
HOLDER_NAME = "writer.json"


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
        # The name is a courtesy: a full disk must not turn it into the error of the run.
        with suppress(OSError):
            (directory / HOLDER_NAME).write_text(json.dumps(_this_process()), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            (directory / HOLDER_NAME).unlink(missing_ok=True)
        lock.release()


def _this_process() -> dict[str, str | int]:
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "started_at": started_at}


def _locked_message(directory: Path) -> str:
    try:
        holder = json.loads((directory / HOLDER_NAME).read_text(encoding="utf-8"))
        name = f"process {holder['pid']} on {holder['host']} since {holder['started_at']}"
    except (OSError, ValueError, KeyError):
        name = "another process"
    return f"the collection {str(directory)!r} is being written by {name}; wait until it ends"
