"""The way of a photo: scan, read, decode, encode, score, append.

Worker processes read, hash, decode and measure. The calling thread takes prepared photos in the
order of the scan, encodes full batches, and appends large blocks of rows. At most `queue_photos`
photos are in memory, whatever the collection's size.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from indexer.arrays import BoolArray
from indexer.embedder import Embedder
from indexer.encoders.encoder import Encoder
from indexer.interrupt import deferred_interrupt
from indexer.known_images import KNOWN_COLUMNS, Key
from indexer.lock import PROGRESS_NAME
from indexer.plan import (
    KnownFiles,
    ScanScope,
    ScopePlan,
    plan_retry,
    plan_scope,
    scan_scopes,
)
from indexer.prepare import (
    KnownContent,
    PhotoFailure,
    Prepared,
    prepare_photo,
)
from indexer.references import active_scorer
from indexer.scan import ScannedFile, filesystem_path
from indexer.settings import Settings
from indexer.store import Store, local_directory
from indexer.workers import prepared_photos
from indexer.writer import Writer, failure_record
from schemas.collection import CollectionInfo, CropEdges
from schemas.results import HeldDeletion, IngestSummary, RetrySummary, UnreachedRoot
from schemas.tables import ROOTS_SCHEMA

# A photo of 3:2 has 16 crops beside the input of the image tower, one of 5:1 has 52.
_PHOTOS_PER_CROPS_PHOTO = 16

# Between two notes of the progress that other processes read.
_NOTE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far a run is, in files that need work."""

    n_done: int
    n_total: int
    n_failed: int


Report = Callable[[IngestProgress], None]


def noted_progress(directory: Path) -> IngestProgress | None:
    """Return how far the ingest is that writes to a collection, None if that is not known.

    Parameters
    ----------
    directory : Path
        The collection's folder on this machine. A run that was killed leaves its last note there:
        ask :func:`indexer.lock.lock_holder` first.
    """
    try:
        return IngestProgress(**json.loads((directory / PROGRESS_NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def ingest(
    folders: Sequence[Path],
    *,
    store: Store,
    open_encoder: Callable[[], Encoder],
    settings: Settings,
    report: Report,
    confirm_deletions: bool = False,
) -> IngestSummary:
    """Bring a collection up to date with folders on disk.

    Unchanged files cost a stat. Files whose bytes are known under another name keep their
    vectors. A file that cannot be indexed is recorded in `failures` and never stops the run.
    KeyboardInterrupt ends the run early with everything that was encoded committed.

    Parameters
    ----------
    folders : sequence of Path
        Resolved folders or files; none means all folders the collection knows.
    store : Store
        Its writer lock held by the caller.
    open_encoder : callable
        Opens the collection's model; called only when there is something to encode.
    settings : Settings
    report : callable
        Told the progress, from the calling thread.
    confirm_deletions : bool
        Remove missing files from the index even where more than half of a folder is missing.

    Raises
    ------
    StorageError
        If the collection cannot be written to; what was committed stays.
    """
    started = time.monotonic()
    known = KnownFiles.read(store.image_blocks(KNOWN_COLUMNS), store.failures())
    plans = [plan_scope(scope, known) for scope in _scopes(folders, store, known)]
    # New folders are known from now on, so that a run that is cut short can be resumed by name
    # or without.
    recorded = set(store.roots()["root"].to_pylist())
    store.record_roots(
        _root_rows([plan for plan in plans if plan.scope.stored_root not in recorded], [])
    )
    run = _Run(store, known, plans, settings, open_encoder)
    interrupted = run.work_through(report)
    with deferred_interrupt():
        held = [] if interrupted else run.settle_missing(confirm_deletions=confirm_deletions)
        run.writer.finish()
        if not interrupted:
            store.record_roots(_root_rows(plans, held))
    return run.summary(
        held=held,
        interrupted=interrupted,
        seconds=time.monotonic() - started,
    )


def retry_failures(
    keys: Collection[Key],
    *,
    store: Store,
    open_encoder: Callable[[], Encoder],
    settings: Settings,
    report: Report,
) -> RetrySummary:
    """Try failed files again, even those that did not change.

    No other file is looked at, unless it lies below a folder that could not be listed. Failures
    whose files are gone are forgotten; those of a root that is missing or empty are kept, as its
    drive may not be mounted.

    Parameters
    ----------
    keys : collection of Key
        Of rows of `failures`.
    store, open_encoder, settings, report
        As for :func:`ingest`.

    Raises
    ------
    StorageError
        If the collection cannot be written to; what was committed stays.
    """
    started = time.monotonic()
    known = KnownFiles.read(store.image_blocks(KNOWN_COLUMNS), store.failures())
    plan = plan_retry(keys, known, known_roots=_known_roots(store, known))
    run = _Run(store, known, plan.scopes, settings, open_encoder)
    interrupted = run.work_through(report)
    with deferred_interrupt():
        held = [] if interrupted else run.settle_missing(confirm_deletions=False)
        run.writer.finish()
    return RetrySummary(
        n_selected=len(keys),
        n_vanished=0 if interrupted else plan.n_vanished,
        unreached=[
            UnreachedRoot(root=root, n_failures=count) for root, count in plan.unreached.items()
        ],
        ingest=run.summary(held=held, interrupted=interrupted, seconds=time.monotonic() - started),
    )


class _Run:
    """One run's way through the files that need work."""

    def __init__(
        self,
        store: Store,
        known: KnownFiles,
        plans: Sequence[ScopePlan],
        settings: Settings,
        open_encoder: Callable[[], Encoder],
    ) -> None:
        self._store = store
        self._known = known
        self._plans = plans
        self._settings = settings
        self._embedder = Embedder(
            store.info, open_encoder, settings, score_anomalies=active_scorer(store)
        )
        self.writer = Writer(
            store,
            known,
            append_rows=settings.append_rows,
            append_seconds=settings.append_seconds,
        )
        self._counts: Counter[str] = Counter()
        self._failed: list[Key] = []
        # A folder without any photo looks like a drive that is not mounted: its files are not
        # taken for moved, so that they are still known when it is back.
        self._is_movable: BoolArray = np.zeros(len(known.images), np.bool_)
        for plan in plans:
            self._is_movable[plan.missing] = plan.n_files > 0
        # Rows of photos that were moved or replaced in this run.
        self._has_left: BoolArray = np.zeros(len(known.images), np.bool_)

    def work_through(self, report: Report) -> bool:
        """Work on all files of the plans; return whether the user interrupted."""
        report = _noting(local_directory(self._store.uri), report)
        for plan in self._plans:
            for failure in plan.new_failures:
                self._failed.append((failure.root, failure.path))
                self.writer.add_failure(failure)
        n_todo = sum(len(plan.todo) for plan in self._plans)
        photos = prepared_photos(
            chain.from_iterable(plan.todo for plan in self._plans),
            prepare=partial(
                prepare_photo,
                preprocessing=self._store.info.model.require_preprocessing(),
                max_pixels=self._settings.max_pixels,
                crop_edges=_crop_edges(self._store.info),
            ),
            known_hashes=self._known.images.contents,
            # One more than cores: none is idle while a result is on its way to this process.
            n_workers=self._settings.threads + 1,
            n_ahead=_n_ahead(self._store.info, self._settings),
            file_seconds=self._settings.file_seconds,
        )
        try:
            # Closed at once when interrupted: otherwise the workers would go on reading. BLAS
            # gets one thread: its own pool spins between the small products of a batch, on the
            # cores that decode (1,000 photos of 1 MP, one run each: 46 s of CPU, 40 without).
            with closing(photos), threadpool_limits(limits=1, user_api="blas"):
                for prepared in photos:
                    with deferred_interrupt():
                        self._take(prepared)
                    report(self._progress(n_todo))
                with deferred_interrupt():
                    self._encode()
                report(self._progress(n_todo))
        except KeyboardInterrupt:
            return True
        return False

    def settle_missing(self, *, confirm_deletions: bool) -> list[HeldDeletion]:
        """Remove files that are gone, but for folders that lost too many of theirs."""
        held = []
        for plan in self._plans:
            # They are there, and their photos are in the index: no reason to hold anything back.
            self.writer.remove(self._known.images.image_ids[plan.paired].tolist())
            missing = plan.missing[~self._has_left[plan.missing]]
            reason = None if confirm_deletions else plan.held_deletion(len(missing))
            if reason is not None:
                held.append(reason)
            else:
                self.writer.remove(self._known.images.image_ids[missing].tolist())
                self._counts["deleted"] += len(missing)
        self.writer.forget_failures(self._vanished_failures())
        return held

    def _vanished_failures(self) -> list[Key]:
        """Failures of earlier runs whose files are neither there nor failing any more."""
        failing = set(self._failed).union(*(plan.settled_failures for plan in self._plans))
        return [key for plan in self._plans for key in plan.known_failures if key not in failing]

    def summary(
        self, *, held: list[HeldDeletion], interrupted: bool, seconds: float
    ) -> IngestSummary:
        """Count what was done."""
        n_files = sum(plan.n_files for plan in self._plans)
        n_unchanged = sum(plan.n_unchanged for plan in self._plans)
        n_failed_before = sum(len(plan.settled_failures) for plan in self._plans)
        n_done = self._counts["encoded"] + self._counts["reused"] + len(self._failed)
        return IngestSummary(
            collection=self._store.uri,
            n_files=n_files,
            n_unchanged=n_unchanged,
            n_reused=self._counts["reused"],
            n_encoded=self._counts["encoded"],
            n_failed=len(self._failed),
            n_failed_before=n_failed_before,
            n_paired=sum(plan.n_paired for plan in self._plans),
            n_pending=n_files - n_unchanged - n_failed_before - n_done,
            n_deleted=self._counts["deleted"],
            n_images=self._store.count_images(),
            seconds=seconds,
            interrupted=interrupted,
            failures=[failure_record(self.writer.failures[key]) for key in self._failed],
            held_deletions=held,
        )

    def _progress(self, n_total: int) -> IngestProgress:
        n_scan_failures = sum(len(plan.new_failures) for plan in self._plans)
        n_failed = len(self._failed)
        n_done = self._counts["encoded"] + self._counts["reused"] + n_failed - n_scan_failures
        return IngestProgress(n_done=n_done, n_total=n_total, n_failed=n_failed)

    def _take(self, prepared: Prepared) -> None:
        if isinstance(prepared, PhotoFailure):
            self._take_failure(prepared)
        elif isinstance(prepared, KnownContent):
            self._take_known(prepared)
        elif self._embedder.add(prepared):
            self._encode()

    def _encode(self) -> None:
        rows = self._embedder.rows(self.writer.new_image_ids)
        if rows is None:
            return
        for photo in rows.unusable:
            self._take_failure(
                PhotoFailure(photo.file, "encode", "NotFinite", "has features that are no numbers")
            )
        self.writer.add_rows(rows.table)
        for photo in rows.photos:
            self._supersede(photo.file)
        self._counts["encoded"] += len(rows.photos)

    def _take_known(self, prepared: KnownContent) -> None:
        """Give the vectors of known bytes to the file that now has them."""
        images = self._known.images
        here = self._row_at(prepared.file)
        row = images.contents.newest(prepared.content_hash)
        if here is not None and images.contents.is_at(here, prepared.content_hash):
            self.writer.relocate(int(images.image_ids[here]), prepared.file)
        elif self._is_movable[row] and not self._has_left[row]:
            self._has_left[row] = True
            self._supersede(prepared.file)
            self.writer.relocate(int(images.image_ids[row]), prepared.file)
        else:
            self._supersede(prepared.file)
            self.writer.add_copy(int(images.image_ids[row]), prepared.file)
        self._counts["reused"] += 1

    def _take_failure(self, failure: PhotoFailure) -> None:
        self._failed.append((failure.file.root, failure.file.path))
        self.writer.add_failure(failure)
        # A file that cannot be read now may be read tomorrow, and its row is kept; one that is
        # no picture any more has no row.
        if failure.stage != "read":
            self._supersede(failure.file)

    def _supersede(self, file: ScannedFile) -> None:
        """Remove the row of the photo that had this place before."""
        row = self._row_at(file)
        if row is not None:
            self._has_left[row] = True
            self.writer.remove([int(self._known.images.image_ids[row])])

    def _row_at(self, file: ScannedFile) -> int | None:
        """Return the row of the photo that has a file's place, unless it left it in this run."""
        row = self._known.images.row_at((file.root, file.path))
        return None if row is None or self._has_left[row] else row


def _noting(directory: Path, report: Report) -> Report:
    """Return a report that also leaves a note for other processes, about once a second.

    It goes with the writer's lock, so that it holds while the search index is built as well.
    """
    draft = directory / f"{PROGRESS_NAME}.new"
    due = 0.0

    def note_and_report(progress: IngestProgress) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due or progress.n_done == progress.n_total:
            due = now + _NOTE_SECONDS
            # A courtesy, as the name of the lock's holder is: a full disk is no error of it.
            with suppress(OSError):
                draft.write_text(json.dumps(asdict(progress)), encoding="utf-8")
                draft.replace(directory / PROGRESS_NAME)
        report(progress)

    return note_and_report


def _crop_edges(info: CollectionInfo) -> CropEdges | None:
    return info.crop_edges if info.quality_mode == "crops" else None


def _n_ahead(info: CollectionInfo, settings: Settings) -> int:
    """Return how many photos are read in advance; with their crops they are larger."""
    share = _PHOTOS_PER_CROPS_PHOTO if info.quality_mode == "crops" else 1
    return max(settings.queue_photos // share, 1)


def _scopes(folders: Sequence[Path], store: Store, known: KnownFiles) -> list[ScanScope]:
    """Return what to scan for the given folders, or for all known ones."""
    return scan_scopes(folders or _recorded_roots(store), _known_roots(store, known))


def _recorded_roots(store: Store) -> list[Path]:
    return [Path(filesystem_path(root)) for root in store.roots()["root"].to_pylist()]


def _known_roots(store: Store, known: KnownFiles) -> set[Path]:
    """Return the roots that were scanned or have photos."""
    return {*_recorded_roots(store), *(Path(filesystem_path(root)) for root in known.images.roots)}


def _root_rows(plans: Sequence[ScopePlan], held: Sequence[HeldDeletion]) -> pa.Table:
    """Rows of `roots` for whole folders that were scanned and whose contents are believed."""
    doubted = {deletion.root for deletion in held}
    now = datetime.now(UTC)
    rows = [
        {"root": plan.scope.stored_root, "n_files": plan.n_files, "scanned_at": now}
        for plan in plans
        if not plan.scope.folder and str(plan.scope.root) not in doubted
    ]
    return pa.Table.from_pylist(rows, schema=ROOTS_SCHEMA)
