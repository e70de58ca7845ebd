"""Folders of files with a collection that knows them, and what becomes of both."""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexer.arrays import IntArray
from indexer.scan import ScannedFile, absolute_path, joined_path, scan, stored_path
from indexer.settings import Settings
from schemas.duplicates import ReviewedGroup
from schemas.tables import ROOTS_SCHEMA
from schemas.trash import RestoreSummary, TrashSummary
from service.collection import Collection
from service.trash.journal import JOURNAL_NAME, TRASH_NAME, RunFolder, run_folders
from service.trash.restoring import trash_of, undo
from service.trash.trashing import trash_copies
from tests.makers.stores import NOON, collection_info

SETTINGS = Settings()  # of no account here, and slow to make

CHANGING_CALLS = ("rename", "link", "unlink", "mkdir", "rmdir", "fsync", "utime", "chmod")
"""Functions of `os` that change what is on the disk, or make it last."""


class FakeStore:
    """The rows of a collection, in memory."""

    def __init__(self, uri: str, rows: Sequence[dict[str, Any]], **info: Any) -> None:
        self.uri = uri
        self.info = collection_info(**info)
        self._rows = {row["image_id"]: row for row in rows}

    def roots(self) -> pa.Table:
        names = sorted({row["root"] for row in self._rows.values()})
        rows = [{"root": name, "n_files": 1, "scanned_at": NOON} for name in names]
        return pa.Table.from_pylist(rows, schema=ROOTS_SCHEMA)

    def images_by_id(self, image_ids: IntArray, columns: Sequence[str]) -> pa.Table:
        known = [self._rows[image_id] for image_id in image_ids.tolist() if image_id in self._rows]
        return pa.Table.from_pylist([{name: row[name] for name in columns} for row in known])

    def delete_images(self, image_ids: IntArray) -> None:
        for image_id in image_ids.tolist():
            del self._rows[image_id]

    def optimize(self) -> None:
        pass

    def paths(self) -> set[str]:
        """The full stored paths of all rows."""
        return {joined_path(row["root"], row["path"]) for row in self._rows.values()}


class Library:
    """Folders of a place, and a collection of the photos in them.

    The bytes of its files need not be pictures: nothing here decodes them.
    """

    def __init__(self, place: Path, *roots: str) -> None:
        self.place = place
        self.roots = [place / root for root in roots or ("photos",)]
        self.collection_folder = place / "collection"
        for folder in (*self.roots, self.collection_folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.store = FakeStore(str(self.collection_folder), [])

    def write(self, name: str, content: str, *, seconds: int = 1_700_000_000) -> Path:
        """Write a file, `name` relative to the place."""
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(seconds * 10**9, seconds * 10**9 + 123_456_789))
        return path

    def index(self, **info: Any) -> None:
        """Give each photo that a scan finds a row."""
        found = [file for root in self.roots for file in scan(root)]
        files = [file for file in found if isinstance(file, ScannedFile)]
        rows = [{"image_id": number, **_row(file)} for number, file in enumerate(files)]
        self.store = FakeStore(str(self.collection_folder), rows, **info)

    @property
    def collection(self) -> Collection:
        store: Any = self.store
        return Collection(store, SETTINGS)

    def image_id(self, path: Path) -> int:
        """The id of the photo that the index has at a path."""
        wanted = stored_path(str(path))
        rows = self.store._rows.values()
        return next(
            row["image_id"] for row in rows if joined_path(row["root"], row["path"]) == wanted
        )

    def group(self, keeper: Path, *copies: Path) -> ReviewedGroup:
        copy_ids = [self.image_id(copy) for copy in copies]
        return ReviewedGroup(keeper_id=self.image_id(keeper), copy_ids=copy_ids)

    def trash(self, *groups: ReviewedGroup, trash: Path | None = None, **how: Any) -> TrashSummary:
        how = {"report": lambda _: None, **how}
        return trash_copies(self.collection, groups, trash=trash, **how)

    def undo(self, **what: Any) -> RestoreSummary:
        what = {"folders": trash_of(str(self.collection_folder)), "report": lambda _: None, **what}
        return undo(**what)

    def run_folders(self) -> list[RunFolder]:
        """The runs that are in the trash of any root."""
        return [folder for root in self.roots for folder in run_folders(root / TRASH_NAME)]

    def photos(self) -> Counter[tuple[str, bytes]]:
        """Paths and bytes of all files that are in their places, as a multiset."""
        return Counter(
            (stored_path(str(path.relative_to(self.place))), path.read_bytes())
            for root in self.roots
            for path in root.rglob("*")
            if path.is_file() and TRASH_NAME not in path.parts
        )

    def all_files(self) -> Counter[bytes]:
        """The bytes of all files, wherever they are, but for the journals."""
        return Counter(
            path.read_bytes()
            for path in self.place.rglob("*")
            if path.is_file()
            and path.name != JOURNAL_NAME
            and self.collection_folder not in path.parents
        )


def _row(file: ScannedFile) -> dict[str, Any]:
    content = absolute_path(file.root, file.path).read_bytes()
    return {
        "root": file.root,
        "path": file.path,
        "content_hash": hashlib.sha256(content).hexdigest(),
        "file_size": file.size,
        "mtime_ns": file.mtime_ns,
    }


def write_two_groups(library: Library) -> None:
    """Write a shot with a raw file and a sidecar twice, and a photo twice."""
    for folder in ("here", "there"):
        library.write(f"photos/{folder}/shot.jpg", "shot")
        library.write(f"photos/{folder}/shot.cr2", "raw")
        library.write(f"photos/{folder}/shot.xmp", f"edits {folder}")
        library.write(f"photos/{folder}/single.png", "single")


def indexed_groups(library: Library) -> list[ReviewedGroup]:
    """Index what `write_two_groups` wrote, and return the groups."""
    library.index()
    here, there = library.place / "photos/here", library.place / "photos/there"
    return [library.group(here / name, there / name) for name in ("shot.jpg", "single.png")]


def two_groups(library: Library) -> list[ReviewedGroup]:
    """Write and index them."""
    write_two_groups(library)
    return indexed_groups(library)


def hooked_calls(
    patch: Callable[[Any, str, Any], None], before: Callable[[str, Sequence[Any]], None]
) -> None:
    """Let a function be told each changing call before it is made; the disk is not waited for."""
    for name in CHANGING_CALLS:
        call = (lambda *_: None) if name == "fsync" else getattr(os, name)
        patch(os, name, _hooked(name, call, before))


def _hooked(name: str, call: Any, before: Callable[[str, Sequence[Any]], None]) -> Any:
    def hooked(*arguments: Any, **options: Any) -> Any:
        before(name, arguments)
        return call(*arguments, **options)

    return hooked


def synced_path(name: str, arguments: Sequence[Any]) -> Path | None:
    """Return what a call of fsync is for, None for other calls."""
    return Path(f"/proc/self/fd/{arguments[0]}").readlink() if name == "fsync" else None


def refuse_other_drive(name: str, arguments: Sequence[Any]) -> None:
    """Behave as if the trash were on a drive of its own."""
    if name in ("rename", "link"):
        sides = {TRASH_NAME in Path(argument).parts for argument in arguments[:2]}
        if len(sides) == 2:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
