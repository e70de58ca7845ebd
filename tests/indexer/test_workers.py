"""Processes that prepare photos: what hangs or crashes in one is a failure of its file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Container
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from indexer.prepare import KnownContent, PhotoFailure, prepare_photo
from indexer.scan import ScannedFile, scan
from indexer.workers import prepared_photos
from tests.fakes import FAKE_DESCRIPTION
from tests.makers.photos import drawn_photo, image_file


def scripted(file: ScannedFile, *, known_hashes: Container[str]) -> KnownContent | PhotoFailure:
    """Do what the file's name says, in the worker process."""
    if "hang_read" in file.path:
        time.sleep(60)
    known = f"hash of {file.path}" in known_hashes
    if "hang_decode" in file.path:
        time.sleep(60)
    if "crash" in file.path:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "leave" in file.path:
        os._exit(3)
    if "slow" in file.path:
        time.sleep(0.2)
    if "note" in file.path:
        Path(file.root, file.path).touch()
    return KnownContent(file, f"{'known' if known else 'new'} in {os.getpid()}")


def files(*names: str, root: str = "/photos") -> list[ScannedFile]:
    return [ScannedFile(root, name, 1, 1) for name in names]


def prepare(todo, *, prepare=scripted, **options):
    return prepared_photos(
        todo,
        prepare=prepare,
        **{"known_hashes": (), "n_workers": 2, "n_ahead": 8, "file_seconds": 30, **options},
    )


def outcome(prepared):
    if isinstance(prepared, PhotoFailure):
        return prepared.stage, prepared.error_class, prepared.reason
    return prepared.content_hash.split()[0]


def test_photos_come_in_the_order_of_the_files():
    names = ["slow-1", *(f"{number}" for number in range(20)), "slow-2"]
    assert [prepared.file.path for prepared in prepare(files(*names))] == names


@pytest.mark.parametrize(("name", "stage"), [("hang_read", "read"), ("hang_decode", "decode")])
def test_a_file_that_takes_too_long_fails_and_the_next_one_does_not(name, stage):
    before, hanging, after = prepare(files("a", name, "b"), n_workers=1, file_seconds=2)
    assert outcome(hanging) == (
        stage,
        "TimeoutError",
        f"takes longer than 2 s to {stage}; raise ISOPHOTE_FILE_SECONDS, "
        "or --file-seconds of `isophote failures --retry`",
    )
    assert [outcome(before), outcome(after)] == ["new", "new"]


@pytest.mark.parametrize(
    ("name", "ending"), [("crash", "SIGSEGV"), ("leave", "exit status 3")], ids=["signal", "exit"]
)
def test_a_file_that_crashes_its_process_fails_and_the_next_one_does_not(name, ending):
    before, crashing, after = prepare(files("a", name, "b"), n_workers=1)
    assert outcome(crashing) == (
        "decode",
        "Crash",
        f"ends the process that is to decode it ({ending})",
    )
    assert [outcome(before), outcome(after)] == ["new", "new"]


def test_a_named_pipe_put_in_a_photos_place_does_not_hang_the_run(tmp_path):
    (tmp_path / "a.png").write_bytes(image_file(drawn_photo(1)))
    (found,) = scan(tmp_path)
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    real = partial(
        prepare_photo, preprocessing=FAKE_DESCRIPTION.require_preprocessing(), max_pixels=1_000_000
    )
    (failure,) = prepare([found], prepare=real, file_seconds=0.5)
    assert failure.stage == "read"


def test_processes_ask_for_known_content():
    known = {"hash of b"}
    prepared = prepare(files("a", "b", "c"), known_hashes=known)
    assert [outcome(photo) for photo in prepared] == ["new", "known", "new"]


def test_a_process_is_used_again_and_few_photos_start_few():
    first, second = (
        {photo.content_hash for photo in prepare(files(*names), n_workers=n_workers)}
        for names, n_workers in ((["a", "b", "c"], 1), (["a"], 8))
    )
    assert len(first) == 1
    assert len(second) == 1


def test_photos_are_prepared_a_bounded_number_in_advance(tmp_path):
    names = [f"note-{number:02}" for number in range(30)]
    with closing(prepare(files(*names, root=str(tmp_path)), n_ahead=4)) as prepared:
        for _ in range(3):
            next(prepared)
        time.sleep(0.3)
        assert sorted(path.name for path in tmp_path.iterdir()) == names[: 3 + 4]


def test_closing_ends_hanging_processes_at_once():
    prepared = prepare(files("a", "hang_read", "hang_decode"))
    first = next(prepared)
    pid = int(first.content_hash.split()[-1])
    started = time.monotonic()
    prepared.close()
    assert time.monotonic() - started < 5
    assert not is_running(pid)


@pytest.mark.parametrize(
    ("second", "limit_seconds"),
    [
        pytest.param("b", 5, id="idle"),
        pytest.param("hang_decode", 10, id="hanging", marks=pytest.mark.slow),
    ],
)
def test_processes_end_when_their_parent_is_killed(second, limit_seconds):
    script = (
        "from tests.indexer.test_workers import *\n"
        "if __name__ == '__main__':\n"
        f"    prepared = prepare(files('a', {second!r}), n_workers=1, file_seconds=0.5)\n"
        "    print(next(prepared).content_hash.split()[-1], flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    deadline = time.monotonic() + limit_seconds
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(worker)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
