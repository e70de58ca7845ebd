"""Every photo below a folder once, in order, and a record of what could not be examined."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scan import (
    PairedRaw,
    ScanFailure,
    ScannedFile,
    filesystem_path,
    resolve_root,
    scan,
    sniff_format,
    stored_path,
)
from schemas.errors import InputError

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def write(root, *paths, content=b"x"):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def found(root, **options):
    return [entry.path for entry in scan(root, **options) if isinstance(entry, ScannedFile)]


def failures(root):
    return [entry for entry in scan(root) if isinstance(entry, ScanFailure)]


def test_photos_are_listed_in_order_with_their_stat(tmp_path):
    write(tmp_path, "b.jpg", "a.PNG", "sub/c.HeIc", "sub/deep/d.tiff", "notes.txt", "a/e.jp2")
    os.utime(tmp_path / "b.jpg", ns=(5, 123456789))
    assert found(tmp_path) == ["a.PNG", "b.jpg", "a/e.jp2", "sub/c.HeIc", "sub/deep/d.tiff"]
    assert list(scan(tmp_path))[1] == ScannedFile(str(tmp_path), "b.jpg", 1, 123456789)


def test_hidden_and_system_folders_are_skipped(tmp_path):
    write(tmp_path, ".a.jpg", ".cache/b.jpg", "@eaDir/c.jpg", "sub/#recycle/d.jpg", "sub/e.jpg")
    assert found(tmp_path) == ["sub/e.jpg"]
    assert found(tmp_path, excluded=frozenset({"sub"})) == ["@eaDir/c.jpg"]


def test_a_hidden_root_is_scanned(tmp_path):
    write(tmp_path, ".photos/a.jpg")
    assert found(tmp_path / ".photos") == ["a.jpg"]


def test_without_an_extension_the_first_bytes_decide(tmp_path):
    write(tmp_path, "IMG_1", content=PNG_HEAD)
    write(tmp_path, "README", "jpg", "empty", content=b"")
    write(tmp_path, "IMG_2.bak", content=PNG_HEAD)
    assert found(tmp_path) == ["IMG_1"]


def test_raw_files_beside_the_photo_of_their_shot_are_told_apart(tmp_path):
    write(tmp_path, "a/1.CR2", "a/1.JPG", "a/1.dng", "a/2.nef", "b/2.jpg", "a/.3.jpg", "a/3.arw")
    root = str(tmp_path)
    assert found(tmp_path) == ["a/1.JPG", "a/2.nef", "a/3.arw", "b/2.jpg"]
    paired = [entry for entry in scan(tmp_path) if isinstance(entry, PairedRaw)]
    assert paired == [PairedRaw(root, "a/1.CR2"), PairedRaw(root, "a/1.dng")]


def test_a_photo_that_cannot_be_examined_has_no_pair(tmp_path):
    write(tmp_path, "a.cr2", "b.cr2", "b.jpg/c.jpg")
    (tmp_path / "a.jpg").symlink_to(tmp_path / "unmounted")
    assert found(tmp_path) == ["a.cr2", "b.cr2", "b.jpg/c.jpg"]


def test_a_single_raw_file_is_listed_beside_its_photo(tmp_path):
    write(tmp_path, "a.cr2", "a.jpg")
    assert found(tmp_path / "a.cr2") == ["a.cr2"]


def test_a_single_file_is_listed_below_its_parent(tmp_path):
    write(tmp_path, "a.jpg", "b.jpg", "odd.name")
    assert found(tmp_path / "b.jpg") == ["b.jpg"]
    assert found(tmp_path / "odd.name") == ["odd.name"]


def test_a_folder_named_like_a_photo_is_walked(tmp_path):
    write(tmp_path, "x.jpg/y.jpg")
    assert found(tmp_path) == ["x.jpg/y.jpg"]


def test_special_files_with_a_photo_name_are_failures(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # socket paths are limited to about 100 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("b.jpg")
        entries = list(scan(tmp_path))
    assert entries == [
        ScanFailure(
            str(tmp_path), "a.jpg", "NotARegularFile", "is a named pipe, not a regular file"
        ),
        ScanFailure(str(tmp_path), "b.jpg", "NotARegularFile", "is a socket, not a regular file"),
    ]


def test_a_link_to_a_device_is_a_failure(tmp_path):
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    assert failures(tmp_path)[0].reason == "is a character device, not a regular file"


@pytest.mark.parametrize("name", ["gone.jpg", "gone"])
def test_a_broken_link_is_a_failure(tmp_path, name):
    (tmp_path / name).symlink_to(tmp_path / "unmounted")
    assert failures(tmp_path) == [
        ScanFailure(
            str(tmp_path),
            name,
            "FileNotFoundError",
            "cannot be examined: No such file or directory",
        )
    ]


def test_a_file_that_links_to_itself_is_a_failure(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "symbolic links" in failures(tmp_path)[0].reason


def test_a_folder_with_two_ways_to_it_is_listed_under_its_real_path(tmp_path):
    write(tmp_path, "photos/a.jpg")
    (tmp_path / "alias").symlink_to("photos")
    assert found(tmp_path) == ["photos/a.jpg"]


def test_a_linked_folder_elsewhere_is_listed_once(tmp_path):
    write(tmp_path, "outside/sub/a.jpg", "root/z.jpg")
    (tmp_path / "root/one").symlink_to(tmp_path / "outside")
    (tmp_path / "root/two").symlink_to(tmp_path / "outside")
    assert found(tmp_path / "root") == ["z.jpg", "one/sub/a.jpg"]


def test_links_that_lead_back_up_are_skipped(tmp_path):
    write(tmp_path, "sibling.jpg", "root/sub/a.jpg", "outside/b.jpg", "secret.jpg")
    (tmp_path / "root/sub/up").symlink_to(tmp_path)
    (tmp_path / "root/sub/self").symlink_to(tmp_path / "root/sub")
    (tmp_path / "root/linked").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/up").symlink_to(tmp_path)
    assert found(tmp_path / "root") == ["sub/a.jpg", "linked/b.jpg"]


def test_a_folder_that_vanishes_during_the_scan_is_a_failure(tmp_path):
    write(tmp_path, "a.jpg", "sub/b.jpg")
    entries = scan(tmp_path)
    next(entries)
    (tmp_path / "sub/b.jpg").unlink()
    (tmp_path / "sub").rmdir()
    reason = "cannot be listed: No such file or directory"
    assert list(entries) == [ScanFailure(str(tmp_path), "sub", "FileNotFoundError", reason)]


def test_a_deep_tree(tmp_path):
    depth = 300  # pytest removes it recursively: 1000 would end its own run
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        deeper = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    assert found(tmp_path) == ["d/" * depth + "a.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_a_failure(tmp_path):
    write(tmp_path, "sub/a.jpg")
    (tmp_path / "sub").chmod(0)
    try:
        assert failures(tmp_path)[0].error_class == "PermissionError"
    finally:
        (tmp_path / "sub").chmod(0o755)


@pytest.mark.parametrize(
    "name", [b"caf\xe9.jpg", "日本 🌅.jpg".encode(), b"two\nlines.jpg", b"back\\slash.jpg"]
)
def test_any_name_survives_the_way_through_the_store(tmp_path, name):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    stored = found(tmp_path)[0]
    stored.encode("utf-8")
    assert os.fsencode(filesystem_path(stored)) == name
    assert (tmp_path / filesystem_path(stored)).read_bytes() == b"x"


@given(st.binary().filter(lambda name: b"\0" not in name))
def test_stored_paths_are_reversible_utf_8(name):
    path = name.decode("utf-8", "surrogateescape")
    assert filesystem_path(stored_path(path)) == path
    stored_path(path).encode("utf-8")


def test_a_name_that_already_holds_a_private_character_is_told_from_an_escape():
    genuine, escaped = "\U0010ffe9.jpg", "\udce9.jpg"
    assert stored_path(genuine) != stored_path(escaped)
    assert filesystem_path(stored_path(genuine)) == genuine


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe1", "JPEG"),
        (PNG_HEAD, "PNG"),
        (b"GIF89a", "GIF"),
        (b"MM\x00*", "TIFF"),
        (b"RIFF\x00\x00\x00\x00WEBP", "WEBP"),
        (b"RIFF\x00\x00\x00\x00AVI ", None),
        (b"BM" + bytes(12) + b"\x28\x00\x00\x00", "BMP"),
        (b"BMW repair manual, page one", None),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1", "HEIF"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", "AVIF"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", None),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "RAW"),
        (b"II*\x00\x10\x00\x00\x00IIIITwaR", "RAW"),
        (b"MM\x00*\x00\x00\x00\x10MMMMRawT", "RAW"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom", "RAW"),
        (b"II\x1a\x00\x00\x00HEAPCCDR", "RAW"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (b"IIRO\x08\x00\x00\x00", "RAW"),
        (b"MMOR\x00\x00\x00\x08", "RAW"),
        (b"IIU\x00\x18\x00\x00\x00", "RAW"),
        (b"FOVb\x01\x00\x02\x00", "RAW"),
        (b"\x00MRM\x00\x00\x00\x00", "RAW"),
        (b"", None),
    ],
)
def test_sniffed_formats(head, expected):
    assert sniff_format(head) == expected


def test_resolve_root_follows_links_of_the_root(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert resolve_root(tmp_path / "link") == tmp_path / "real"


def test_resolve_root_takes_a_file(tmp_path):
    write(tmp_path, "a.jpg")
    assert resolve_root(tmp_path / "a.jpg") == tmp_path / "a.jpg"


def test_resolve_root_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_root(Path()) == tmp_path


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"missing does not exist; check the path, or mount"):
        resolve_root(tmp_path / "missing")


def test_a_special_root_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a named pipe; give a folder or a photo file"):
        resolve_root(tmp_path / "pipe")


def test_a_root_with_an_impossible_name_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot be opened .*name too long.*give another path"):
        resolve_root(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_root_is_refused(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    with pytest.raises(InputError, match="cannot be read; grant yourself"):
        resolve_root(locked)
