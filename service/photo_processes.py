"""Processes in which a service decodes photos, so that none can hang, crash or block it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from indexer.prepare import PreparedQuery, prepare_bytes
from indexer.workers import WorkerLostError, WorkerPool
from schemas.errors import IsophoteError, PhotoError
from schemas.model import Preprocessing

MAX_UPLOAD_PIXELS = 50_000_000
"""Fewer than of indexed files: these come from anyone who may search, and twice as many in a PNG of
16 bits take 2.5 GB while they are decoded."""

FILE_SECONDS = 20.0
"""Somebody waits: less than an ingest gives a photo."""

_ADVICE_TO_OWNERS = "; raise ISOPHOTE_MAX_PIXELS"

Answer = TypeVar("Answer")


class PhotoProcesses:
    """A few processes, started when first needed and kept; safe to use from many threads.

    Parameters
    ----------
    n_processes : int
        Photos that are decoded at once.
    seconds : float
        A photo that takes longer fails.
    """

    def __init__(self, *, n_processes: int, seconds: float = FILE_SECONDS) -> None:
        self._workers = WorkerPool(_answer, n_workers=n_processes, seconds=seconds)
        self._seconds = seconds

    def start(self) -> None:
        """Start the processes before anybody waits for them: that takes a third of a second."""
        with suppress(WorkerLostError):  # closed already
            self._workers.start()

    def call(self, job: Callable[[], Answer]) -> Answer:
        """Call a function in one of the processes, when its turn comes.

        Parameters
        ----------
        job : callable
            Pickled, as its answer is: a `functools.partial` of a function of a module.

        Raises
        ------
        PhotoError
            If the job takes too long, or ends the process. Its reason lacks its subject.
        IsophoteError
            Whatever the job raises.
        """
        with self._workers.idle() as worker:
            try:
                answer = worker.exchange(job)
            except TimeoutError:
                raise PhotoError("decode", f"takes longer than {self._seconds:g} s") from None
            except WorkerLostError as error:
                reason = f"ends the process that is to decode it ({error})"
                raise PhotoError("decode", reason) from error
        if isinstance(answer, _Raised):
            raise answer.error()
        called: Answer = answer
        return called

    def prepare_upload(
        self,
        content: bytes,
        *,
        preprocessing: Preprocessing,
        max_pixels: int = MAX_UPLOAD_PIXELS,
    ) -> PreparedQuery:
        """Return what the encoder needs of a photo that was sent, with its size and format.

        Raises
        ------
        PhotoError
            If it cannot be decoded, or has more pixels than allowed.
        """
        job = partial(prepare_bytes, content, preprocessing=preprocessing, max_pixels=max_pixels)
        try:
            return self.call(job)
        except PhotoError as error:
            # The way out that is told to the owner of a collection is none for who sends a photo.
            reason, advice, _ = error.reason.partition(_ADVICE_TO_OWNERS)
            way_out = "; send it smaller" if advice else ""
            raise PhotoError(error.stage, f"the photo that was sent {reason}{way_out}") from error

    def close(self) -> None:
        """End the processes; whoever waits for one gets a PhotoError."""
        self._workers.stop()


@dataclass(frozen=True, slots=True)
class _Raised:
    """An error on its way here. Pickle would make it anew from its message alone."""

    error_class: type[IsophoteError]
    arguments: tuple[object, ...]
    attributes: dict[str, object]

    def error(self) -> IsophoteError:
        """Return the error as it was raised."""
        error = self.error_class.__new__(self.error_class, *self.arguments)
        vars(error).update(self.attributes)
        return error


def _answer(job: Callable[[], Any], _: Connection, /) -> Any:
    """Call a function, in a worker process."""
    try:
        return job()
    except IsophoteError as error:
        return _Raised(type(error), error.args, vars(error))
