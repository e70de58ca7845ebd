"""What lies beside a photo and belongs to it: camera raw files, and sidecars that hold edits."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from indexer.pairs import RAW_EXTENSIONS, raw_companions
from indexer.scan import names_a_photo

# Adobe and darktable, Apple, RawTherapee, DxO.
SIDECAR_EXTENSIONS = frozenset(("xmp", "aae", "pp3", "dop"))

FolderShots = Mapping[str, list[str]]
"""Names of a folder by their stem in lower case, where a raw file or sidecar is among them."""


@dataclass(frozen=True, slots=True)
class Company:
    """Names beside a photo: of raw files of the same shot, and of sidecars."""

    raws: Sequence[str]
    sidecars: Sequence[str]


def folder_shots(folder: Path) -> FolderShots:
    """Look up which files of a folder may belong together.

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    shots: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries):
            shots[_stem(name)].append(name)
    return {
        stem: names
        for stem, names in shots.items()
        if any(_extension(name) in RAW_EXTENSIONS | SIDECAR_EXTENSIONS for name in names)
    }


def forget_name(name: str, shots: FolderShots) -> None:
    """Take note that a file is not in the folder any more."""
    alike = shots.get(_stem(name), [])
    if name in alike:
        alike.remove(name)


def leaving_with(name: str, shots: FolderShots) -> Company:
    """Return what would be left without its photo if a photo went away.

    A raw file goes with the JPEG or HEIC that stands for it, unless there is another one that
    would then. `IMG_1.jpg.xmp` goes with `IMG_1.jpg`, `IMG_1.xmp` with the last photo or raw file
    of that stem.

    Examples
    --------
    >>> leaving_with("A.JPG", {"a": ["A.JPG", "A.CR2", "A.xmp"]})
    Company(raws=['A.CR2'], sidecars=['A.xmp'])
    >>> leaving_with("A.JPG", {"a": ["A.HEIC", "A.JPG", "A.xmp"], "a.jpg": ["A.JPG.xmp"]})
    Company(raws=[], sidecars=['A.JPG.xmp'])
    """
    alike = shots.get(_stem(name), ())
    kept = set(chain.from_iterable(raw_companions(set(alike) - {name}).values()))
    raws = [raw for raw in raw_companions(alike).get(name, ()) if raw not in kept]
    going = {name, *raws}
    stems = [photo.lower() for photo in sorted(going) if "." in photo]
    if not any(names_a_photo(other) for other in set(alike) - going):
        stems.append(_stem(name))
    return Company(raws, [sidecar for stem in stems for sidecar in _sidecars(stem, shots)])


def lying_beside(name: str, shots: FolderShots) -> Company:
    """Return all raw files and sidecars of a photo's stem, whichever photo they belong to."""
    alike = shots.get(_stem(name), ())
    raws = [other for other in alike if _extension(other) in RAW_EXTENSIONS and other != name]
    stems = {_stem(name), name.lower(), *(raw.lower() for raw in raws)}
    return Company(raws, [sidecar for stem in sorted(stems) for sidecar in _sidecars(stem, shots)])


def _sidecars(stem: str, shots: FolderShots) -> list[str]:
    return [name for name in shots.get(stem, ()) if _extension(name) in SIDECAR_EXTENSIONS]


def _stem(name: str) -> str:
    stem, dot, _ = name.lower().rpartition(".")
    return stem if dot else name.lower()


def _extension(name: str) -> str:
    _, dot, extension = name.lower().rpartition(".")
    return extension if dot else ""
