"""Duplicates for a service: looked for in a process of its own, and kept for those who page.

To compare all photos takes seconds to minutes and up to gigabytes, and would hold the
interpreter's lock of a process that is to answer searches within milliseconds. So it is done in
another process, one question at a time.

An answer stays what it is while a person works through it, whatever is indexed meanwhile, until
another look is asked for. Only photos that this service moves to the trash leave it.
"""

import multiprocessing
import os
import signal
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence, Set
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Lock

import numpy as np

from indexer.ingest import IngestProgress
from indexer.settings import Settings
from indexer.store import Store
from schemas.duplicates import DuplicateGroup, DuplicateList, ReviewedGroup
from schemas.errors import CollectionError, InputError, IsophoteError
from schemas.http import DuplicatesPage, DuplicatesRunning
from schemas.tiers import Tier
from schemas.trash import RestoreSummary, TrashSummary
from service.collection import Collection, open_collection
from service.duplicates.keepers import Preference
from service.duplicates.material import Asked
from service.trash.restoring import trash_of, undo
from service.trash.trashing import trash_copies

KEPT_ANSWERS = 4

MAX_WAITING = 8
"""Questions in line; of more, those that were asked longest ago lose their place."""

UNWANTED_SECONDS = 300.0
"""A hidden page asks once a minute at least; one that was closed, never again."""

# How soon a search ends that nobody wants any more, or whose service stops.
_LOOK_SECONDS = 0.2

_REPORT_SECONDS = 0.2

# A killed process is gone in milliseconds, unless it waits for a network drive that is dead.
_ENDED_SECONDS = 5.0

# Of 19 at most: searches come first, but it gets on beside them.
_NICENESS = 10

# Above all others: if memory runs out, the system ends this process, and not the service.
_OOM_SCORE = 1000


@dataclass(frozen=True, slots=True)
class DuplicateQuestion:
    """Which duplicates are looked for; see :func:`service.duplicates.finding.find_duplicates`.

    `created_at` is that of the collection: another one may be made at the same place.
    """

    created_at: datetime
    tier: Tier = "near"
    asked: Asked = field(default_factory=Asked)
    where: str | None = None
    preference: Preference = field(default_factory=Preference)


@dataclass(frozen=True, slots=True)
class DuplicateAnswer:
    """What was found, in little memory.

    Attributes
    ----------
    version : int
        That of the collection before the search began, or after moves by this service that
        followed on it: unless it is the current one, others changed the collection.
    summary : DuplicateList
        Without its groups.
    documents : sequence of bytes
        Each group as JSON, which takes a fraction of its records, and next to no time to hand
        over from one process to the other.
    image_ids : sequence of tuple of int
        The photos of each group, its keeper first.
    """

    version: int
    summary: DuplicateList
    documents: Sequence[bytes]
    image_ids: Sequence[tuple[int, ...]]

    @classmethod
    def of(cls, listed: DuplicateList, *, version: int) -> "DuplicateAnswer":
        """Return what was found as it is kept."""
        return cls(
            version=version,
            summary=listed.model_copy(update={"groups": []}),
            documents=[group.model_dump_json().encode() for group in listed.groups],
            image_ids=[_image_ids(group) for group in listed.groups],
        )

    def page(self, *, offset: int, limit: int, version: int) -> DuplicatesPage:
        """Return some of the groups, for a collection that is at a version now."""
        documents = self.documents[offset : offset + limit]
        return DuplicatesPage(
            **self.summary.model_dump(exclude={"collection", "groups"}),
            version=self.version,
            is_current=self.version == version,
            n_groups=len(self.documents),
            offset=offset,
            groups=[DuplicateGroup.model_validate_json(document) for document in documents],
        )

    def without(self, gone: Set[int]) -> "DuplicateAnswer":
        """Return the answer without some photos, and without groups that are none any more.

        Nor is a group left whose keeper is gone: what is told of its copies compares them with it.
        """
        documents: list[bytes] = []
        image_ids: list[tuple[int, ...]] = []
        n_copies, n_bytes = self.summary.n_copies, self.summary.n_bytes
        for document, ids in zip(self.documents, self.image_ids, strict=True):
            if not gone.isdisjoint(ids):
                group = DuplicateGroup.model_validate_json(document)
                left = _group_without(group, gone)
                n_copies -= len(group.copies) - len(left.copies)
                n_bytes -= _freed_bytes(group) - _freed_bytes(left)
                document, ids = left.model_dump_json().encode(), _image_ids(left)
            if len(ids) > 1:
                documents.append(document)
                image_ids.append(ids)
        summary = self.summary.model_copy(update={"n_copies": n_copies, "n_bytes": n_bytes})
        return replace(self, summary=summary, documents=documents, image_ids=image_ids)


@dataclass(frozen=True, slots=True)
class _Move:
    """Photos that this service moved, and the versions of the collection around that."""

    gone: Set[int]
    before: int
    after: int


@dataclass(slots=True, eq=False)
class _Job:
    """A question that was asked, and what has become of it.

    The outcome is without the photos of the first `n_moves` moves.
    """

    question: DuplicateQuestion
    asked_at: float
    n_done: int = 0
    n_total: int = 0
    outcome: Future[DuplicateAnswer] = field(default_factory=Future)
    n_moves: int = 0


class DuplicateSearches:
    """Searches for duplicates, and what is done with what they found.

    Any number of threads may ask. To be closed, or used in a with block.

    Parameters
    ----------
    settings : Settings
        Name the collection.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        # Those that were asked longest ago first.
        self._jobs: OrderedDict[DuplicateQuestion, _Job] = OrderedDict()
        self._line = ThreadPoolExecutor(1, "duplicates")
        # Of its own, and waited for by the interpreter: a move must not be cut short.
        self._movers = ThreadPoolExecutor(1, "trash")
        self._is_closing = Event()
        # By when the collection was made.
        self._moves: defaultdict[datetime, list[_Move]] = defaultdict(list)

    def __enter__(self) -> "DuplicateSearches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, question: DuplicateQuestion, *, again: bool = False
    ) -> DuplicateAnswer | DuplicatesRunning:
        """Return what is known, or how far a search is, which is begun if there is none.

        One that nobody has asked about for UNWANTED_SECONDS ends without an answer.

        Parameters
        ----------
        question : DuplicateQuestion
        again : bool
            Do not return what was found before, but look again.

        Raises
        ------
        IsophoteError
            What the search raised, to the first who asks afterwards.
        CollectionError
            If its process ended before it had an answer.
        """
        with self._lock:
            job = self._jobs.get(question)
            if job is None or (again and job.outcome.done()):
                job = self._jobs[question] = _Job(question, time.monotonic())
                job.outcome = self._line.submit(self._work_on, job)
            job.asked_at = time.monotonic()
            self._jobs.move_to_end(question)
            self._make_room()
            if not job.outcome.done():
                return DuplicatesRunning(n_done=job.n_done, n_total=job.n_total)
            if job.outcome.exception() is not None:
                del self._jobs[question]
            else:
                self._follow_moves(job)
        return job.outcome.result()

    def trash(
        self, groups: Sequence[ReviewedGroup], *, created_at: datetime
    ) -> Future[TrashSummary]:
        """Move copies to the trash, as :func:`service.trash.trashing.trash_copies` does.

        They leave the answers. One move follows on the other; when the service is closed, it ends
        after the photo at hand.

        Parameters
        ----------
        groups : sequence of ReviewedGroup
        created_at : datetime
            That of the collection whose photos they name; InputError is the outcome if there is
            another one by now.
        """
        return self._movers.submit(self._trash, groups, created_at)

    def bring_back(self, run: str | None) -> Future[RestoreSummary]:
        """Bring photos back from the trash, as :func:`service.trash.restoring.undo` does.

        They are in no answer until they were indexed again.

        Parameters
        ----------
        run : str or None
            The last one by default.
        """
        return self._movers.submit(self._bring_back, run)

    def close(self) -> None:
        """End the search that is running, and wait for a move to reach a place to stop at."""
        self._is_closing.set()
        for pool in (self._line, self._movers):
            pool.shutdown(wait=True, cancel_futures=True)

    def _make_room(self) -> None:
        """Forget old answers, and questions that are too far behind in line."""
        done = [job for job in self._jobs.values() if job.outcome.done()]
        waiting = [job for job in self._jobs.values() if not job.outcome.done()]
        dropped = [job for job in waiting[:-MAX_WAITING] if job.outcome.cancel()]
        for job in [*done[:-KEPT_ANSWERS], *dropped]:
            del self._jobs[job.question]

    def _follow_moves(self, job: _Job) -> None:
        """Take photos that were moved since out of an answer."""
        moves = self._moves[job.question.created_at][job.n_moves :]
        if not moves:
            return
        answer = job.outcome.result().without(frozenset().union(*(move.gone for move in moves)))
        for move in moves:
            if answer.version == move.before:
                answer = replace(answer, version=move.after)
        job.n_moves += len(moves)
        job.outcome = Future()
        job.outcome.set_result(answer)

    def _work_on(self, job: _Job) -> DuplicateAnswer:
        """Let a process answer a question."""
        self._stop_if_unwanted(job)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, self._settings, job.question)
        process = context.Process(target=_search, args=arguments, daemon=True)
        try:
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            return self._received(job, ours)
        except (EOFError, OSError) as error:
            raise CollectionError(
                f"the search for duplicates ended before it had an answer ({_ending(process)}), "
                "as when memory runs out; narrow it with a filter, or run `isophote duplicates`"
            ) from error
        finally:
            _end(process)
            ours.close()

    def _received(self, job: _Job, connection: Connection) -> DuplicateAnswer:
        """Take what the process tells until it has an answer, unless nobody wants that any more."""
        while True:
            self._stop_if_unwanted(job)
            if not connection.poll(_LOOK_SECONDS):
                continue
            told: IngestProgress | DuplicateAnswer | IsophoteError = connection.recv()
            if isinstance(told, DuplicateAnswer):
                return told
            if isinstance(told, IsophoteError):
                raise told
            job.n_done, job.n_total = told.n_done, told.n_total

    def _stop_if_unwanted(self, job: _Job) -> None:
        with self._lock:
            is_unwanted = time.monotonic() - job.asked_at > UNWANTED_SECONDS
            if is_unwanted:
                del self._jobs[job.question]
        if is_unwanted or self._is_closing.is_set():
            raise CancelledError

    def _stop_if_closing(self, _: IngestProgress) -> None:
        """Let a move end in order, as Ctrl-C does, which does not reach this thread."""
        if self._is_closing.is_set():
            raise KeyboardInterrupt

    def _trash(self, groups: Sequence[ReviewedGroup], created_at: datetime) -> TrashSummary:
        # A collection of its own: that of the service may stay at an older version.
        collection = _collection_made(created_at, self._settings)
        store = collection.store
        before = store.version
        summary = trash_copies(collection, groups, report=self._stop_if_closing)
        gone = _gone_photos(store, groups)
        with self._lock:
            # What others commit in the moments before the move has the lock and after it gave that
            # back is taken for a part of it: answers are called current that miss those photos.
            self._moves[created_at].append(_Move(gone, before, store.version))
        return summary

    def _bring_back(self, run: str | None) -> RestoreSummary:
        folders = trash_of(self._settings.collection)
        return undo(folders, run=run, report=self._stop_if_closing)


def _gone_photos(store: Store, groups: Sequence[ReviewedGroup]) -> frozenset[int]:
    """Return which photos of groups the collection does not hold any more."""
    # A client may make up ids, and those that never were are not worth keeping.
    limit = store.next_image_id()
    named = {
        image_id
        for group in groups
        for image_id in (group.keeper_id, *group.copy_ids)
        if image_id < limit
    }
    there = store.images_by_id(np.array(sorted(named), np.int64), ["image_id"])
    return frozenset(named.difference(there["image_id"].to_pylist()))


def _search(connection: Connection, settings: Settings, question: DuplicateQuestion) -> None:
    """Answer a question, in a process of its own."""
    _stand_back()
    with suppress(BrokenPipeError):  # of a service that is gone
        try:
            connection.send(_found(settings, question, _reporting(connection)))
        except IsophoteError as error:
            connection.send(error)


def _found(
    settings: Settings, question: DuplicateQuestion, report: Callable[[IngestProgress], None]
) -> DuplicateAnswer:
    # Imported here: the service starts a tenth of a second sooner without.
    from service.duplicates.finding import find_duplicates

    collection = _collection_made(question.created_at, settings)
    version = collection.store.version
    listed = find_duplicates(
        collection,
        tier=question.tier,
        asked=question.asked,
        where=question.where,
        preference=question.preference,
        report=report,
    )
    return DuplicateAnswer.of(listed, version=version)


def _collection_made(created_at: datetime, settings: Settings) -> Collection:
    """Open a collection, unless another one was made at its place, where ids mean other photos."""
    collection = open_collection(settings)
    if collection.store.info.created_at != created_at:
        raise InputError(
            f"another collection was made at {settings.collection!r} meanwhile; load the page again"
        )
    return collection


def _stand_back() -> None:
    """Let the service have the processor, the memory and Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.nice(_NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")


def _reporting(connection: Connection) -> Callable[[IngestProgress], None]:
    """Return a report that sends the progress, but not more often than anyone looks."""
    due = 0.0

    def report(progress: IngestProgress) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _REPORT_SECONDS
            connection.send(progress)

    return report


def _end(process: BaseProcess) -> None:
    if process.pid is not None:  # it was started
        process.kill()
        process.join(_ENDED_SECONDS)


def _ending(process: BaseProcess) -> str:
    """Return how a process ended that sends nothing any more."""
    if process.pid is None:
        return "it could not be started"
    process.join(_ENDED_SECONDS)
    code = process.exitcode
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}"


def _image_ids(group: DuplicateGroup) -> tuple[int, ...]:
    return (group.keeper.image_id, *(copy.photo.image_id for copy in group.copies))


def _freed_bytes(group: DuplicateGroup) -> int:
    return sum(copy.photo.file_size or 0 for copy in group.copies)


def _group_without(group: DuplicateGroup, gone: Set[int]) -> DuplicateGroup:
    """Return a group without some photos; of one whose keeper is gone, no copies are left."""
    is_kept = group.keeper.image_id not in gone
    copies = [copy for copy in group.copies if is_kept and copy.photo.image_id not in gone]
    return group.model_copy(update={"copies": copies})
