"""Work on photos in processes of their own, so that no file can hang, crash or stop the caller.

A thread cannot be stopped inside a decoder that never returns, and a decoder that crashes takes
its process along. Here that process holds nothing but one photo: it is ended, the file is
recorded as failed, and another process takes the next one.
"""

import ctypes
import multiprocessing
import signal
from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from queue import LifoQueue
from threading import Lock
from typing import Any, Protocol

from indexer.prepare import PhotoFailure, Prepared
from indexer.scan import ScannedFile
from schemas.errors import Stage

# glibc's mallopt: keep up to so much freed memory at the end of the heap, and take blocks below the
# limit, which is the largest allowed, from there.
_TRIM_THRESHOLD, _KEPT_BYTES = -1, 64 * 2**20
_MAP_THRESHOLD, _MAPPED_BYTES = -3, 32 * 2**20

# A killed process is gone in milliseconds, unless it waits for a network drive that is dead.
_ENDED_SECONDS = 5.0


class PreparePhoto(Protocol):
    """The work of a process: :func:`indexer.prepare.prepare_photo` with its options."""

    def __call__(self, file: ScannedFile, *, known_hashes: Container[str]) -> Prepared:
        """Return what the encoder needs of a file, or less where its content is known."""


def prepared_photos(
    files: Iterable[ScannedFile],
    *,
    prepare: PreparePhoto,
    known_hashes: Container[str],
    n_workers: int,
    n_ahead: int,
    file_seconds: float,
) -> Generator[Prepared]:
    """Prepare files in processes and yield them in order, a bounded number in advance.

    Closing the generator ends the processes at once.

    Parameters
    ----------
    files : iterable of ScannedFile
    prepare : PreparePhoto
        Pickled for the processes, and called there.
    known_hashes : container of str
        Read from several threads, so it must not change meanwhile.
    n_workers, n_ahead : int
        Processes, and photos that are begun before the first of them is taken.
    file_seconds : float
        How long a photo may take to read, and then to decode; it fails if it takes longer.

    Yields
    ------
    PreparedPhoto, KnownContent or PhotoFailure
        One for each file.
    """
    workers = WorkerPool(
        partial(_prepare, prepare=prepare), n_workers=n_workers, seconds=file_seconds
    )

    def prepare_next(file: ScannedFile) -> Prepared:
        with workers.idle() as worker:
            return _prepared(file, worker, known_hashes, seconds=file_seconds)

    waiting = iter(files)
    pool = ThreadPoolExecutor(n_workers, "prepare", initializer=_leave_interrupts_to_main_thread)
    try:
        window: deque[Future[Prepared]] = deque(
            pool.submit(prepare_next, file) for file in islice(waiting, n_ahead)
        )
        while window:
            prepared = window.popleft().result()
            window.extend(pool.submit(prepare_next, file) for file in islice(waiting, 1))
            yield prepared
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        workers.stop()
        pool.shutdown(wait=True)


def _prepared(
    file: ScannedFile, worker: "Worker", known_hashes: Container[str], *, seconds: float
) -> Prepared:
    """Prepare one photo; running out of time and a crash are failures of this photo."""
    stage: Stage = "read"
    try:
        answer = worker.exchange(file)
        if isinstance(answer, str):
            stage = "decode"
            answer = worker.exchange(answer in known_hashes)
    except TimeoutError:
        reason = (
            f"takes longer than {seconds:g} s to {stage}; raise ISOPHOTE_FILE_SECONDS, "
            "or --file-seconds of `isophote failures --retry`"
        )
        return PhotoFailure(file, stage, "TimeoutError", reason)
    except WorkerLostError as error:
        reason = f"ends the process that is to {stage} it ({error})"
        return PhotoFailure(file, stage, "Crash", reason)
    prepared: Prepared = answer
    return prepared


def _prepare(file: ScannedFile, connection: Connection, *, prepare: PreparePhoto) -> Prepared:
    """Prepare one photo, in a worker process."""
    return prepare(file, known_hashes=_HashesOfParent(connection))


class _HashesOfParent:
    """The known hashes, as the process sees them: the parent has them, and is asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __contains__(self, content_hash: object) -> bool:
        self._connection.send(content_hash)
        return bool(self._connection.recv())


class WorkerLostError(Exception):
    """A worker process that ended before it answered; the message says how."""


class Work(Protocol):
    """What a worker process does with a message; it may ask back over the connection."""

    def __call__(self, message: Any, connection: Connection, /) -> Any:
        """Return the answer."""


class Worker:
    """One process of a :class:`WorkerPool`."""

    def __init__(self, work: Work, *, seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._running: tuple[BaseProcess, Connection] | None = None
        self._is_stopped = False
        self._lock = Lock()

    def exchange(self, message: object) -> Any:
        """Send a message and return what comes back; the process ends if nothing does.

        Raises
        ------
        TimeoutError
            If it takes too long.
        WorkerLostError
            If the process ends first.
        """
        process, connection = self._started()
        try:
            connection.send(message)
            if connection.poll(self._seconds):
                return connection.recv()
        except (EOFError, OSError) as error:
            self._end()
            raise WorkerLostError(_ending(process)) from error
        self._end()
        raise TimeoutError

    def bury(self) -> None:
        """Forget a process that ended while it had nothing to do, as when memory ran out."""
        if self._running is not None and not self._running[0].is_alive():
            self._end()

    def stop(self) -> None:
        """End the process for good. Any thread may call this."""
        with self._lock:
            self._is_stopped = True
            if self._running is not None:
                self._running[0].kill()

    def start(self) -> None:
        """Start the process, if none is running.

        Raises
        ------
        WorkerLostError
            If it was stopped for good.
        """
        self._started()

    def _started(self) -> tuple[BaseProcess, Connection]:
        with self._lock:
            if self._running is None:
                if self._is_stopped:
                    raise WorkerLostError("it was stopped")
                self._running = _start(self._work, seconds=self._seconds)
            return self._running

    def _end(self) -> None:
        with self._lock:
            if self._running is not None:
                process, connection = self._running
                process.kill()
                process.join(_ENDED_SECONDS)
                connection.close()
            self._running = None


class WorkerPool:
    """Processes that work on one message at a time; started when needed, replaced when lost.

    Parameters
    ----------
    work : Work
        Pickled for the processes, and called there.
    n_workers : int
        Processes, at most.
    seconds : float
        How long a process may take to answer.
    """

    def __init__(self, work: Work, *, n_workers: int, seconds: float) -> None:
        self._workers = [Worker(work, seconds=seconds) for _ in range(n_workers)]
        # The last one used is used next: a handful of photos starts no more than it needs.
        self._idle: LifoQueue[Worker] = LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)

    @contextmanager
    def idle(self) -> Iterator[Worker]:
        """Wait for a worker and have it for a block."""
        worker = self._idle.get()
        try:
            worker.bury()
            yield worker
        finally:
            self._idle.put(worker)

    def start(self) -> None:
        """Start all processes now, so that who comes first does not wait for that.

        Raises
        ------
        WorkerLostError
            If they were stopped meanwhile.
        """
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """End all processes for good; what they work on is lost. Any thread may call this."""
        for worker in self._workers:
            worker.stop()


def _start(work: Work, *, seconds: float) -> tuple[BaseProcess, Connection]:
    context = _process_context()
    ours, theirs = context.Pipe()
    arguments = (theirs, work, 2 * seconds + _ENDED_SECONDS)
    process = context.Process(target=_serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
    process.start()
    # Ours alone is left: the process sees the end of the pipe however this one ends.
    theirs.close()
    return process, ours


@cache
def _process_context() -> BaseContext:
    """Return how processes are started: from a small server, as this one has threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["indexer.prepare"])
    return context


def _serve(connection: Connection, work: Work, seconds: float) -> None:
    """Work until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    try:
        while True:
            message = connection.recv()
            # The parent ends what hangs. If it was killed itself, the alarm does.
            _set_alarm(seconds)
            connection.send(work(message, connection))
            _set_alarm(0)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def keep_freed_memory() -> None:
    """Let this process use memory again instead of giving it back after every photo.

    The system clears each page that it hands out: without this, 2,000 page faults took a fifth of
    the CPU time of a photo of 1 MP. Does nothing where the C library is not glibc.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MAP_THRESHOLD, _MAPPED_BYTES)


def _set_alarm(seconds: float) -> None:
    """Let the system end this process after so long; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _leave_interrupts_to_main_thread() -> None:
    """Block Ctrl-C in a thread, and so from birth in the processes that it starts."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _ending(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}"
