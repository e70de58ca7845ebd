"""Follow the changes of indexed folders.

The operating system tells of changes (inotify, FSEvents, ReadDirectoryChangesW, by `watchfiles`),
and may tell too little: a network drive says nothing of what other machines do, a queue may
overflow. So changes only decide where and when to look; what has changed is found by an ordinary
run there, and all folders are looked through every now and then.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from indexer.ingest import IngestProgress, ingest
from indexer.lock import writer_lock
from indexer.scan import (
    filesystem_path,
    is_folder,
    is_skipped_folder,
    joined_path,
    names_a_photo,
    resolve_root,
    stored_path,
)
from indexer.settings import Settings
from indexer.store import Store, local_directory
from schemas.errors import LockedError
from schemas.results import Failure, HeldDeletion, IngestSummary
from service.collection import Collection, open_collection
from service.indexing import tidy_up

# After more changes than this they are not looked at one by one. Besides, the kernel's queue may
# have overflowed: it holds 16,384 events, five to a new file, and watchfiles 1.3.0 says nothing
# of it (stopped while 9,000 files were made, it told of 3,277 afterwards).
MOST_PATHS = 2_000

Reporting = Callable[[], AbstractContextManager[Callable[[IngestProgress], None]]]
"""Shows the progress of one run."""

Identity = tuple[int, int] | None
"""Device and inode of what lies at a path; None if there is nothing."""


@dataclass(frozen=True, slots=True)
class WatchPace:
    """When changes are acted on, in seconds.

    Attributes
    ----------
    quiet_seconds : float
        After the last change: a file that is still being copied keeps changing.
    most_seconds : float
        After the first change, however many follow.
    rescan_seconds : float
        Between two looks through all folders.
    """

    quiet_seconds: float = 1.0
    most_seconds: float = 30.0
    rescan_seconds: float = 600.0


def follow_changes(
    paths: Sequence[Path],
    *,
    first: IngestSummary,
    settings: Settings,
    reporting: Reporting,
    pace: WatchPace | None = None,
    stop: threading.Event | None = None,
) -> Iterator[IngestSummary | str]:
    """Keep a collection up to date with folders that were indexed before.

    Starts with a look through all folders, for what changed since that run.

    Parameters
    ----------
    paths : sequence of Path
        Folders or photos; none means all folders that the collection knows.
    first : IngestSummary
        What the run before had to tell, which is not told again.
    settings : Settings
    reporting : callable
        Opened around each run.
    pace : WatchPace, optional
    stop : threading.Event, optional
        Ends the watch between two runs, as KeyboardInterrupt ends it anywhere.

    Yields
    ------
    IngestSummary or str
        What a run changed or met, and sentences on what hinders the watch. A run without either
        yields nothing. An interrupted run is the last.

    Raises
    ------
    IsophoteError
        If the collection can no longer be written to. That another process writes to it is only
        waited for.
    """
    pace = pace or WatchPace()
    stop = stop or threading.Event()
    collection = open_collection(settings)
    watch = _Watch(_watched_roots(paths, collection.store), collection, reporting)
    watch.is_news(first)
    pending = _Pending(pace)
    rescan_at = time.monotonic() + pace.rescan_seconds
    for changes in _changes(watch.roots, pace=pace, stop=stop):
        if isinstance(changes, str):
            yield changes
            continue
        pending.add(filter(watch.may_concern, changes))
        if time.monotonic() >= rescan_at:
            pending.add(map(str, watch.roots))
            rescan_at = time.monotonic() + pace.rescan_seconds
        if pending.is_due():
            told = watch.index(pending)
            if told is not None:
                yield told
            if isinstance(told, IngestSummary) and told.interrupted:
                return


@dataclass(slots=True)
class _Pending:
    """Paths that changed and were not looked at yet."""

    pace: WatchPace
    paths: set[str] = field(default_factory=set)
    first: float = 0.0
    last: float = 0.0

    def add(self, paths: Iterable[str]) -> None:
        added = set(paths)
        if not added:
            return
        self.last = time.monotonic()
        if not self.paths:
            self.first = self.last
        self.paths |= added

    def is_due(self) -> bool:
        now = time.monotonic()
        waited = now - self.last >= self.pace.quiet_seconds
        return bool(self.paths) and (waited or now - self.first >= self.pace.most_seconds)

    def take(self) -> set[str]:
        taken, self.paths = self.paths, set()
        return taken


class _Watch:
    """What is watched, and what was told of it."""

    def __init__(self, roots: Sequence[Path], collection: Collection, reporting: Reporting) -> None:
        self.roots = roots
        # Kept over all runs: opening a model costs .4 s and more.
        self._collection = collection
        self._reporting = reporting
        self._place = local_directory(collection.store.uri).resolve()
        self._told: set[Failure | HeldDeletion] = set()
        self._locked = False

    def may_concern(self, changed: str) -> bool:
        """Return whether a scan might see a change, as far as the path tells."""
        path = Path(changed)
        root = self._root_of(path)
        if root is None or path.is_relative_to(self._place):
            return False
        if path == root:
            return True
        if any(map(is_skipped_folder, path.relative_to(root).parts)):
            return False
        # A folder may be called "St. Moritz", and so may one that is gone.
        gone_or_folder = is_folder(path) or not os.path.lexists(path)
        return gone_or_folder or names_a_photo(path.name) is not False

    def index(self, pending: _Pending) -> IngestSummary | str | None:
        """Run where something changed; return what is worth telling."""
        folders = self._folders(pending.paths)
        if not folders:
            pending.take()
            return None
        collection = self._collection
        try:
            with writer_lock(local_directory(collection.store.uri)), self._reporting() as report:
                pending.take()
                summary = ingest(
                    folders,
                    store=collection.store,
                    open_encoder=lambda: collection.encoder,
                    settings=collection.settings,
                    report=report,
                )
                tidy_up(collection, summary)
        except LockedError as error:
            pending.last = time.monotonic()
            told_before, self._locked = self._locked, True
            return None if told_before else f"{error}; the changes are indexed then"
        self._locked = False
        return summary if self.is_news(summary) else None

    def is_news(self, summary: IngestSummary) -> bool:
        """Return whether a run did or met anything that was not told before.

        Files that cannot be read fail in every run, and folders that lost most of their photos
        are found so by every run.
        """
        unread = [failure for failure in summary.failures if failure.stage == "read"]
        met: set[Failure | HeldDeletion] = {*unread, *summary.held_deletions}
        changed = summary.n_encoded + summary.n_reused + summary.n_deleted
        is_news = bool(changed or summary.interrupted or met - self._told)
        is_news |= len(unread) < len(summary.failures)
        self._told |= met
        return is_news

    def _root_of(self, path: Path) -> Path | None:
        return next((root for root in self.roots if path.is_relative_to(root)), None)

    def _folders(self, changed: set[str]) -> list[Path]:
        """Return where to look for changes, none of them inside another.

        A path that is gone and was indexed counts for its whole root: what tells a mounted drive
        from a missing one is the share of the root's photos that are gone.
        """
        paths = [Path(path) for path in changed]
        if len(paths) > MOST_PATHS:
            paths = list(self.roots)
        folders: set[Path] = set()
        gone: list[Path] = []
        for path in paths:
            root = self._root_of(path)
            if root is None or _identity(root) is None:
                continue  # nothing is known of what lies on a drive that is not there
            if os.path.lexists(path):
                folders |= self._around(path, root)
            else:
                gone.append(path)
        return _outermost(folders | self._roots_of_known(gone, looked_at=folders))

    def _around(self, path: Path, root: Path) -> set[Path]:
        """Return the folders to look through for a path that exists.

        What lies behind a link to a folder is indexed under one of its names, which only a scan
        of the whole root can tell.
        """
        folder = path if path == root or is_folder(path) else path.parent
        real = Path(os.path.realpath(folder))
        if real == folder:
            return {folder}
        return {root} if self._root_of(real) is None else {root, real}

    def _roots_of_known(self, gone: Iterable[Path], *, looked_at: set[Path]) -> set[Path]:
        """Return the roots of those paths that the collection knows as photos or folders."""
        unsure = [path for path in gone if self._root_of(path) not in looked_at]
        if not unsure:
            return set()
        known = _known_places(self._collection.store)
        roots = {self._root_of(path) for path in unsure if not known.isdisjoint(_names_of(path))}
        return {root for root in roots if root is not None}


def _changes(
    roots: Sequence[Path], *, pace: WatchPace, stop: threading.Event
) -> Iterator[set[str] | str]:
    """Yield paths that changed, often none, and what hinders the watch.

    The watch begins anew, and all roots count as changed, when one of them vanished, came back,
    or is another folder now.
    """
    present: dict[Path, Identity] | None = None
    while not stop.is_set():
        before, present = present, {root: _identity(root) for root in roots}
        yield from _comings_and_goings(before, present)
        watched = [root for root in roots if present[root] is not None]
        missed = set(map(str, watched))
        for changes in _events(watched, pace=pace, stop=stop):
            if isinstance(changes, str):
                yield changes
                continue
            yield changes | missed
            missed.clear()
            if any(_identity(root) != identity for root, identity in present.items()):
                break


def _events(
    watched: Sequence[Path], *, pace: WatchPace, stop: threading.Event
) -> Iterator[set[str] | str]:
    """Yield paths as the operating system tells them; end when the watch must begin anew."""
    from watchfiles import Change, watch
    from watchfiles._rust_notify import WatchfilesRustInternalError

    tick = max(round(1000 * pace.quiet_seconds), 1)
    removals = {(Change.deleted, str(root)) for root in watched}
    try:
        for changes in watch(
            *watched,
            watch_filter=None,
            # Its own quiet time counts distinct paths: a file that grows is quiet to it.
            step=max(tick // 4, 1),
            debounce=tick,
            rust_timeout=tick,
            yield_on_timeout=True,
            stop_event=stop,
            # True would pass over every error, and leave what follows unwatched without a word.
            ignore_permission_denied=False,
        ):
            yield {path for _, path in changes}
            if not removals.isdisjoint(changes):
                return  # a folder made in its place at once may even have its inode
    except FileNotFoundError:
        stop.wait(pace.quiet_seconds)  # a root vanished just now
    except WatchfilesRustInternalError as error:
        if "Unable to decode" not in str(error):
            yield from _without_events(error, pace=pace, stop=stop)
        # A name that is not UTF-8: watchfiles 1.3 cannot tell it, and fails at every later call.
        stop.wait(pace.quiet_seconds)
    except (OSError, UnicodeEncodeError) as error:
        yield from _without_events(error, pace=pace, stop=stop)


def _without_events(
    error: Exception, *, pace: WatchPace, stop: threading.Event
) -> Iterator[set[str] | str]:
    """Say why nothing tells of changes, then yield no paths for ever."""
    reason, remedy = f"The system does not tell of changes ({error})", "see --rescan"
    if "watch limit" in str(error):
        reason = f"There are more folders than the system watches{_watch_limit()}"
        remedy = (
            "to be told of changes at once, run "
            "`sudo sysctl fs.inotify.max_user_watches=1048576` and start again"
        )
    yield f"{reason}: all are looked through every {pace.rescan_seconds:g} s instead; {remedy}."
    while not stop.wait(pace.quiet_seconds):
        yield set()


def _watch_limit() -> str:
    try:
        limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ""
    return f" ({limit:,})"


def _comings_and_goings(
    before: dict[Path, Identity] | None, present: dict[Path, Identity]
) -> Iterator[str]:
    """Say which roots vanished or came back; at the start, which are not there."""
    for root, identity in present.items():
        was_there = before is None or before[root] is not None
        if was_there and identity is None:
            yield f"{root} is gone; its photos stay in the index. Waiting for it to come back."
        elif identity is not None and not was_there:
            yield f"{root} is back."


def _identity(root: Path) -> Identity:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _watched_roots(paths: Sequence[Path], store: Store) -> list[Path]:
    """Return the folders to watch, none of them inside another."""
    recorded = store.roots()["root"].to_pylist()
    return _outermost(
        [resolve_root(path) for path in paths] or [Path(filesystem_path(root)) for root in recorded]
    )


def _outermost(folders: Iterable[Path]) -> list[Path]:
    outermost: list[Path] = []
    for folder in sorted(folders):
        if not (outermost and folder.is_relative_to(outermost[-1])):
            outermost.append(folder)
    return outermost


def _known_places(store: Store) -> set[str]:
    """Return the full paths of all files that the collection knows, and of their folders."""
    places: set[str] = set()
    for table in (store.images(("root", "path")), store.failures()):
        rows = zip(table["root"].to_pylist(), table["path"].to_pylist(), strict=True)
        for root, path in rows:
            place = joined_path(root, path)
            while place not in places and len(place) >= len(root):
                places.add(place)
                place = place.rpartition("/")[0]
    return places


def _names_of(path: Path) -> set[str]:
    """Return the full paths, as stored, under which a path that is gone may be known."""
    return {stored_path(str(path)), stored_path(os.path.realpath(path))}
