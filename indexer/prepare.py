"""One photo from its path to everything but its vectors. Runs in worker processes."""

import hashlib
import os
from collections.abc import Container
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexer.arrays import ByteArray
from indexer.crops import quality_crops
from indexer.decode import DecodedPhoto, decode_photo
from indexer.pixels import luma_thumbnail, measure_pixels, perceptual_hash, pixel_hash
from indexer.preprocess import decoding_side, preprocess
from indexer.scan import ScannedFile, absolute_path
from schemas.collection import CropEdges
from schemas.errors import PhotoError, Stage
from schemas.model import Preprocessing

MAX_FILE_BYTES = 2**30
"""Larger files are not read: each worker holds one file in memory. Also ends sparse giants."""


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo ready for the encoder.

    `file` has size and time as they were when its bytes were read. `pixels` is the uint8 input
    of the image tower, `columns` the values of its row that need no vector. `crops` are further
    inputs (n, h, w, 3), from which quality is averaged in `crops` mode.
    """

    file: ScannedFile
    content_hash: str
    pixels: ByteArray
    columns: dict[str, Any]
    crops: ByteArray | None = None


@dataclass(frozen=True, slots=True)
class KnownContent:
    """A file whose very bytes are in the collection already."""

    file: ScannedFile
    content_hash: str


@dataclass(frozen=True, slots=True)
class PhotoFailure:
    """A file that cannot be indexed, and why."""

    file: ScannedFile
    stage: Stage
    error_class: str
    reason: str


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A photo that is searched by: `pixels` is the uint8 input (h, w, 3) of the image tower.

    `width` and `height` are those of the upright photo at full size, `format` the recognised one.
    """

    pixels: ByteArray
    width: int
    height: int
    format: str


Prepared = PreparedPhoto | KnownContent | PhotoFailure


def prepare_photo(
    file: ScannedFile,
    *,
    preprocessing: Preprocessing,
    max_pixels: int,
    known_hashes: Container[str],
    crop_edges: CropEdges | None = None,
) -> Prepared:
    """Read a file once, and hash, decode, measure and preprocess the same bytes.

    Parameters
    ----------
    file : ScannedFile
    preprocessing : Preprocessing
        Of the collection's model.
    max_pixels : int
        Larger pictures are refused by their header.
    known_hashes : container of str
        Content hashes that need no decoding; asked once, between reading and decoding.
    crop_edges : {"pad", "drop"}, optional
        In `crops` mode; without, no crops are made.
    """
    try:
        file, content = _read(file)
        content_hash = hashlib.sha256(content).hexdigest()
        if content_hash in known_hashes:
            return KnownContent(file, content_hash)
        photo = decode_photo(content, min_side=decoding_side(preprocessing), max_pixels=max_pixels)
        return PreparedPhoto(
            file=file,
            content_hash=content_hash,
            pixels=preprocess(photo.pixels, preprocessing, extent=photo.extent),
            columns=photo_columns(photo),
            crops=_crops(photo, preprocessing, crop_edges),
        )
    except PhotoError as error:
        cause = type(error.__cause__ or error).__name__
        return PhotoFailure(file, error.stage, cause, error.reason)


def prepare_query(path: Path, *, preprocessing: Preprocessing, max_pixels: int) -> ByteArray:
    """Return the encoder input uint8 (h, w, 3) of one photo that need not be in a collection.

    Raises
    ------
    PhotoError
        If it cannot be read or decoded.
    """
    _, content = _read_path(path)
    return prepare_bytes(content, preprocessing=preprocessing, max_pixels=max_pixels).pixels


def prepare_bytes(
    content: bytes, *, preprocessing: Preprocessing, max_pixels: int
) -> PreparedQuery:
    """Return the encoder input of a photo that is given as bytes, with its size and format.

    Raises
    ------
    PhotoError
        If they cannot be decoded.
    """
    photo = decode_photo(content, min_side=decoding_side(preprocessing), max_pixels=max_pixels)
    return PreparedQuery(
        pixels=preprocess(photo.pixels, preprocessing, extent=photo.extent),
        width=photo.width,
        height=photo.height,
        format=photo.format,
    )


def _read(file: ScannedFile) -> tuple[ScannedFile, bytes]:
    status, content = _read_path(absolute_path(file.root, file.path))
    return ScannedFile(file.root, file.path, status.st_size, status.st_mtime_ns), content


def _read_path(path: Path) -> tuple[os.stat_result, bytes]:
    try:
        with path.open("rb") as opened:
            status = os.fstat(opened.fileno())
            _refuse_above_limit(status.st_size)
            content = opened.read(status.st_size + 1)  # one more shows a file that grows
            after = os.fstat(opened.fileno())
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise PhotoError("read", f"cannot be read: {reason}") from error
    if len(content) != status.st_size or after.st_mtime_ns != status.st_mtime_ns:
        raise PhotoError("read", "changes while it is read; the next run tries it again")
    return status, content


def _refuse_above_limit(n_bytes: int) -> None:
    if n_bytes > MAX_FILE_BYTES:
        # Not at stage "read", whose failures every run tries again.
        raise PhotoError(
            "decode",
            f"is {n_bytes / 1e6:,.0f} MB, over the limit of {MAX_FILE_BYTES / 1e6:,.0f} MB for a "
            "file; rename it if it is no photo, else save it smaller",
        )


def photo_columns(photo: DecodedPhoto) -> dict[str, Any]:
    """Return the values of a photo's row that need no vector, by column."""
    return {
        "width": photo.width,
        "height": photo.height,
        "format": photo.format,
        "frames": photo.frames,
        "taken_at": photo.taken_at,
        "camera": photo.camera,
        "latitude": photo.latitude,
        "longitude": photo.longitude,
        "jpeg_quality": photo.jpeg_quality,
        "pixel_hash": pixel_hash(photo.pixels, photo.width, photo.height),
        "perceptual_hash": perceptual_hash(photo.pixels),
        "luma_thumbnail": luma_thumbnail(photo.pixels).tobytes(),
        **asdict(measure_pixels(photo.pixels)),
    }


def _crops(
    photo: DecodedPhoto, preprocessing: Preprocessing, edges: CropEdges | None
) -> ByteArray | None:
    if edges is None:
        return None
    # From the pixels that the embedding is made of: JPEGs are decoded at twice the input's side
    # at least, which is the size that windows are cut from. So no mode changes a vector.
    return quality_crops(photo.pixels, preprocessing, edges=edges, extent=photo.extent)
