"""Which files of a folder are one shot: a photo, and the camera raw files written beside it."""

from collections.abc import Iterable

RAW_EXTENSIONS = frozenset(
    ("3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq", "kdc", "mef")
) | {"mos", "mrw", "nef", "nrw", "orf", "pef", "raf", "rw2", "rwl", "sr2", "srf", "srw", "x3f"}
"""What cameras call raw files that LibRaw reads. Not `raw`: too many other programs use it."""

# What cameras write beside a raw file. A TIFF or PNG of that name is somebody's own work.
_CAMERA_PHOTO_EXTENSIONS = frozenset(("jpg", "jpeg", "jpe", "jfif", "heic", "heif", "hif"))


def raw_companions(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the raw files that belong to each photo of a folder, for photos that have any.

    Cameras name all files of a shot alike but for the extension. Nothing looser counts:
    `IMG_1-1.jpg`, `IMG_1_edit.jpg` and `IMG_1.CR2.jpg` are exports, of which there may be many,
    each cropped and toned in its own way.

    Parameters
    ----------
    names : iterable of str
        Files of one folder. Upper and lower case count as one; if two photos share a stem, the
        raw file belongs to the first in order.

    Notes
    -----
    JEITA CP-3461, "Design rule for Camera File system" (DCF): the files of a DCF object share
    their name.

    Examples
    --------
    >>> raw_companions(["IMG_1.JPG", "img_1.cr2", "IMG_1-1.jpg", "IMG_2.CR2"])
    {'IMG_1.JPG': ['img_1.cr2']}
    """
    raws: list[tuple[str, str]] = []
    photos: list[tuple[str, str]] = []
    for name in names:
        stem, _, extension = name.lower().rpartition(".")
        if extension in RAW_EXTENSIONS:
            raws.append((stem, name))
        elif extension in _CAMERA_PHOTO_EXTENSIONS:
            photos.append((stem, name))
    photo_of_stem = dict(sorted(photos, reverse=True)) if raws else {}
    companions: dict[str, list[str]] = {}
    for stem, name in sorted(raws):
        if stem in photo_of_stem:
            companions.setdefault(photo_of_stem[stem], []).append(name)
    return companions
