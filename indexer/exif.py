"""What a camera wrote beside the pixels: time, name, place and compression.

Metadata never makes a photo fail: what is missing, damaged or absurd is None.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image

from indexer.arrays import IntArray

# What Pillow raises on damaged EXIF blocks, by its issues and by trial.
_EXIF_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
)

_TIME = re.compile(r"(\d{4})[:\-/.](\d\d)[:\-/.](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")
# The first photograph, and a year that no clock of a camera in use shows honestly.
_FIRST_YEAR, _LAST_YEAR = 1826, 2100

# Longer values are blobs in the wrong field.
_MAX_NAME_CHARACTERS = 100

_UPRIGHT = 1
_LAST_ORIENTATION = 8

# ITU-T T.81 (JPEG), annex K.1: the luminance table that libjpeg scales by its quality.
# fmt: off
_LUMINANCE_TABLE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])
# fmt: on


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """Naive camera time, "make model", and degrees north and east; None where unknown."""

    taken_at: datetime | None
    camera: str | None
    latitude: float | None
    longitude: float | None

    def completed_by(self, other: "CameraFacts") -> "CameraFacts":
        """Return these facts, each of the three taken from the other where it is unknown here."""
        place = self if self.latitude is not None else other
        return CameraFacts(
            taken_at=self.taken_at or other.taken_at,
            camera=self.camera or other.camera,
            latitude=place.latitude,
            longitude=place.longitude,
        )


def read_exif(image: Image.Image) -> Image.Exif:
    """Return the EXIF block of a loaded image, empty where it is missing or damaged."""
    try:
        return image.getexif()
    except _EXIF_ERRORS:
        return Image.Exif()


def tiff_exif(content: bytes) -> Image.Exif:
    """Return the EXIF block of a file that has the structure of a TIFF, empty where it has not."""
    exif = Image.Exif()
    try:
        exif.load_from_fp(BytesIO(content))
    except _EXIF_ERRORS:
        return Image.Exif()
    return exif


def orientation(exif: Image.Exif) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where it is missing or out of range."""
    return stated_orientation(exif) or _UPRIGHT


def stated_orientation(exif: Image.Exif) -> int | None:
    """Return the EXIF orientation, 1 to 8; None where it is missing or out of range."""
    value = exif.get(ExifTags.Base.Orientation)
    if isinstance(value, int) and _UPRIGHT <= value <= _LAST_ORIENTATION:
        return value
    return None


def camera_facts(exif: Image.Exif) -> CameraFacts:
    """Collect time, camera and place.

    The time is DateTimeOriginal, else DateTimeDigitized, else DateTime. The exact position 0, 0
    is what devices write without a fix, and counts as none.
    """
    details = _directory(exif, ExifTags.IFD.Exif)
    times = (
        details.get(ExifTags.Base.DateTimeOriginal),
        details.get(ExifTags.Base.DateTimeDigitized),
        exif.get(ExifTags.Base.DateTime),
    )
    latitude, longitude = _position(_directory(exif, ExifTags.IFD.GPSInfo))
    return CameraFacts(
        taken_at=next((time for time in map(_camera_time, times) if time is not None), None),
        camera=_camera_name(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model)),
        latitude=latitude,
        longitude=longitude,
    )


def jpeg_quality(tables: Mapping[int, list[int]]) -> int:
    """Return libjpeg's quality, 1 to 100, whose luminance table is closest in total.

    Parameters
    ----------
    tables : mapping of int to list of int
        Quantisation tables as Pillow gives them, 64 entries each; the first is luminance.

    Notes
    -----
    Cameras and editors use tables of their own: the value then says which libjpeg quality
    quantises as coarsely.
    """
    total = sum(tables[min(tables)])
    return int(np.abs(_luminance_totals() - total).argmin()) + 1


def _luminance_totals() -> IntArray:
    """Sum the luminance table at each quality from 1 to 100, scaled as libjpeg does."""
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)  # noqa: PLR2004
    totals: IntArray = np.clip((_LUMINANCE_TABLE * percent + 50) // 100, 1, 255).sum(axis=1)
    return totals


def _directory(exif: Image.Exif, tag: int) -> Mapping[int, object]:
    try:
        return exif.get_ifd(tag)
    except _EXIF_ERRORS:
        return {}


def _text(value: object) -> str:
    """Return a field as one line of printable text; fields may be bytes or end in NULs."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    line = "".join(c if c.isprintable() else " " for c in value.split("\x00")[0])
    return " ".join(line.split())[:_MAX_NAME_CHARACTERS]


def _camera_time(value: object) -> datetime | None:
    found = _TIME.match(_text(value))
    if found is None:
        return None
    year, *rest = (int(part or 0) for part in found.groups())
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        return datetime(year, *rest)  # type: ignore[arg-type]  # noqa: DTZ001 - cameras keep no zone
    except ValueError:
        return None


def _camera_name(make: object, model: object) -> str | None:
    """Join make and model; many models repeat their make ("NIKON CORPORATION", "NIKON D750")."""
    brand, name = _text(make), _text(model)
    if name and brand and name.lower().startswith(brand.split()[0].lower()):
        return name
    return f"{brand} {name}".strip() or None


def _position(gps: Mapping[int, object]) -> tuple[float | None, float | None]:
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), limit=90.0)
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), limit=180.0)
    if latitude is None or longitude is None or latitude == longitude == 0.0:
        return None, None
    south = _text(gps.get(ExifTags.GPS.GPSLatitudeRef)).upper().startswith("S")
    west = _text(gps.get(ExifTags.GPS.GPSLongitudeRef)).upper().startswith("W")
    return (-latitude if south else latitude), (-longitude if west else longitude)


def _degrees(parts: object, *, limit: float) -> float | None:
    """Turn degrees, minutes and seconds into degrees, None unless in [0, limit]."""
    try:
        degrees, minutes, seconds = (float(part) for part in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ArithmeticError):
        return None
    total = degrees + minutes / 60.0 + seconds / 3600.0
    return total if math.isfinite(total) and 0.0 <= total <= limit else None
