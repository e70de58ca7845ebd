"""Opening the files of indexed photos: the file that was indexed, and no other by any trick."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.scan import ScannedFile, scan
from service.photo_files import (
    FILE_COLUMNS,
    FileGoneError,
    IndexedFile,
    content_type,
    file_state,
    is_shown_by_browsers,
    open_photo,
)

CONTENT, SECRET = b"a photo of a dog", b"a secret of mine"
TIME_NS = 1_700_000_000_123_456_789


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def secrets(tmp_path):
    """A folder beside the photos; its file has the size and the time of the photo."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    written(folder / "a.jpg", SECRET)
    return folder


def written(path, content=CONTENT):
    path.write_bytes(content)
    os.utime(path, ns=(TIME_NS, TIME_NS))
    return path


def indexed(root, path="a.jpg", **known) -> IndexedFile:
    """What the index says of a photo that was written here."""
    made_up = {
        "root": str(root),
        "path": path,
        "file_size": len(CONTENT),
        "mtime_ns": TIME_NS,
        "content_hash": "0" * 64,
        "format": "JPEG",
    }
    return IndexedFile(**{**made_up, **known})


def scanned(root) -> IndexedFile:
    """What the index says of the one photo that a scan finds."""
    (found,) = scan(root)
    assert isinstance(found, ScannedFile)
    return indexed(found.root, found.path, file_size=found.size, mtime_ns=found.mtime_ns)


def content_of(file):
    with open_photo(file) as opened:
        return opened.read()


def state_and_message(file):
    with pytest.raises(FileGoneError) as caught:
        open_photo(file)
    assert file_state(file) == caught.value.state
    return caught.value.state, str(caught.value)


def test_the_columns_are_those_of_images():
    assert FILE_COLUMNS == ("root", "path", "file_size", "mtime_ns", "content_hash", "format")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a.jpg", id="plain"),
        pytest.param("caf\udce9 \N{PAPERCLIP}\n'..jpg", id="undecodable"),
        pytest.param("\U0010ffe9.jpg", id="private-use"),
        pytest.param("-rf .jpg", id="dash"),
    ],
)
def test_the_file_that_was_indexed_is_opened(root, name):
    (root / "2024").mkdir()
    written(root / "2024" / name)
    file = scanned(root)
    assert content_of(file) == CONTENT
    assert file_state(file) == "present"


def test_opened_files_do_not_reach_other_programs(root):
    written(root / "a.jpg")
    with open_photo(indexed(root)) as opened:
        assert not os.get_inheritable(opened.fileno())


def test_a_photo_that_was_indexed_by_itself_is_opened(root):
    photo = written(root / "a.jpg")
    (found,) = scan(photo)
    assert isinstance(found, ScannedFile)
    assert content_of(indexed(found.root, found.path)) == CONTENT


def test_links_within_the_indexed_folder_are_followed(root):
    (root / "real").mkdir()
    written(root / "real" / "a.jpg")
    (root / "folder").symlink_to("real")
    (root / "file.jpg").symlink_to(root / "folder" / "a.jpg")
    assert content_of(indexed(root, "folder/a.jpg")) == CONTENT
    assert content_of(indexed(root, "file.jpg")) == CONTENT


@pytest.mark.parametrize("target", ["secrets/a.jpg", "secrets/gone.jpg"], ids=["there", "broken"])
def test_a_link_to_a_file_outside_is_not_followed(root, secrets, target):
    (root / "a.jpg").symlink_to(root.parent / target)
    assert state_and_message(indexed(root)) == (
        "outside",
        f"{root}/a.jpg leads out of the indexed folder {root}; index the folder it leads to",
    )


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        pytest.param("day", "../secrets", "day/a.jpg", id="folder"),
        pytest.param("2024/day", "../../secrets", "2024/day/a.jpg", id="folder-in-the-middle"),
        pytest.param("up", "..", "up/secrets/a.jpg", id="the-folder-above"),
        pytest.param("up", "..", "up/photos-2/a.jpg", id="a-name-that-begins-like-the-root"),
    ],
)
def test_a_link_to_a_folder_outside_is_not_followed(root, secrets, link, target, path):
    (root / "2024").mkdir()
    (root.parent / "photos-2").mkdir()
    written(root.parent / "photos-2" / "a.jpg")
    (root / link).symlink_to(target)
    assert state_and_message(indexed(root, path))[0] == "outside"


@pytest.mark.parametrize("path", ["../secrets/a.jpg", "x/../../secrets/a.jpg", "..", ".", ""])
def test_a_path_that_climbs_out_of_the_folder_is_not_followed(root, secrets, path):
    assert state_and_message(indexed(root, path))[0] == "outside"


def test_an_absolute_path_is_taken_as_one_below_the_root(root, secrets):
    assert state_and_message(indexed(root, str(secrets / "a.jpg")))[0] == "vanished"


def test_an_indexed_folder_that_moved_and_left_a_link_is_found(root, tmp_path):
    written(root / "a.jpg")
    root.rename(tmp_path / "larger disk")
    root.symlink_to("larger disk")
    assert content_of(indexed(root)) == CONTENT


def test_another_folder_in_the_place_of_the_indexed_one_has_no_photos_of_it(root, secrets):
    os.utime(secrets / "a.jpg", ns=(TIME_NS, TIME_NS + 1))
    root.rmdir()
    root.symlink_to(secrets)
    assert state_and_message(indexed(root))[0] == "changed"
    assert state_and_message(indexed(root, "b.jpg"))[0] == "vanished"


@pytest.mark.parametrize(
    "content", [pytest.param(CONTENT[1:], id="size"), pytest.param(CONTENT, id="time")]
)
def test_a_file_of_another_size_or_time_is_not_opened(root, content):
    (root / "a.jpg").write_bytes(content)
    assert state_and_message(indexed(root)) == (
        "changed",
        f"{root}/a.jpg has changed since it was indexed; run `isophote index`",
    )


def make_folder(path):
    path.mkdir()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "state"),
    [
        pytest.param(os.mkfifo, "changed", id="named-pipe"),
        pytest.param(make_folder, "changed", id="folder"),
        pytest.param(make_socket, "vanished", id="socket"),
    ],
)
def test_what_is_no_regular_file_is_neither_opened_nor_waited_for(root, make, state):
    make(root / "a.jpg")
    status = (root / "a.jpg").stat()
    file = indexed(root, file_size=status.st_size, mtime_ns=status.st_mtime_ns)
    assert state_and_message(file)[0] == state


def test_a_device_is_not_opened(tmp_path):
    null = Path("/dev/null").stat()
    file = indexed("/dev", "null", file_size=null.st_size, mtime_ns=null.st_mtime_ns)
    assert state_and_message(file)[0] == "changed"


def test_a_refused_file_is_closed(root):
    make_folder(root / "a.jpg")
    n_open = n_open_files()
    for _ in range(3):
        assert file_state(indexed(root)) == "changed"
    assert n_open_files() == n_open


def n_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("a.jpg", "a.jpg is gone; mount its drive, or run `isophote index`", id="gone"),
        pytest.param("no/a.jpg", "is gone; mount", id="its-folder-is-gone"),
        pytest.param("file/a.jpg", "cannot be read: not a directory", id="its-folder-is-a-file"),
        pytest.param("loop", "cannot be read: ", id="a-link-to-itself"),
        pytest.param("a\0b", "cannot be read: embedded null byte", id="no-name-of-a-file"),
        pytest.param("a" * 300, "cannot be read: file name too long", id="too-long"),
    ],
)
def test_a_file_that_is_gone_is_told(root, path, message):
    written(root / "file")
    (root / "loop").symlink_to("loop")
    state, told = state_and_message(indexed(root, path))
    assert state == "vanished"
    assert message in told


def test_imported_vectors_have_no_file(root, secrets):
    file = indexed("", str(secrets / "a.jpg"), content_hash=None, format=None)
    message = f"{secrets}/a.jpg came with imported vectors, without a file to show"
    assert state_and_message(file) == ("none", message)


def test_a_photo_whose_size_is_not_known_is_not_opened(root):
    written(root / "a.jpg")
    assert file_state(replace(indexed(root), file_size=None)) == "changed"


@pytest.fixture
def swap_after_looking(monkeypatch):
    """Do something at the worst moment: when the real path is known and nothing is open."""

    def swap(change):
        real = os.path.realpath
        seen = []

        def realpath(path):
            answer = real(path)
            seen.append(answer)
            if len(seen) == 2:  # the root's and the file's
                change()
            return answer

        monkeypatch.setattr(os.path, "realpath", realpath)

    return swap


def test_a_link_put_in_a_files_place_meanwhile_is_not_followed(root, secrets, swap_after_looking):
    written(root / "a.jpg")

    def change():
        (root / "a.jpg").unlink()
        (root / "a.jpg").symlink_to(secrets / "a.jpg")

    swap_after_looking(change)
    with pytest.raises(FileGoneError) as caught:
        open_photo(indexed(root))
    assert caught.value.state == "vanished"


def test_a_link_put_in_a_folders_place_meanwhile_is_not_followed(root, secrets, swap_after_looking):
    (root / "day").mkdir()
    written(root / "day" / "a.jpg")

    def change():
        (root / "day").rename(root / "night")
        (root / "day").symlink_to(secrets)

    swap_after_looking(change)
    with pytest.raises(FileGoneError) as caught:
        open_photo(indexed(root, "day/a.jpg"))
    assert caught.value.state == "vanished"


def test_a_pipe_put_in_a_files_place_meanwhile_is_not_waited_for(root, swap_after_looking):
    written(root / "a.jpg")

    def change():
        (root / "a.jpg").unlink()
        os.mkfifo(root / "a.jpg")

    swap_after_looking(change)
    with pytest.raises(FileGoneError, match="has changed"):
        open_photo(indexed(root))


@pytest.mark.parametrize(
    ("photo_format", "media_type", "is_shown"),
    [
        ("JPEG", "image/jpeg", True),
        ("PNG", "image/png", True),
        ("GIF", "image/gif", True),
        ("WEBP", "image/webp", True),
        ("AVIF", "image/avif", True),
        ("BMP", "image/bmp", True),
        ("TIFF", "image/tiff", False),
        ("HEIF", "image/heif", False),
        ("JPEG2000", "image/jp2", False),
        ("RAW", "application/octet-stream", False),
        ("text/html", "application/octet-stream", False),
        (None, "application/octet-stream", False),
    ],
)
def test_the_type_of_a_file_follows_from_its_recognised_format(photo_format, media_type, is_shown):
    assert content_type(photo_format) == media_type
    assert is_shown_by_browsers(photo_format) is is_shown
