import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import pytest

from indexer.lock import HOLDER_NAME, LOCK_NAME, PROGRESS_NAME, lock_holder, writer_lock
from schemas.errors import LockedError, StorageError

PROJECT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from indexer.lock import writer_lock

with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(directory):
    """Another process that holds the lock until it is killed."""
    arguments = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_who_writes(tmp_path):
    with held_elsewhere(tmp_path / "c") as process:
        holder = json.loads((tmp_path / "c" / HOLDER_NAME).read_text())
        expected = f"being written by process {process.pid} on {holder['host']} since 2"
        with pytest.raises(LockedError, match=expected), writer_lock(tmp_path / "c"):
            pass
        (tmp_path / "c" / HOLDER_NAME).unlink()
        with (
            pytest.raises(LockedError, match="being written by another process; wait until"),
            writer_lock(tmp_path / "c"),
        ):
            pass
        (tmp_path / "c" / HOLDER_NAME).write_text('{"pid": 1')
        with pytest.raises(LockedError, match="another process"), writer_lock(tmp_path / "c"):
            pass


def test_a_killed_process_leaves_no_lock(tmp_path):
    with held_elsewhere(tmp_path) as process:
        process.kill()
        process.wait()
        assert (tmp_path / HOLDER_NAME).exists()
        with writer_lock(tmp_path):
            holder = json.loads((tmp_path / HOLDER_NAME).read_text())
            assert holder["pid"] == os.getpid()


def test_others_see_who_holds_the_lock_until_that_process_is_killed(tmp_path):
    assert lock_holder(tmp_path) is None
    with held_elsewhere(tmp_path) as process:
        holder = lock_holder(tmp_path)
        assert holder is not None
        assert (holder.pid, holder.host) == (process.pid, socket.gethostname())
        assert abs((datetime.now(UTC) - holder.started_at).total_seconds()) < 60
        process.kill()
        process.wait()
        assert (tmp_path / HOLDER_NAME).exists()
        assert lock_holder(tmp_path) is None


def test_a_writer_is_never_in_the_way_of_those_who_look(tmp_path):
    """Nor they in its way: the lock that they try is not the one that a writer takes."""
    is_done = Event()
    seen = []

    def look() -> None:
        while not is_done.is_set():
            seen.append(lock_holder(tmp_path))

    watchers = [Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(100):
            with writer_lock(tmp_path):
                assert lock_holder(tmp_path) is not None
            assert lock_holder(tmp_path) is None
    finally:
        is_done.set()
        for watcher in watchers:
            watcher.join()
    assert {None if holder is None else holder.pid for holder in seen} <= {None, os.getpid()}


def test_what_a_killed_process_noted_is_not_taken_for_the_progress_of_the_next(tmp_path):
    (tmp_path / PROGRESS_NAME).write_text("{}")
    with writer_lock(tmp_path):
        assert not (tmp_path / PROGRESS_NAME).exists()
        (tmp_path / PROGRESS_NAME).write_text("{}")
    assert {path.name for path in tmp_path.iterdir()} == {LOCK_NAME}


def test_the_lock_is_free_again_after_use_and_after_an_error(tmp_path):
    with writer_lock(tmp_path / "new" / "c"):
        pass
    with pytest.raises(ZeroDivisionError), writer_lock(tmp_path / "new" / "c"):
        _ = 1 / 0
    with writer_lock(tmp_path / "new" / "c"):
        pass
    assert not (tmp_path / "new" / "c" / HOLDER_NAME).exists()


def test_one_process_cannot_write_twice(tmp_path):
    with (
        writer_lock(tmp_path),
        pytest.raises(LockedError, match=f"process {os.getpid()} "),
        writer_lock(tmp_path),
    ):
        pass
    with writer_lock(tmp_path):
        pass


def test_a_holder_that_cannot_be_named_is_no_error(tmp_path):
    (tmp_path / HOLDER_NAME).mkdir()  # neither written nor removed as a file
    for _ in range(2):
        with writer_lock(tmp_path):
            assert lock_holder(tmp_path) is None
    assert {path.name for path in tmp_path.iterdir()} == {LOCK_NAME, HOLDER_NAME}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("notes")
    with (
        pytest.raises(StorageError, match=r"cannot write to the collection .*Not a directory"),
        writer_lock(tmp_path / "file" / "c"),
    ):
        pass
