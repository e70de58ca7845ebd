"""Bring photos back from the trash, and list what is in it."""

import os
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from indexer.ingest import IngestProgress
from indexer.interrupt import deferred_interrupt
from indexer.lock import writer_lock
from indexer.scan import filesystem_path, stored_path
from indexer.store import local_directory
from schemas.errors import InputError, StorageError
from schemas.trash import LeftFile, RestoreSummary, TrashList, TrashRun
from service.trash.journal import (
    TRASH_NAME,
    Journal,
    RunFolder,
    TrashedFile,
    recorded_trash,
    run_folders,
)
from service.trash.moving import (
    PART_NAME,
    FileStaysError,
    claim_of,
    digest_of,
    make_folders,
    put_back,
    system_reason,
)


@dataclass(frozen=True, slots=True)
class _TrashedShot:
    """A photo in the trash and what went with it."""

    folder: RunFolder
    journal: Journal
    files: Sequence[TrashedFile]

    def is_held(self) -> bool:
        """Return whether any of its files is in the trash, or what a crash left of a copy."""
        return any(
            _is_held(self.folder, file)
            or os.path.lexists(self.folder.place(file).with_name(PART_NAME))
            for file in self.files
        )


def trash_of(uri: str) -> list[Path]:
    """Return the trash folders that a collection has used."""
    return recorded_trash(local_directory(uri))


def list_trash(folders: Sequence[Path]) -> TrashList:
    """Return the runs whose photos, at least some, are in trash folders.

    Parameters
    ----------
    folders : sequence of Path
        As :func:`trash_of` returns them.

    Raises
    ------
    InputError
        If the journal of one cannot be read.
    """
    runs = []
    for name, of_run in _runs(folders).items():
        shots = _shots(of_run)
        held = [
            (shot, file) for shot in shots for file in shot.files if _is_held(shot.folder, file)
        ]
        if held:
            runs.append(
                TrashRun(
                    run=name,
                    started_at=shots[0].journal.header.started_at,
                    n_photos=sum(file is shot.files[0] for shot, file in held),
                    n_files=len(held),
                    n_bytes=sum(file.size for _, file in held),
                    folders=[stored_path(str(folder.path)) for folder in of_run],
                )
            )
    return TrashList(runs=runs, unreached=_unreached(folders))


def undo(
    folders: Sequence[Path],
    *,
    run: str | None = None,
    files: Sequence[Path] = (),
    report: Callable[[IngestProgress], None],
) -> RestoreSummary:
    """Bring photos back to where they were, with what was moved along with them.

    Nothing is overwritten: where something else has a photo's place, the photo stays in the trash
    and is told. KeyboardInterrupt ends it after the file at hand.

    Parameters
    ----------
    folders : sequence of Path
        Trash folders to look in, as :func:`trash_of` returns them.
    run : str, optional
        Which one; the last whose photos are in the trash by default.
    files : sequence of Path
        Only these, by the paths they had; without a run, from the last that holds each.
    report : callable
        Told the progress.

    Raises
    ------
    InputError
        If nothing in the trash is what was asked for, or its journal cannot be read.
    LockedError
        If another process writes to the collection whose photos they were.
    """
    started = time.monotonic()
    shots = _chosen(folders, run, files)
    restoration = _Restoration()
    with ExitStack() as stack:
        for collection in sorted({shot.journal.header.collection for shot in shots}):
            # It need not be there any more, nor be one that this user can write to.
            if local_directory(collection).is_dir():
                with suppress(StorageError):
                    stack.enter_context(writer_lock(local_directory(collection)))
        interrupted = restoration.work_through(shots, report)
        for folder in {shot.folder for shot in shots}:
            folder.remove_if_empty()
    return RestoreSummary(
        runs=sorted({shot.folder.path.name for shot in shots}),
        n_photos=restoration.n_photos,
        n_files=restoration.n_files,
        n_bytes=restoration.n_bytes,
        n_present=restoration.n_present,
        n_pending=len(shots) - restoration.n_done,
        left=restoration.left,
        unreached=_unreached(folders),
        interrupted=interrupted,
        seconds=time.monotonic() - started,
    )


class _Restoration:
    """The way back of photos, and what came of it."""

    def __init__(self) -> None:
        self.n_photos = self.n_files = self.n_bytes = self.n_present = self.n_done = 0
        self.left: list[LeftFile] = []

    def work_through(
        self, shots: Sequence[_TrashedShot], report: Callable[[IngestProgress], None]
    ) -> bool:
        """Bring back all shots; return whether the user interrupted."""
        try:
            for shot in shots:
                for file in shot.files:
                    with deferred_interrupt(), self._noting(shot.folder.original(file)):
                        self._restore(shot, file)
                self.n_done += 1
                report(IngestProgress(self.n_done, len(shots), len(self.left)))
        except KeyboardInterrupt:
            return True
        return False

    @contextmanager
    def _noting(self, original: Path) -> Iterator[None]:
        """Note why a file stays in the trash."""
        shown = stored_path(str(original))
        try:
            yield
        except FileStaysError as error:
            self.left.append(LeftFile(path=shown, reason=str(error)))
        except OSError as error:
            reason = f"cannot be brought back: {system_reason(error)}"
            self.left.append(LeftFile(path=shown, reason=reason))

    def _restore(self, shot: _TrashedShot, file: TrashedFile) -> None:
        outcome = _restored(shot, file)
        if outcome is not None:
            # What an earlier run that broke off left of a copy.
            shot.folder.original(file).with_name(PART_NAME).unlink(missing_ok=True)
            shot.folder.note_restored(file)
        if outcome == "present":
            self.n_present += 1
        elif outcome == "back":
            self.n_photos += file is shot.files[0]
            self.n_files += 1
            self.n_bytes += file.size


def _restored(shot: _TrashedShot, file: TrashedFile) -> Literal["back", "present"] | None:
    """Bring back a file, as the table in the docstring of the package tells.

    Returns
    -------
    "back", "present" or None
        What happened: it came back, it was there already, or there was nothing to do.
    """
    original, kept = shot.folder.original(file), shot.folder.place(file)
    is_back = _put_back_claim(original)
    if not os.path.lexists(kept):
        if not (is_back or os.path.lexists(original) or _is_settled(shot, file)):
            raise FileStaysError("is neither in its place nor in the trash any more")
        return "back" if is_back else None
    if not os.path.lexists(original):
        _refuse_unmounted(file)
        make_folders(original.parent)
        put_back(kept, original)
        _restore_status(original, file)
        return "back"
    _drop_copy(kept, original)
    return "back" if is_back else "present"


def _put_back_claim(original: Path) -> bool:
    """Put back a file that a crash left between two drives; return whether there was one."""
    claim = claim_of(original)
    if not os.path.lexists(claim):
        return False
    if not os.path.lexists(original):
        put_back(claim, original)
        return True
    _drop_copy(claim, original)
    return False


def _drop_copy(kept: Path, original: Path) -> None:
    """Remove a file whose bytes are in its place as well."""
    if not _is_copy(original, kept):
        raise FileStaysError(
            "has another file in its place; move or rename that one, or take this one from "
            f"{stored_path(str(kept))}"
        )
    kept.unlink()


def _is_copy(original: Path, kept: Path) -> bool:
    """Return whether a file may be removed as its bytes are in its place as well."""
    if not (_is_regular(original) and _is_regular(kept)):
        return False
    # The place may lead into the trash, by a link that somebody made.
    if os.path.realpath(original) == os.path.realpath(kept):
        return False
    return original.samefile(kept) or digest_of(original)[1] == digest_of(kept)[1]


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _is_settled(shot: _TrashedShot, file: TrashedFile) -> bool:
    """Return whether a file need not be anywhere: it came back before, or was never moved."""
    is_moved = shot.files[0].path in shot.journal.moved
    return file.path in shot.journal.restored or not is_moved


def _is_held(folder: RunFolder, file: TrashedFile) -> bool:
    claim = claim_of(folder.original(file))
    return os.path.lexists(folder.place(file)) or os.path.lexists(claim)


def _refuse_unmounted(file: TrashedFile) -> None:
    """Refuse to make the folders of a drive on the disk below where it is mounted."""
    mount = None if file.mount is None else filesystem_path(file.mount)
    if mount is not None and not os.path.ismount(mount):
        raise FileStaysError(f"stays in the trash, as no drive is mounted at {file.mount}")


def _restore_status(original: Path, file: TrashedFile) -> None:
    """Give a file back what a trash on FAT cannot hold of it."""
    with suppress(OSError):  # of another user's file: it is back all the same
        status = original.stat()
        if status.st_mtime_ns != file.mtime_ns:
            os.utime(original, ns=(status.st_atime_ns, file.mtime_ns))
        if stat.S_IMODE(status.st_mode) != file.mode:
            original.chmod(file.mode)


def _runs(folders: Sequence[Path]) -> dict[str, list[RunFolder]]:
    """Return the folders of each run by its name, the last run first."""
    of_run: dict[str, list[RunFolder]] = defaultdict(list)
    for trash in folders:
        for folder in run_folders(trash):
            of_run[folder.path.name].append(folder)
    return dict(sorted(of_run.items(), reverse=True))


def _shots(folders: Sequence[RunFolder]) -> list[_TrashedShot]:
    """Return what the journals of a run name."""
    return [
        _TrashedShot(folder, journal, files)
        for folder in folders
        if (journal := folder.read()) is not None
        for files in journal.shots.values()
    ]


def _chosen(
    folders: Sequence[Path], run: str | None, files: Sequence[Path]
) -> Sequence[_TrashedShot]:
    """Return what is to be brought back."""
    runs = _runs(folders)
    if run is not None:
        if run not in runs:
            raise InputError(
                f"there is no run {run!r} in the trash; `isophote undo --list` tells which there "
                "are"
            )
        runs = {run: runs[run]}
    if files:
        return _shots_of(files, runs)
    for of_run in runs.values():
        shots = _shots(of_run)
        if run is not None or any(shot.is_held() for shot in shots):
            return shots
    looked = ", ".join(stored_path(str(folder)) for folder in folders) or "none is known"
    raise InputError(
        f"there is nothing to undo in the trash of this collection ({looked}); name another "
        f"--collection, or a trash folder with --trash, as in --trash ~/Pictures/{TRASH_NAME}"
    )


def _shots_of(files: Sequence[Path], runs: dict[str, list[RunFolder]]) -> list[_TrashedShot]:
    """Return the shots that files are of, each from the last run that holds it."""
    wanted = {_real_place(file): file for file in files}
    names = {place.name for place in wanted}
    found: list[_TrashedShot] = []
    for of_run in runs.values():
        for shot in _shots(of_run):
            places = [shot.folder.original(file) for file in shot.files]
            of_shot = {_real_place(place) for place in places if place.name in names}
            if wanted.keys() & of_shot and shot.is_held():
                found.append(shot)
                wanted = {place: wanted[place] for place in wanted.keys() - of_shot}
    if wanted:
        missing = ", ".join(stored_path(str(file)) for file in wanted.values())
        raise InputError(
            f"not in the trash: {missing}; give the paths that files had, or look for them below "
            "the folders that `isophote undo --list` tells"
        )
    return found


def _real_place(path: Path) -> Path:
    """Return a path with the links above the file resolved; they need not exist any more."""
    return Path(os.path.realpath(path.expanduser().parent)) / path.name


def _unreached(folders: Sequence[Path]) -> list[str]:
    return [stored_path(str(folder)) for folder in folders if not folder.parent.is_dir()]
