"""Thumbnails of real files, and those of a service: made once, and never of another picture."""

import errno
import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from schemas.errors import PhotoError
from service import thumbnails as module
from service.photo_files import FileGoneError, IndexedFile
from service.photo_processes import PhotoProcesses
from service.thumbnail_cache import ThumbnailCache
from service.thumbnails import Thumbnails, thumbnail_of
from tests.makers.photos import drawn_photo, exif_block, image_file, swapped_rgb_profile

MAX_PIXELS = 10_000_000


def shown(content, *, side=256):
    """Return the pixels of a thumbnail."""
    thumbnail = thumbnail_of(content, side=side, max_pixels=MAX_PIXELS)
    pixels = jpeg_pixels(thumbnail.jpeg)
    assert pixels.shape == (thumbnail.height, thumbnail.width, 3)
    return pixels


def jpeg_pixels(jpeg):
    with Image.open(BytesIO(jpeg), formats=["JPEG"]) as image:
        return np.asarray(image).astype(float)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        pytest.param((600, 400), 256, (256, 171), id="landscape"),
        pytest.param((301, 602), 256, (128, 256), id="portrait"),
        pytest.param((40, 30), 256, (40, 30), id="small-ones-stay"),
        pytest.param((3000, 2), 256, (256, 1), id="a-line"),
        pytest.param((2600, 1300), 1280, (1280, 640), id="preview"),
        pytest.param((600, 400), 1280, (600, 400), id="small-previews-stay"),
    ],
)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG"])
def test_the_long_side_is_limited(size, side, expected, format_name):
    drawn = np.full((size[1], size[0], 3), 90, np.uint8)
    assert shown(image_file(drawn, format_name), side=side).shape == (expected[1], expected[0], 3)


def test_a_jpeg_that_is_decoded_at_a_smaller_scale_shows_the_whole_photo():
    # No side divides by the scale, so that the last column and row are filled in part.
    drawn = drawn_photo(3, width=130, height=98).repeat(8, 0).repeat(8, 1)[:773, :1029]
    from_jpeg, from_png = (
        shown(image_file(drawn, name, **options))
        for name, options in (("JPEG", {"quality": 95}), ("PNG", {}))
    )
    assert np.abs(from_jpeg - from_png).mean() < 1.0


def test_photos_are_turned_upright():
    stored = np.zeros((60, 90, 3), np.uint8)
    stored[:, :45] = 255
    # Orientation 6: the stored left is the top of the photo.
    upright = shown(image_file(stored, "JPEG", exif=exif_block({0x0112: 6})))
    assert upright.shape == (90, 60, 3)
    assert upright[:40].min() > 240
    assert upright[50:].max() < 15


def test_colours_are_srgb():
    red_in_its_space = np.full((32, 32, 3), (250, 5, 5), np.uint8)
    content = image_file(red_in_its_space, "PNG", icc_profile=swapped_rgb_profile())
    red, green, _ = shown(content).mean(axis=(0, 1))
    assert green > 200 > 100 > red


def test_thumbnails_do_not_tell_where_or_when_a_photo_was_taken():
    content = image_file(drawn_photo(1), "JPEG", exif=exif_block({0x010F: "A camera"}))
    jpeg = thumbnail_of(content, side=256, max_pixels=MAX_PIXELS).jpeg
    with Image.open(BytesIO(jpeg)) as image:
        assert dict(image.getexif()) == {}
    assert b"A camera" in content
    assert b"A camera" not in jpeg


def test_what_cannot_be_decoded_has_no_thumbnail():
    with pytest.raises(PhotoError, match=r"^is text, not an image$"):
        thumbnail_of(b"a shopping list", side=256, max_pixels=MAX_PIXELS)


class CallsHere:
    """Calls jobs at once, in this process, and counts them."""

    def __init__(self):
        self.n_calls = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def call(self, job):
        self.n_calls += 1
        self.go_on.wait(10)
        return job()


@pytest.fixture
def calls():
    return CallsHere()


@pytest.fixture
def cache(tmp_path):
    return ThumbnailCache(tmp_path / "cache")


@pytest.fixture
def thumbnails(calls, cache):
    return Thumbnails(calls, cache, max_pixels=MAX_PIXELS)


def photo(folder, name="a.png", seed=1):
    """Write a photo, and return what the index says of it."""
    content = image_file(drawn_photo(seed, width=300, height=200), "PNG")
    path = folder / name
    path.write_bytes(content)
    status = path.stat()
    return IndexedFile(
        root=str(folder),
        path=name,
        file_size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        content_hash=hashlib.sha256(content).hexdigest(),
        format="PNG",
    )


def test_a_thumbnail_is_made_once_for_each_side(tmp_path, thumbnails, calls):
    file = photo(tmp_path)
    for _ in range(3):
        sizes = [jpeg_pixels(thumbnails.thumbnail(file, side)).shape[:2] for side in (256, 1280)]
        assert sizes == [(171, 256), (200, 300)]
    assert calls.n_calls == 2


def test_copies_and_renamed_photos_share_a_thumbnail(tmp_path, thumbnails, calls):
    first, second = photo(tmp_path), photo(tmp_path, "b.png")
    assert thumbnails.thumbnail(first, 256) == thumbnails.thumbnail(second, 256)
    assert calls.n_calls == 1


def test_a_kept_thumbnail_is_shown_when_the_file_is_gone(tmp_path, thumbnails):
    file = photo(tmp_path)
    before = thumbnails.thumbnail(file, 256)
    (tmp_path / "a.png").unlink()
    assert thumbnails.thumbnail(file, 256) == before
    with pytest.raises(FileGoneError, match="is gone"):
        thumbnails.thumbnail(file, 1280)


def test_another_picture_of_the_same_size_and_time_is_not_shown(tmp_path, thumbnails):
    file = photo(tmp_path)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[-20] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    os.utime(tmp_path / "a.png", ns=(file.mtime_ns, file.mtime_ns))
    with pytest.raises(FileGoneError, match="has changed since it was indexed") as caught:
        thumbnails.thumbnail(file, 256)
    assert caught.value.state == "changed"


class BrokenFile(BytesIO):
    """A file on a drive that is pulled out."""

    def read(self, *_):
        raise OSError(errno.EIO, "Input/output error")


def test_a_file_that_breaks_off_while_it_is_read_is_told(tmp_path, thumbnails, monkeypatch):
    monkeypatch.setattr(module, "open_photo", lambda _: BrokenFile())
    with pytest.raises(PhotoError, match=r"a\.png cannot be read: input/output error$"):
        thumbnails.thumbnail(photo(tmp_path), 256)


def test_imported_vectors_have_no_thumbnail(thumbnails):
    file = IndexedFile("", "17", None, None, None, None)
    with pytest.raises(FileGoneError, match=r"^17 came with imported vectors"):
        thumbnails.thumbnail(file, 256)


def test_a_photo_that_cannot_be_decoded_is_named_and_tried_again(tmp_path, calls, cache):
    file = photo(tmp_path)
    strict = Thumbnails(calls, cache, max_pixels=1000)
    for _ in range(2):
        with pytest.raises(PhotoError, match=rf"^{tmp_path}/a.png is 300 x 200 = .*, over the"):
            strict.thumbnail(file, 256)
    assert calls.n_calls == 2
    assert Thumbnails(calls, cache, max_pixels=MAX_PIXELS).thumbnail(file, 256)


@pytest.mark.parametrize("name", ["a.png", "gone.png"])
def test_what_many_ask_for_at_once_is_made_once(tmp_path, thumbnails, calls, name):
    file = replace(photo(tmp_path), path=name)
    calls.go_on.clear()
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(thumbnails.thumbnail, file, 256) for _ in range(20)]
        wait_for_waiting(thumbnails, (file, 256), count=19)
        calls.go_on.set()
    assert len({future.exception() or future.result() for future in asked}) == 1
    assert calls.n_calls == 1


def wait_for_waiting(thumbnails, asked, *, count):
    """Wait until so many threads wait for a thumbnail that another one makes."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        made = thumbnails._underway.get(asked)
        if made is not None and len(made._condition._waiters) == count:
            return
        time.sleep(0.001)
    pytest.fail(f"fewer than {count} threads wait")


def test_without_a_cache_folder_thumbnails_are_made_each_time(tmp_path, calls):
    (tmp_path / "file").touch()
    thumbnails = Thumbnails(calls, ThumbnailCache(tmp_path / "file"), max_pixels=MAX_PIXELS)
    file = photo(tmp_path)
    assert thumbnails.thumbnail(file, 256) == thumbnails.thumbnail(file, 256)
    assert calls.n_calls == 2


def test_a_damaged_thumbnail_is_made_again(tmp_path, thumbnails, calls):
    file = photo(tmp_path)
    before = thumbnails.thumbnail(file, 256)
    (kept,) = (tmp_path / "cache").rglob("*.thumbnail")
    kept.write_bytes(kept.read_bytes()[:-100])
    assert thumbnails.thumbnail(file, 256) == before
    assert calls.n_calls == 2


def test_thumbnails_come_from_other_processes(tmp_path, cache):
    name = "caf\U0010ffe9.png"  # as the index has the byte e9
    file = replace(photo(tmp_path, "caf\udce9.png"), path=name)
    link = replace(file, path="link.png")
    (tmp_path / "link.png").symlink_to("/etc/passwd")
    with closing(PhotoProcesses(n_processes=1, seconds=30)) as processes:
        thumbnails = Thumbnails(processes, cache, max_pixels=MAX_PIXELS)
        with pytest.raises(FileGoneError, match="leads out of the indexed folder") as caught:
            thumbnails.thumbnail(link, 256)
        assert caught.value.state == "outside"
        assert jpeg_pixels(thumbnails.thumbnail(file, 256)).shape == (171, 256, 3)
