"""What moving copies to the trash, and bringing them back, answers."""

from datetime import datetime

from schemas.results import Record


class LeftFile(Record):
    """A file that was not moved, and why.

    `path` is the full path as stored, or id:N of a photo that the collection does not hold any
    more; `reason` goes on from there, as in "has changed since it was indexed".
    """

    path: str
    reason: str


class TrashSummary(Record):
    """What moving copies to the trash did.

    Of `n_copies` photos that were to go, `n_photos` did, with what belongs to them `n_files` files
    of `n_bytes`; `left` tells of the others, but for `n_pending` that were not reached because the
    run was interrupted. `run` names it for `isophote undo`, `folders` hold its files; None and
    empty if nothing was moved.
    """

    collection: str
    run: str | None
    folders: list[str]
    n_copies: int
    n_photos: int
    n_files: int
    n_bytes: int
    n_pending: int
    left: list[LeftFile]
    interrupted: bool
    seconds: float


class TrashRun(Record):
    """A run whose photos, at least some, are still in the trash: in `folders`, one per trash."""

    run: str
    started_at: datetime
    n_photos: int
    n_files: int
    n_bytes: int
    folders: list[str]


class TrashList(Record):
    """What is in the trash, the last run first.

    Folders in `unreached` were used for trash and cannot be looked at, as those of a drive that is
    not mounted.
    """

    runs: list[TrashRun]
    unreached: list[str]


class RestoreSummary(Record):
    """What bringing photos back from the trash did.

    `n_photos` came back, with what belongs to them `n_files` files of `n_bytes`. `n_present` files
    had been at their places already, and `left` were not moved. `n_pending` photos were not
    reached because the run was interrupted. For `unreached` see TrashList.
    """

    runs: list[str]
    n_photos: int
    n_files: int
    n_bytes: int
    n_present: int
    n_pending: int
    left: list[LeftFile]
    unreached: list[str]
    interrupted: bool
    seconds: float
