import os
from pathlib import Path

import pyarrow as pa
import pytest

from indexer.plan import (
    KNOWN_COLUMNS,
    KnownFiles,
    KnownImage,
    ScanScope,
    ScopePlan,
    plan_scope,
    scan_scopes,
)
from indexer.scan import ScannedFile, scan
from schemas.tables import FAILURES_SCHEMA

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
    return {
        (file.root, file.path): KnownImage(image_id, file.size, file.mtime_ns, "hash")
        for image_id, file in enumerate(scanned_files(root))
    }


def known_failure(file, *, reason="is cut short"):
    return {"file_size": file.size, "mtime_ns": file.mtime_ns, "stage": "decode", "reason": reason}


# What the collection knows


def test_known_files_are_read_from_the_tables():
    rows = [("/a", "x.jpg", 4, 10, 11, "h4"), ("/b", "x.jpg", 2, 20, 21, "h2")]
    images = pa.table(dict(zip(KNOWN_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
    failure = dict.fromkeys(FAILURES_SCHEMA.names) | {"root": "/a", "path": "bad.jpg"}
    failures = pa.Table.from_pylist([failure])
    known = KnownFiles.read(images, failures)
    assert known.images == {
        ("/a", "x.jpg"): KnownImage(4, 10, 11, "h4"),
        ("/b", "x.jpg"): KnownImage(2, 20, 21, "h2"),
    }
    assert known.failures == {("/a", "bad.jpg"): failure}
    assert known.superseded == []


def test_of_two_rows_with_one_key_the_newer_counts():
    rows = [("/a", "x", 9, 1, 1, "new"), ("/a", "x", 3, 1, 1, "old"), ("/a", "x", 5, 1, 1, "mid")]
    images = pa.table(dict(zip(KNOWN_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
    known = KnownFiles.read(images, FAILURES_SCHEMA.empty_table())
    assert known.images["/a", "x"].image_id == 9
    assert sorted(known.superseded) == [3, 5]


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
        images={
            key: image for key, image in known_images(tmp_path).items() if "ed.png" not in key[1]
        },
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
    assert [file.path for file in plan.todo] == [
        "changed-size.png",
        "changed-time.png",
        "mended.png",
        "sub/new.png",
    ]
    assert plan.todo[1].mtime_ns == 1
    assert plan.settled_failures == {(root, "failed.png")}
    assert plan.missing == [(root, "gone.png")]
    assert (plan.n_files, plan.n_unchanged, plan.n_known) == (6, 1, 4)
    assert plan.new_failures == []


def test_paths_are_relative_to_the_root_and_not_to_the_scanned_folder(tmp_path):
    write(tmp_path, "a/b/x.png", "a/y.png", "ab/z.png", "w.png")
    known = KnownFiles(images=known_images(tmp_path))
    plan = plan_scope(ScanScope(tmp_path, str(tmp_path), "a"), known)
    assert (plan.n_files, plan.n_unchanged, plan.n_known, plan.missing) == (2, 2, 2, [])
    plan = plan_scope(ScanScope(tmp_path, str(tmp_path), "a/b"), KnownFiles())
    assert [(file.root, file.path) for file in plan.todo] == [(str(tmp_path), "a/b/x.png")]


def test_a_scope_of_one_file(tmp_path):
    write(tmp_path, "a/x.png", "a/y.png")
    known = KnownFiles(images=known_images(tmp_path))
    plan = plan_scope(ScanScope(tmp_path, str(tmp_path), "a/x.png"), known)
    assert (plan.n_files, plan.n_unchanged, plan.n_known, plan.missing) == (1, 1, 1, [])
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
    assert plan.missing == [(str(tmp_path), "ab/z.png")]
    assert [(failure.path, failure.error_class) for failure in plan.new_failures] == [
        ("a", "PermissionError")
    ]


def test_nothing_is_missing_from_a_root_that_cannot_be_listed(tmp_path, monkeypatch):
    write(tmp_path, "a/x.png", "y.png")
    known = KnownFiles(images=known_images(tmp_path))
    unlistable(monkeypatch, tmp_path)
    plan = plan_scope(whole(tmp_path), known)
    assert (plan.missing, len(plan.new_failures)) == ([], 1)


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
    assert plan.missing == [(str(root), "x.png"), (str(root), "y.png")]


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
    held = plan.held_deletion([("/r", str(number)) for number in range(n_missing)])
    assert (held is not None) is is_held
    if held is not None:
        assert (held.root, held.n_known, held.n_missing) == ("/r/a/b", n_known, n_missing)


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (file,) = plan_scope(whole(tmp_path), KnownFiles()).todo
    unreadable = known_failure(file) | {"stage": "read"}
    plan = plan_scope(whole(tmp_path), KnownFiles(failures={(file.root, file.path): unreadable}))
    assert plan.todo == [file]
