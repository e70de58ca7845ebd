import os
from pathlib import Path

import pyarrow as pa
import pytest

from indexer import plan as plan_module
from indexer.known_images import KnownImages
from indexer.plan import (
    FileList,
    KnownFiles,
    ScanScope,
    ScopePlan,
    plan_retry,
    plan_scope,
    scan_scopes,
)
from indexer.scan import ScannedFile, scan
from schemas.tables import FAILURES_SCHEMA
from tests.makers.stores import known_blocks

CONTENT = b"\x89PNG\r\n\x1a\n"


def write(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(CONTENT)


def whole(root, *apart):
    return ScanScope(root, str(root), "", tuple(apart))


def scanned_files(root):
    return [file for file in scan(root) if isinstance(file, ScannedFile)]


def known_images(root):
    """What a collection knows that has indexed all of a folder."""
    return KnownImages(known_blocks(*scanned_files(root)))


def missing_keys(plan, known):
    return [known.images.key(row) for row in plan.missing]


def known_failure(file, *, reason="is cut short"):
    state = {"file_size": file.size, "mtime_ns": file.mtime_ns}
    return {**state, "stage": "decode", "error_class": "OSError", "reason": reason}


# What the collection knows


def test_known_files_are_read_from_the_tables():
    failure = dict.fromkeys(FAILURES_SCHEMA.names) | {"root": "/a", "path": "bad.jpg"}
    failures = pa.Table.from_pylist([failure])
    known = KnownFiles.read(known_blocks(ScannedFile("/a", "x.jpg", 4, 10)), failures)
    assert known.images.row_at(("/a", "x.jpg")) == 0
    assert known.failures == {("/a", "bad.jpg"): failure}


def test_a_file_list_keeps_files_in_order(monkeypatch):
    monkeypatch.setattr(plan_module, "FILES_PER_BLOCK", 3)
    files = [ScannedFile("/r", f"{number}.jpg", number, -number) for number in range(8)]
    listed = FileList()
    assert (len(listed), list(listed)) == (0, [])
    for count, file in enumerate(files, start=1):
        listed.append(file)
        assert (len(listed), list(listed)) == (count, files[:count])


# Scopes


def test_a_new_folder_is_a_root(tmp_path):
    assert scan_scopes([tmp_path], []) == [whole(tmp_path)]


def test_the_same_folder_twice_is_scanned_once(tmp_path):
    assert scan_scopes([tmp_path, Path(tmp_path)], [tmp_path]) == [whole(tmp_path)]


def test_a_folder_inside_a_root_is_scanned_as_part_of_it(tmp_path):
    inner = tmp_path / "2024" / "may"
    inner.mkdir(parents=True)
    scope = ScanScope(tmp_path, str(tmp_path), "2024/may")
    assert scan_scopes([inner], [tmp_path]) == [scope]


def test_a_folder_around_a_root_leaves_it_apart(tmp_path):
    inner = tmp_path / "a"
    inner.mkdir()
    assert scan_scopes([tmp_path], [inner]) == [whole(tmp_path, inner), whole(inner)]


def test_nested_folders_given_together_are_one_root(tmp_path):
    (tmp_path / "a").mkdir()
    assert scan_scopes([tmp_path / "a", tmp_path], []) == [whole(tmp_path)]


def test_nested_folders_inside_a_root_are_scanned_once(tmp_path):
    write(tmp_path, "a/b/x.png")
    given = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "x.png"]
    assert scan_scopes(given, [tmp_path]) == [ScanScope(tmp_path, str(tmp_path), "a")]
    assert len(scan_scopes(given[1:], [tmp_path])) == 1


def test_the_innermost_root_takes_a_folder(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    inner = tmp_path / "a"
    assert scan_scopes([deep], [tmp_path, inner]) == [ScanScope(inner, str(inner), "b")]


def test_a_folder_of_a_root_with_another_root_below(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    scopes = scan_scopes([tmp_path / "a"], [tmp_path, deep])
    assert scopes == [ScanScope(tmp_path, str(tmp_path), "a", (deep,)), whole(deep)]


def test_a_single_file_belongs_to_its_folder_or_root(tmp_path):
    write(tmp_path, "a/x.png")
    file = tmp_path / "a" / "x.png"
    parent = tmp_path / "a"
    assert scan_scopes([file], []) == [ScanScope(parent, str(parent), "x.png")]
    assert scan_scopes([file], [tmp_path]) == [ScanScope(tmp_path, str(tmp_path), "a/x.png")]


def test_names_that_begin_alike_are_not_nested(tmp_path):
    write(tmp_path, "b/x.png", "bc/y.png")
    given = [tmp_path / "b", tmp_path / "bc"]
    assert scan_scopes(given, []) == [whole(given[0]), whole(given[1])]
    assert scan_scopes(given[1:], given[:1]) == [whole(given[1])]
    in_root = scan_scopes(given, [tmp_path])
    assert [scope.folder for scope in in_root] == ["b", "bc"]
    assert not in_root[0].covers((str(tmp_path), "bc/y.png"))


@pytest.mark.parametrize(
    ("folder", "key", "expected"),
    [
        ("", ("/r", "a.jpg"), True),
        ("", ("/other", "a.jpg"), False),
        ("a", ("/r", "a/x.jpg"), True),
        ("a", ("/r", "ab/x.jpg"), False),
        ("a", ("/r", "a"), True),
        ("a/x.jpg", ("/r", "a/x.jpg"), True),
    ],
)
def test_what_a_scope_covers(folder, key, expected):
    assert ScanScope(Path("/r"), "/r", folder).covers(key) is expected


# Plans


def test_files_are_sorted_by_what_has_changed(tmp_path):
    names = ["changed-size.png", "changed-time.png", "failed.png", "mended.png", "same.png"]
    write(tmp_path, *names, "gone.png")
    files = {file.path: file for file in scanned_files(tmp_path)}
    root = str(tmp_path)
    known = KnownFiles(
        images=KnownImages(
            known_blocks(*(file for path, file in files.items() if "ed.png" not in path))
        ),
        failures={
            (root, name): known_failure(files[name]) for name in ("failed.png", "mended.png")
        },
    )
    time = files["changed-size.png"].mtime_ns
    (tmp_path / "changed-size.png").write_bytes(CONTENT + b"more")
    os.utime(tmp_path / "changed-size.png", ns=(time, time))
    for name in ("changed-time.png", "mended.png"):
        os.utime(tmp_path / name, ns=(0, 1))
    (tmp_path / "gone.png").unlink()
    write(tmp_path, "sub/new.png")
    plan = plan_scope(whole(tmp_path), known)
    assert [(file.path, file.mtime_ns) for file in plan.todo][:3] == [
        ("changed-size.png", time),
        ("changed-time.png", 1),
        ("mended.png", 1),
    ]
    assert [file.path for file in plan.todo][3:] == ["sub/new.png"]
    assert plan.settled_failures == {(root, "failed.png")}
    assert missing_keys(plan, known) == [(root, "gone.png")]
    assert (plan.n_files, plan.n_unchanged, plan.n_known) == (6, 1, 4)
    assert plan.new_failures == []


def test_paths_are_relative_to_the_root_and_not_to_the_scanned_folder(tmp_path):
    write(tmp_path, "a/b/x.png", "a/y.png", "ab/z.png", "w.png")
    known = KnownFiles(images=known_images(tmp_path))
    plan = plan_scope(ScanScope(tmp_path, str(tmp_path), "a"), known)
    assert (plan.n_files, plan.n_unchanged, plan.n_known, len(plan.missing)) == (2, 2, 2, 0)
    plan = plan_scope(ScanScope(tmp_path, str(tmp_path), "a/b"), KnownFiles())
    assert [(file.root, file.path) for file in plan.todo] == [(str(tmp_path), "a/b/x.png")]


def test_a_scope_of_one_file(tmp_path):
    write(tmp_path, "a/x.png", "a/y.png")
    known = KnownFiles(images=known_images(tmp_path))
    plan = plan_scope(ScanScope(tmp_path, str(tmp_path), "a/x.png"), known)
    assert (plan.n_files, plan.n_unchanged, plan.n_known, len(plan.missing)) == (1, 1, 1, 0)
    fresh = plan_scope(ScanScope(tmp_path / "a", str(tmp_path / "a"), "x.png"), KnownFiles())
    assert [file.path for file in fresh.todo] == ["x.png"]


def test_a_root_inside_another_is_not_indexed_twice(tmp_path):
    write(tmp_path, "inner/x.png", "inner2/y.png", "z.png")
    plan = plan_scope(whole(tmp_path, tmp_path / "inner"), KnownFiles())
    assert [file.path for file in plan.todo] == ["z.png", "inner2/y.png"]
    assert plan.n_files == 2


def unlistable(monkeypatch, folder):
    """Root may list every folder, so that the refusal is made up."""
    listed = os.scandir

    def scandir(path):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_files_below_a_folder_that_cannot_be_listed_are_not_missing(tmp_path, monkeypatch):
    write(tmp_path, "a/deep/x.png", "a/y.png", "ab/z.png")
    known = KnownFiles(images=known_images(tmp_path))
    (tmp_path / "ab" / "z.png").unlink()
    unlistable(monkeypatch, tmp_path / "a")
    plan = plan_scope(whole(tmp_path), known)
    assert missing_keys(plan, known) == [(str(tmp_path), "ab/z.png")]
    assert [(failure.path, failure.error_class) for failure in plan.new_failures] == [
        ("a", "PermissionError")
    ]


def test_nothing_is_missing_from_a_root_that_cannot_be_listed(tmp_path, monkeypatch):
    write(tmp_path, "a/x.png", "y.png")
    known = KnownFiles(images=known_images(tmp_path))
    unlistable(monkeypatch, tmp_path)
    plan = plan_scope(whole(tmp_path), known)
    assert (len(plan.missing), len(plan.new_failures)) == (0, 1)


def test_a_scan_failure_settles_until_its_reason_changes(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    unlistable(monkeypatch, tmp_path / "a")
    (failure,) = plan_scope(whole(tmp_path), KnownFiles()).new_failures
    key = (failure.root, failure.path)
    same = KnownFiles(failures={key: {"reason": failure.reason}})
    plan = plan_scope(whole(tmp_path), same)
    assert (plan.new_failures, plan.settled_failures) == ([], {key})
    other = KnownFiles(failures={key: {"reason": "cannot be listed: Input/output error"}})
    assert plan_scope(whole(tmp_path), other).new_failures == [failure]


def test_a_root_that_is_gone_counts_as_empty(tmp_path):
    write(tmp_path, "drive/x.png", "drive/y.png")
    root = tmp_path / "drive"
    known = KnownFiles(images=known_images(root))
    root.rename(tmp_path / "elsewhere")
    plan = plan_scope(whole(root), known)
    assert (plan.n_files, plan.new_failures) == (0, [])
    assert missing_keys(plan, known) == [(str(root), "x.png"), (str(root), "y.png")]


@pytest.mark.parametrize(
    ("n_known", "n_missing", "is_held"),
    [
        pytest.param(4, 2, False, id="half"),
        pytest.param(4, 3, True, id="above-half"),
        pytest.param(5, 3, True, id="above-half-odd"),
        pytest.param(5, 2, False, id="below-half-odd"),
        pytest.param(4, 4, True, id="all"),
        pytest.param(0, 0, False, id="nothing"),
    ],
)
def test_deletions_are_held_above_one_half(n_known, n_missing, is_held):
    plan = ScopePlan(ScanScope(Path("/r"), "/r", "a/b"), n_known=n_known)
    held = plan.held_deletion(n_missing)
    assert (held is not None) is is_held
    if held is not None:
        assert (held.root, held.n_known, held.n_missing) == ("/r/a/b", n_known, n_missing)


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (file,) = plan_scope(whole(tmp_path), KnownFiles()).todo
    unreadable = known_failure(file) | {"stage": "read"}
    plan = plan_scope(whole(tmp_path), KnownFiles(failures={(file.root, file.path): unreadable}))
    assert list(plan.todo) == [file]


# Trying failures again


def retry(root, known, *paths, known_roots=()):
    return plan_retry([(str(root), path) for path in paths], known, known_roots=known_roots)


def test_only_the_chosen_failures_are_tried_again(tmp_path):
    write(tmp_path, "a.png", "sub/b.png", "c.png", "new.png")
    failures = {
        (file.root, file.path): known_failure(file)
        for file in scanned_files(tmp_path)
        if file.path != "new.png"
    }
    plan = retry(tmp_path, KnownFiles(failures=failures), "sub/b.png", "a.png")
    (scope,) = plan.scopes
    assert [file.path for file in scope.todo] == ["a.png", "sub/b.png"]
    assert (scope.n_files, scope.n_unchanged, len(scope.missing)) == (2, 0, 0)
    assert (plan.n_vanished, plan.unreached) == (0, {})


def test_a_file_that_is_gone_is_decided_about_and_not_worked_on(tmp_path):
    write(tmp_path, "a.png", "sub/b.png")
    known = KnownFiles(failures={(str(tmp_path), name): {} for name in ("x.png", "a.png/y.png")})
    plan = retry(tmp_path, known, "x.png", "a.png/y.png")
    (scope,) = plan.scopes
    assert (plan.n_vanished, scope.n_files) == (2, 0)
    assert scope.known_failures == [(str(tmp_path), "a.png/y.png"), (str(tmp_path), "x.png")]


def test_a_broken_link_is_still_there(tmp_path):
    write(tmp_path, "a.png")
    (tmp_path / "link.png").symlink_to("nowhere")
    (failure,) = plan_scope(whole(tmp_path), KnownFiles()).new_failures
    known = KnownFiles(failures={(failure.root, "link.png"): {"reason": failure.reason}})
    plan = retry(tmp_path, known, "link.png")
    assert (plan.n_vanished, plan.scopes[0].new_failures) == (0, [failure])


@pytest.mark.parametrize("left_over", ["nothing", "an empty folder", "a file"])
def test_failures_of_a_root_that_is_not_there_are_kept(tmp_path, left_over):
    root = tmp_path / "drive"
    if left_over == "an empty folder":
        root.mkdir()
    elif left_over == "a file":
        root.touch()
    write(tmp_path, "other/a.png")
    keys = [(str(root), "x.png"), (str(root), "y.png"), (str(tmp_path / "other"), "a.png")]
    plan = plan_retry(keys, KnownFiles(failures={key: {} for key in keys}), known_roots=[])
    assert plan.unreached == {str(root): 2}
    assert [scope.scope.root for scope in plan.scopes] == [tmp_path / "other"]


def test_of_a_folder_that_can_be_listed_again_all_photos_are_looked_at(tmp_path):
    write(tmp_path, "sub/known.png", "sub/new.png", "sub/bad.png", "sub/apart/x.png", "other.png")
    by_path = {file.path: file for file in scanned_files(tmp_path)}
    image = by_path["sub/known.png"]
    failing = by_path["sub/bad.png"]
    known = KnownFiles(
        images=KnownImages(known_blocks(image)),
        failures={
            (failing.root, failing.path): known_failure(failing),
            (str(tmp_path), "sub"): {"reason": "cannot be listed: Permission denied"},
        },
    )
    apart = tmp_path / "sub" / "apart"
    (scope,) = retry(tmp_path, known, "sub", known_roots=[tmp_path, apart]).scopes
    assert [file.path for file in scope.todo] == ["sub/new.png"]
    assert (scope.n_files, scope.n_unchanged) == (3, 1)
    assert scope.settled_failures == {(failing.root, failing.path)}
    both = retry(tmp_path, known, "sub", "sub/bad.png", known_roots=[apart]).scopes[0]
    assert [file.path for file in both.todo] == ["sub/bad.png", "sub/new.png"]


def test_a_folder_that_still_cannot_be_listed_fails_again(tmp_path, monkeypatch):
    write(tmp_path, "sub/a.png")
    unlistable(monkeypatch, tmp_path / "sub")
    (failure,) = plan_scope(whole(tmp_path), KnownFiles()).new_failures
    known = KnownFiles(failures={(failure.root, "sub"): {"reason": failure.reason}})
    assert retry(tmp_path, known, "sub").scopes[0].new_failures == [failure]


def test_a_root_that_cannot_be_listed_is_tried(tmp_path, monkeypatch):
    unlistable(monkeypatch, tmp_path)
    known = KnownFiles(failures={(str(tmp_path), ""): {"reason": "cannot be listed: ..."}})
    plan = retry(tmp_path, known, "")
    assert (plan.unreached, plan.n_vanished) == ({}, 0)
    assert [failure.path for failure in plan.scopes[0].new_failures] == [""]


def test_a_file_in_a_folder_that_may_not_be_entered_fails_again(tmp_path, monkeypatch):
    write(tmp_path, "locked/a.png")
    examined = os.stat

    def stat(path, *arguments, **options):
        if str(path).startswith(str(tmp_path / "locked")):
            raise PermissionError(13, "Permission denied", str(path))
        return examined(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    known = KnownFiles(failures={(str(tmp_path), "locked/a.png"): {"reason": "is cut short"}})
    plan = retry(tmp_path, known, "locked/a.png")
    assert plan.n_vanished == 0
    (failure,) = plan.scopes[0].new_failures
    assert failure.reason == "cannot be examined: Permission denied"


@pytest.mark.parametrize("is_installed", [False, True])
def test_a_raw_file_waits_for_its_extra_without_being_read_again(
    tmp_path, monkeypatch, is_installed
):
    write(tmp_path, "a.cr2", "b.cr2")
    file, other = scanned_files(tmp_path)
    waiting = known_failure(file) | {"error_class": "MissingExtraError"}
    failures = {(file.root, "a.cr2"): waiting, (file.root, "b.cr2"): known_failure(other)}
    monkeypatch.setattr(plan_module, "is_raw_support_installed", lambda: is_installed)
    plan = plan_scope(whole(tmp_path), KnownFiles(failures=failures))
    assert list(plan.todo) == ([file] if is_installed else [])
    assert len(plan.settled_failures) == (1 if is_installed else 2)


def test_raw_files_beside_their_photos_are_neither_files_nor_missing(tmp_path):
    write(tmp_path, "a.cr2", "b.cr2", "sub/a.jpg")
    known = KnownFiles(known_images(tmp_path))
    write(tmp_path, "a.jpg", "b.jpg")
    plan = plan_scope(whole(tmp_path), known)
    assert [file.path for file in plan.todo] == ["a.jpg", "b.jpg"]
    assert (plan.n_files, plan.n_unchanged, plan.n_known, plan.n_paired) == (3, 1, 3, 2)
    assert [known.images.key(row)[1] for row in plan.paired] == ["a.cr2", "b.cr2"]
    assert missing_keys(plan, known) == []
