"""Thumbnails of real files."""

import hashlib

import numpy as np
import pytest

from service.review import thumbnails as module
from service.review.thumbnails import NoThumbnail, read_thumbnail, thumbnails
from service.thumbnails import Thumbnail
from tests.makers.photos import drawn_photo, image_file
from tests.service.review.listed import listed_photo

MAX_PIXELS = 10_000_000


@pytest.fixture
def shown(tmp_path):
    """Return the thumbnail of a file with the given bytes."""

    def show(content, **known):
        path = tmp_path / "photo"
        path.write_bytes(content)
        return read_thumbnail(listed_photo(1, path, **known), max_pixels=MAX_PIXELS)

    return show


def test_a_file_that_holds_what_was_indexed_is_shown(shown):
    content = image_file(drawn_photo(1), "PNG")
    assert isinstance(shown(content, content_hash=hashlib.sha256(content).hexdigest()), Thumbnail)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "is empty (0 bytes)", id="empty"),
        pytest.param(b"a shopping list", "is text, not an image", id="text"),
        pytest.param(
            image_file(np.zeros((4000, 2501, 3), np.uint8)),
            "is 2501 x 4000 = 10 MP, over the limit of 10 MP; raise ISOPHOTE_MAX_PIXELS, or "
            "--max-pixels of `isophote failures --retry`",
            id="too-large",
        ),
    ],
)
def test_what_cannot_be_decoded_is_told(shown, content, reason):
    assert shown(content) == NoThumbnail(reason)


def test_a_file_that_changed_is_told(shown):
    content = image_file(drawn_photo(1), "PNG")
    assert shown(content, content_hash="0" * 64) == NoThumbnail("has changed since it was indexed")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("gone.jpg", "cannot be read: no such file or directory", id="gone"),
        pytest.param("", "cannot be read: is a directory", id="folder"),
        pytest.param("a\0b", "cannot be read: embedded null byte", id="no-name-for-a-file"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, reason):
    photo = listed_photo(1, f"{tmp_path}/{name}")
    assert read_thumbnail(photo, max_pixels=MAX_PIXELS) == NoThumbnail(reason)


def test_a_name_that_is_no_utf8_is_found(tmp_path):
    path = tmp_path / "caf\udce9.png"
    path.write_bytes(image_file(drawn_photo(1)))
    found = read_thumbnail(listed_photo(1, path), max_pixels=MAX_PIXELS)
    assert isinstance(found, Thumbnail)
    assert (found.width, found.height) == (96, 64)


def test_thumbnails_come_in_the_order_of_the_photos(tmp_path):
    widths = [300, 20, 250, 10, 30, 200] * 5
    photos = []
    for number, width in enumerate(widths):
        path = tmp_path / f"{number}.png"
        path.write_bytes(image_file(drawn_photo(number, width=width, height=8)))
        photos.append(listed_photo(number, path))
    found = thumbnails(photos, max_pixels=MAX_PIXELS, n_threads=3)
    assert [getattr(each, "width", 0) for each in found] == [min(width, 256) for width in widths]


def test_few_photos_are_read_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AHEAD_PER_THREAD", 4)
    taken = []

    def photos():
        for number in range(100):
            taken.append(number)
            yield listed_photo(number, tmp_path / "gone.jpg")

    found = thumbnails(photos(), max_pixels=MAX_PIXELS, n_threads=2)
    next(found)
    assert len(taken) == 9
    next(found)
    assert len(taken) == 10
    found.close()
    assert len(taken) == 10
