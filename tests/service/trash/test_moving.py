"""Single files on their way into the trash and out of it."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from service.trash.moving import PART_NAME, FileStaysError, claim_of, digest_of, put_back, take_away
from tests.service.trash.libraries import hooked_calls, synced_path


def other_drive(name, arguments):
    """Refuse what does not work from one drive to another."""
    if name in ("rename", "link") and Path(arguments[0]).parent != Path(arguments[1]).parent:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


DRIVES = pytest.mark.parametrize(
    "before",
    [pytest.param(lambda *_: None, id="one-drive"), pytest.param(other_drive, id="two-drives")],
)


@pytest.fixture
def original(tmp_path):
    """A photo."""
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    path.write_text("photo")
    return path


@pytest.fixture
def place(tmp_path):
    """Where the photo goes in the trash, in a folder that does not exist."""
    return tmp_path / "trash" / "deep" / "a.jpg"


def files_of(folder) -> dict[str, str]:
    """Names and content of a folder's files."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_digest_is_of_the_bytes(original):
    status, digest = digest_of(original)
    assert (status.st_size, digest) == (5, hashlib.sha256(b"photo").hexdigest())


def test_a_file_that_is_written_to_has_no_digest(original, monkeypatch):
    read = hashlib.file_digest

    def read_while_it_grows(file, name):
        with original.open("a") as writer:
            writer.write("!")
        return read(file, name)

    monkeypatch.setattr(hashlib, "file_digest", read_while_it_grows)
    with pytest.raises(FileStaysError, match="changes while it is read; try again when it is"):
        digest_of(original)


@DRIVES
def test_nothing_in_the_trash_is_replaced(original, place, monkeypatch, before):
    place.parent.mkdir(parents=True)
    place.write_text("earlier")
    hooked_calls(monkeypatch.setattr, before)
    with pytest.raises(FileExistsError):
        take_away(original, place, original.lstat())
    assert files_of(place.parent) == {"a.jpg": "earlier"}
    assert files_of(original.parent) == {"a.jpg": "photo"}


def test_a_file_that_an_earlier_run_left_between_drives_is_not_replaced(
    original, place, monkeypatch
):
    claim_of(original).write_text("earlier")
    hooked_calls(monkeypatch.setattr, other_drive)
    with pytest.raises(FileExistsError):
        take_away(original, place, original.lstat())
    assert files_of(original.parent) == {claim_of(original).name: "earlier", "a.jpg": "photo"}
    assert files_of(place.parent) == {}


def test_a_copy_is_kept_if_the_original_went_although_that_failed(original, place, monkeypatch):
    """As a network drive may have it whose answer is lost."""

    def remove_and_fail(name, arguments):
        other_drive(name, arguments)
        if name == "unlink" and Path(arguments[0]) == claim_of(original):
            os.remove(arguments[0])  # noqa: PTH107 - not one of the calls with a hook
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    hooked_calls(monkeypatch.setattr, remove_and_fail)
    with pytest.raises(FileNotFoundError):
        take_away(original, place, original.lstat())
    assert files_of(original.parent) == {}
    assert files_of(place.parent) == {"a.jpg": "photo"}


def test_a_part_of_an_earlier_copy_is_replaced(original, place, monkeypatch):
    for folder in (place.parent, original.parent):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PART_NAME).write_text("half a ph")
    hooked_calls(monkeypatch.setattr, other_drive)
    take_away(original, place, original.lstat())
    assert files_of(place.parent) == {"a.jpg": "photo"}
    put_back(place, original)
    assert files_of(original.parent) == {"a.jpg": "photo"}
    assert files_of(place.parent) == {}


@DRIVES
def test_a_file_is_back_on_the_disk_before_it_leaves_the_trash(
    original, place, monkeypatch, before
):
    take_away(original, place, original.lstat())
    synced = []

    def look(name, arguments):
        before(name, arguments)
        synced.append(synced_path(name, arguments))
        if name == "unlink" and Path(arguments[0]) == place:
            assert original.read_text() == "photo"
            assert original.parent in synced

    hooked_calls(monkeypatch.setattr, look)
    put_back(place, original)
    assert files_of(place.parent) == {}


@DRIVES
def test_nothing_that_has_the_name_is_replaced(original, place, monkeypatch, before):
    take_away(original, place, original.lstat())
    original.write_text("mine")
    hooked_calls(monkeypatch.setattr, before)
    with pytest.raises(FileExistsError):
        put_back(place, original)
    assert files_of(original.parent) == {"a.jpg": "mine"}
    assert files_of(place.parent) == {"a.jpg": "photo"}


def test_folders_that_cannot_be_synced_are_no_obstacle(original, place, monkeypatch):
    """Some network and FUSE drives have no such thing."""

    def refuse(name, arguments):
        path = synced_path(name, arguments)
        if path is not None and path.is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    hooked_calls(monkeypatch.setattr, refuse)
    take_away(original, place, original.lstat())
    assert files_of(place.parent) == {"a.jpg": "photo"}
