"""What moves to the trash, and what stays and why."""

import errno
import json
import os
import signal
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.ingest import IngestProgress
from indexer.lock import writer_lock
from indexer.scan import scan, stored_path
from schemas.duplicates import ReviewedGroup
from schemas.errors import InputError, LockedError, StorageError
from schemas.trash import LeftFile
from service.trash.journal import JOURNAL_NAME, TRASH_NAME, _append_line
from service.trash.moving import PART_NAME
from service.trash.shots import leaving_with
from tests.service.trash.libraries import (
    Library,
    hooked_calls,
    refuse_other_drive,
    synced_path,
    two_groups,
)


@pytest.fixture
def pair(library):
    """A photo and its copy, indexed."""
    keeper = library.write("photos/a/keeper.jpg", "same")
    copy = library.write("photos/b/copy.jpg", "same")
    library.index()
    return keeper, copy


def reason_of(summary) -> str:
    """Why the only copy of a run stays; nothing was moved."""
    assert (summary.n_photos, summary.run, summary.folders) == (0, None, [])
    (left,) = summary.left
    return left.reason


def become_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def failing(name, path, code):
    """A hook that lets a call fail for a path, whoever runs the tests."""

    def fail(called, arguments):
        if called == name and Path(arguments[0]) == path:
            raise OSError(code, os.strerror(code))

    return fail


def test_copies_move_with_all_that_belongs_to_them_and_leave_the_collection(library):
    groups = two_groups(library)
    now = datetime(2026, 11, 26, 10, 15, tzinfo=UTC)
    summary = library.trash(*groups, now=now)
    (folder,) = library.run_folders()
    assert summary.run.startswith("2026-11-26-101500-")
    assert summary.folders == [str(library.place / "photos" / TRASH_NAME / summary.run)]
    assert (summary.n_copies, summary.n_photos, summary.n_files) == (2, 2, 4)
    assert summary.n_bytes == len("shot" + "raw" + "edits there" + "single")
    assert (summary.left, summary.n_pending, summary.interrupted) == ([], 0, False)
    assert (folder.path / "files/there/shot.xmp").read_text() == "edits there"
    assert {path for path, _ in library.photos()} == {
        f"photos/here/{name}" for name in ("shot.jpg", "shot.cr2", "shot.xmp", "single.png")
    }
    assert library.store.paths() == {
        str(library.place / "photos/here" / name) for name in ("shot.jpg", "single.png")
    }


def test_no_scan_enters_the_trash_and_only_its_owner_may(library, pair):
    keeper, copy = pair
    library.trash(library.group(keeper, copy))
    assert [file.path for file in scan(library.roots[0])] == ["a/keeper.jpg"]
    (folder,) = library.run_folders()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_the_journal_names_a_file_on_the_disk_before_it_moves(library, pair, monkeypatch):
    keeper, copy = pair
    synced: dict[str, bytes] = {}
    moved = []

    def look(name, arguments):
        path = synced_path(name, arguments)
        if path is not None:
            synced[path.name] = path.read_bytes() if path.is_file() else b""
        if name == "rename":
            moved.append(arguments[0])
            line = json.loads(synced[JOURNAL_NAME].splitlines()[-1])
            assert [file["path"] for file in line["moving"]] == ["b/copy.jpg"]

    hooked_calls(monkeypatch.setattr, look)
    library.trash(library.group(keeper, copy))
    assert moved == [copy]
    assert {TRASH_NAME, "photos", "collection", "trash.jsonl", "b"} <= synced.keys()


def test_a_copy_is_on_the_other_drive_before_it_is_removed(library, pair, monkeypatch):
    keeper, copy = pair
    synced = []
    removed = []

    def look(name, arguments):
        refuse_other_drive(name, arguments)
        synced.append(synced_path(name, arguments))
        if name == "unlink" and Path(arguments[0]).parent == copy.parent:
            place = library.run_folders()[0].path / "files/b/copy.jpg"
            assert place.read_text() == "same"
            assert {place.with_name(PART_NAME), place.parent} <= set(synced)
            removed.append(arguments[0])

    hooked_calls(monkeypatch.setattr, look)
    assert library.trash(library.group(keeper, copy)).n_photos == 1
    assert len(removed) == 1


def test_times_and_modes_survive_the_way_to_another_drive_and_back(tmp_path):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second drive here")
    library = Library(tmp_path)
    keeper = library.write("photos/keeper.jpg", "same")
    copy = library.write("photos/copy.jpg", "same")
    copy.chmod(0o640)
    library.index()
    before, status = library.photos(), copy.stat()
    trash = memory / f"isophote-{os.getpid()}"
    try:
        summary = library.trash(library.group(keeper, copy), trash=trash)
        assert summary.folders == [str(trash / str(summary.run))]
        (kept,) = trash.rglob("copy.jpg")
        assert kept.relative_to(trash / str(summary.run) / "files") == copy.relative_to("/")
        for moved in (kept, copy):
            if moved is copy:
                assert library.undo().n_photos == 1
            now = moved.stat()
            assert (now.st_mtime_ns, now.st_mode) == (status.st_mtime_ns, status.st_mode)
        assert library.photos() == before
        assert list(trash.iterdir()) == []
    finally:
        trash.rmdir()


def test_each_root_has_a_trash_of_its_own_and_one_undo_serves_both(tmp_path):
    library = Library(tmp_path, "first", "second")
    keeper = library.write("first/keeper.jpg", "same")
    copies = [library.write(f"{root}/copy.jpg", "same") for root in ("first", "second")]
    library.index()
    before = library.photos()
    summary = library.trash(library.group(keeper, *copies))
    folders = [str(root / TRASH_NAME / str(summary.run)) for root in library.roots]
    assert summary.folders == folders
    assert library.photos().total() == 1
    assert library.undo().n_photos == 2
    assert library.photos() == before
    assert not any((root / TRASH_NAME).exists() for root in library.roots)


def test_names_that_are_no_text_come_back_byte_by_byte(library):
    keeper = library.write("photos/keeper.jpg", "same")
    names = [b"caf\xe9.jpg", "\U0010ffe9.jpg".encode(), b"new\nline.jpg", b"\xff.cr2"]
    copies = [library.write(f"photos/b/{os.fsdecode(name)}", "same") for name in names]
    library.index()
    summary = library.trash(library.group(keeper, *copies))
    assert (summary.n_photos, list((library.place / "photos/b").iterdir())) == (4, [])
    library.undo()
    found = [os.fsencode(path.name) for path in (library.place / "photos/b").iterdir()]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda path: path.unlink(), "cannot be read: no such file or directory", id="gone"
        ),
        pytest.param(
            lambda path: path.write_text("other"), "has changed since it was indexed", id="edited"
        ),
        pytest.param(
            lambda path: path.unlink() or path.mkdir(), "is not a regular file any more", id="kind"
        ),
        pytest.param(become_a_pipe, "is not a regular file any more", id="pipe"),
    ],
)
def test_a_copy_stays_if_its_keeper_is_not_what_it_was(library, pair, change, reason):
    keeper, copy = pair
    group = library.group(keeper, copy)
    change(keeper)
    told = reason_of(library.trash(group))
    assert told.startswith(f"stays, as its keeper {keeper} {reason}")
    assert copy.read_text() == "same"
    assert not (library.roots[0] / TRASH_NAME).exists()


def test_bytes_count_and_not_the_time_of_a_keeper(library, pair):
    keeper, copy = pair
    group = library.group(keeper, copy)
    status = keeper.stat()
    keeper.write_text("SAME")
    os.utime(keeper, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "has changed since" in reason_of(library.trash(group))
    library.write("photos/a/keeper.jpg", "same", seconds=1)
    assert library.trash(group).n_photos == 1


def test_a_keeper_is_looked_at_before_every_move(library, pair):
    keeper, copy = pair
    second = library.write("photos/b/second.jpg", "same")
    library.index()
    summary = library.trash(
        library.group(keeper, copy, second), report=lambda _: keeper.write_text("edited")
    )
    assert summary.n_photos == 1
    assert [left.path for left in summary.left] == [str(second)]
    assert second.exists()


def test_a_keeper_that_changes_while_its_copy_is_read_is_noticed_in_time(
    library, pair, monkeypatch
):
    keeper, copy = pair
    calls = []

    def look_beside(*names):
        keeper.write_text("edited")
        return leaving_with(*names)

    monkeypatch.setattr("service.trash.checking.leaving_with", look_beside)
    hooked_calls(monkeypatch.setattr, lambda name, _: calls.append(name))
    assert "has changed since" in reason_of(library.trash(library.group(keeper, copy)))
    assert "rename" not in calls


def test_a_copy_comes_back_if_its_keeper_went_with_it(library, pair, monkeypatch):
    """As it does where one folder of a network drive is mounted twice."""
    keeper, copy = pair

    def take_both(name, arguments):
        if name == "rename":
            keeper.unlink(missing_ok=True)

    hooked_calls(monkeypatch.setattr, take_both)
    assert "cannot be read" in reason_of(library.trash(library.group(keeper, copy)))
    assert copy.read_text() == "same"
    assert not (library.roots[0] / TRASH_NAME).exists()


@pytest.mark.parametrize("across", [False, True])
def test_a_version_that_is_saved_at_the_last_moment_stays(library, pair, monkeypatch, across):
    keeper, copy = pair

    def save(name, arguments):
        if across:
            refuse_other_drive(name, arguments)
        if name == "rename" and Path(arguments[0]) == copy:
            copy.write_text("saved just now")

    hooked_calls(monkeypatch.setattr, save)
    assert "has changed since" in reason_of(library.trash(library.group(keeper, copy)))
    assert copy.read_text() == "saved just now"
    assert library.all_files().total() == 2


def test_what_can_be_neither_moved_nor_put_back_is_told_and_undone_later(
    library, pair, monkeypatch
):
    keeper, copy = pair
    before = library.photos()
    elsewhere = keeper.with_name("elsewhere.jpg")

    def fail(name, arguments):
        if name == "link" or (name == "rename" and TRASH_NAME in str(arguments[0])):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if name == "rename":
            os.replace(keeper, elsewhere)  # noqa: PTH105 - not one of the calls with a hook

    with monkeypatch.context() as patch:
        hooked_calls(patch.setattr, fail)
        summary = library.trash(library.group(keeper, copy))
    (left,) = summary.left
    place = library.run_folders()[0].path / "files/b/copy.jpg"
    assert left.reason == (
        f"could be neither moved nor put back, and lies at {place}; `isophote undo` tries again"
    )
    elsewhere.rename(keeper)
    assert library.undo().n_photos == 1
    assert library.photos() == before


def test_a_hard_link_to_the_keeper_stays(library, pair):
    keeper, copy = pair
    copy.unlink()
    copy.hardlink_to(keeper)
    library.index()
    told = reason_of(library.trash(library.group(keeper, copy)))
    assert told == (
        f"stays, as it is a hard link to its keeper {keeper}: without it no room is freed"
    )


def test_a_symbolic_link_stays(library, pair):
    keeper, copy = pair
    copy.unlink()
    copy.symlink_to(keeper)
    library.index()
    told = reason_of(library.trash(library.group(keeper, copy)))
    assert told == "stays, as it is a symbolic link, which takes no room"


def test_a_keeper_that_is_a_link_to_the_copy_keeps_it(library, pair):
    keeper, copy = pair
    keeper.unlink()
    keeper.symlink_to(copy)
    library.index()
    told = reason_of(library.trash(library.group(keeper, copy)))
    assert told == f"stays, as its keeper {keeper} leads to the very same file"


def test_a_keeper_below_a_linked_folder_keeps_the_copy_in_it(tmp_path):
    library = Library(tmp_path, "photos", "linked")
    copy = library.write("photos/b/copy.jpg", "same")
    (library.place / "linked/folder").symlink_to(copy.parent)
    library.index()
    keeper = library.place / "linked/folder/copy.jpg"
    told = reason_of(library.trash(library.group(keeper, copy)))
    assert told == f"stays, as its keeper {keeper} leads to the very same file"


def test_what_a_linked_keeper_leads_to_stays_in_other_groups_too(library, pair):
    keeper, copy = pair
    target = library.write("photos/c/target.jpg", "same")
    keeper.unlink()
    keeper.symlink_to(target)
    other = library.write("photos/d/other.jpg", "same")
    library.index()
    summary = library.trash(library.group(keeper, copy), library.group(other, target))
    reason = "stays, as other files were, or are to be, moved for it"
    assert summary.left == [LeftFile(path=str(target), reason=reason)]
    assert keeper.read_text() == "same"


def test_a_keeper_of_one_group_is_no_copy_of_another(library, pair):
    keeper, copy = pair
    third = library.write("photos/c/third.jpg", "same")
    library.index()
    groups = [library.group(keeper, copy), library.group(third, keeper)]
    summary = library.trash(*groups)
    assert [left.path for left in summary.left] == [str(keeper)]
    assert not copy.exists()
    library.undo()
    library.index()
    summary = library.trash(*reversed(groups))
    assert [left.path for left in summary.left] == [str(copy)]
    assert copy.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda path: path.unlink(), "is gone already; run", id="gone"),
        pytest.param(lambda path: path.write_text("edit"), "has changed since it was", id="edited"),
        pytest.param(lambda path: os.utime(path), "has changed since it was indexed", id="touched"),
        pytest.param(lambda path: path.unlink() or path.mkdir(), "is not a regular", id="kind"),
    ],
)
def test_a_copy_that_is_not_what_it_was_stays(library, pair, change, reason):
    keeper, copy = pair
    group = library.group(keeper, copy)
    change(copy)
    assert reason_of(library.trash(group)).startswith(reason)


def test_a_copy_with_other_bytes_of_that_size_and_time_stays(library, pair):
    keeper, copy = pair
    group = library.group(keeper, copy)
    library.write("photos/b/copy.jpg", "SAME")
    assert "has changed since it was indexed" in reason_of(library.trash(group))


def test_photos_that_left_the_collection_are_told_by_id(library, pair):
    keeper, copy = pair
    copy_id = library.image_id(copy)
    groups = [
        ReviewedGroup(keeper_id=library.image_id(keeper), copy_ids=[77]),
        ReviewedGroup(keeper_id=78, copy_ids=[copy_id]),
    ]
    assert library.trash(*groups).left == [
        LeftFile(path="id:77", reason="is not in the collection any more"),
        LeftFile(path=str(copy), reason="stays, as its keeper is not in the collection any more"),
    ]
    assert library.trash().n_copies == 0


def test_a_folder_that_cannot_be_written_to_stops_no_other(library, pair, monkeypatch):
    keeper, copy = pair
    second = library.write("photos/c/second.jpg", "same")
    library.index()
    hooked_calls(monkeypatch.setattr, failing("rename", copy, errno.EACCES))
    summary = library.trash(library.group(keeper, copy, second))
    assert summary.left == [LeftFile(path=str(copy), reason="cannot be moved: permission denied")]
    assert (copy.exists(), second.exists()) == (True, False)
    (folder,) = library.run_folders()
    assert [path.name for path in (folder.path / "files").iterdir()] == ["c"]


def test_a_full_drive_leaves_nothing_behind(library, pair, monkeypatch):
    keeper, copy = pair
    before = library.all_files()

    def fail(name, arguments):
        refuse_other_drive(name, arguments)
        path = synced_path(name, arguments)
        if path is not None and path.name == PART_NAME:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    hooked_calls(monkeypatch.setattr, fail)
    told = reason_of(library.trash(library.group(keeper, copy)))
    assert told == "cannot be moved: no space left on device"
    assert library.all_files() == before


def test_bytes_that_the_other_drive_changes_are_not_trusted(library, pair, monkeypatch):
    keeper, copy = pair
    before = library.all_files()

    def spoil(name, arguments):
        refuse_other_drive(name, arguments)
        path = synced_path(name, arguments)
        if path is not None and path.name == PART_NAME:
            path.write_text("rot!")

    hooked_calls(monkeypatch.setattr, spoil)
    told = reason_of(library.trash(library.group(keeper, copy)))
    assert told == "came out different on the other drive; check that drive"
    assert library.all_files() == before


def test_nothing_moves_without_a_journal(library, pair, monkeypatch):
    keeper, copy = pair
    trash = library.roots[0] / TRASH_NAME
    with monkeypatch.context() as patch:
        hooked_calls(patch.setattr, failing("mkdir", trash, errno.EROFS))
        told = reason_of(library.trash(library.group(keeper, copy)))
    assert told == (
        f"stays, as no trash can be made in {library.roots[0]}: read-only file system; name a "
        "folder for it with --trash"
    )
    for n_lines, reason in (
        (0, f"stays, as no trash can be made in {library.roots[0]}: no space left on device; name"),
        (1, "cannot be moved: no space left on device"),
    ):
        monkeypatch.setattr("service.trash.journal._append_line", full_disk_after(n_lines))
        assert reason_of(library.trash(library.group(keeper, copy))).startswith(reason)
        assert copy.exists()
        assert not trash.exists()


def full_disk_after(n_lines):
    """Journals on a disk that takes so many lines."""
    numbers = iter(range(100))

    def append(*line, **how):
        if next(numbers) >= n_lines:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _append_line(*line, **how)

    return append


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        pytest.param({}, "stays, as the raw file copy.cr2 of the same shot is beside it", id="no"),
        pytest.param({"keeper.cr2": "raW"}, "stays, as the raw file copy.cr2", id="another"),
        pytest.param({"keeper.CR2": "raw"}, None, id="the-same"),
        pytest.param({"keeper.heic": "", "keeper.dng": "raw"}, None, id="of-another-photo"),
    ],
)
def test_a_raw_file_leaves_only_if_the_keeper_has_its_bytes(library, pair, beside, reason):
    keeper, copy = pair
    library.write("photos/b/copy.cr2", "raw")
    for name, content in beside.items():
        library.write(f"photos/a/{name}", content)
    summary = library.trash(library.group(keeper, copy))
    if reason is None:
        assert (summary.n_photos, summary.n_files) == (1, 2)
        assert list(copy.parent.iterdir()) == []
    else:
        assert reason_of(summary).startswith(reason)


def test_a_raw_file_that_a_keeper_shares_stays(library):
    """Two photos of one name: without the first, the raw file is the second's."""
    jpeg, heic = (library.write(f"photos/a.{name}", "same") for name in ("jpg", "heic"))
    raw = library.write("photos/a.cr2", "raw")
    library.index()
    summary = library.trash(library.group(jpeg, heic))
    assert (summary.n_photos, summary.n_files) == (1, 1)
    assert raw.exists()


def test_a_raw_file_goes_with_the_last_photo_of_its_shot(library):
    keeper = library.write("photos/a/keeper.jpg", "same")
    library.write("photos/a/keeper.cr2", "raw")
    copies = [library.write(f"photos/b/copy.{name}", "same") for name in ("heic", "jpg")]
    library.write("photos/b/copy.cr2", "raw")
    library.index()
    summary = library.trash(library.group(keeper, *copies))
    assert (summary.n_photos, summary.n_files, summary.left) == (2, 3, [])


def test_a_raw_file_that_others_were_moved_for_stays(library):
    """One that was indexed as a file of its own may be a copy as well."""
    two_groups(library)
    keeper, copy = (library.place / f"photos/{folder}/shot.jpg" for folder in ("here", "there"))
    other = library.write("photos/last/other.cr2", "raw")
    raw = keeper.with_suffix(".cr2")
    library.roots += [raw]
    library.index()
    summary = library.trash(library.group(keeper, copy), library.group(other, raw))
    assert summary.n_files == 3
    assert [left.path for left in summary.left] == [str(raw)]


def test_edits_beside_a_copy_leave_only_if_the_keeper_has_some(library, pair):
    keeper, copy = pair
    sidecar = library.write("photos/b/copy.jpg.xmp", "five stars")
    group = library.group(keeper, copy)
    assert reason_of(library.trash(group)) == (
        "stays, as copy.jpg.xmp beside it may hold edits, and its keeper "
        f"{keeper} has no such file; keep this photo instead"
    )
    library.write("photos/a/keeper.xmp", "four stars")
    assert library.trash(group).n_files == 2
    assert not sidecar.exists()
    library.undo()
    assert sidecar.read_text() == "five stars"


def test_what_lies_beside_must_be_a_file_that_can_be_read(library, pair, monkeypatch):
    keeper, copy = pair
    library.write("photos/a/keeper.cr2", "raw")
    raw = copy.with_suffix(".cr2")
    group = library.group(keeper, copy)
    raw.symlink_to(keeper.with_suffix(".cr2"))
    told = reason_of(library.trash(group))
    assert told == f"stays, as {raw} is a symbolic link"
    raw.unlink()
    os.mkfifo(raw)
    assert reason_of(library.trash(group)) == f"stays, as {raw} is not a regular file any more"
    raw.unlink()
    raw.write_text("raw")
    keeper.with_suffix(".cr2").unlink()
    keeper.with_suffix(".cr2").symlink_to("nowhere")
    told = reason_of(library.trash(group))
    assert told == (
        f"stays, as {keeper.with_suffix('.cr2')} cannot be read: no such file or directory"
    )


def test_ctrl_c_between_photos_ends_the_run_in_good_order(library):
    groups = two_groups(library)
    before = library.photos()

    def interrupt(_):
        raise KeyboardInterrupt

    summary = library.trash(*groups, report=interrupt)
    assert (summary.n_photos, summary.n_pending, summary.interrupted) == (1, 1, True)
    assert len(library.store.paths()) == 3
    library.undo()
    assert library.photos() == before


def test_ctrl_c_in_a_move_ends_the_run_after_it(library, monkeypatch):
    groups = two_groups(library)

    def interrupt(name, arguments):
        if name == "rename" and str(arguments[0]).endswith("there/shot.jpg"):
            signal.raise_signal(signal.SIGINT)

    hooked_calls(monkeypatch.setattr, interrupt)
    summary = library.trash(*groups)
    assert (summary.n_photos, summary.n_files, summary.interrupted) == (1, 3, True)
    assert len(library.store.paths()) == 3


def test_ctrl_c_in_a_move_that_fails_is_not_forgotten(library, monkeypatch):
    groups = two_groups(library)

    def interrupt(name, arguments):
        if name == "rename":
            signal.raise_signal(signal.SIGINT)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    hooked_calls(monkeypatch.setattr, interrupt)
    summary = library.trash(*groups)
    assert (summary.n_photos, len(summary.left), summary.n_pending) == (0, 1, 1)
    assert summary.interrupted


def test_many_groups_are_worked_on_in_blocks(library, monkeypatch):
    monkeypatch.setattr("service.trash.trashing.BLOCK_PHOTOS", 3)
    monkeypatch.setattr("service.trash.trashing.BLOCK_ROWS", 2)
    keepers = [library.write(f"photos/a/{number}.jpg", str(number)) for number in range(5)]
    copies = [library.write(f"photos/b/{number}.jpg", str(number)) for number in range(5)]
    library.index()
    groups = [library.group(*both) for both in zip(keepers, copies, strict=True)]
    reports: list[IngestProgress] = []
    assert library.trash(*groups, report=reports.append).n_photos == 5
    assert library.store.paths() == set(map(str, keepers))
    assert [(progress.n_done, progress.n_total) for progress in reports] == [
        (number, 5) for number in range(1, 6)
    ]


def test_a_collection_that_cannot_be_written_to_is_told_with_what_moved(library, pair, monkeypatch):
    keeper, copy = pair

    def fail(_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(library.store, "delete_images", fail)
    with pytest.raises(StorageError, match="the disk is full; 1 photo had been moved to the trash"):
        library.trash(library.group(keeper, copy))
    assert library.undo().n_photos == 1


def test_imported_vectors_have_no_files_to_move(library):
    library.index(origin="vectors")
    with pytest.raises(InputError, match="holds imported vectors, not files"):
        library.trash()


def test_a_collection_that_is_written_to_is_left_alone(library, pair):
    keeper, copy = pair
    with (
        writer_lock(library.collection_folder),
        pytest.raises(LockedError, match="is being written by process"),
    ):
        library.trash(library.group(keeper, copy))
    assert copy.exists()


@pytest.mark.parametrize("below", ["", "b", "b/bin"])
def test_a_trash_where_photos_are_indexed_is_refused(library, pair, below):
    keeper, copy = pair
    with pytest.raises(InputError, match=r"lies in the indexed folder .*, and what is moved"):
        library.trash(library.group(keeper, copy), trash=library.roots[0] / below)
    assert copy.exists()


def test_a_hidden_folder_among_photos_may_be_the_trash(library, pair):
    keeper, copy = pair
    trash = library.roots[0] / ".bin/mine"
    summary = library.trash(library.group(keeper, copy), trash=trash)
    assert summary.folders == [stored_path(str(trash / str(summary.run)))]
    assert library.undo().n_photos == 1
    assert list(trash.iterdir()) == []  # one that the user named is not removed


def test_a_trash_that_cannot_be_made_is_refused(library, pair):
    keeper, copy = pair
    (library.place / "file").touch()
    with pytest.raises(InputError, match="bin cannot be made: file exists; name another folder"):
        library.trash(library.group(keeper, copy), trash=library.place / "file/bin")
