"""Move copies to the trash, each only while the photo kept instead of it is there and unchanged."""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from indexer.ingest import IngestProgress
from indexer.interrupt import deferred_interrupt
from indexer.lock import writer_lock
from indexer.scan import filesystem_path, is_skipped_folder, stored_path
from indexer.store import Store, local_directory
from schemas.duplicates import ReviewedGroup
from schemas.errors import InputError, StorageError
from schemas.trash import LeftFile, TrashSummary
from service.collection import Collection
from service.lines import counted
from service.trash.checking import (
    CheckedShot,
    IndexedPhoto,
    Keeper,
    checked_shot,
    refuse_same_file,
)
from service.trash.journal import (
    TRASH_NAME,
    JournalHeader,
    RunFolder,
    TrashedFile,
    new_run,
    record_trash,
)
from service.trash.moving import (
    FileStaysError,
    make_folders,
    put_back,
    system_reason,
    take_away,
)
from service.trash.shots import folder_shots, forget_name

PHOTO_COLUMNS = tuple(field.name for field in fields(IndexedPhoto))

# Photos whose rows are read at once.
BLOCK_PHOTOS = 2000

# Rows are removed in blocks, as each is a commit. What a crash leaves of them, the next
# `isophote index` removes.
BLOCK_ROWS = 500

# Folders of which is remembered what belongs together in them: groups jump between folders, and
# one of 100,000 files takes a fifth of a second to look through.
LISTED_FOLDERS = 1000


def trash_copies(
    collection: Collection,
    groups: Sequence[ReviewedGroup],
    *,
    trash: Path | None = None,
    now: datetime | None = None,
    report: Callable[[IngestProgress], None],
) -> TrashSummary:
    """Move the copies of groups to the trash, and take them out of the collection.

    A copy moves only if its own bytes and those of its keeper are the indexed ones, and if nothing
    that belongs to it gets out of sight with it: camera raw files must lie beside the keeper as
    well, byte by byte; and if it has sidecars, which hold edits, the keeper must have some too.
    They move along. What cannot be moved is told and never stops the others. KeyboardInterrupt
    ends the run after the photo at hand.

    Parameters
    ----------
    collection : Collection
    groups : sequence of ReviewedGroup
    trash : Path, optional
        Folder for all of them; by default `.isophote-trash` below the indexed folder of each.
    now : datetime, optional
        Start of the run, with a zone, by which it is named.
    report : callable
        Told the progress.

    Raises
    ------
    InputError
        If the collection holds imported vectors, or the trash cannot be used.
    LockedError
        If another process writes to the collection.
    StorageError
        If the collection cannot be written to; what was moved is in the trash.
    """
    started = time.monotonic()
    store = collection.store
    if store.info.origin == "vectors":
        raise InputError(
            f"the collection {store.uri!r} holds imported vectors, not files that could be moved; "
            "name a collection of photos with --collection"
        )
    header = new_run(store.uri, now=now or datetime.now(UTC))
    with writer_lock(local_directory(store.uri)):
        place = None if trash is None else _usable_trash(trash, store)
        run = _Run(store, place, header)
        n_copies = sum(len(group.copy_ids) for group in groups)
        interrupted = run.work_through(groups, report, n_copies=n_copies)
        with deferred_interrupt():
            run.finish()
    return TrashSummary(
        collection=store.uri,
        run=header.run if run.n_photos else None,
        folders=run.used_folders(),
        n_copies=n_copies,
        n_photos=run.n_photos,
        n_files=run.n_files,
        n_bytes=run.n_bytes,
        n_pending=n_copies - run.n_photos - len(run.left),
        left=run.left,
        interrupted=interrupted,
        seconds=time.monotonic() - started,
    )


class _Run:
    """One run's way through the copies."""

    def __init__(self, store: Store, trash: Path | None, header: JournalHeader) -> None:
        self.n_photos = self.n_files = self.n_bytes = 0
        self.left: list[LeftFile] = []
        self._store = store
        self._trash = trash
        self._header = header
        self._folders: dict[Path, RunFolder] = {}
        self._listed = lru_cache(maxsize=LISTED_FOLDERS)(folder_shots)
        # Real paths of what others were moved in favour of.
        self._needed: set[str] = set()
        self._to_forget: list[int] = []

    def work_through(
        self,
        groups: Sequence[ReviewedGroup],
        report: Callable[[IngestProgress], None],
        *,
        n_copies: int,
    ) -> bool:
        """Work on all groups; return whether the user interrupted."""
        try:
            for group, photos in self._with_photos(groups):
                kept = photos.get(group.keeper_id)
                keeper = None if kept is None else Keeper(kept)
                for copy_id in group.copy_ids:
                    self._work_on(copy_id, photos, keeper)
                    n_left = len(self.left)
                    report(IngestProgress(self.n_photos + n_left, n_copies, n_left))
        except KeyboardInterrupt:
            return True
        return False

    def finish(self) -> None:
        """Bring the collection up to date, and remove folders in which nothing lies after all."""
        self._forget_rows()
        for folder in self._folders.values():
            folder.remove_if_empty()
        if self.n_photos:
            self._store.optimize()

    def used_folders(self) -> list[str]:
        """Return the stored paths of the folders that hold what was moved."""
        paths = [folder.path for folder in self._folders.values()]
        return [stored_path(str(path)) for path in paths if path.exists()]

    def _with_photos(
        self, groups: Sequence[ReviewedGroup]
    ) -> Iterator[tuple[ReviewedGroup, dict[int, IndexedPhoto]]]:
        """Yield groups, each with what the index has of its photos."""
        for block in _blocks(groups):
            ids = [image_id for group in block for image_id in (group.keeper_id, *group.copy_ids)]
            rows = self._store.images_by_id(np.unique(np.array(ids, np.int64)), PHOTO_COLUMNS)
            photos = {row["image_id"]: IndexedPhoto(**row) for row in rows.to_pylist()}
            for group in block:
                yield group, photos

    def _work_on(
        self, copy_id: int, photos: dict[int, IndexedPhoto], keeper: Keeper | None
    ) -> None:
        """Move a copy, or note why not."""
        copy = photos.get(copy_id)
        shown = f"id:{copy_id}" if copy is None else copy.shown
        with self._noting(shown):
            if copy is None or keeper is None:
                which = "is" if copy is None else "stays, as its keeper is"
                raise FileStaysError(f"{which} not in the collection any more")
            refuse_same_file(copy, keeper)
            folder = self._run_folder(copy)  # first, as the rest is long to read
            keeper.check()
            shot = checked_shot(copy, keeper, self._listed)
            if shot.real_paths() & (self._needed | shot.needed):
                raise FileStaysError("stays, as other files were, or are to be, moved for it")
            with deferred_interrupt(), self._noting(shown):
                self._move(shot, keeper, folder)
                self._count(copy, shot)

    @contextmanager
    def _noting(self, shown: str) -> Iterator[None]:
        """Note why a file stays."""
        try:
            yield
        except FileStaysError as error:
            self.left.append(LeftFile(path=shown, reason=str(error)))
        except OSError as error:
            self.left.append(
                LeftFile(path=shown, reason=f"cannot be moved: {system_reason(error)}")
            )

    def _run_folder(self, copy: IndexedPhoto) -> RunFolder:
        """Return this run's folder in the trash for a photo; made when it is first needed."""
        trash = self._trash or Path(filesystem_path(copy.root)) / TRASH_NAME
        if trash not in self._folders:
            try:
                record_trash(local_directory(self._store.uri), trash)
                self._folders[trash] = RunFolder.create(trash, self._header)
            except OSError as error:
                raise FileStaysError(
                    f"stays, as no trash can be made in {stored_path(str(trash.parent))}: "
                    f"{system_reason(error)}; name a folder for it with --trash"
                ) from error
        return self._folders[trash]

    def _move(self, shot: CheckedShot, keeper: Keeper, folder: RunFolder) -> None:
        """Move a shot, all of it or nothing."""
        keeper.check()
        files = [_trashed_file(folder, place, status) for place, status in shot.files.items()]
        folder.announce(files)
        try:
            for file, (place, status) in zip(files, shot.files.items(), strict=True):
                take_away(place, folder.place(file), status)
            # One file that is reached in two ways, as by two network mounts, has gone with it.
            keeper.check()
        except (OSError, FileStaysError):
            _bring_back(folder, files)
            raise
        folder.note_moved(files)

    def _count(self, copy: IndexedPhoto, shot: CheckedShot) -> None:
        """Take note of a shot that was moved."""
        self._needed |= shot.needed
        self.n_photos += 1
        self.n_files += len(shot.files)
        self.n_bytes += sum(status.st_size for status in shot.files.values())
        for place in shot.files:
            with suppress(OSError):  # of a folder that must be listed again, and cannot
                forget_name(place.name, self._listed(place.parent))
        self._to_forget.append(copy.image_id)
        if len(self._to_forget) >= BLOCK_ROWS:
            self._forget_rows()

    def _forget_rows(self) -> None:
        """Remove the rows of photos that were moved."""
        try:
            self._store.delete_images(np.array(self._to_forget, np.int64))
        except StorageError as error:
            raise StorageError(
                f"{error}; {counted(self.n_photos, 'photo')} had been moved to the trash: "
                "`isophote undo` brings them back"
            ) from error
        self._to_forget.clear()


def _trashed_file(folder: RunFolder, place: Path, status: os.stat_result) -> TrashedFile:
    """Return what a journal has to know of a file."""
    is_on_its_drive = place.parent.stat().st_dev == folder.path.stat().st_dev
    return TrashedFile(
        path=folder.named(place),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        mode=stat.S_IMODE(status.st_mode),
        mount=None if is_on_its_drive else stored_path(str(_mount_point(place.parent))),
    )


def _mount_point(folder: Path) -> Path:
    place = Path(os.path.realpath(folder))
    while not os.path.ismount(place):
        place = place.parent
    return place


def _usable_trash(trash: Path, store: Store) -> Path:
    """Return the full path of a trash folder that the user names; made if it does not exist."""
    place = Path(os.path.realpath(trash.expanduser()))
    for stored in store.roots()["root"].to_pylist():
        root = Path(filesystem_path(stored))
        below = place.relative_to(root).parts if place.is_relative_to(root) else (TRASH_NAME,)
        if not any(map(is_skipped_folder, below)):
            raise InputError(
                f"the trash {place} lies in the indexed folder {root}, and what is moved there "
                "would be indexed again; name a folder outside of it, or a hidden one"
            )
    try:
        make_folders(place)
    except OSError as error:
        raise InputError(
            f"the trash {place} cannot be made: {system_reason(error)}; name another folder with "
            "--trash"
        ) from error
    return place


def _blocks(groups: Sequence[ReviewedGroup]) -> Iterator[list[ReviewedGroup]]:
    """Yield groups in blocks of some BLOCK_PHOTOS photos."""
    block: list[ReviewedGroup] = []
    n_photos = 0
    for group in groups:
        block.append(group)
        n_photos += 1 + len(group.copy_ids)
        if n_photos >= BLOCK_PHOTOS:
            yield block
            block, n_photos = [], 0
    if block:
        yield block


def _bring_back(folder: RunFolder, files: Sequence[TrashedFile]) -> None:
    """Put back what was moved of a shot."""
    stuck = []
    for file in reversed(files):
        original, place = folder.original(file), folder.place(file)
        if os.path.lexists(place) and not os.path.lexists(original):
            try:
                put_back(place, original)
            except (OSError, FileStaysError):
                stuck.append(stored_path(str(place)))
    if stuck:
        raise FileStaysError(
            f"could be neither moved nor put back, and lies at {', '.join(stuck)}; "
            "`isophote undo` tries again"
        )
