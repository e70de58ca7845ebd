"""What a run has to do: the files on disk beside those the collection knows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from indexer.scan import ScanFailure, ScannedFile, filesystem_path, scan, stored_path
from schemas.results import HeldDeletion

Key = tuple[str, str]
"""Root and path as stored."""


class KnownImage(NamedTuple):
    """A row of the collection, as far as telling changes needs it."""

    image_id: int
    file_size: int
    mtime_ns: int
    content_hash: str


@dataclass(slots=True)
class KnownFiles:
    """What the collection holds at the start of a run.

    `superseded` lists rows whose key a newer row has as well: a run was killed between adding
    the new version of an edited photo and removing the old one.
    """

    images: dict[Key, KnownImage] = field(default_factory=dict)
    failures: dict[Key, dict[str, object]] = field(default_factory=dict)
    superseded: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, images: pa.Table, failures: pa.Table) -> "KnownFiles":
        """Read them from KNOWN_COLUMNS of `images`, and from `failures`."""
        known = cls()
        columns = [images[name].to_pylist() for name in KNOWN_COLUMNS]
        for root, path, *row in sorted(zip(*columns, strict=True), key=lambda row: row[2]):
            image = KnownImage(*row)
            older = known.images.get((root, path))
            if older is not None:
                known.superseded.append(older.image_id)
            known.images[root, path] = image
        for failure in failures.to_pylist():
            known.failures[failure["root"], failure["path"]] = failure
        return known


KNOWN_COLUMNS = ("root", "path", "image_id", "file_size", "mtime_ns", "content_hash")


@dataclass(frozen=True, slots=True)
class ScanScope:
    """Part of an indexed folder: all of `root`, or what lies below `folder` in it.

    `stored_root` is the root as stored. Folders in `indexed_apart` are roots of their own.
    """

    root: Path
    stored_root: str
    folder: str = ""
    indexed_apart: tuple[Path, ...] = ()

    def covers(self, key: Key) -> bool:
        """Return whether a file is in the scope."""
        root, path = key
        in_folder = not self.folder or path == self.folder or path.startswith(f"{self.folder}/")
        return root == self.stored_root and in_folder


def scan_scopes(given: Iterable[Path], known_roots: Iterable[Path]) -> list[ScanScope]:
    """Return what to scan, so that no file is indexed under two roots.

    A folder inside a root that is indexed already is scanned as part of that root; a folder
    around one is a new root that leaves the inner one apart, and both are scanned.

    Parameters
    ----------
    given : iterable of Path
        Resolved folders or files.
    known_roots : iterable of Path
        Roots that the collection has.
    """
    roots = sorted(known_roots)
    scopes: dict[tuple[Path, str], None] = {}
    for path in sorted(dict.fromkeys(given), key=lambda path: len(path.parts)):
        outer = max(
            (root for root in roots if path.is_relative_to(root)),
            key=lambda root: len(root.parts),
            default=None,
        )
        if outer is None:
            outer = path if path.is_dir() else path.parent
            roots.append(outer)
        folder = "" if path == outer else stored_path(str(path.relative_to(outer)))
        scopes[outer, folder] = None
        for inner in roots:
            if inner != path and inner.is_relative_to(path):
                scopes[inner, ""] = None
    wanted = [
        ScanScope(root, stored_path(str(root)), folder, _below(root, roots))
        for root, folder in scopes
    ]
    return [
        scope
        for scope in wanted
        if not any(
            other is not scope and other.covers((scope.stored_root, scope.folder))
            for other in wanted
        )
    ]


def _below(root: Path, roots: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(other for other in roots if other != root and other.is_relative_to(root))


@dataclass(slots=True)
class ScopePlan:
    """What one scope holds: files to work on, and what is settled already.

    `missing` are keys the collection knows and the scan did not meet; those below a folder that
    could not be listed are left out, as nobody knows whether they are gone. `settled_failures`
    failed in an earlier run and look just the same.
    """

    scope: ScanScope
    n_known: int = 0
    n_files: int = 0
    n_unchanged: int = 0
    todo: list[ScannedFile] = field(default_factory=list)
    new_failures: list[ScanFailure] = field(default_factory=list)
    settled_failures: set[Key] = field(default_factory=set)
    missing: list[Key] = field(default_factory=list)

    def held_deletion(self, missing: Sequence[Key]) -> HeldDeletion | None:
        """Return why files that are still missing must not be removed unasked, if so.

        An unmounted drive shows as an empty folder, a wrong mount as a strange one.
        """
        if 2 * len(missing) <= self.n_known:
            return None
        place = str(self.scope.root / self.scope.folder)
        return HeldDeletion(root=place, n_known=self.n_known, n_missing=len(missing))


def plan_scope(scope: ScanScope, known: KnownFiles) -> ScopePlan:
    """Scan a scope and sort its files into unchanged, failed before, and to do."""
    plan = ScopePlan(scope)
    seen: set[Key] = set()
    unlisted: list[str] = []
    for found in _scanned(scope):
        key = (found.root, found.path)
        seen.add(key)
        plan.n_files += 1
        if isinstance(found, ScannedFile):
            _sort_file(plan, found, known)
            continue
        unlisted.append(found.path)
        if _is_settled(found, known):
            plan.settled_failures.add(key)
        else:
            plan.new_failures.append(found)
    in_scope = [key for key in known.images if scope.covers(key)]
    plan.n_known = len(in_scope)
    plan.missing = [
        key for key in in_scope if key not in seen and not _lies_below(key[1], unlisted)
    ]
    return plan


def _scanned(scope: ScanScope) -> Iterator[ScannedFile | ScanFailure]:
    """Scan a scope; paths come out relative to its root and not to the folder that is walked."""
    start = scope.root / filesystem_path(scope.folder)
    if not scope.folder and not start.is_dir():
        # A drive that is not mounted often takes its folder along: it counts as an empty one.
        return
    folder = scope.folder if start.is_dir() else scope.folder.rpartition("/")[0]
    apart = [stored_path(str(root.relative_to(scope.root))) for root in scope.indexed_apart]
    for found in scan(start):
        path = "/".join(part for part in (folder, found.path) if part)
        if not _lies_below(path, apart):
            yield replace(found, root=scope.stored_root, path=path)


def _sort_file(plan: ScopePlan, file: ScannedFile, known: KnownFiles) -> None:
    key = (file.root, file.path)
    image = known.images.get(key)
    if image is not None and (image.file_size, image.mtime_ns) == (file.size, file.mtime_ns):
        plan.n_unchanged += 1
    elif _is_settled(file, known):
        plan.settled_failures.add(key)
    else:
        plan.todo.append(file)


def _is_settled(found: ScannedFile | ScanFailure, known: KnownFiles) -> bool:
    """Return whether a file failed before and nothing about it has changed."""
    failure = known.failures.get((found.root, found.path))
    if failure is None:
        return False
    if isinstance(found, ScanFailure):
        return failure["reason"] == found.reason
    # What could not be read may be readable now, and looks the same from outside.
    if failure["stage"] == "read":
        return False
    return (failure["file_size"], failure["mtime_ns"]) == (found.size, found.mtime_ns)


def _lies_below(path: str, folders: Iterable[str]) -> bool:
    return any(not folder or path.startswith(f"{folder}/") for folder in folders)
