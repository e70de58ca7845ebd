"""Find the photos below a folder, as paths and stat values only.

A path is stored relative to its root, with `/` between parts, as valid UTF-8. File systems on
Linux hold arbitrary bytes; Python shows the ones that are no UTF-8 as lone surrogates, which no
UTF-8 column can hold. They travel as the private-use characters U+10FF80..U+10FFFF instead.
"""

import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from indexer.pairs import RAW_EXTENSIONS, raw_companions
from schemas.errors import InputError

PHOTO_EXTENSIONS = (
    frozenset(("jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "bmp", "gif"))
    | {"jp2", "j2k", "jpx", "heic", "heif", "hif", "avif"}
    | RAW_EXTENSIONS
)

# Folders in which NAS boxes, desktops and archives keep thumbnails, snapshots and deleted files.
# Names that start with a dot are skipped in any case.
EXCLUDED_FOLDERS = frozenset(
    {
        "@eaDir",
        "@Recycle",
        "@Recently-Snapshot",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$RECYCLE.BIN",
        "RECYCLER",
        "System Volume Information",
        "__MACOSX",
        "lost+found",
    }
)

# The longest signature below is an ISO media header with a few compatible brands.
SIGNATURE_BYTES = 64

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
# Raw files that are no plain TIFFs: CR2 and IIQ, MOS, CR3, CRW, RAF, ORF and RW2, X3F, MRW. The
# others begin as any TIFF does.
_RAW_SIGNATURE = re.compile(
    rb"II\*\0....(CR|IIII)|MM\0\*....MMMM|....ftypcrx |II....HEAPCCDR|FUJIFILMCCD-RAW "
    rb"|II(RO|RS|U\0)|MMOR|FOVb|\0MRM",
    re.DOTALL,
)
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
# Sizes of the known headers that follow the 14 bytes which every BMP starts with. "BM" alone
# would take any text about a BMW for a picture.
_BMP_HEADER_BYTES = frozenset((12, 16, 40, 52, 56, 64, 108, 124))

_SURROGATE_TO_PRIVATE = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}
_PRIVATE_TO_SURROGATE = {private: lone for lone, private in _SURROGATE_TO_PRIVATE.items()}
_PRIVATE = frozenset(map(chr, _PRIVATE_TO_SURROGATE))

_FILE_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file that looks like a photo; `root` and `path` are stored paths, `size` is in bytes."""

    root: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class PairedRaw:
    """A camera raw file beside the photo of the same shot, which stands for both."""

    root: str
    path: str


@dataclass(frozen=True, slots=True)
class ScanFailure:
    """A file or folder that could not be examined; what lies below such a folder is unknown."""

    root: str
    path: str
    error_class: str
    reason: str


def sniff_format(head: bytes) -> str | None:
    """Name the image format that a file's first bytes announce.

    Parameters
    ----------
    head : bytes
        The first `SIGNATURE_BYTES` bytes, or the whole file where it is shorter.

    Returns
    -------
    str or None
        "JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000", "HEIF", "AVIF" or "RAW"; None
        for anything else. A raw file that is a TIFF inside is told from others by what follows:
        see :func:`indexer.raw.is_raw_tiff`.
    """
    if _RAW_SIGNATURE.match(head):
        return "RAW"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return "BMP"
    return _sniff_iso_media(head)


def _sniff_iso_media(head: bytes) -> str | None:
    """Tell AVIF and HEIF from the videos that share their container, by their brands."""
    if head[4:8] != b"ftyp":
        return None
    box = head[: int.from_bytes(head[:4])]
    brands = {box[start : start + 4] for start in (8, *range(16, len(box) - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


def stored_path(os_path: str) -> str:
    r"""Return a path as valid UTF-8 with `/` between parts.

    Bytes that are no UTF-8 become U+10FF80..U+10FFFF, one character a byte. So do the bytes of
    these characters themselves, in the rare name that holds one: the way back stays unique.

    Examples
    --------
    >>> stored_path("caf\udce9.jpg") == "caf\U0010ffe9.jpg"
    True
    """
    # Nearly every path; the general way took longer than the rest of a scan.
    if os_path.isascii():
        return os_path.replace(os.sep, "/")
    for private in _PRIVATE.intersection(os_path):
        lone = "".join(chr(0xDC00 + byte) for byte in private.encode())
        os_path = os_path.replace(private, lone)
    return os_path.translate(_SURROGATE_TO_PRIVATE).replace(os.sep, "/")


def filesystem_path(stored: str) -> str:
    """Return the operating system's form of a path made by `stored_path`."""
    lone = stored.translate(_PRIVATE_TO_SURROGATE).replace("/", os.sep)
    return lone.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def joined_path(root: str, path: str) -> str:
    """Return the stored form of a file's full path, for messages and records.

    Imported vectors have no root: theirs is whatever the path says.
    """
    return f"{root.rstrip('/')}/{path}" if root else path


def absolute_path(root: str, path: str) -> Path:
    """Return where a file lies whose stored root and path are given."""
    return Path(filesystem_path(joined_path(root, path)))


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False where that cannot be told."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_skipped_folder(name: str, *, excluded: frozenset[str] = EXCLUDED_FOLDERS) -> bool:
    """Return whether a scan leaves out a folder of this name."""
    return name.startswith(".") or name in excluded


def names_a_photo(name: str) -> bool | None:
    """Tell from a file's name whether a scan takes it for a photo; None if it has no extension."""
    _, dot, extension = name.rpartition(".")
    if not dot:
        return None
    return not name.startswith(".") and extension.lower() in PHOTO_EXTENSIONS


def resolve_root(path: Path) -> Path:
    """Return the absolute path of a folder or file to scan, its own symlinks resolved.

    Raises
    ------
    InputError
        If it does not exist, cannot be read, or is neither a folder nor a regular file.
    """
    try:
        root = Path(os.path.realpath(path.expanduser(), strict=True))
        mode = root.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(root).close()
        elif stat.S_ISREG(mode):
            root.open("rb").close()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path, or mount its drive") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read; grant yourself read permission on it") from error
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be opened ({error}); give another path") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise InputError(f"{path} is {_file_kind(mode)}; give a folder or a photo file")
    return root


def scan(
    root: Path, *, excluded: frozenset[str] = EXCLUDED_FOLDERS
) -> Iterator[ScannedFile | PairedRaw | ScanFailure]:
    """List the photos below a folder, folder by folder, names in order.

    Photos are files with a known extension, and files without any extension whose first bytes
    are those of an image. Hidden files and folders and the `excluded` ones are skipped. Links to
    files are followed. Links to folders are followed after all real folders, so that a folder
    with two ways to it is listed once, under its real path; a link to a folder that contains
    the link or the root would list what nobody asked for and is skipped.

    A raw file beside the photo of the same shot is no photo of its own, and is told apart: see
    :func:`indexer.pairs.raw_companions`. A single file is never taken for half of a pair.

    Parameters
    ----------
    root : Path
        As `resolve_root` returns it. A single file is listed whatever its name.
    excluded : frozenset of str
        Names of folders to skip, as spelled on disk.

    Yields
    ------
    ScannedFile, PairedRaw or ScanFailure
        One for each photo, for each raw file that belongs to one of them, and for each candidate
        or folder that cannot be examined.
    """
    if not is_folder(root):
        yield _examine(_Walk(root.parent, excluded), root.name)
        return
    walk = _Walk(root, excluded)
    walk.folders.append("")
    while (folder := walk.next_folder()) is not None:
        yield from _list_folder(walk, folder)


@dataclass(slots=True)
class _Walk:
    """What a walk still has to visit, and the folders that it visited (device, inode)."""

    root: Path
    excluded: frozenset[str]
    folders: list[str] = field(default_factory=list)
    links: deque[str] = field(default_factory=deque)
    visited: set[tuple[int, int]] = field(default_factory=set)
    stored_root: str = field(init=False)
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        self.stored_root = stored_path(str(self.root))
        self.prefix = os.path.join(self.root, "")  # noqa: PTH118 - ends with one slash

    def next_folder(self) -> str | None:
        """Take the next folder: real ones first, depth first; None when nothing is left."""
        if self.folders:
            return self.folders.pop()
        return self.links.popleft() if self.links else None

    def absolute(self, path: str) -> str:
        """Return the full path of one relative to the root."""
        return self.prefix + path  # a Path per file doubles the cost

    def failure(self, path: str, error_class: str, reason: str) -> ScanFailure:
        """Record why a path could not be examined."""
        return ScanFailure(self.stored_root, stored_path(path), error_class, reason)


def _list_folder(walk: _Walk, folder: str) -> Iterator[ScannedFile | PairedRaw | ScanFailure]:
    """Yield one folder's photos and put its subfolders on the walk."""
    try:
        if not _enter(walk, folder):
            return
        with os.scandir(walk.absolute(folder)) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield walk.failure(folder, type(error).__name__, f"cannot be listed: {error.strerror}")
        return
    subfolders: list[str] = []
    examined: list[ScannedFile | ScanFailure] = []
    for entry in ordered:
        path = os.path.join(folder, entry.name)  # noqa: PTH118
        if _is_folder(entry):
            if not is_skipped_folder(entry.name, excluded=walk.excluded):
                (walk.links if entry.is_symlink() else subfolders).append(path)
        elif _is_candidate(entry):
            examined.append(_examine(walk, path))
    yield from _paired(examined)
    walk.folders.extend(reversed(subfolders))


def _paired(
    examined: Sequence[ScannedFile | ScanFailure],
) -> Iterator[ScannedFile | PairedRaw | ScanFailure]:
    """Yield one folder's files, raw files as such where the photo of the same shot is there."""
    companions = raw_companions(found.path for found in examined if isinstance(found, ScannedFile))
    paired = frozenset(chain.from_iterable(companions.values()))
    for found in examined:
        yield PairedRaw(found.root, found.path) if found.path in paired else found


def _enter(walk: _Walk, folder: str) -> bool:
    """Mark a folder as visited; False if it was already, or leads back up."""
    path = Path(walk.absolute(folder))
    status = path.stat()
    if (status.st_dev, status.st_ino) in walk.visited:
        return False
    if path.is_symlink():
        target = path.resolve()
        if walk.root.is_relative_to(target) or path.parent.resolve().is_relative_to(target):
            return False
    walk.visited.add((status.st_dev, status.st_ino))
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Follow a link to see; one that leads to itself is no folder, and is reported as a file."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_candidate(entry: os.DirEntry[str]) -> bool:
    """Tell from the name whether a file is a photo, from its first bytes where it cannot say."""
    told = names_a_photo(entry.name)
    if told is not None:
        return told
    try:
        if not entry.is_file():
            # A broken link may stand for a folder of photos on a drive that is not mounted.
            return entry.is_symlink()
        with Path(entry.path).open("rb") as file:
            return sniff_format(file.read(SIGNATURE_BYTES)) is not None
    except OSError:
        return True  # it cannot be ruled out, so that it is examined and reported


def _examine(walk: _Walk, path: str) -> ScannedFile | ScanFailure:
    """Stat one candidate."""
    try:
        status = os.stat(walk.absolute(path))  # noqa: PTH116
    except OSError as error:
        return walk.failure(path, type(error).__name__, f"cannot be examined: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        kind = _file_kind(status.st_mode)
        return walk.failure(path, "NotARegularFile", f"is {kind}, not a regular file")
    return ScannedFile(walk.stored_root, stored_path(path), status.st_size, status.st_mtime_ns)


def _file_kind(mode: int) -> str:
    """Name what is neither a folder nor a regular file."""
    return next((name for matches, name in _FILE_KINDS if matches(mode)), "a special file")
