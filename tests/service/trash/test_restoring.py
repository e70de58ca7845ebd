"""What comes back from the trash, and what stays and why."""

import errno
import json
import os
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.ingest import IngestProgress
from indexer.lock import LOCK_NAME, writer_lock
from indexer.scan import stored_path
from schemas.errors import InputError, LockedError
from schemas.trash import LeftFile
from service.trash.journal import JOURNAL_NAME, RECORD_NAME, TRASH_NAME, TrashedFile
from service.trash.moving import claim_of
from service.trash.restoring import list_trash, trash_of
from tests.service.trash.libraries import (
    Library,
    hooked_calls,
    refuse_other_drive,
    synced_path,
    two_groups,
)

MORNING, NOON, EVENING = (datetime(2026, 11, 26, hour, tzinfo=UTC) for hour in (8, 12, 20))


@pytest.fixture
def moved(library):
    """The place of a photo that is in the trash."""
    keeper = library.write("photos/a/keeper.jpg", "same")
    copy = library.write("photos/b/copy.jpg", "same")
    library.index()
    library.trash(library.group(keeper, copy), now=NOON)
    return copy


def kept_at(library, moved) -> Path:
    """Where the photo is in the trash."""
    return library.run_folders()[0].path / "files/b" / moved.name


def test_all_comes_back_as_it_was_and_the_trash_goes(library):
    groups = two_groups(library)
    before = library.photos()
    run = library.trash(*groups).run
    library.place.joinpath("photos/there").rmdir()
    reports: list[IngestProgress] = []
    summary = library.undo(report=reports.append)
    assert (summary.runs, summary.n_photos, summary.n_files) == ([run], 2, 4)
    assert summary.n_bytes == len("shot" + "raw" + "edits there" + "single")
    assert (summary.n_present, summary.left, summary.n_pending) == (0, [], 0)
    assert library.photos() == before
    assert not (library.roots[0] / TRASH_NAME).exists()
    assert [(progress.n_done, progress.n_total) for progress in reports] == [(1, 2), (2, 2)]
    with pytest.raises(
        InputError, match=r"nothing to undo in the trash .*/photos/\.isophote-trash"
    ):
        library.undo()


def test_runs_come_back_the_last_one_first_or_by_name(library):
    group, other = two_groups(library)
    before = library.photos()
    early = library.trash(group, now=MORNING).run
    late = library.trash(other, now=EVENING).run
    assert library.undo().runs == [late]
    assert library.undo().runs == [early]
    assert library.photos() == before
    library.index()
    early = library.trash(group, now=MORNING).run
    library.trash(other, now=EVENING)
    assert library.undo(run=early).runs == [early]
    with pytest.raises(InputError, match=f"there is no run '{early}' in the trash"):
        library.undo(run=early)


def test_a_single_photo_comes_back_with_what_belongs_to_it(library, monkeypatch):
    groups = two_groups(library)
    library.trash(*groups)
    monkeypatch.chdir(library.place)
    summary = library.undo(files=[Path("photos/there/shot.jpg"), Path("photos/there/shot.cr2")])
    assert (summary.n_photos, summary.n_files) == (1, 3)
    assert (library.place / "photos/there/shot.xmp").exists()
    assert not (library.place / "photos/there/single.png").exists()
    with pytest.raises(InputError, match=r"not in the trash: photos/there/shot\.jpg; give the"):
        library.undo(files=[Path("photos/there/single.png"), Path("photos/there/shot.jpg")])
    assert not (library.place / "photos/there/single.png").exists()


def test_a_photo_is_found_by_a_path_through_a_link(library, moved):
    (library.place / "link").symlink_to(library.place / "photos")
    assert library.undo(files=[library.place / "link/b/copy.jpg"]).n_photos == 1
    assert moved.read_text() == "same"


def test_a_photo_comes_back_from_the_last_run_that_holds_it(library, moved):
    library.write("photos/b/copy.jpg", "next")
    keeper = library.write("photos/a/next.jpg", "next")
    library.index()
    later = library.trash(library.group(keeper, moved), now=EVENING).run
    assert library.undo(files=[moved]).runs == [later]
    assert moved.read_text() == "next"
    moved.unlink()
    assert library.undo(files=[moved]).n_photos == 1
    assert moved.read_text() == "same"


@pytest.mark.parametrize(
    "take",
    [
        pytest.param(lambda path: path.write_text("mine"), id="file"),
        pytest.param(lambda path: path.mkdir(), id="folder"),
        pytest.param(lambda path: path.symlink_to("nowhere"), id="dangling-link"),
        pytest.param(lambda path: path.symlink_to("../a/keeper.jpg"), id="link-to-the-same-bytes"),
    ],
)
def test_a_place_that_was_taken_is_left_alone(library, moved, take):
    take(moved)
    kept = kept_at(library, moved)
    reason = f"has another file in its place; move or rename that one, or take this one from {kept}"
    for _ in range(2):
        assert library.undo().left == [LeftFile(path=str(moved), reason=reason)]
        assert kept.read_text() == "same"
    assert not moved.is_file() or moved.is_symlink() or moved.read_text() == "mine"


def test_a_place_taken_at_the_last_moment_is_left_alone(library, moved, monkeypatch):
    def take(name, arguments):
        if name == "link":
            moved.write_text("mine")

    hooked_calls(monkeypatch.setattr, take)
    assert [left.reason for left in library.undo().left] == ["cannot be brought back: file exists"]
    assert moved.read_text() == "mine"
    assert kept_at(library, moved).read_text() == "same"


def test_a_photo_that_is_in_place_already_leaves_the_trash(library, moved):
    moved.write_text("same")
    summary = library.undo()
    assert (summary.n_present, summary.n_photos, summary.left) == (1, 0, [])
    assert moved.read_text() == "same"
    assert not (library.roots[0] / TRASH_NAME).exists()


@pytest.mark.parametrize("linked", ["photo", "folder"])
def test_a_place_that_leads_into_the_trash_loses_nothing(library, moved, linked):
    kept = kept_at(library, moved)
    if linked == "photo":
        moved.symlink_to(kept)
    else:
        moved.parent.rmdir()
        moved.parent.symlink_to(kept.parent)
    assert "has another file in its place" in library.undo().left[0].reason
    assert kept.read_text() == moved.read_text() == "same"


def test_a_file_where_the_folder_was_is_left_alone(library, moved):
    moved.parent.rmdir()
    moved.parent.write_text("mine")
    (left,) = library.undo().left
    assert left.reason.startswith("cannot be brought back: ")
    assert (moved.parent.read_text(), kept_at(library, moved).exists()) == ("mine", True)


def test_a_drive_without_hard_links_serves_as_well(library, moved, monkeypatch):
    def refuse_links(name, arguments):
        if name == "link":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        hooked_calls(patch.setattr, refuse_links)
        assert library.undo().n_photos == 1
    assert moved.read_text() == "same"


def test_a_drive_without_hard_links_replaces_nothing(library, moved, monkeypatch):
    def refuse_links(name, arguments):
        if name == "link":
            moved.write_text("mine")
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    hooked_calls(monkeypatch.setattr, refuse_links)
    assert [left.reason for left in library.undo().left] == ["cannot be brought back: file exists"]
    assert moved.read_text() == "mine"
    assert kept_at(library, moved).read_text() == "same"


def test_what_a_trash_on_fat_forgets_is_restored(library, moved):
    kept = kept_at(library, moved)
    kept.chmod(0o777)
    os.utime(kept, (0, 0))
    library.undo()
    assert moved.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert moved.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_photos_that_the_user_deleted_from_the_trash_are_told(library):
    groups = two_groups(library)
    library.trash(*groups)
    (folder,) = library.run_folders()
    (folder.path / "files/there/shot.jpg").unlink()
    summary = library.undo()
    reason = "is neither in its place nor in the trash any more"
    place = library.place / "photos/there/shot.jpg"
    assert summary.left == [LeftFile(path=str(place), reason=reason)]
    assert (summary.n_photos, summary.n_files) == (1, 3)


def test_what_came_back_before_need_not_be_there_any_more(library):
    groups = two_groups(library)
    library.trash(*groups)
    library.undo(files=[library.place / "photos/there/single.png"])
    (library.place / "photos/there/single.png").unlink()
    summary = library.undo()
    assert (summary.left, summary.n_photos) == ([], 1)


def test_what_was_announced_and_never_moved_need_not_be_there(library, moved):
    (folder,) = library.run_folders()
    folder.announce([TrashedFile(path="b/other.jpg", size=1, mtime_ns=1, mode=0o644)])
    summary = library.undo()
    assert (summary.left, summary.n_photos) == ([], 1)


def test_strange_files_in_the_trash_stay_there(library, moved):
    strange = kept_at(library, moved).with_name(".DS_Store")
    strange.write_text("mine")
    assert library.undo().n_photos == 1
    assert strange.read_text() == "mine"
    assert list_trash(trash_of(library.store.uri)).runs == []


def test_the_trash_suffices_where_the_collection_is_lost(library, moved):
    shutil.rmtree(library.collection_folder)
    with pytest.raises(InputError, match=r"\(none is known\); name another --collection, or a"):
        library.undo()
    assert library.undo(folders=[library.roots[0] / TRASH_NAME]).n_photos == 1
    assert moved.read_text() == "same"
    assert not library.collection_folder.exists()


def test_a_drive_may_be_mounted_elsewhere_by_then(library, moved):
    library.roots[0].rename(library.place / "drive")
    assert list_trash(trash_of(library.store.uri)).unreached == [str(library.roots[0] / TRASH_NAME)]
    assert library.undo(folders=[library.place / "drive" / TRASH_NAME]).n_photos == 1
    assert (library.place / "drive/b/copy.jpg").read_text() == "same"
    assert not library.roots[0].exists()


def test_a_drive_that_is_not_mounted_gets_no_folders(library, moved, monkeypatch):
    """Photos of one drive in a trash on another: the folder they go to must be that drive."""
    journal = library.run_folders()[0].path / JOURNAL_NAME
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    mount = library.place / "photos/b"
    lines[1]["moving"][0]["mount"] = stored_path(str(mount))
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert library.undo().left == [
        LeftFile(path=str(moved), reason=f"stays in the trash, as no drive is mounted at {mount}")
    ]
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(mount))
    assert library.undo().n_photos == 1


def test_the_drive_of_a_photo_is_noted_where_the_trash_is_on_another(library, monkeypatch):
    keeper = library.write("photos/keeper.jpg", "same")
    copy = library.write("photos/drive/b/copy.jpg", "same")
    library.index()
    inode = copy.parent.stat().st_ino
    stat_call = os.stat

    def stat_of_drive(path, **how):
        status = stat_call(path, **how)
        is_drive = status.st_ino == inode
        return os.stat_result([*status[:2], -1, *status[3:]]) if is_drive else status

    drive = str(library.place / "photos/drive")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat_of_drive)
        patch.setattr(os.path, "ismount", lambda path: str(path) in (drive, "/"))
        library.trash(library.group(keeper, copy))
    journal = (library.run_folders()[0].path / JOURNAL_NAME).read_text()
    assert json.loads(journal.splitlines()[1])["moving"][0]["mount"] == drive


def test_the_last_line_of_a_journal_may_be_cut_short(library):
    groups = two_groups(library)
    before = library.photos()
    library.trash(*groups)
    (folder,) = library.run_folders()
    journal = folder.path / JOURNAL_NAME
    content = journal.read_bytes()
    announced = content.index(b"\n", content.rindex(b'{"moving"')) + 1
    assert len(content) - announced > 20
    for length in range(announced, len(content)):
        journal.write_bytes(content[:length])
        library.undo(files=[library.place / "photos/there/shot.jpg"])
        # A line that is written after the cut one is read.
        assert len(folder.read().restored) == 3
        assert library.undo().left == []
        assert library.photos() == before
        library.index()
        library.trash(*groups)
        (folder,) = library.run_folders()
        journal = folder.path / JOURNAL_NAME
        content = journal.read_bytes()


def test_a_run_that_broke_off_in_its_first_line_moved_nothing(library, moved):
    (folder,) = library.run_folders()
    (folder.path.with_name("2027-broken")).mkdir()
    (folder.path.with_name("2027-broken") / JOURNAL_NAME).write_bytes(b'{"format":1,"ru')
    assert library.undo().n_photos == 1
    assert moved.read_text() == "same"


def test_a_trash_of_a_newer_release_is_refused(library, moved):
    journal = library.run_folders()[0].path / JOURNAL_NAME
    journal.write_text(journal.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(InputError, match=r"newer release of isophote \(format 2, this one reads 1"):
        library.undo()


def test_a_damaged_journal_is_told_with_where_the_files_are(library, moved):
    (folder,) = library.run_folders()
    journal = folder.path / JOURNAL_NAME
    content = journal.read_text()
    journal.write_text(content[5:])
    with pytest.raises(
        InputError, match="cannot be read: its first line is damaged; its files lie"
    ):
        library.undo()
    journal.unlink()
    journal.mkdir()
    with pytest.raises(InputError, match="cannot be read: is a directory; its files lie below"):
        library.undo()
    assert kept_at(library, moved).read_text() == "same"


def test_the_record_of_trash_folders_may_be_cut_short_too(library, moved):
    record = library.collection_folder / RECORD_NAME
    record.write_text(record.read_text() + '"/pho')
    assert trash_of(library.store.uri) == [library.roots[0] / TRASH_NAME]
    assert library.undo().n_photos == 1


def test_a_full_disk_keeps_nothing_in_the_trash(library, moved, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("service.trash.journal._append_line", fail)
    assert library.undo().n_photos == 1
    assert moved.read_text() == "same"


def test_files_that_a_crash_left_between_two_drives_come_back(library, moved, monkeypatch):
    claim = claim_of(moved)
    kept_at(library, moved).rename(claim)
    assert library.undo().n_photos == 1
    assert (moved.read_text(), claim.exists()) == ("same", False)


def test_a_file_left_between_two_drives_overwrites_nothing(library, moved):
    moved.write_text("mine")
    claim_of(moved).write_text("same")
    (left,) = library.undo().left
    assert left.reason.endswith(f"take this one from {claim_of(moved)}")
    claim_of(moved).write_text("mine")
    kept_at(library, moved).unlink()
    assert library.undo().left == []
    assert (moved.read_text(), claim_of(moved).exists()) == ("mine", False)


def test_ctrl_c_ends_after_the_file_at_hand(library, monkeypatch):
    groups = two_groups(library)
    before = library.photos()
    library.trash(*groups)

    def interrupt(name, arguments):
        if name == "link" and str(arguments[1]).endswith("shot.cr2"):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        hooked_calls(patch.setattr, interrupt)
        summary = library.undo()
    assert (summary.n_photos, summary.n_files, summary.n_pending) == (1, 2, 2)
    assert summary.interrupted
    assert (library.undo().n_files, library.photos()) == (2, before)


def test_a_collection_that_cannot_be_written_to_is_no_obstacle(library, moved):
    (library.collection_folder / LOCK_NAME).unlink()
    (library.collection_folder / LOCK_NAME).mkdir()
    assert library.undo().n_photos == 1
    assert moved.read_text() == "same"


def test_a_run_that_is_going_on_is_not_undone(library, moved):
    with (
        writer_lock(library.collection_folder),
        pytest.raises(LockedError, match="is being written by process"),
    ):
        library.undo()
    assert not moved.exists()


def test_runs_are_listed_with_what_they_still_hold(tmp_path):
    library = Library(tmp_path, "photos", "other")
    group, single = two_groups(library)
    early = library.trash(group, now=MORNING)
    copy = library.write("other/copy.png", "single")
    library.index()
    here, there = (library.place / f"photos/{folder}/single.png" for folder in ("here", "there"))
    late = library.trash(library.group(here, there, copy), now=EVENING)
    assert single.copy_ids
    listed = list_trash(trash_of(library.store.uri))
    assert [(run.run, run.started_at) for run in listed.runs] == [
        (late.run, EVENING),
        (early.run, MORNING),
    ]
    assert [(run.n_photos, run.n_files, run.n_bytes) for run in listed.runs] == [
        (2, 2, 12),
        (1, 3, 18),
    ]
    assert [run.folders for run in listed.runs] == [late.folders, early.folders]
    library.undo(files=[copy])
    assert list_trash(trash_of(library.store.uri)).runs[0].n_photos == 1


def test_copying_back_is_verified(library, moved, monkeypatch):
    def spoil(name, arguments):
        refuse_other_drive(name, arguments)
        path = synced_path(name, arguments)
        if path is not None and path.is_file() and path.parent == moved.parent:
            path.write_text("rot!")

    with monkeypatch.context() as patch:
        hooked_calls(patch.setattr, spoil)
        (left,) = library.undo().left
    assert left.reason == "came out different on the other drive; check that drive"
    assert list(moved.parent.iterdir()) == []
    assert library.undo().n_photos == 1
