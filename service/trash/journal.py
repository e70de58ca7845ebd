"""The folder of one run in a trash: its journal and its files, and where trash folders are.

A journal is a file of JSON lines, which only grows. A line that a crash cut short is passed over:
what it was about to announce has not happened.
"""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath

from pydantic import Field, ValidationError

from indexer.scan import filesystem_path, stored_path
from indexer.store import is_remote
from schemas.errors import InputError
from schemas.results import Record
from service.trash.moving import PART_NAME, make_folders, sync_folder, system_reason

TRASH_NAME = ".isophote-trash"
JOURNAL_NAME = "journal.jsonl"
FILES_NAME = "files"
RECORD_NAME = "trash.jsonl"

FORMAT = 1
"""Of journals. A release that changes what a line means counts on."""


class JournalHeader(Record):
    """The first line of a journal. `collection` is the one whose copies were moved."""

    format: int
    run: str
    started_at: datetime
    collection: str


class TrashedFile(Record):
    """A file of a run, as it was in its place.

    `path` is as stored: relative to the folder that the trash lies in if the file was below it,
    else full. `mount` is the stored path of the drive it was on, unless the trash is on the same.
    """

    path: str
    size: int
    mtime_ns: int
    mode: int
    mount: str | None = None


Shot = list[TrashedFile]
"""A photo, and then the files that go where it goes."""


class JournalLine(Record):
    """Any other line: a shot that is about to move, its photo when it has, or a file put back."""

    moving: Shot = Field(default_factory=list)
    moved: str | None = None
    restored: str | None = None


@dataclass(slots=True)
class Journal:
    """What a journal tells: the shots by the path of their photo, and what became of them."""

    header: JournalHeader
    shots: dict[str, Shot] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    restored: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run in one trash, `trash / run`."""

    path: Path

    @classmethod
    def create(cls, trash: Path, header: JournalHeader) -> "RunFolder":
        """Make the folder of a new run, with a journal that outlasts a power cut.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        make_folders(trash)
        folder = cls(trash / header.run)
        # Photos that only their owner may see must not be seen in the trash.
        folder.path.mkdir(mode=0o700)
        try:
            folder._append(header)
            sync_folder(folder.path)
            sync_folder(trash)
        except OSError:
            folder.remove_if_empty()
            raise
        return folder

    def original(self, file: TrashedFile) -> Path:
        """Return where a file was, in a drive that may be mounted elsewhere now."""
        return self.path.parent.parent / filesystem_path(file.path)

    def place(self, file: TrashedFile) -> Path:
        """Return where a file is in the trash."""
        path = PurePath(filesystem_path(file.path))
        return self.path / FILES_NAME / path.relative_to(path.anchor)

    def named(self, original: Path) -> str:
        """Return what the journal calls a file."""
        around = self.path.parent.parent
        below = original.relative_to(around) if original.is_relative_to(around) else original
        return stored_path(str(below))

    def announce(self, shot: Shot) -> None:
        """Write down, onto the disk, what is about to be moved.

        Raises
        ------
        OSError
            If that is not possible; then nothing may be moved.
        """
        self._append(JournalLine(moving=shot))

    def note_moved(self, shot: Shot) -> None:
        """Write down that a shot was moved; the disk tells as well."""
        self._note(JournalLine(moved=shot[0].path))

    def note_restored(self, file: TrashedFile) -> None:
        """Write down that a file is back; the disk tells as well."""
        self._note(JournalLine(restored=file.path))

    def read(self) -> Journal | None:
        """Return what the journal tells; None if a crash left none, before anything moved.

        Raises
        ------
        InputError
            If it cannot be read, or a newer release wrote it.
        """
        try:
            with (self.path / JOURNAL_NAME).open("rb") as file:
                journal = self._begun(file.readline())
                if journal is not None:
                    for line in file:
                        with suppress(ValidationError):
                            _take_in(journal, JournalLine.model_validate_json(line))
        except OSError as error:
            raise InputError(self._unreadable(system_reason(error))) from error
        return journal

    def _begun(self, first_line: bytes) -> Journal | None:
        try:
            header = JournalHeader.model_validate_json(first_line)
        except ValidationError as error:
            if (self.path / FILES_NAME).exists():
                raise InputError(self._unreadable("its first line is damaged")) from error
            return None
        if header.format > FORMAT:
            raise InputError(
                f"the trash {str(self.path)!r} was written by a newer release of isophote "
                f"(format {header.format}, this one reads {FORMAT}); install that release"
            )
        return Journal(header)

    def _unreadable(self, why: str) -> str:
        return (
            f"the journal of the trash {str(self.path)!r} cannot be read: {why}; its files lie "
            f"below its folder {FILES_NAME!r}, under the paths they had: move them by hand"
        )

    def remove_if_empty(self) -> None:
        """Remove the run once no file is left in it, and its trash with the last run."""
        with suppress(OSError):  # whatever is in there stays
            for folder, _, names in os.walk(self.path / FILES_NAME, topdown=False):
                if PART_NAME in names:
                    (Path(folder) / PART_NAME).unlink()
                with suppress(OSError):
                    Path(folder).rmdir()
            if os.path.lexists(self.path / FILES_NAME):
                return
            (self.path / JOURNAL_NAME).unlink(missing_ok=True)
            self.path.rmdir()
            # One that the user named is the user's.
            if self.path.parent.name == TRASH_NAME:
                self.path.parent.rmdir()

    def _note(self, line: JournalLine) -> None:
        with suppress(OSError):  # a full disk must not keep a file in the trash
            _append_line(self.path / JOURNAL_NAME, line.model_dump_json(exclude_defaults=True))

    def _append(self, line: Record) -> None:
        text = line.model_dump_json(exclude_defaults=True)
        _append_line(self.path / JOURNAL_NAME, text, is_durable=True)


def new_run(uri: str, *, now: datetime) -> JournalHeader:
    """Return the header of a run on a collection that starts now, under a name no other has."""
    now = now.astimezone(UTC)
    run = f"{now:%Y-%m-%d-%H%M%S}-{secrets.token_hex(3)}"
    # It may be undone from another folder.
    collection = uri if is_remote(uri) else str(Path(uri).absolute())
    return JournalHeader(format=FORMAT, run=run, started_at=now, collection=collection)


def run_folders(trash: Path) -> list[RunFolder]:
    """Return the runs in a trash folder by name, but for those that only another user may read."""
    try:
        paths = sorted(trash.iterdir())
    except OSError:
        return []
    return [RunFolder(path) for path in paths if os.access(path / JOURNAL_NAME, os.R_OK)]


def record_trash(directory: Path, trash: Path) -> None:
    """Note beside a collection that a trash folder is used.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if trash not in recorded_trash(directory):
        _append_line(directory / RECORD_NAME, json.dumps(stored_path(str(trash))), is_durable=True)
        sync_folder(directory)


def recorded_trash(directory: Path) -> list[Path]:
    """Return the trash folders that a collection has used."""
    try:
        lines = (directory / RECORD_NAME).read_bytes().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        with suppress(ValueError):
            folders.append(Path(filesystem_path(json.loads(line))))
    return folders


def _take_in(journal: Journal, line: JournalLine) -> None:
    if line.moving:
        journal.shots[line.moving[0].path] = line.moving
    if line.moved is not None:
        journal.moved.add(line.moved)
    if line.restored is not None:
        journal.restored.add(line.restored)


def _append_line(path: Path, line: str, *, is_durable: bool = False) -> None:
    """Add a line to a file whose last one may have been cut short."""
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        is_torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * is_torn + line.encode() + b"\n")
        file.flush()
        if is_durable:
            os.fsync(file.fileno())
