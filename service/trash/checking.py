"""Whether a copy may go: it, the photo kept instead of it and what belongs to both are as known."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from indexer.scan import absolute_path, joined_path, stored_path
from service.trash.moving import CHANGED, FileStaysError, digest_of, open_regular, system_reason
from service.trash.shots import Company, FolderShots, leaving_with, lying_beside


@dataclass(frozen=True, slots=True)
class IndexedPhoto:
    """What the index says of a photo: columns of `images`."""

    image_id: int
    root: str
    path: str
    content_hash: str
    file_size: int
    mtime_ns: int

    @property
    def place(self) -> Path:
        """Where it lies."""
        return absolute_path(self.root, self.path)

    @property
    def shown(self) -> str:
        """Its full path as stored."""
        return joined_path(self.root, self.path)


class Keeper:
    """The photo that stays; its bytes are read once, and again only if it was touched.

    Parameters
    ----------
    photo : IndexedPhoto
    """

    def __init__(self, photo: IndexedPhoto) -> None:
        self.place = photo.place
        self.shown = photo.shown
        self._content_hash = photo.content_hash
        self._seen: tuple[int, ...] | None = None
        self._raws: dict[str, Path] | None = None

    def check(self) -> None:
        """See that it is there with the indexed bytes.

        Raises
        ------
        FileStaysError
            For the copy, if it is not.
        """
        try:
            self._look()
        except OSError as error:
            reason = f"stays, as its keeper {self.shown} cannot be read: {system_reason(error)}"
            raise FileStaysError(reason) from error
        except FileStaysError as error:
            raise FileStaysError(f"stays, as its keeper {self.shown} {error}") from error

    def raw_with(self, digest: str, beside: Company) -> Path | None:
        """Return the one of the raw files beside it that has these bytes.

        Raises
        ------
        FileStaysError
            For the copy, if one cannot be read.
        """
        if self._raws is None:
            places = [self.place.with_name(name) for name in beside.raws]
            self._raws = {_digest_beside(place)[1]: place for place in places}
        return self._raws.get(digest)

    def _look(self) -> None:
        # Opened and not only looked up: a network drive may answer that from memory.
        with open_regular(self.place) as file:
            seen = _identity(os.fstat(file.fileno()))
        if seen != self._seen:
            status, digest = digest_of(self.place)
            if digest != self._content_hash:
                raise FileStaysError(CHANGED)
            self._seen = _identity(status)


@dataclass(frozen=True, slots=True)
class CheckedShot:
    """A copy and what goes with it: their places, and their status when their bytes were read.

    `needed` are the real paths of what they are given up for, and what must not move itself.
    """

    files: dict[Path, os.stat_result]
    needed: set[str]

    def real_paths(self) -> set[str]:
        """Return where the files really lie, whatever links lead to their folders."""
        return {os.path.realpath(place) for place in self.files}


def refuse_same_file(copy: IndexedPhoto, keeper: Keeper) -> None:
    """Refuse a copy that is no file of its own beside its keeper.

    Raises
    ------
    FileStaysError
        If it is a link, the keeper leads to it, or it is gone.
    """
    try:
        status = copy.place.lstat()
    except FileNotFoundError as error:
        raise FileStaysError("is gone already; run `isophote index`") from error
    if stat.S_ISLNK(status.st_mode):
        raise FileStaysError("stays, as it is a symbolic link, which takes no room")
    if os.path.realpath(copy.place) == os.path.realpath(keeper.place):
        raise FileStaysError(f"stays, as its keeper {keeper.shown} leads to the very same file")
    try:
        is_same = os.path.samestat(status, keeper.place.stat())
    except OSError:
        return  # told when the keeper is read
    if is_same:
        raise FileStaysError(
            f"stays, as it is a hard link to its keeper {keeper.shown}: without it no room is freed"
        )


def checked_shot(
    copy: IndexedPhoto, keeper: Keeper, listed: Callable[[Path], FolderShots]
) -> CheckedShot:
    """Read a copy and what belongs to it, and see that all of it may go.

    Parameters
    ----------
    copy : IndexedPhoto
    keeper : Keeper
        Which was checked.
    listed : callable
        Tells what belongs together in a folder; see :func:`service.trash.shots.folder_shots`.

    Raises
    ------
    FileStaysError
        If the copy has changed since it was indexed, or the keeper lacks what it has beside it.
    OSError
        If the copy cannot be read, or a folder cannot be listed.
    """
    status, digest = digest_of(copy.place)
    seen = (status.st_size, status.st_mtime_ns, digest)
    if seen != (copy.file_size, copy.mtime_ns, copy.content_hash):
        raise FileStaysError(CHANGED)
    shot = CheckedShot({copy.place: status}, {os.path.realpath(keeper.place)})
    company = leaving_with(copy.place.name, listed(copy.place.parent))
    if company.raws or company.sidecars:
        beside = lying_beside(keeper.place.name, listed(keeper.place.parent))
        _add_raws(shot, copy, company, keeper, beside)
        _add_sidecars(shot, copy, company, keeper, beside)
    return shot


def _add_raws(
    shot: CheckedShot, copy: IndexedPhoto, company: Company, keeper: Keeper, beside: Company
) -> None:
    """Let raw files go along if the keeper has the same, byte by byte."""
    for name in company.raws:
        place = copy.place.with_name(name)
        status, digest = _digest_to_move(place)
        twin = keeper.raw_with(digest, beside)
        if twin is None:
            raise FileStaysError(
                f"stays, as the raw file {stored_path(name)} of the same shot is beside it and not "
                f"beside its keeper {keeper.shown}"
            )
        shot.files[place] = status
        shot.needed.add(os.path.realpath(twin))


def _add_sidecars(
    shot: CheckedShot, copy: IndexedPhoto, company: Company, keeper: Keeper, beside: Company
) -> None:
    """Let sidecars go along if the keeper has its own: programs write one for each photo."""
    if company.sidecars and not beside.sidecars:
        raise FileStaysError(
            f"stays, as {stored_path(company.sidecars[0])} beside it may hold edits, and its "
            f"keeper {keeper.shown} has no such file; keep this photo instead"
        )
    for name in company.sidecars:
        place = copy.place.with_name(name)
        shot.files[place] = _digest_to_move(place)[0]


def _digest_to_move(place: Path) -> tuple[os.stat_result, str]:
    """Return status and sha256 of a file that would go along."""
    if place.is_symlink():
        raise FileStaysError(f"stays, as {stored_path(str(place))} is a symbolic link")
    return _digest_beside(place)


def _digest_beside(place: Path) -> tuple[os.stat_result, str]:
    shown = stored_path(str(place))
    try:
        return digest_of(place)
    except OSError as error:
        raise FileStaysError(f"stays, as {shown} cannot be read: {system_reason(error)}") from error
    except FileStaysError as error:
        raise FileStaysError(f"stays, as {shown} {error}") from error


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
