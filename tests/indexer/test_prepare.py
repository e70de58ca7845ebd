import hashlib
import os
import threading
from dataclasses import asdict
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from indexer.decode import MAX_PIXELS, decode_photo
from indexer.pixels import luma_thumbnail, measure_pixels, perceptual_hash, pixel_hash
from indexer.prepare import (
    KnownContent,
    PhotoFailure,
    PreparedPhoto,
    prepare_photo,
    prepare_query,
)
from indexer.preprocess import preprocess
from indexer.scan import ScannedFile, scan
from schemas.errors import PhotoError
from schemas.tables import images_schema
from tests.fakes import FAKE_DESCRIPTION
from tests.makers.photos import drawn_photo, exif_block, image_file

PREPROCESSING = FAKE_DESCRIPTION.require_preprocessing()


def prepared(file, *, max_pixels=MAX_PIXELS, known_hashes=()):
    return prepare_photo(
        file, preprocessing=PREPROCESSING, max_pixels=max_pixels, known_hashes=known_hashes
    )


def scanned(folder, content, name="a.jpg"):
    (folder / name).write_bytes(content)
    return next(file for file in scan(folder) if file.path == name)


def test_a_photo_is_prepared_from_the_same_bytes(tmp_path):
    exif = exif_block({271: "Acme", 272: "One"}, camera={36867: "2024:05:06 07:08:09"})
    content = image_file(drawn_photo(1), "JPEG", quality=80, exif=exif)
    file = scanned(tmp_path, content)
    photo = prepared(file)
    assert isinstance(photo, PreparedPhoto)
    decoded = decode_photo(content, min_side=16)
    assert photo.file == file
    assert photo.content_hash == hashlib.sha256(content).hexdigest()
    np.testing.assert_array_equal(photo.pixels, preprocess(decoded.pixels, PREPROCESSING))
    assert photo.columns == {
        "width": 96,
        "height": 64,
        "format": "JPEG",
        "frames": 1,
        "taken_at": datetime(2024, 5, 6, 7, 8, 9),  # noqa: DTZ001 - as cameras write it
        "camera": "Acme One",
        "latitude": None,
        "longitude": None,
        "jpeg_quality": 80,
        "pixel_hash": pixel_hash(decoded.pixels, 96, 64),
        "perceptual_hash": perceptual_hash(decoded.pixels),
        "luma_thumbnail": luma_thumbnail(decoded.pixels).tobytes(),
        **asdict(measure_pixels(decoded.pixels)),
    }


def test_columns_are_those_of_the_table(tmp_path):
    photo = prepared(scanned(tmp_path, image_file(drawn_photo(1)), "a.png"))
    assert set(photo.columns) < set(images_schema(FAKE_DESCRIPTION).names)
    assert photo.columns["jpeg_quality"] is None


def test_known_bytes_are_not_decoded(tmp_path):
    content = b"these bytes are no picture at all"
    content_hash = hashlib.sha256(content).hexdigest()
    file = scanned(tmp_path, content)
    assert prepared(file, known_hashes={content_hash}) == KnownContent(file, content_hash)


def test_size_and_time_are_those_of_the_bytes_that_were_read(tmp_path):
    file = scanned(tmp_path, image_file(drawn_photo(1), "JPEG"))
    replacement = image_file(drawn_photo(2), "JPEG")
    (tmp_path / "a.jpg").write_bytes(replacement)
    os.utime(tmp_path / "a.jpg", ns=(5, 7_000))
    photo = prepared(file)
    assert photo.file == ScannedFile(file.root, file.path, len(replacement), 7_000)
    assert photo.content_hash == hashlib.sha256(replacement).hexdigest()


def test_a_file_that_is_gone_failed_at_reading(tmp_path):
    file = scanned(tmp_path, b"x")
    (tmp_path / "a.jpg").unlink()
    reason = "cannot be read: no such file or directory"
    assert prepared(file) == PhotoFailure(file, "read", "FileNotFoundError", reason)


@pytest.mark.parametrize(
    ("content", "max_pixels", "reason"),
    [
        pytest.param(b"", MAX_PIXELS, r"is empty \(0 bytes\)", id="empty"),
        pytest.param(b"notes of a journey", MAX_PIXELS, "is text, not an image", id="text"),
        pytest.param(image_file(drawn_photo(1)), 96 * 64 - 1, "pixel", id="too-large"),
        pytest.param(image_file(drawn_photo(1))[:-3000], MAX_PIXELS, "truncated", id="cut-short"),
    ],
)
def test_bytes_that_are_no_photo_failed_at_decoding(tmp_path, content, max_pixels, reason):
    file = scanned(tmp_path, content)
    failure = prepared(file, max_pixels=max_pixels)
    assert isinstance(failure, PhotoFailure)
    assert (failure.file, failure.stage) == (file, "decode")
    assert failure.error_class.isidentifier()
    assert failure.reason
    with pytest.raises(PhotoError, match=reason):
        prepare_query(tmp_path / "a.jpg", preprocessing=PREPROCESSING, max_pixels=max_pixels)


def test_names_that_are_no_utf8_are_read(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_bytes(image_file(drawn_photo(1)))
    (file,) = scan(tmp_path)
    assert isinstance(prepared(file), PreparedPhoto)


def test_a_query_is_prepared_as_a_photo_of_the_collection_is(tmp_path):
    file = scanned(tmp_path, image_file(drawn_photo(3), "JPEG"))
    pixels = prepare_query(tmp_path / "a.jpg", preprocessing=PREPROCESSING, max_pixels=MAX_PIXELS)
    np.testing.assert_array_equal(pixels, prepared(file).pixels)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8


def test_a_query_that_is_missing_is_named(tmp_path):
    with pytest.raises(PhotoError, match="cannot be read: no such file") as caught:
        prepare_query(tmp_path / "no.jpg", preprocessing=PREPROCESSING, max_pixels=MAX_PIXELS)
    assert caught.value.stage == "read"


def test_photos_prepared_in_threads_are_the_same(tmp_path):
    for seed in range(6):
        Image.fromarray(drawn_photo(seed)).save(tmp_path / f"{seed}.jpg")
    files = list(scan(tmp_path))
    alone = [prepared(file) for file in files]
    together = {}

    def work(position):
        together[position] = prepared(files[position])

    threads = [threading.Thread(target=work, args=(position,)) for position in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for position, photo in enumerate(alone):
        assert together[position].columns == photo.columns
        np.testing.assert_array_equal(together[position].pixels, photo.pixels)
