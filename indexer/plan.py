"""What a run has to do: the files on disk beside those the collection knows."""

import os
import pickle
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import starmap
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexer.arrays import BoolArray, IntArray
from indexer.known_images import Key, KnownImages
from indexer.raw import is_raw_support_installed
from indexer.scan import (
    PairedRaw,
    ScanFailure,
    ScannedFile,
    absolute_path,
    filesystem_path,
    is_folder,
    scan,
    stored_path,
)
from schemas.errors import MissingExtraError
from schemas.results import HeldDeletion


@dataclass(slots=True)
class KnownFiles:
    """What the collection holds at the start of a run."""

    images: KnownImages = field(default_factory=KnownImages)
    failures: dict[Key, dict[str, object]] = field(default_factory=dict)

    @classmethod
    def read(cls, images: Iterable[pa.RecordBatch], failures: pa.Table) -> "KnownFiles":
        """Read them from blocks of KNOWN_COLUMNS of `images`, and from `failures`."""
        rows = failures.to_pylist()
        return cls(KnownImages(images), {(row["root"], row["path"]): row for row in rows})


# Files of a FileList that are packed together.
FILES_PER_BLOCK = 4096


# Packing the objects themselves takes 2.3 us each, their values 0.4.
_values = attrgetter(*(field.name for field in fields(ScannedFile)))


class FileList:
    """Files to work on, in order, packed to a third of their size: there may be millions."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._recent: list[ScannedFile] = []

    def append(self, file: ScannedFile) -> None:
        """Add a file."""
        self._recent.append(file)
        if len(self._recent) == FILES_PER_BLOCK:
            self._blocks.append(pickle.dumps([_values(recent) for recent in self._recent]))
            self._recent = []

    def __len__(self) -> int:
        return FILES_PER_BLOCK * len(self._blocks) + len(self._recent)

    def __iter__(self) -> Iterator[ScannedFile]:
        for block in self._blocks:
            yield from starmap(ScannedFile, pickle.loads(block))
        yield from self._recent


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

    `missing` are rows the collection knows and the scan did not meet; those below a folder that
    could not be listed are left out, as nobody knows whether they are gone. `known_failures` are
    those of earlier runs that this one decides about; `settled_failures` look just the same.
    `n_paired` raw files were met that a photo stands for; `paired` are the rows they have had.
    """

    scope: ScanScope
    n_known: int = 0
    n_files: int = 0
    n_unchanged: int = 0
    todo: FileList = field(default_factory=FileList)
    new_failures: list[ScanFailure] = field(default_factory=list)
    known_failures: list[Key] = field(default_factory=list)
    settled_failures: set[Key] = field(default_factory=set)
    missing: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    n_paired: int = 0
    paired: list[int] = field(default_factory=list)

    def held_deletion(self, n_missing: int) -> HeldDeletion | None:
        """Return why files that are still missing must not be removed unasked, if so.

        An unmounted drive shows as an empty folder, a wrong mount as a strange one.
        """
        if 2 * n_missing <= self.n_known:
            return None
        place = str(self.scope.root / self.scope.folder)
        return HeldDeletion(root=place, n_known=self.n_known, n_missing=n_missing)


def plan_scope(scope: ScanScope, known: KnownFiles) -> ScopePlan:
    """Scan a scope and sort its files into unchanged, failed before, and to do."""
    plan = ScopePlan(scope)
    seen: BoolArray = np.zeros(len(known.images), np.bool_)
    unlisted: list[str] = []
    for found in _scanned(scope):
        row = _sort(plan, found, known)
        if row is not None:
            seen[row] = True
        if isinstance(found, ScanFailure):
            unlisted.append(found.path)
    plan.known_failures = [key for key in known.failures if scope.covers(key)]
    in_scope = known.images.rows_below(scope.stored_root, scope.folder)
    plan.n_known = len(in_scope)
    plan.missing = in_scope[~seen[in_scope]]
    if unlisted:
        below = [_lies_below(known.images.key(row)[1], unlisted) for row in plan.missing]
        plan.missing = plan.missing[~np.array(below, np.bool_)]
    return plan


@dataclass(slots=True)
class RetryPlan:
    """What trying failures again has to do: a plan for each root that is there.

    `unreached` counts the failures of roots that are not; `n_vanished` files are gone from the
    others.
    """

    scopes: list[ScopePlan] = field(default_factory=list)
    n_vanished: int = 0
    unreached: dict[str, int] = field(default_factory=dict)


def plan_retry(
    keys: Collection[Key], known: KnownFiles, *, known_roots: Collection[Path]
) -> RetryPlan:
    """Look at failed files again, whether they changed or not, and at no others.

    Where a folder could not be listed, that is all that lies below it.

    Parameters
    ----------
    keys : collection of Key
        Failures to try again.
    known : KnownFiles
    known_roots : collection of Path
        Roots that the collection has.
    """
    chosen = set(keys)
    others = {key: row for key, row in known.failures.items() if key not in chosen}
    forgetful = replace(known, failures=others)
    plan = RetryPlan()
    for stored_root in sorted({root for root, _ in chosen}):
        of_root = sorted(key for key in chosen if key[0] == stored_root)
        root = Path(filesystem_path(stored_root))
        if not _is_present(root):
            plan.unreached[stored_root] = len(of_root)
            continue
        there = [key for key in of_root if not _is_gone(key)]
        plan.n_vanished += len(of_root) - len(there)
        of_scope = ScopePlan(ScanScope(root, stored_root), known_failures=of_root)
        apart = _below(root, sorted(known_roots))
        for found in _scanned_again(root, there, apart):
            _sort(of_scope, found, forgetful)
        plan.scopes.append(of_scope)
    return plan


def _scanned_again(
    root: Path, keys: Iterable[Key], indexed_apart: tuple[Path, ...]
) -> Iterator[ScannedFile | PairedRaw | ScanFailure]:
    """Scan single files and folders of a root, each file once."""
    seen: set[str] = set()
    for stored_root, path in keys:
        for found in _scanned(ScanScope(root, stored_root, path, indexed_apart)):
            if found.path not in seen:
                seen.add(found.path)
                yield found


def _is_present(root: Path) -> bool:
    """Tell a root from what a drive that is not mounted leaves: an empty folder, or none."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _is_gone(key: Key) -> bool:
    """Return whether nothing has this name any more; a broken link is still there."""
    try:
        absolute_path(*key).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _scanned(scope: ScanScope) -> Iterator[ScannedFile | PairedRaw | ScanFailure]:
    """Scan a scope; paths come out relative to its root and not to the folder that is walked."""
    start = scope.root / filesystem_path(scope.folder)
    if not scope.folder and not is_folder(start):
        # A drive that is not mounted often takes its folder along: it counts as an empty one.
        return
    folder = scope.folder if is_folder(start) else scope.folder.rpartition("/")[0]
    apart = [stored_path(str(root.relative_to(scope.root))) for root in scope.indexed_apart]
    for found in scan(start):
        if folder:
            path = "/".join(part for part in (folder, found.path) if part)
            found = replace(found, root=scope.stored_root, path=path)
        if not _lies_below(found.path, apart):
            yield found


def _sort(
    plan: ScopePlan, found: ScannedFile | PairedRaw | ScanFailure, known: KnownFiles
) -> int | None:
    """Put what was found where it belongs; return the row of its photo, if it has one."""
    row = known.images.row_at((found.root, found.path))
    if isinstance(found, PairedRaw):
        plan.n_paired += 1
        plan.paired += [] if row is None else [row]
        return row
    plan.n_files += 1
    if isinstance(found, ScannedFile) and row is not None and known.images.is_like(row, found):
        plan.n_unchanged += 1
    elif _is_settled(found, known):
        plan.settled_failures.add((found.root, found.path))
    elif isinstance(found, ScannedFile):
        plan.todo.append(found)
    else:
        plan.new_failures.append(found)
    return row


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
    if failure["error_class"] == MissingExtraError.__name__ and is_raw_support_installed():
        return False
    return (failure["file_size"], failure["mtime_ns"]) == (found.size, found.mtime_ns)


def _lies_below(path: str, folders: Iterable[str]) -> bool:
    return any(not folder or path.startswith(f"{folder}/") for folder in folders)
