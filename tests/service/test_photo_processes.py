"""Photos decoded in other processes: what goes wrong there is an error of that photo alone."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from indexer.prepare import prepare_query
from schemas.errors import FilterError, PhotoError
from service.photo_files import FileGoneError, IndexedFile
from service.photo_processes import PhotoProcesses
from tests.fakes import FAKE_DESCRIPTION
from tests.makers.photos import drawn_photo, image_file

PREPROCESSING = FAKE_DESCRIPTION.require_preprocessing()
GONE = FileGoneError(IndexedFile("/photos", "a.jpg", 1, 1, None, None), "vanished", "is gone")


@pytest.fixture(scope="module")
def processes():
    processes = PhotoProcesses(n_processes=1, seconds=30)
    yield processes
    processes.close()


def raising(error_class, *arguments):
    raise error_class(*arguments)


def raising_gone():
    raise GONE


def crashing():
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_process_is_kept(processes):
    first, second = (processes.call(os.getpid) for _ in range(2))
    assert first == second != os.getpid()


def test_processes_can_be_started_before_they_are_needed():
    before = set(multiprocessing.active_children())
    with closing(PhotoProcesses(n_processes=2)) as processes:
        processes.start()
        started = {child.pid for child in set(multiprocessing.active_children()) - before}
        assert len(started) == 2
        processes.start()
        assert processes.call(os.getpid) in started
    processes.start()  # closed: none is started
    for child in set(multiprocessing.active_children()) - before:
        assert child.pid in started
        child.join(10)
        assert not child.is_alive()


def test_errors_arrive_as_they_were_raised(processes):
    with pytest.raises(PhotoError, match=r"^is empty$") as photo_error:
        processes.call(partial(raising, PhotoError, "read", "is empty"))
    assert (photo_error.value.stage, photo_error.value.reason) == ("read", "is empty")
    with pytest.raises(FileGoneError, match=r"^/photos/a.jpg is gone$") as gone:
        processes.call(raising_gone)
    assert gone.value.state == "vanished"
    with pytest.raises(FilterError, match=r"^no condition$"):
        processes.call(partial(raising, FilterError, "no condition"))


def test_a_job_that_hangs_fails_and_the_next_one_does_not():
    with closing(PhotoProcesses(n_processes=1, seconds=2)) as processes:
        with pytest.raises(PhotoError, match=r"^takes longer than 2 s$") as caught:
            processes.call(partial(time.sleep, 60))
        assert caught.value.stage == "decode"
        assert processes.call(partial(abs, -1)) == 1


@pytest.mark.parametrize(
    ("job", "ending"),
    [
        pytest.param(crashing, "SIGSEGV", id="signal"),
        pytest.param(partial(os._exit, 3), "exit status 3", id="exit"),
    ],
)
def test_a_job_that_ends_its_process_fails_and_the_next_one_does_not(processes, job, ending):
    with pytest.raises(PhotoError, match=rf"^ends the process that is to decode it \({ending}\)$"):
        processes.call(job)
    assert processes.call(partial(abs, -1)) == 1


def test_a_process_that_was_killed_while_idle_fails_no_job(processes):
    process = processes.call(os.getpid)
    os.kill(process, signal.SIGKILL)
    (worker,) = processes._workers._workers
    worker._running[0].join(10)
    assert processes.call(os.getpid) != process


def test_jobs_wait_for_their_turn(processes):
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: processes.call(partial(abs, number)), range(40)))
    assert answers == list(range(40))


def test_closing_ends_jobs_and_those_that_wait():
    processes = PhotoProcesses(n_processes=1, seconds=30)
    processes.call(os.getpid)
    failures = []

    def wait():
        try:
            processes.call(partial(time.sleep, 60))
        except PhotoError as error:
            failures.append(error.reason)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    processes.close()
    for thread in threads:
        thread.join(5)
    assert sorted(failures) == [
        "ends the process that is to decode it (SIGKILL)",
        "ends the process that is to decode it (it was stopped)",
        "ends the process that is to decode it (it was stopped)",
    ]


def test_an_upload_is_prepared_as_a_file_is(processes, tmp_path):
    content = image_file(drawn_photo(3, width=130, height=70), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    prepared = processes.prepare_upload(content, preprocessing=PREPROCESSING)
    np.testing.assert_array_equal(
        prepared.pixels,
        prepare_query(tmp_path / "a.png", preprocessing=PREPROCESSING, max_pixels=10_000),
    )
    assert (prepared.width, prepared.height, prepared.format) == (130, 70, "PNG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "the photo that was sent is empty (0 bytes)", id="empty"),
        pytest.param(
            b"<svg onload=...>",
            "the photo that was sent is a web page or an SVG drawing, not an image",
            id="svg",
        ),
        pytest.param(
            image_file(drawn_photo(1, width=101, height=100), "PNG"),
            "the photo that was sent is 101 x 100 = 0.0101 MP, over the limit of 0.01 MP; "
            "send it smaller",
            id="too-large",
        ),
    ],
)
def test_an_upload_that_cannot_be_used_is_told(processes, content, message):
    with pytest.raises(PhotoError) as caught:
        processes.prepare_upload(content, preprocessing=PREPROCESSING, max_pixels=10_000)
    assert str(caught.value) == message
