import os
import signal
import threading

import pytest

from indexer.interrupt import deferred_interrupt


@pytest.fixture(autouse=True)
def _default_handler():
    """A job in the background starts with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_block_is_done_before_the_interrupt():
    done = []

    def work() -> None:
        with deferred_interrupt():
            interrupt()
            interrupt()
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_nothing_happens():
    with deferred_interrupt():
        pass
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_an_error_of_the_block_comes_before_the_interrupt():
    def work() -> None:
        with deferred_interrupt():
            interrupt()
            raise ValueError("disk")

    with pytest.raises(ValueError, match="disk"):
        work()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_are_let_through():
    done = []

    def work() -> None:
        with deferred_interrupt():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
