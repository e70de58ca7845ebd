"""Failures on real files with the fake model."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import csv, parquet

from indexer.lock import writer_lock
from indexer.plan import KnownFiles
from indexer.prepare import PhotoFailure
from indexer.scan import ScanFailure, ScannedFile
from indexer.settings import Settings
from indexer.writer import Writer
from schemas.errors import FilterError, LockedError, Stage
from schemas.results import Failure, FailureList
from service.collection import Collection, open_collection
from service.failures import (
    EXPORT_SCHEMA,
    export_failures,
    list_failures,
    nul_separated_paths,
    retry_failures,
)
from service.indexing import index_photos
from service.search import parse_query, search
from tests.fakes import FakeEncoder
from tests.makers.photos import drawn_photo, image_file
from tests.makers.stores import new_store

AWKWARD = 'a,"b"\nc.jpg'


@pytest.fixture
def recorded(tmp_path) -> Collection:
    """A collection without photos and with failures of three roots."""
    place = tmp_path / "collection"
    store = new_store(place)
    writer = Writer(store, KnownFiles(), append_rows=10, append_seconds=10)
    failed: list[tuple[str, str, Stage]] = [
        ("/b", "x.HEIC", "read"),
        ("/a", "z.jpg", "decode"),
        ("/a", "sub/y.heic", "decode"),
        ("/", "w.jpg", "encode"),
    ]
    for root, path, stage in failed:
        writer.add_failure(
            PhotoFailure(ScannedFile(root, path, 7, 1), stage, "OSError", f"is {path}")
        )
    writer.add_failure(ScanFailure("/b", "locked", "PermissionError", "cannot be listed"))
    writer.commit()
    return Collection(store, Settings(collection=str(place)))


def paths(collection, **selection) -> list[str]:
    return [failure.path for failure in list_failures(collection, **selection).failures]


def named(path: str) -> Failure:
    return Failure(
        path=path,
        stage="decode",
        reason="is text",
        error_class="UnidentifiedImageError",
        file_size=4,
        failed_at=datetime(2026, 11, 22, 12, microsecond=250_000, tzinfo=UTC),
    )


def write_list(target: Path, *failures: Failure) -> None:
    export_failures(FailureList(failures=list(failures)), target)


# Listing


def test_failures_are_listed_by_path(recorded):
    listed = list_failures(recorded).failures
    assert [failure.path for failure in listed] == [
        "/w.jpg",
        "/a/sub/y.heic",
        "/a/z.jpg",
        "/b/locked",
        "/b/x.HEIC",
    ]
    shown = listed[1].model_dump()
    assert shown.pop("failed_at").tzinfo is not None
    assert shown == {
        "path": "/a/sub/y.heic",
        "stage": "decode",
        "reason": "is sub/y.heic",
        "error_class": "OSError",
        "file_size": 7,
    }


def test_what_has_no_size_has_none(recorded):
    (folder,) = list_failures(recorded, stage="scan").failures
    assert (folder.path, folder.file_size) == ("/b/locked", None)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        pytest.param({"stage": "decode"}, ["/a/sub/y.heic", "/a/z.jpg"], id="stage"),
        pytest.param({"where": "path like '%.heic'"}, ["/a/sub/y.heic"], id="path"),
        pytest.param(
            {"where": "lower(path) like '%.heic'"}, ["/a/sub/y.heic", "/b/x.HEIC"], id="lower-case"
        ),
        pytest.param({"where": "root = '/b'", "stage": "read"}, ["/b/x.HEIC"], id="both"),
        pytest.param(
            {"where": "root = '/b' or root = '/'", "stage": "encode"}, ["/w.jpg"], id="or-and-stage"
        ),
        pytest.param({"where": "error_class = 'PermissionError'"}, ["/b/locked"], id="class"),
        pytest.param({"where": "failed_at < timestamp '2020-01-01'"}, [], id="none-so-old"),
    ],
)
def test_failures_are_selected(recorded, selection, expected):
    assert paths(recorded, **selection) == expected


def test_a_wrong_condition_is_told_in_the_users_words(recorded):
    with pytest.raises(FilterError, match=r"^the filter \"colour = 'red'\" is not valid: "):
        list_failures(recorded, stage="read", where="colour = 'red'")


# Export


def test_the_exported_columns_are_those_of_the_record():
    assert EXPORT_SCHEMA.names == list(Failure.model_fields)


def test_csv_survives_commas_quotes_and_line_breaks(tmp_path):
    target = tmp_path / "failures.csv"
    write_list(target, named(f"/p/{AWKWARD}"), named("/p/caf\U0010ffe9.jpg"))
    read = csv.read_csv(target, parse_options=csv.ParseOptions(newlines_in_values=True))
    assert read["path"].to_pylist() == [f"/p/{AWKWARD}", "/p/caf\U0010ffe9.jpg"]
    assert target.read_text(encoding="utf-8").splitlines()[0] == (
        '"path","stage","reason","error_class","file_size","failed_at"'
    )


def test_json_lines_are_one_object_a_line(tmp_path):
    target = tmp_path / "failures.jsonl"
    unsized = named("/p/b").model_copy(update={"file_size": None})
    write_list(target, named(f"/p/{AWKWARD}"), unsized)
    first, second = map(json.loads, target.read_text(encoding="utf-8").splitlines())
    assert first == {
        "path": f"/p/{AWKWARD}",
        "stage": "decode",
        "reason": "is text",
        "error_class": "UnidentifiedImageError",
        "file_size": 4,
        "failed_at": "2026-11-22T12:00:00.250000Z",
    }
    assert second["file_size"] is None


def test_parquet_keeps_types(tmp_path):
    target = tmp_path / "failures.PARQUET"
    write_list(target, named("/p/a.jpg"))
    read = parquet.read_table(target)
    assert read.schema.equals(EXPORT_SCHEMA)
    assert read.to_pylist() == [named("/p/a.jpg").model_dump()]


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
def test_an_empty_list_is_a_file_too(tmp_path, extension):
    write_list(tmp_path / f"none.{extension}")
    assert [path.name for path in tmp_path.iterdir()] == [f"none.{extension}"]


# Paths for other programs


def test_paths_are_the_bytes_of_the_file_system():
    listed = FailureList(failures=[named("/p\n/caf\U0010ffe9.jpg"), named("/é")])
    assert nul_separated_paths(listed) == b"/p\n/caf\xe9.jpg\0/\xc3\xa9\0"


# Trying again


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    def open_fake(model, *, pretrained, device, n_threads):
        return FakeEncoder()

    monkeypatch.setattr("service.collection.open_encoder", open_fake)
    return Settings(collection=str(tmp_path / "collection"), threads=2, max_pixels=10_000)


@pytest.fixture
def photos(tmp_path, settings) -> Path:
    """An indexed folder of which one photo is too large, and one is a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, side in (("small.png", 50), ("large.png", 200)):
        (folder / name).write_bytes(image_file(drawn_photo(side, width=side, height=side), "PNG"))
    (folder / "list.jpg").write_text("a shopping list")
    index_photos([folder], settings=settings, report=lambda _: None)
    return folder


def retried(settings, **selection):
    changes = {"max_pixels": 100_000}
    collection = open_collection(settings.model_copy(update=changes))
    return retry_failures(collection, report=lambda _: None, **selection)


def test_a_photo_that_was_too_large_is_found_after_a_retry(photos, settings):
    retry = retried(settings, where="path like '%.png'")
    assert (retry.n_selected, retry.ingest.n_encoded, retry.ingest.n_failed) == (1, 1, 0)
    collection = open_collection(settings)
    assert paths(collection) == [f"{photos}/list.jpg"]
    found = search(collection, [parse_query(str(photos / "large.png"))], include_self=True)
    assert found.hits[0].path == str(photos / "large.png")
    assert index_photos([], settings=settings, report=lambda _: None).n_unchanged == 2


def test_what_fails_again_is_told_and_stays(photos, settings):
    retry = retried(settings, stage="decode")
    assert retry.n_selected == 2
    assert [failure.path for failure in retry.ingest.failures] == [f"{photos}/list.jpg"]
    assert paths(open_collection(settings)) == [f"{photos}/list.jpg"]


def test_nothing_selected_is_nothing_tried(photos, settings):
    retry = retried(settings, stage="encode")
    assert (retry.n_selected, retry.ingest.n_files) == (0, 0)
    assert len(paths(open_collection(settings))) == 2


def test_a_retry_waits_for_no_other_writer(photos, settings):
    with writer_lock(Path(settings.collection)), pytest.raises(LockedError, match="being written"):
        retried(settings)
